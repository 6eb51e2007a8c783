"""Confusion matrices: actual against predicted classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from malaria_kedro.evaluation.metrics import called_parasitized, cells_of_split, evaluated_splits
from malaria_kedro.figures.numbers import number, percent
from malaria_kedro.figures.style import ON_DARK, ON_LIGHT, Look, open_figure
from malaria_kedro.language import _, ngettext
from malaria_kedro.names import CLASSES, PARASITIZED, SPLIT_NAMES

PANEL_SIZE = (5.0, 5.0)  # inches


def draw_confusion_matrix(predictions: pd.DataFrame, look: Look, *, threshold: float) -> Figure:
    """Draw actual against predicted classes, a panel for validation and one for test where there is one.

    Each field shows the number of cells and its share of the row: the diagonal reads sensitivity and specificity.

    Args:
        predictions: columns split, label, p_parasitized.
        threshold: p_parasitized from here on is called parasitized.
    """
    present = evaluated_splits(predictions)
    size = PANEL_SIZE[0] * len(present), PANEL_SIZE[1]
    footnote = _("predicted Parasitized from p = {threshold}; % of the row").format(threshold=number(threshold, "g"))
    with open_figure(look, size, footnote) as figure:
        for axes, split in zip(figure.subplots(1, len(present), squeeze=False)[0], present, strict=True):
            _draw_panel(axes, cells_of_split(predictions, split), threshold, _(SPLIT_NAMES[split]))
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, threshold: float, name: str) -> None:
    actual, called = rows["label"] == PARASITIZED, called_parasitized(rows, threshold)
    counts = np.array([[int(((actual == a) & (called == c)).sum()) for c in (True, False)] for a in (True, False)])
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    edges = np.array([-0.5, 0.5, 1.5])
    axes.pcolormesh(edges, edges, shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(aspect="equal", ylim=(1.5, -0.5))
    for (row, column), count in np.ndenumerate(counts):
        share = percent(shares[row, column], 1) if totals[row, 0] else _("no such cell")
        colour = ON_DARK if shares[row, column] > 0.5 else ON_LIGHT
        axes.text(column, row, f"{number(count)}\n{share}", color=colour, ha="center", va="center", fontsize="x-large")
    classes = [_(name) for name in CLASSES]
    axes.set_xticks(range(len(classes)), classes, fontsize="medium")
    axes.set_yticks(range(len(classes)), classes, fontsize="medium", rotation=90, va="center")
    title = ngettext("{split}, {n} cell", "{split}, {n} cells", len(rows)).format(split=name, n=number(len(rows)))
    axes.set(xlabel=_("predicted"), ylabel=_("actual"), title=title)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
