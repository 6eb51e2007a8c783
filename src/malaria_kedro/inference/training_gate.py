"""The quality gate of a classifier, fitted on cells that it trained on, and what it refuses of each class."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from malaria_kedro.inference.gate import CHANCE, FEWEST_CELLS, Refused, count_refused, differ_by_chance, fit_gate
from malaria_kedro.inference.image_statistics import measure_cells

if TYPE_CHECKING:
    from malaria_kedro.learning.databunch import DataBunch

logger = logging.getLogger(__name__)

# More training cells would move the limits by less than patients differ, and take longer.
CELLS = 8000
# Of the training cells; of new patients' cells at least twice as many are outside, and 1 % is what a user may lose.
REFUSED_SHARE = 0.003
BATCH = 256


def fit_training_gate(name: str, bunch: DataBunch) -> dict[str, Any] | None:
    """Fit the gate on training cells, as many of each class as there are, and count what it refuses of each class.

    The statistics are those of the cells at the network's size, as reading new cells measures them. Cells of the split
    ``valid`` are not part of the fit. If one class of them is refused more often than the other, beyond chance, a
    warning says so: a parasitaemia that is counted without the refused cells is biased by as much.

    Returns:
        What ``QualityGate.to_dict`` gives, ``refused`` filled in for ``train`` and ``valid``, or None where there are
        too few training cells to fit limits. The log calls the classifier ``name``.
    """
    labels = bunch.cells["label"].to_numpy(dtype=str)
    rows = {split: _draw(bunch.rows(split), labels) for split in ("train", "valid")}
    if len(rows["train"]) < FEWEST_CELLS:
        logger.warning(
            "%s has no quality gate: %d training cells are too few to fit limits, at least %d are needed",
            *(name, len(rows["train"]), FEWEST_CELLS),
        )
        return None
    measured = {split: _measure(bunch.pixels, chosen) for split, chosen in rows.items() if len(chosen)}
    gate = fit_gate(measured["train"], labels=labels[rows["train"]], refused_share=REFUSED_SHARE)
    refused = {split: count_refused(gate.judge(cells), labels[rows[split]]) for split, cells in measured.items()}
    _tell(name, refused)
    return replace(gate, refused=refused).to_dict()


def _draw(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return at most ``CELLS`` of the rows, ascending: the same number per class if it has as many, evenly spread."""
    classes = sorted((rows[labels[rows] == label] for label in np.unique(labels[rows])), key=len)
    drawn, left = [np.empty(0, dtype=np.int64)], CELLS
    for i, cells in enumerate(classes):
        n = min(len(cells), left // (len(classes) - i))
        drawn.append(cells[np.linspace(0, len(cells) - 1, n).astype(int)])
        left -= n
    return np.sort(np.concatenate(drawn))


def _measure(pixels: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    parts = (np.asarray(pixels[rows[start : start + BATCH]]) for start in range(0, len(rows), BATCH))
    return pd.concat([pd.DataFrame(measure_cells(part)) for part in parts], ignore_index=True)


def _tell(name: str, refused: dict[str, Refused]) -> None:
    """Log how many of each class are refused; warn if the rates on held-out cells differ beyond chance."""
    names = {"train": "training", "valid": "held-out"}
    logger.info(
        "%s: the quality gate refuses %s", name, "; ".join(f"{_say(refused[s])} {names[s]} cells" for s in refused)
    )
    held_out = refused.get("valid", {})
    if (p := differ_by_chance(held_out)) < CHANCE:
        logger.warning(
            "%s: the quality gate does not refuse both classes alike: %s held-out cells (p = %.1g, Fisher's exact "
            "test); a parasitaemia without the refused cells is biased by as much, so read it with its bounds",
            *(name, _say(held_out), p),
        )


def _say(by_class: Refused) -> str:
    return " and ".join(f"{found:,} of {of:,} {label}" for label, (found, of) in by_class.items())
