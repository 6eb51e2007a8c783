"""Metrics of a prediction table, and where validation loss turned in a training history."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from malaria_kedro.evaluation.bootstrap import (
    ALL_METRICS,
    COUNT_METRICS,
    Bootstrap,
    Sample,
    WeightedMetrics,
    bootstrap_intervals,
    sample_cells,
)
from malaria_kedro.evaluation.measurements import Confusion, Draws, Measurement, Scores, SplitMetrics
from malaria_kedro.evaluation.stored_metrics import threshold_scores
from malaria_kedro.language import N_
from malaria_kedro.learning.calibration import (
    apply_temperature,
    brier_score,
    cross_entropy,
    expected_calibration_error,
    labels_and_probabilities,
)
from malaria_kedro.learning.metadata import Calibration, ThresholdScores
from malaria_kedro.learning.soundness import SCORES
from malaria_kedro.names import PARASITIZED

# The splits that are predicted; validation is always there, test only where cells were held out.
EVALUATED_SPLITS = ("valid", "test")


def called_parasitized(predictions: pd.DataFrame, threshold: float) -> np.ndarray:
    """Return which cells are called parasitized: those with ``p_parasitized`` at ``threshold`` or above (bool, N)."""
    return predictions["p_parasitized"].to_numpy(dtype=float) >= threshold


def evaluated_splits(predictions: pd.DataFrame) -> list[str]:
    """Return validation, and test where it has cells; of a table with neither, validation."""
    return [split for split in EVALUATED_SPLITS if (predictions["split"] == split).any()] or ["valid"]


def cells_of_split(predictions: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the rows of one split; a ValueError names a split without cells."""
    rows = predictions[predictions["split"] == split]
    if rows.empty:
        present = sorted(predictions["split"].dropna().astype(str).unique())
        raise ValueError(
            f"split {split!r} has no predicted cells (the table holds {present or 'none at all'}): "
            "give it cells with split.valid_pct or split.test_pct, then predict again"
        )
    return rows


def measure(predictions: pd.DataFrame, *, threshold: float, intervals: Bootstrap | None = None) -> Measurement:
    """Measure how well cells were classified, split by split; Parasitized is the positive class.

    Args:
        predictions: columns split (``valid``, ``test``), label, p_parasitized (0-1), loss (cross-entropy, nats);
            patient_id and p_calibrated where there are any.
        threshold: cells with p_parasitized at or above it are called parasitized.
        intervals: how to draw intervals; None draws none.

    Raises:
        ValueError: for a split without cells, an unknown label, or a p_parasitized that is not a number from 0 to 1.
    """
    return _measure(predictions, threshold, "p_parasitized", ALL_METRICS, intervals)


def measure_at(
    predictions: pd.DataFrame,
    *,
    threshold: float,
    intervals: Bootstrap | None = None,
    names: tuple[str, ...] = COUNT_METRICS,
) -> Measurement:
    """Measure the calls at an operating point, a threshold of ``p_calibrated``; see ``measure``.

    Returns:
        As ``measure``, with ``column``, and of each split the metrics of these names: those that follow from the calls.
    """
    measured = _measure(predictions, threshold, "p_calibrated", names, intervals)
    return measured.model_copy(update={"column": "p_calibrated"})


def measure_at_threshold(
    predictions: pd.DataFrame, calibration: Calibration, intervals: Bootstrap
) -> ThresholdScores | None:
    """Measure validation at the threshold that a classifier stores, with intervals; None where it has none.

    ``predictions`` are as for ``measure``, those of validation, and not yet calibrated.
    """
    if calibration.threshold is None:
        return None
    calibrated = apply_temperature(predictions["p_parasitized"], calibration.temperature)
    rows = predictions.assign(p_calibrated=calibrated)
    found = measure_at(rows, threshold=calibration.threshold, intervals=intervals, names=SCORES).splits["valid"]
    return threshold_scores("valid", found, found)


def _measure(
    predictions: pd.DataFrame, threshold: float, column: str, names: tuple[str, ...], intervals: Bootstrap | None
) -> Measurement:
    splits: dict[str, SplitMetrics] = {}
    notes: list[str] = []
    for split in dict.fromkeys(("valid", *evaluated_splits(predictions))):
        rows = cells_of_split(predictions, split)
        splits[split], found = _measure_split(rows, split, threshold, column, names, intervals)
        notes += [f"{split}: {note}" for note in found]
    return Measurement(positive_class=PARASITIZED, threshold=threshold, splits=splits, notes=notes)


