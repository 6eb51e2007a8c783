"""Confusion matrices: actual against predicted classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from malaria_kedro.evaluation.metrics import EVALUATED_SPLITS, called_parasitized, cells_of_split
from malaria_kedro.figures.style import Inches, finish, font_size
from malaria_kedro.names import CLASSES, PARASITIZED, SPLIT_NAMES


def draw_confusion_matrix(
    predictions: pd.DataFrame, *, threshold: float, size: Inches, dpi: int, title: str, phantom: bool
) -> Figure:
    """Draw actual against predicted classes, a panel for validation and one for test where there is one.

    Each field shows the count of cells and its share of the row: the diagonal reads sensitivity and specificity.

    Args:
        predictions: columns split, label, p_parasitized.
        threshold: p_parasitized from here on is called parasitized.
        size: width and height of one panel, inches; two panels stand side by side.
    """
    present = [split for split in EVALUATED_SPLITS if (predictions["split"] == split).any()] or ["valid"]
    width, height = size
    figure = Figure(figsize=(width * len(present), height), dpi=dpi, layout="constrained")
    font = font_size(width / 5, height / 5, letters=len(PARASITIZED))
    for axes, split in zip(figure.subplots(1, len(present), squeeze=False)[0], present, strict=True):
        rows = cells_of_split(predictions, split)
        actual, called = rows["label"] == PARASITIZED, called_parasitized(rows, threshold)
        counts = np.array([[int(((actual == a) & (called == c)).sum()) for c in (True, False)] for a in (True, False)])
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            share = f"{shares[row, column]:.1%}".replace("%", " %") if totals[row, 0] else "no such cell"
            axes.text(
                *(column, row, f"{count:,}\n{share}"),
                color="white" if shares[row, column] > 0.5 else "black",
                ha="center",
                va="center",
                fontsize=font * 1.2,
            )
        axes.set_xticks(range(len(CLASSES)), CLASSES, fontsize=font)
        axes.set_yticks(range(len(CLASSES)), CLASSES, fontsize=font, rotation=90, va="center")
        axes.set_xlabel("predicted", fontsize=font)
        axes.set_ylabel("actual", fontsize=font)
        axes.set_title(f"{SPLIT_NAMES[split]}, {len(rows):,} cells", fontsize=font)
        axes.tick_params(length=0)
    finish(figure, title, font, phantom, f"predicted Parasitized from p = {threshold:g}; % of the row")
    return figure
