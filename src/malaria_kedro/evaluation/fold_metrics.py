"""Metrics of a cross-validation: each fold, mean and spread over the folds, and all cells pooled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from malaria_kedro.evaluation.bootstrap import ALL_METRICS, Bootstrap
from malaria_kedro.evaluation.measurements import FoldMeasurement, FoldMetrics, ProtocolMetrics, Scores, SplitMetrics
from malaria_kedro.evaluation.metrics import measure
from malaria_kedro.language import N_
from malaria_kedro.learning.calibration import SMALLEST
from malaria_kedro.names import PARASITIZED


def measure_folds(predictions: pd.DataFrame, *, threshold: float, intervals: Bootstrap) -> FoldMeasurement:
    """Measure the held-out predictions of a cross-validation, protocol by protocol.

    Args:
        predictions: strategy (``patient`` or ``random``), seed, fold, cell_id, patient_id, label, p_parasitized (0-1),
            loss (nats); every cell once per strategy and seed.
        threshold: cells with p_parasitized at or above it are called parasitized.
        intervals: how to draw the intervals of all cells together.

    Raises:
        ValueError: for no prediction, an unknown label, or a p_parasitized that is not a number from 0 to 1.
    """
    if predictions.empty:
        raise ValueError("no prediction of any fold; run the pipeline cross_validation again")
    protocols: dict[str, ProtocolMetrics] = {}
    notes: list[str] = []
    one = N_("{strategy}, seed {seed}, fold {fold}")

    def measure_cells(rows: pd.DataFrame, where: str, intervals: Bootstrap | None = None) -> SplitMetrics:
        measured = measure(rows.assign(split="valid"), threshold=threshold, intervals=intervals)
        notes.extend(f"{where}: {note.removeprefix('valid: ')}" for note in measured.notes)
        return measured.splits["valid"]

    for strategy, table in predictions.groupby("strategy", sort=False):
        folds = []
        for (seed, fold), rows in table.groupby(["seed", "fold"]):
            measured = measure_cells(rows, one.format(strategy=strategy, seed=seed, fold=fold))
            folds.append(FoldMetrics.model_validate({"seed": seed, "fold": fold, **measured.model_dump()}))
        pooled = measure_cells(average_seeds(table), N_("{strategy}, all folds").format(strategy=strategy), intervals)
        protocols[str(strategy)] = ProtocolMetrics(
            n=pooled.n,
            n_patients=pooled.n_patients,
            shared_patients=shared_patients(table),
            folds=folds,
            mean=_over_folds(folds, np.mean, least=1),
            sd=_over_folds(folds, partial(np.std, ddof=1), least=2),
            pooled=pooled,
        )
    return FoldMeasurement(threshold=threshold, protocols=protocols, notes=notes)


def average_seeds(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell: its mean log-odds over all predictions of it, as a probability, and that one's loss.

    Args:
        predictions: cell_id, patient_id, label, p_parasitized (0-1), loss; a cell may have several rows.

    Returns:
        The same columns, sorted by cell_id.
    """
    from scipy.special import expit, logit  # comes with scikit-learn, and `kedro registry list` passes by here

    columns = ["cell_id", "patient_id", "label", "p_parasitized", "loss"]
    ordered = predictions.sort_values("cell_id", ignore_index=True)
    if ordered["cell_id"].is_unique:  # their own numbers, to the last digit
        return ordered[columns]
    ordered["log_odds"] = logit(ordered["p_parasitized"].clip(SMALLEST, 1 - SMALLEST))
    how = {"patient_id": "first", "label": "first", "log_odds": "mean"}
    cells = ordered.groupby("cell_id", as_index=False).agg(how)
    toward_label = np.where(cells["label"] == PARASITIZED, cells["log_odds"], -cells["log_odds"])
    cells["p_parasitized"], cells["loss"] = expit(cells["log_odds"]), np.logaddexp(0, -toward_label)
    return cells[columns]


def shared_patients(predictions: pd.DataFrame) -> int | None:
    """Count the patients with cells in more than one fold of a seed, the most of any seed; None: none is known."""
    if predictions["patient_id"].isna().all():
        return None
    folds = predictions.groupby(["seed", "patient_id"])["fold"].nunique()
    return int((folds > 1).groupby("seed").sum().max())


def _over_folds(folds: list[FoldMetrics], statistic: Callable[..., Any], *, least: int) -> Scores:
    defined = {name: [value for fold in folds if (value := fold.score(name)) is not None] for name in ALL_METRICS}
    return Scores(
        **{name: float(statistic(values)) if len(values) >= least else None for name, values in defined.items()}
    )
