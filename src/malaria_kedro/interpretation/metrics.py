"""The numbers that a prediction table and a training history tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from malaria_kedro.cells.names import CLASSES, PARASITIZED

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


def measure(predictions: pd.DataFrame, *, threshold: float) -> dict[str, Any]:
    """Measure how well cells were classified, split by split; Parasitized is the positive class.

    Args:
        predictions: columns split (``valid``, ``test``), label, p_parasitized (0..1), loss (cross-entropy, nats).
        threshold: p_parasitized from here on is called parasitized.

    Returns:
        ``positive_class``, ``threshold``, ``splits`` and ``notes``. A split has n, n_parasitized, accuracy, error_rate,
        sensitivity (share of parasitized cells found), specificity (share of uninfected cells left alone), precision,
        f1, roc_auc, loss (mean) and the confusion counts tp, fn, fp, tn. A value that cannot be computed is None and
        ``notes`` says why; no value is ever NaN, so that the JSON is strict.

    Raises:
        ValueError: for a split without cells, an unknown label, or a p_parasitized that is no number from 0 to 1.
    """
    splits: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for split in EVALUATED_SPLITS:
        if split == "valid" or (predictions["split"] == split).any():
            splits[split], reasons = _measure_split(cells_of_split(predictions, split), split, threshold)
            notes += reasons
    return {"positive_class": PARASITIZED, "threshold": float(threshold), "splits": splits, "notes": notes}


def _measure_split(rows: pd.DataFrame, split: str, threshold: float) -> tuple[dict[str, Any], list[str]]:
    # scikit-learn takes a second to import, and `kedro registry list` passes by here.
    from sklearn.metrics import confusion_matrix, roc_auc_score

    labels, probabilities = rows["label"].astype(str), rows["p_parasitized"].to_numpy(dtype=float)
    if unknown := sorted(set(labels) - set(CLASSES)):
        raise ValueError(f"split {split!r} has the labels {unknown}; known are {list(CLASSES)}")
    if wrong := int((~((probabilities >= 0) & (probabilities <= 1))).sum()):
        raise ValueError(
            f"p_parasitized of {wrong} of {len(rows)} cells in split {split!r} is no number from 0 to 1: "
            "the network diverged; train again with a lower lr_max"
        )
    actual, called = (labels == PARASITIZED).to_numpy(), called_parasitized(rows, threshold)
    tn, fp, fn, tp = (int(count) for count in confusion_matrix(actual, called, labels=[False, True]).ravel())
    losses = rows["loss"].to_numpy(dtype=float)

    notes: list[str] = []

    def ratio(name: str, part: int, whole: int, reason: str) -> float | None:
        if whole == 0:
            notes.append(f"{split}: {name} is undefined, because {reason}.")
            return None
        return part / whole

    values = {
        "n": len(rows),
        "n_parasitized": tp + fn,
        "accuracy": (tp + tn) / len(rows),
        "error_rate": (fp + fn) / len(rows),
        "sensitivity": ratio("sensitivity", tp, tp + fn, "no cell is parasitized"),
        "specificity": ratio("specificity", tn, tn + fp, "no cell is uninfected"),
        "precision": ratio("precision", tp, tp + fp, "no cell was called parasitized"),
        "f1": ratio("f1", 2 * tp, 2 * tp + fp + fn, "no cell is parasitized and none was called so"),
        "roc_auc": float(roc_auc_score(actual, probabilities)) if 0 < tp + fn < len(rows) else None,
        "loss": float(losses.mean()) if np.isfinite(losses).all() else None,
        "confusion": {"tp": tp, "fn": fn, "fp": fp, "tn": tn},
    }
    if values["roc_auc"] is None:
        only = CLASSES[0] if tp + fn else CLASSES[1]
        notes.append(f"{split}: roc_auc is undefined, because every cell is {only.lower()}.")
    if values["loss"] is None:
        notes.append(
            f"{split}: loss is undefined, because {int((~np.isfinite(losses)).sum())} cells have no finite loss."
        )
    return values, notes


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
