"""The colour baseline: a logistic regression on the colour statistics of each cell, blind to shape."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.evaluation.labelled_pixels import LabelledPixels
from malaria_kedro.evaluation.metrics import EVALUATED_SPLITS
from malaria_kedro.names import CLASSES, PARASITIZED

logger = logging.getLogger(__name__)

PERCENTILES = (5, 25, 50, 75, 95)
# A pixel that is brighter in at least one channel is of the cell: crops lie on black, which resizing blurs a little.
SURROUND_UP_TO = 20
# Bytes of pixels that are described at a time, whatever the number of cells.
BYTES_AT_ONCE = 1 << 20


class BaselineError(MalariaKedroError, ValueError):
    """There is nothing to fit or nothing to predict; the message says what is missing."""


def colour_statistics(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Describe the colours of cells, without their black surround.

    Args:
        pixels: uint8 N×H×W×3; read a few cells at a time.
        rows: the numbers of the cells to describe.

    Returns:
        float64 len(rows) × 21: of red, then green, then blue the mean, the standard deviation and the 5th, 25th, 50th,
        75th and 95th percentile (the least value that so many pixels do not exceed), 0-255. Zeros where a cell is
        black throughout.
    """
    rows = np.asarray(rows, dtype=np.int64)
    at_once = max(1, BYTES_AT_ONCE // int(np.prod(pixels.shape[1:])))
    parts = [_describe(np.asarray(pixels[rows[i : i + at_once]])) for i in range(0, len(rows), at_once)]
    return np.concatenate([np.empty((0, 3 * (2 + len(PERCENTILES)))), *parts])


def predict_from_colour(databunch: LabelledPixels) -> pd.DataFrame:
    """Fit a logistic regression on the training cells' colours and predict the cells that did not train.

    Where all training cells are of one class, each cell gets the probability that the rule of succession gives.

    Returns:
        Columns cell_id, patient_id, split, label, p_parasitized (float64, 0-1) and loss (cross-entropy, nats).

    Raises:
        BaselineError: no cell trains, or none is held out.
    """
    train = databunch.rows("train")
    held_out = np.sort(np.concatenate([databunch.rows(split) for split in EVALUATED_SPLITS]))
    for rows, what in ((train, "trains"), (held_out, "is held out")):
        if not len(rows):
            raise BaselineError(f"no cell {what}, so colours predict nothing; change split.valid_pct or split.test_pct")
    actual = (databunch.cells["label"] == PARASITIZED).to_numpy()
    if actual[train].all() or not actual[train].any():
        only = CLASSES[0 if actual[train].any() else 1]
        logger.warning(
            "all %d training cells are %s, so their colours cannot tell the classes apart", len(train), only.lower()
        )
        logits = np.full(len(held_out), np.log(actual[train].sum() + 1) - np.log((~actual[train]).sum() + 1))
    else:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(colour_statistics(databunch.pixels, train), actual[train])
        logits = model.decision_function(colour_statistics(databunch.pixels, held_out))
    from scipy.special import expit

    cells = databunch.cells.iloc[held_out][["cell_id", "patient_id", "split", "label"]].reset_index(drop=True)
    # From the logits, so that a confident prediction does not round to a loss of exactly zero.
    return cells.assign(p_parasitized=expit(logits), loss=np.logaddexp(0, np.where(actual[held_out], -logits, logits)))


def _describe(cells: np.ndarray) -> np.ndarray:
    """Return the statistics of some cells (uint8, n×H×W×3), all read off one histogram of each cell and channel."""
    n = len(cells)
    histogram = np.stack([_count_levels(cell) for cell in cells])
    pixels = histogram.sum(axis=2, keepdims=True)
    at_least_one = np.maximum(pixels, 1)
    level = np.arange(256)
    mean = (histogram * level).sum(axis=2, keepdims=True) / at_least_one
    variance = (histogram * (level - mean) ** 2).sum(axis=2, keepdims=True) / at_least_one
    cumulative = histogram.cumsum(axis=2)
    # In whole numbers (percent x pixels), so that no percentile depends on rounding.
    percentiles = [(100 * cumulative >= q * pixels).argmax(axis=2)[..., None] for q in PERCENTILES]
    return np.concatenate([mean, np.sqrt(variance), *percentiles], axis=2).reshape(n, -1)


def _count_levels(cell: np.ndarray) -> np.ndarray:
    """Return how many stained pixels have each level, int64 3×256, of a cell, uint8 H×W×3."""
    channels = np.ascontiguousarray(cell.reshape(-1, 3).T)
    surround = channels.max(axis=0) <= SURROUND_UP_TO
    # All pixels minus the few of the surround: selecting the many would take longer than both counts.
    return np.stack(
        [np.bincount(levels, minlength=256) - np.bincount(levels[surround], minlength=256) for levels in channels]
    )
