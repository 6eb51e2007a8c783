"""Metrics of a cross-validation: each fold, mean and spread over the folds, and all cells pooled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from malaria_kedro.evaluation.bootstrap import ALL_METRICS, Bootstrap
from malaria_kedro.evaluation.metrics import measure
from malaria_kedro.learning.calibration import SMALLEST
from malaria_kedro.names import PARASITIZED

FOLD_COUNTS = ("n", "n_parasitized", "n_patients")


def measure_folds(predictions: pd.DataFrame, *, threshold: float, intervals: Bootstrap) -> dict[str, Any]:
    """Measure the held-out predictions of a cross-validation, protocol by protocol.

    Args:
        predictions: strategy (``patient`` or ``random``), seed, fold, cell_id, patient_id, label, p_parasitized (0-1),
            loss (nats); every cell once a strategy and seed.
        threshold: p_parasitized from here on is called parasitized.
        intervals: how to draw the intervals of all cells together.

    Returns:
        Strict JSON: ``threshold``; ``protocols``: strategy → n, n_patients, shared_patients (the most that were in
        both splits of any fold), folds (seed, fold and the metrics of each), mean and sd (sample, over folds; None for
        a single value) of each metric, pooled (a split as ``malaria_kedro.evaluation.metrics.measure`` gives,
        of each cell's mean over the seeds); and ``notes``.

    Raises:
        ValueError: for no prediction, an unknown label, or a p_parasitized that is no number from 0 to 1.
    """
    if predictions.empty:
        raise ValueError("no prediction of any fold; run the pipeline cross_validation again")
    protocols: dict[str, Any] = {}
    notes: list[str] = []
    for strategy, table in predictions.groupby("strategy", sort=False):
        each = []
        seed: Any  # whole numbers, as pandas has them
        fold: Any
        for (seed, fold), rows in table.groupby(["seed", "fold"]):
            measured = measure(rows.assign(split="valid"), threshold=threshold)
            values = measured["splits"]["valid"]
            each.append(
                {"seed": int(seed), "fold": int(fold), **{name: values[name] for name in (*FOLD_COUNTS, *ALL_METRICS)}}
            )
            notes += [
                f"{strategy}, seed {seed}, fold {fold}: {note.removeprefix('valid: ')}" for note in measured["notes"]
            ]
        pooled = measure(average_seeds(table).assign(split="valid"), threshold=threshold, intervals=intervals)
        notes += [f"{strategy}, all folds: {note.removeprefix('valid: ')}" for note in pooled["notes"]]
        protocols[str(strategy)] = {
            "n": pooled["splits"]["valid"]["n"],
            "n_patients": pooled["splits"]["valid"]["n_patients"],
            "shared_patients": shared_patients(table),
            "folds": each,
            "mean": {name: _over_folds(each, name, np.mean, least=1) for name in ALL_METRICS},
            "sd": {name: _over_folds(each, name, _sample_sd, least=2) for name in ALL_METRICS},
            "pooled": pooled["splits"]["valid"],
        }
    return {"threshold": float(threshold), "protocols": protocols, "notes": notes}


def average_seeds(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell: its mean log-odds over all predictions of it, as a probability, and that one's loss.

    Args:
        predictions: cell_id, patient_id, label, p_parasitized (0-1), loss; a cell may have several rows.

    Returns:
        The same columns, sorted by cell_id.
    """
    from scipy.special import expit, logit  # comes with scikit-learn, and `kedro registry list` passes by here

    columns = ["cell_id", "patient_id", "label", "p_parasitized", "loss"]
    if not predictions["cell_id"].duplicated().any():  # their own numbers, to the last digit
        return predictions.sort_values("cell_id", ignore_index=True)[columns]
    ordered = predictions.sort_values("cell_id", ignore_index=True)
    ordered["log_odds"] = logit(ordered["p_parasitized"].clip(SMALLEST, 1 - SMALLEST))
    cells = ordered.groupby("cell_id", as_index=False).agg(
        {"patient_id": "first", "label": "first", "log_odds": "mean"}
    )
    toward_label = np.where(cells["label"] == PARASITIZED, cells["log_odds"], -cells["log_odds"])
    cells["p_parasitized"], cells["loss"] = expit(cells["log_odds"]), np.logaddexp(0, -toward_label)
    return cells[columns]


def shared_patients(predictions: pd.DataFrame) -> int | None:
    """Count the patients with cells in more than one fold of a seed, the most of any seed; None: none is known."""
    if predictions["patient_id"].isna().all():
        return None
    folds = predictions.groupby(["seed", "patient_id"])["fold"].nunique()
    return int((folds > 1).groupby("seed").sum().max())


def _over_folds(folds: list[dict[str, Any]], name: str, statistic: Any, *, least: int) -> float | None:
    values = [fold[name] for fold in folds if fold[name] is not None]
    return float(statistic(values)) if len(values) >= least else None


def _sample_sd(values: list[float]) -> float:
    return float(np.std(values, ddof=1))
