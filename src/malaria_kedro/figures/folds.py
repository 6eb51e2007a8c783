"""The folds of a cross-validation: how far a metric moves when other cells or patients are held out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from malaria_kedro.evaluation.measurements import ProtocolMetrics
from malaria_kedro.figures import style
from malaria_kedro.figures.numbers import number, percent_ticks
from malaria_kedro.figures.style import BLUE, GREY, VERMILLION, Look
from malaria_kedro.language import N_, _

SIZE = (6.0, 4.8)  # inches; it stands on the first screen of a page, where a wider one would be too small to read
SHOWN = {
    "accuracy": N_("accuracy"),
    "sensitivity": N_("sensitivity"),
    "specificity": N_("specificity"),
    "roc_auc": N_("area under\nthe ROC curve"),
}
PROTOCOL_COLOURS = {"patient": BLUE, "random": VERMILLION}
# Width of the points of one protocol, where the metrics are 1 apart.
POINTS_WIDTH = 0.2


def draw_folds(protocols: Mapping[str, ProtocolMetrics], look: Look) -> Figure:
    """Draw accuracy, sensitivity, specificity and ROC AUC of each fold, and their mean and standard deviation.

    What a fold does not define is left out, and the footnote says so.
    """
    values = {name: {metric: _values(found, metric) for metric in SHOWN} for name, found in protocols.items()}
    lowest = [by_fold.min() for of_protocol in values.values() for by_fold in of_protocol.values() if by_fold.size]
    if not lowest:
        sentence = _("No fold has a metric that can be drawn: cross-validate cells of both classes.")
        return style.message_figure(look, SIZE, sentence)
    footnote = [_("one point per fold; bar: mean ± standard deviation of the folds")]
    for name, found in protocols.items():
        n = len(found.folds)
        footnote += [
            _("{protocol}: {metric} is undefined in {undefined} of {n} folds").format(
                protocol=name, metric=metric, undefined=n - by_fold.size, n=n
            )
            for metric, by_fold in values[name].items()
            if by_fold.size < n
        ]
    with style.open_figure(look, SIZE, "\n".join(footnote)) as figure:
        axes = figure.subplots()
        handles = []
        for number, (name, found) in enumerate(protocols.items()):
            colour = PROTOCOL_COLOURS.get(name, GREY)
            middle = 0.4 * (number - (len(protocols) - 1) / 2)
            for place, (metric, by_fold) in enumerate(values[name].items()):
                if (mean := found.mean.score(metric)) is not None:
                    _draw_points(axes, place + middle, by_fold, mean, found.sd.score(metric), colour)
            handles.append(Line2D([], [], color=colour, marker="o", linestyle="none", label=_describe(name, found)))
        axes.set_xticks(range(len(SHOWN)), [_(label) for label in SHOWN.values()], fontsize="small")
        axes.set_xlim(-0.6, len(SHOWN) - 0.4)
        _scale_percentages(axes, float(min(lowest)))
        axes.grid(visible=False, axis="x")
        axes.tick_params(length=0)
        style.legend_below(axes, handles)
    return figure


def _scale_percentages(axes: Axes, lowest: float) -> None:
    """Scale the axis from the lowest point to 100 %, with room above for the number of the mean."""
    span = max(1 - lowest, 0.02)
    axes.set_ylim(max(lowest - 0.1 * span, 0 if lowest > 0 else -0.02), 1 + 0.22 * span)
    ticks = [tick for tick in axes.get_yticks() if axes.get_ylim()[0] <= tick <= 1]
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter(percent_ticks(0 if np.diff(ticks).min(initial=1) > 0.0099 else 1))


def _values(protocol: ProtocolMetrics, metric: str) -> np.ndarray:
    """Return a metric of the folds that define it, float64."""
    return np.array([value for fold in protocol.folds if (value := fold.score(metric)) is not None], dtype=float)


def _describe(name: str, protocol: ProtocolMetrics) -> str:
    words = {"patient": _("held-out patients"), "random": _("held-out cells, as in the tutorial")}.get(name, name)
    if protocol.n_patients:
        text = _("{protocol}: {folds} folds, {n} cells, {shared} of {patients} patients in both splits")
    else:
        text = _("{protocol}: {folds} folds, {n} cells, patients not known")
    return text.format(
        protocol=words,
        folds=len(protocol.folds),
        n=number(protocol.n),
        shared=protocol.shared_patients,
        patients=protocol.n_patients,
    )


def _draw_points(axes: Axes, place: float, values: np.ndarray, mean: float, sd: float | None, colour: str) -> None:
    shift = POINTS_WIDTH / 2 * np.linspace(-1, 1, len(values)) if len(values) > 1 else np.zeros(1)
    axes.scatter(place + shift, values, s=26, color=colour, alpha=0.6, edgecolors="white", linewidths=0.5, zorder=2)
    axes.hlines(mean, place - POINTS_WIDTH * 0.7, place + POINTS_WIDTH * 0.7, color=colour, linewidth=2, zorder=3)
    if sd is not None:
        axes.errorbar(place, mean, yerr=sd, color=colour, linewidth=1.2, capsize=3, zorder=3)
    axes.annotate(
        number(100 * mean, ".1f") + (f"\n± {number(100 * sd, '.1f')}" if sd is not None else ""),
        xy=(place, max(values.max(), mean + (sd or 0))),  # above the highest of points and bar
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        fontsize="small",
        color=colour,
    )
