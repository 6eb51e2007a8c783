"""Metrics of a prediction table, and where validation loss turned in a training history."""

from __future__ import annotations

from dataclasses import asdict
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
from malaria_kedro.learning.calibration import (
    brier_score,
    cross_entropy,
    expected_calibration_error,
    labels_and_probabilities,
)
from malaria_kedro.names import CLASSES, PARASITIZED

# The splits that are predicted; validation is always there, a test part only where one was held out.
EVALUATED_SPLITS = ("valid", "test")


def called_parasitized(predictions: pd.DataFrame, threshold: float) -> np.ndarray:
    """Tell which cells are called parasitized: those with ``p_parasitized`` at ``threshold`` or above (bool, N)."""
    return predictions["p_parasitized"].to_numpy(dtype=float) >= threshold


def cells_of_split(predictions: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the rows of one split.

    Raises:
        ValueError: naming the split, where it has no cell.
    """
    rows = predictions[predictions["split"] == split]
    if rows.empty:
        present = sorted(predictions["split"].dropna().astype(str).unique())
        raise ValueError(
            f"split {split!r} has no predicted cells (the table holds {present or 'none at all'}): "
            "give it cells with split.valid_pct or split.test_pct, then predict again"
        )
    return rows


def measure(predictions: pd.DataFrame, *, threshold: float, intervals: Bootstrap | None = None) -> dict[str, Any]:
    """Measure how well cells were classified, split by split; Parasitized is the positive class.

    Args:
        predictions: columns split (``valid``, ``test``), label, p_parasitized (0..1), loss (cross-entropy, nats);
            patient_id and p_calibrated where there are any.
        threshold: p_parasitized from here on is called parasitized.
        intervals: how to draw intervals; None draws none.

    Returns:
        ``positive_class``, ``threshold``, ``splits`` and ``notes``. A split has n, n_parasitized, n_patients (None
        where no patient is known), accuracy, error_rate, balanced_accuracy, sensitivity (share of parasitized cells
        found), specificity (share of uninfected cells left alone), precision (positive predictive value), npv
        (negative predictive value), f1, mcc (Matthews), roc_auc, average_precision, loss (mean), brier, ece (15 bins)
        and the confusion counts tp, fn, fp, tn; ``calibrated`` (brier, ece, loss) where there is a p_calibrated; with
        intervals also ``intervals`` (metric: [low, high]) and ``bootstrap`` (unit: patient or cell, units, draws,
        seed, level). A value that cannot be computed is None and ``notes`` says why; no value is ever NaN, so that
        the JSON is strict.

    Raises:
        ValueError: for a split without cells, an unknown label, or a p_parasitized that is no number from 0 to 1.
    """
    splits, notes = _measure_splits(predictions, threshold, "p_parasitized", ALL_METRICS, intervals)
    if "p_calibrated" in predictions:
        for split, values in splits.items():
            values["calibrated"] = _measure_calibrated(cells_of_split(predictions, split), split)
    return {"positive_class": PARASITIZED, "threshold": float(threshold), "splits": splits, "notes": notes}


def measure_at(
    predictions: pd.DataFrame,
    *,
    threshold: float,
    column: str = "p_calibrated",
    intervals: Bootstrap | None = None,
) -> dict[str, Any]:
    """Measure the calls at an operating point, split by split; Parasitized is the positive class.

    Args:
        predictions: columns split, label, loss and the named one; patient_id where there is one.
        threshold: from here on a cell is called parasitized.
        column: the probability that the threshold is for.
        intervals: how to draw intervals; None draws none.

    Returns:
        As ``measure``, with ``column``, and in each split only what follows from the calls: n, n_parasitized,
        n_patients, accuracy, error_rate, balanced_accuracy, sensitivity, specificity, precision, npv, f1, mcc and
        confusion (and intervals, bootstrap).

    Raises:
        ValueError: for a split without cells, a missing column, an unknown label, or a value that is no number from 0
            to 1.
    """
    splits, notes = _measure_splits(predictions, threshold, column, COUNT_METRICS, intervals)
    return {
        "positive_class": PARASITIZED,
        "column": column,
        "threshold": float(threshold),
        "splits": splits,
        "notes": notes,
    }


def _measure_splits(
    predictions: pd.DataFrame, threshold: float, column: str, names: tuple[str, ...], intervals: Bootstrap | None
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return split → what was measured of it, and the notes of all splits."""
    splits: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for split in EVALUATED_SPLITS:
        if split == "valid" or (predictions["split"] == split).any():
            rows = cells_of_split(predictions, split)
            splits[split], found = _measure_split(rows, split, threshold, column, names, intervals)
            notes += [f"{split}: {note}" for note in found]
    return splits, notes


def _measure_split(
    rows: pd.DataFrame,
    split: str,
    threshold: float,
    column: str,
    names: tuple[str, ...],
    intervals: Bootstrap | None,
) -> tuple[dict[str, Any], list[str]]:
    sample = sample_cells(rows, column, where=f"split {split!r}")
    metrics = WeightedMetrics(sample, threshold, names)
    confusion = metrics.confusion()
    values: dict[str, Any] = {
        "n": len(rows),
        "n_parasitized": confusion["tp"] + confusion["fn"],
        "n_patients": (int(rows["patient_id"].nunique()) or None) if "patient_id" in rows else None,
        **metrics.measure_all(),
        "confusion": confusion,
    }
    notes = [
        f"{name} is undefined, because {reason}."
        for name, reason in _reasons(sample, confusion).items()
        if name in names and values[name] is None
    ]
    if intervals:
        # What is undefined has its reason already, and no interval.
        defined = tuple(name for name in names if values[name] is not None)
        drawn = bootstrap_intervals(sample, intervals, threshold=threshold, names=defined)
        values["intervals"] = dict.fromkeys(names) | drawn.intervals
        values["bootstrap"] = {"unit": drawn.unit, "units": drawn.units, **asdict(intervals)}
        notes += drawn.notes
    return values, notes


def _reasons(sample: Sample, confusion: dict[str, int]) -> dict[str, str]:
    """Return why each metric would be undefined."""
    tp, fn, fp, tn = (confusion[name] for name in ("tp", "fn", "fp", "tn"))
    one_class = f"every cell is {CLASSES[0 if tp + fn else 1].lower()}"
    one_call = f"every cell was called {CLASSES[0 if tp + fp else 1].lower()}"
    return {
        "sensitivity": "no cell is parasitized",
        "specificity": "no cell is uninfected",
        "precision": "no cell was called parasitized",
        "npv": "no cell was called uninfected",
        "f1": "no cell is parasitized and none was called so",
        "balanced_accuracy": one_class,
        "mcc": one_class if not (tp + fn and fp + tn) else one_call,
        "roc_auc": one_class,
        "average_precision": "no cell is parasitized",
        "loss": f"{int((~np.isfinite(sample.losses)).sum())} cells have no finite loss",
    }


def _measure_calibrated(rows: pd.DataFrame, split: str) -> dict[str, float]:
    actual, p = labels_and_probabilities(rows, f"split {split!r}", "p_calibrated")
    return {
        "brier": brier_score(actual, p),
        "ece": expected_calibration_error(actual, p),
        "loss": cross_entropy(actual, p),
    }


def overfitting_onset(history: pd.DataFrame) -> dict[str, Any] | None:
    """Tell where validation loss turned in the last trained stage.

    Args:
        history: columns stage, epoch (from 1 in its stage), valid_loss; in the order of training.

    Returns:
        stage, epoch and valid_loss of the lowest validation loss (the first of equals), last_epoch, last_valid_loss,
        ``rose`` (whether validation loss ended higher than it had been) and a ``sentence``; None where no epoch has a
        finite validation loss.
    """
    finite = history[np.isfinite(history["valid_loss"].to_numpy(dtype=float))]
    if finite.empty:
        return None
    stage = finite["stage"].iloc[-1]
    epochs = finite[finite["stage"] == stage].sort_values("epoch", kind="stable")
    losses = epochs["valid_loss"].to_numpy(dtype=float)
    lowest, last = int(losses.argmin()), len(losses) - 1
    epoch, last_epoch = int(epochs["epoch"].iloc[lowest]), int(epochs["epoch"].iloc[last])
    low, end = float(losses[lowest]), float(losses[last])
    where = str(stage).replace("_", " ")
    if last == 0:
        sentence = f"Only one epoch of {where} has a validation loss ({low:.4f}), so no turn can be seen."
    elif end > low:
        sentence = (
            f"Validation loss turned after epoch {epoch} of {where}: from {low:.4f} it rose to {end:.4f} "
            f"at epoch {last_epoch}, which can be a sign of overfitting."
        )
    else:
        sentence = (
            f"Validation loss ended at its lowest ({end:.4f}, epoch {last_epoch} of {where}): no sign of overfitting."
        )
    return {
        "stage": str(stage),
        "epoch": epoch,
        "valid_loss": low,
        "last_epoch": last_epoch,
        "last_valid_loss": end,
        "rose": end > low,
        "sentence": sentence,
    }