def _measure_split(
    rows: pd.DataFrame, split: str, threshold: float, column: str, names: tuple[str, ...], intervals: Bootstrap | None
) -> tuple[SplitMetrics, list[str]]:
    """Return the metrics of these names, and notes on what is undefined."""
    where = f"split {split!r}"
    found, notes = measure_sample(sample_cells(rows, column, where=where), threshold, names, intervals)
    if column == "p_parasitized" and "p_calibrated" in rows:
        actual, p = labels_and_probabilities(rows, where, "p_calibrated")
        found["calibrated"] = Scores(
            brier=brier_score(actual, p), ece=expected_calibration_error(actual, p), loss=cross_entropy(actual, p)
        )
    return SplitMetrics(**found), notes


def measure_sample(
    sample: Sample, threshold: float, names: tuple[str, ...], intervals: Bootstrap | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of ``SplitMetrics``, with the metrics of these names, and notes on what is undefined."""
    metrics = WeightedMetrics(sample, threshold, names)
    confusion, scores = metrics.confusion(), metrics.measure_all()
    reasons = _reasons(sample, confusion)
    undefined = N_("{name} is undefined, because {reason}.")
    notes = [
        undefined.format(name=name, reason=reason) for name, reason in reasons.items() if scores.get(name, 0) is None
    ]
    found: dict[str, Any] = scores | {
        "n": len(sample.p),
        "n_parasitized": confusion.tp + confusion.fn,
        "n_patients": sample.units - sample.unknown or None,
        "confusion": confusion,
    }
    if intervals:
        # What is undefined has its reason already, and no interval.
        defined = tuple(name for name in names if scores[name] is not None)
        drawn = bootstrap_intervals(sample, intervals, threshold=threshold, names=defined)
        notes += drawn.notes
        found["intervals"] = dict.fromkeys(names) | drawn.intervals
        found["bootstrap"] = Draws(unit=drawn.unit, units=drawn.units, **asdict(intervals))
    return found, notes


def _reasons(sample: Sample, confusion: Confusion) -> dict[str, str]:
    """Return why each metric would be undefined."""
    tp, fn, fp, tn = confusion.tp, confusion.fn, confusion.fp, confusion.tn
    one_class = N_("every cell is parasitized") if tp + fn else N_("every cell is uninfected")
    one_call = N_("every cell was called parasitized") if tp + fp else N_("every cell was called uninfected")
    return {
        "sensitivity": N_("no cell is parasitized"),
        "specificity": N_("no cell is uninfected"),
        "precision": N_("no cell was called parasitized"),
        "npv": N_("no cell was called uninfected"),
        "f1": N_("no cell is parasitized and none was called so"),
        "balanced_accuracy": one_class,
        "mcc": one_class if not (tp + fn and fp + tn) else one_call,
        "roc_auc": one_class,
        "average_precision": N_("no cell is parasitized"),
        "loss": N_("{n} cells have no finite loss").format(n=int((~np.isfinite(sample.losses)).sum())),
    }


@dataclass(frozen=True)
class OverfittingOnset:
    """Where validation loss turned in the last trained stage: its lowest epoch, the first of equals."""

    stage: str
    epoch: int
    valid_loss: float  # nats
    rose: bool  # whether validation loss ended higher
    sentence: str


def overfitting_onset(history: pd.DataFrame) -> OverfittingOnset | None:
    """Tell where validation loss turned in the last trained stage; None where no epoch has a finite one.

    Args:
        history: columns stage, epoch (from 1 in its stage), valid_loss; in the order of training.
    """
    finite = history[np.isfinite(history["valid_loss"].to_numpy(dtype=float))]
    if finite.empty:
        return None
    stage = str(finite["stage"].iloc[-1])
    losses = finite[finite["stage"] == stage].set_index("epoch")["valid_loss"].sort_index(kind="stable").astype(float)
    epoch, low, last_epoch, end = int(losses.idxmin()), float(losses.min()), losses.index[-1], float(losses.iloc[-1])
    where = stage.replace("_", " ")
    if len(losses) == 1:
        sentence = N_("Only one epoch of {stage} has a validation loss ({loss}), so no turn can be seen.").format(
            stage=where, loss=f"{low:.4f}"
        )
    elif end > low:
        sentence = N_(
            "Validation loss turned after epoch {epoch} of {stage}: from {low} it rose to {end} at epoch {last}, which "
            "can be a sign of overfitting."
        ).format(epoch=epoch, stage=where, low=f"{low:.4f}", end=f"{end:.4f}", last=last_epoch)
    else:
        sentence = N_(
            "Validation loss ended at its lowest ({loss}, epoch {epoch} of {stage}): no sign of overfitting."
        ).format(loss=f"{end:.4f}", epoch=last_epoch, stage=where)
    return OverfittingOnset(stage, epoch, low, end > low, sentence)
