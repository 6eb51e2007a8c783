"""The folds of a cross-validation: how far a metric moves when other cells or patients are held out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from malaria_kedro.evaluation.measurements import ProtocolMetrics
from malaria_kedro.figures.style import BLUE, GREY, VERMILLION, Inches, finish, font_size, percent_axis, show_message

SHOWN = {
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "roc_auc": "area under\nthe ROC curve",
}
PROTOCOL_COLOURS = {"patient": BLUE, "random": VERMILLION}
# The width that the points of one protocol take up, where metrics are 1 apart.
POINTS_WIDTH = 0.2


def draw_folds(
    protocols: Mapping[str, ProtocolMetrics], *, size: Inches, dpi: int, title: str, phantom: bool
) -> Figure:
    """Draw accuracy, sensitivity, specificity and ROC AUC of each fold, and their mean and standard deviation.

    Args:
        protocols: the metrics of each protocol. What is None is left out, and said so.
        size: width and height, inches.
    """
    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    font = font_size(size[0], size[1] / 24, letters=110)
    axes = figure.subplots()
    if not any(_values(found, metric).size for found in protocols.values() for metric in SHOWN):
        show_message(axes, "No fold has a figure that can be drawn: cross-validate cells of both classes.", font * 1.2)
        finish(figure, title, font * 1.1, phantom)
        return figure
    handles, missing = [], []
    for number, (name, found) in enumerate(protocols.items()):
        colour = PROTOCOL_COLOURS.get(name, GREY)
        middle = 0.36 * (number - (len(protocols) - 1) / 2)
        for place, metric in enumerate(SHOWN):
            values = _values(found, metric)
            if len(values) < len(found.folds):
                gone = len(found.folds) - len(values)
                missing.append(f"{name}: {metric} is undefined in {gone} of {len(found.folds)} folds")
            if (mean := found.mean.score(metric)) is not None:
                _draw_points(axes, place + middle, values, mean, found.sd.score(metric), colour, font)
        handles.append(Line2D([], [], color=colour, marker="o", linestyle="none", label=_describe(name, found)))
    axes.set_xticks(range(len(SHOWN)), SHOWN.values(), fontsize=font)
    axes.set_xlim(-0.6, len(SHOWN) - 0.4)
    lowest = min(_values(found, metric).min(initial=1) for found in protocols.values() for metric in SHOWN)
    # Room above for the mean's number, below for the lowest point.
    span = max(1 - lowest, 0.02)
    axes.set_ylim(max(lowest - 0.1 * span, 0 if lowest > 0 else -0.02), 1 + 0.14 * span)
    ticks = [tick for tick in axes.get_yticks() if axes.get_ylim()[0] <= tick <= 1]
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter(percent_axis(0 if np.diff(ticks).min(initial=1) > 0.0099 else 1))
    axes.grid(alpha=0.25, axis="y")
    axes.tick_params(labelsize=font, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(handles=handles, fontsize=font, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.16))
    legend = "\n".join(["one point per fold; bar: mean ± standard deviation of the folds", *missing])
    finish(figure, title, font * 1.1, phantom, legend)
    return figure


def _values(protocol: ProtocolMetrics, metric: str) -> np.ndarray:
    """Return a metric of the folds that define it, float64."""
    return np.array([value for fold in protocol.folds if (value := fold.score(metric)) is not None], dtype=float)


def _describe(name: str, protocol: ProtocolMetrics) -> str:
    words = {"patient": "held-out patients", "random": "held-out cells, as in the tutorial"}.get(name, name)
    of = f"{len(protocol.folds)} folds, {protocol.n:,} cells"
    if not protocol.n_patients:
        return f"{words}: {of}, patients not known"
    return f"{words}: {of}, {protocol.shared_patients} of {protocol.n_patients} patients in both splits"


def _draw_points(
    axes: Axes, place: float, values: np.ndarray, mean: float, sd: float | None, colour: str, font: float
) -> None:
    shift = POINTS_WIDTH / 2 * np.linspace(-1, 1, len(values)) if len(values) > 1 else np.zeros(1)
    axes.scatter(place + shift, values, s=26, color=colour, alpha=0.6, edgecolors="white", linewidths=0.5, zorder=2)
    axes.hlines(mean, place - POINTS_WIDTH * 0.7, place + POINTS_WIDTH * 0.7, color=colour, linewidth=2, zorder=3)
    if sd is not None:
        axes.errorbar(place, mean, yerr=sd, color=colour, linewidth=1.2, capsize=3, zorder=3)
    words = f"{100 * mean:.1f}" + (f" ± {100 * sd:.1f}" if sd is not None else "")
    # Above the highest of points and bar.
    top = max(values.max(), mean + (sd or 0))
    axes.annotate(
        words,
        xy=(place, top),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=font * 0.9,
        color=colour,
    )
