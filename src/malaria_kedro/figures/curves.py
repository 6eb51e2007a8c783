"""ROC and precision-recall curves, and the reliability diagram."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.metrics import precision_recall_curve, roc_curve

from malaria_kedro.evaluation.measurements import Measurement, SplitMetrics, ThresholdSweep
from malaria_kedro.evaluation.metrics import cells_of_split, evaluated_splits
from malaria_kedro.figures import style
from malaria_kedro.figures.numbers import number, number_ticks, percent_ticks
from malaria_kedro.figures.style import BLUE, GREY, INK, ORANGE, VERMILLION, Look
from malaria_kedro.language import N_, _
from malaria_kedro.learning.calibration import (
    BINS,
    expected_calibration_error,
    labels_and_probabilities,
    reliability_bins,
)
from malaria_kedro.learning.metadata import Calibration
from malaria_kedro.names import SPLIT_NAMES

# Inches; of the reliability diagram, the row of one split.
CURVE_SIZE, RELIABILITY_SIZE = (5.0, 5.0), (9.0, 4.5)

# Validation is blue as in the loss curves, whose orange is the training's.
SPLIT_COLOURS = {"valid": BLUE, "test": VERMILLION}
VARIANT_COLOURS = (BLUE, VERMILLION, ORANGE, GREY)
# From this area on a curve runs along the edges: the corner that matters is shown enlarged.
ZOOM_FROM = 0.9
# The share of fewer cells is mostly chance: their bin is drawn hollow.
FEW_CELLS = 20

Pair = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One kind of curve: how it is computed, where a pair of calls lies on it, and the corner that matters."""

    area: str  # the metric
    area_name: str
    x: str
    y: str
    trace: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    place: Callable[[SplitMetrics], tuple[float | None, float | None]]
    guessing: Callable[[SplitMetrics], tuple[Pair, Pair]]
    corner: tuple[Pair, Pair]
    inset: tuple[float, float, float, float]  # left, bottom, width, height, in shares of the axes
    drawstyle: str


def draw_curve(
    curve: Curve,
    predictions: pd.DataFrame,
    metrics: Measurement,
    look: Look,
    operating_point: Measurement | None = None,
) -> Figure:
    """Draw a curve over all thresholds, for validation and for test if there is one.

    Args:
        curve: ``ROC`` or ``PRECISION_RECALL``.
        predictions: columns split, label, p_parasitized.
        metrics: what ``measure`` returned; the area and its interval go into the legend.
        operating_point: what ``measure_at`` returned; None: only the threshold of ``metrics`` is marked.

    Raises:
        ValueError: where a measured split has no cell, a label is unknown or a probability is not within 0-1.
    """
    # Each split is checked, with or without a curve, so that wrong labels are not taken for one class.
    checked = {
        split: labels_and_probabilities(cells_of_split(predictions, split), f"split {split!r}")
        for split in metrics.splits
    }
    drawn = {split: area for split, values in metrics.splits.items() if (area := values.score(curve.area)) is not None}
    if not drawn:
        reasons = " ".join(_reason(values, split, curve) for split, values in metrics.splits.items())
        return style.message_figure(look, CURVE_SIZE, reasons)
    with style.open_figure(look, CURVE_SIZE) as figure:
        axes = figure.subplots()
        views = [axes]
        if min(drawn.values()) >= ZOOM_FROM:
            views.append(_enlarge_corner(axes, curve))
        handles: list[Line2D] = []
        for split, values in metrics.splits.items():
            if split not in drawn:
                handles.append(Line2D([], [], linestyle="none", label=_reason(values, split, curve)))
                continue
            x, y = curve.trace(*checked[split])
            label = f"{_(SPLIT_NAMES[split])}: {_(curve.area_name)} {_with_interval(values, curve.area, drawn[split])}"
            for view in views:
                view.plot(*curve.guessing(values), color=GREY, linewidth=1, linestyle=":", zorder=1)
                view.plot(x, y, color=SPLIT_COLOURS[split], drawstyle=curve.drawstyle, label=label, zorder=2)
            handles.append(axes.lines[-1])
        handles += _mark_points(views, curve, metrics, operating_point, drawn)
        handles.append(Line2D([], [], color=GREY, linewidth=1, linestyle=":", label=_("guessing")))
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=_(curve.x), ylabel=_(curve.y))
        style.legend_below(axes, handles)
    return figure


def draw_roc_curves(
    sweeps: Mapping[str, ThresholdSweep],
    metrics: Mapping[str, Measurement],
    points: Mapping[str, Measurement],
    look: Look,
) -> Figure:
    """Draw the ROC curves of several classifiers over each other, each with its area and its stored threshold.

    Args:
        sweeps: what ``sweep_thresholds`` returned, by the classifiers' names.
        metrics: what ``measure`` returned, by the same names; the area and its interval go into the legend.
        points: what ``measure_at`` returned, of those that have an operating point.
        look: how it looks.
    """
    drawn = {name: sweep for name, sweep in sweeps.items() if sweep.roc}
    if not drawn:
        return style.message_figure(look, CURVE_SIZE, _("No classifier has a curve: cells of both classes are needed."))
    splits = ", ".join(dict.fromkeys(_(SPLIT_NAMES[sweep.split]) for sweep in drawn.values()))
    footnote = _("{splits} cells; point: the stored threshold").format(splits=splits)
    with style.open_figure(look, CURVE_SIZE, footnote) as figure:
        axes = figure.subplots()
        areas = {name: metrics[name].splits[sweep.split].roc_auc or 0 for name, sweep in drawn.items()}
        views = [axes, _enlarge_corner(axes, ROC)] if min(areas.values()) >= ZOOM_FROM else [axes]
        for view in views:
            view.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", zorder=1)
        handles = []
        for (name, sweep), colour in zip(drawn.items(), itertools.cycle(VARIANT_COLOURS), strict=False):
            area = _with_interval(metrics[name].splits[sweep.split], ROC.area, areas[name])
            label = f"{name}: {_(ROC.area_name)} {area}"
            x, y = ROC.place(points[name].splits[sweep.split]) if name in points else (None, None)
            for view in views:
                (line,) = view.plot(*zip(*sweep.roc, strict=True), color=colour, label=label, zorder=2)
                if x is not None and y is not None:
                    mark: dict[str, Any] = {
                        "markersize": 8,
                        "markeredgecolor": INK,
                        "markeredgewidth": 0.8,
                        "zorder": 3,
                    }
                    view.plot([x], [y], "o", color=colour, clip_on=view is not axes, **mark)
            handles.append(line)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=_(ROC.x), ylabel=_(ROC.y))
        style.legend_below(axes, handles)
    return figure


def draw_reliability_diagram(predictions: pd.DataFrame, look: Look, calibration: Calibration | None = None) -> Figure:
    """Draw the share of parasitized cells among those of similar probability, before and after calibration.

    One row per split: 15 bins of equal width, each at its mean probability (DeGroot and Fienberg 1983), and below them
    the number of cells in each bin. On the diagonal a probability is the share of parasitized cells.

    Args:
        predictions: columns split, label, p_parasitized, and p_calibrated where there is a calibration.
        calibration: what ``calibrate`` returned, for its temperature and its notes; None where it is not known.

    Raises:
        ValueError: where validation has no cell, a label is unknown or a probability is not within 0-1.
    """
    splits = evaluated_splits(predictions)
    footnote = [
        _("one point per bin of {bins}; hollow: fewer than {few} cells; dotted: perfect calibration").format(
            bins=BINS, few=FEW_CELLS
        )
    ]
    if calibration:
        fitted = _("calibrated: one temperature, {temperature}, fitted on validation")
        footnote.append(fitted.format(temperature=number(calibration.temperature, ".3g")))
        footnote += [_(note) for note in calibration.notes if note.startswith("temperature")]
    size = RELIABILITY_SIZE[0], RELIABILITY_SIZE[1] * len(splits)
    with style.open_figure(look, size, "\n".join(footnote)) as figure:
        grid = figure.subplots(2 * len(splits), 2, squeeze=False, height_ratios=[3, 1] * len(splits))
        for split, panels, counts in zip(splits, grid[::2], grid[1::2], strict=True):
            rows, name = cells_of_split(predictions, split), _(SPLIT_NAMES[split])
            _draw_reliability(
                panels[0], counts[0], rows, "p_parasitized", _("{split}, as the network says").format(split=name)
            )
            # Without a temperature both columns are alike.
            if calibration or not rows.get("p_calibrated", rows["p_parasitized"]).equals(rows["p_parasitized"]):
                _draw_reliability(
                    panels[1], counts[1], rows, "p_calibrated", _("{split}, calibrated").format(split=name)
                )
                counts[1].set_ylim(counts[0].get_ylim())
            else:
                sentence = _("Nothing was calibrated: the classifier has no temperature. Train it again.")
                style.write_message(panels[1], sentence)
                counts[1].set_axis_off()
    return figure


# Sensitivity against the false-positive rate.
ROC = Curve(
    area="roc_auc",
    area_name=N_("AUC"),
    x=N_("false-positive rate (1 − specificity)"),
    y=N_("sensitivity"),
    trace=lambda actual, p: roc_curve(actual, p)[:2],
    place=lambda calls: (None if calls.specificity is None else 1 - calls.specificity, calls.sensitivity),
    guessing=lambda _split: ((0, 1), (0, 1)),
    corner=((0, 0.2), (0.8, 1)),
    inset=(0.42, 0.08, 0.54, 0.54),
    drawstyle="default",
)
# The area is average precision: a step curve, because no threshold reaches the straight lines between its points (Davis
# and Goadrich 2006). Guessing reaches the share of parasitized cells, far higher among the crops than in blood.
PRECISION_RECALL = Curve(
    area="average_precision",
    area_name=N_("average precision"),
    x=N_("sensitivity (recall)"),
    y=N_("precision (positive predictive value)"),
    trace=lambda actual, p: precision_recall_curve(actual, p)[1::-1],  # precision comes first
    place=lambda calls: (calls.sensitivity, calls.precision),
    guessing=lambda split: ((0, 1), (split.n_parasitized / split.n,) * 2),
    corner=((0.8, 1), (0.8, 1)),
    inset=(0.14, 0.08, 0.54, 0.54),
    drawstyle="steps-post",
)


def _enlarge_corner(axes: Axes, curve: Curve) -> Axes:
    (left, right), (low, high) = curve.corner
    # A little more than the corner, so that a curve along the edge is not cut in half.
    corner = axes.inset_axes(curve.inset, xlim=(left - 0.004, right + 0.004), ylim=(low, high + 0.004))
    axes.indicate_inset_zoom(corner, edgecolor=GREY)
    corner.set(xticks=np.linspace(left, right, 5), yticks=np.linspace(low, high, 5))
    corner.tick_params(labelsize="x-small")
    corner.spines[:].set_visible(True)
    return corner


def _mark_points(
    views: list[Axes], curve: Curve, metrics: Measurement, point: Measurement | None, drawn: Iterable[str]
) -> list[Line2D]:
    """Mark the two thresholds in the colour of each split; return one white handle for each threshold."""
    said = _("called parasitized from p = {threshold}").format(threshold=number(metrics.threshold, "g"))
    marked = [("s", 5, said, metrics.splits)]
    if point:
        if point.column == "p_calibrated":
            said = _("operating point: from calibrated p = {threshold}")
        else:
            said = _("operating point: from p = {threshold}")
        # Larger and below the other, so that both are seen where they coincide.
        marked.insert(0, ("o", 9, said.format(threshold=number(point.threshold, ".3g")), point.splits))
    handles = []
    for marker, diameter, label, splits in marked:
        handle = Line2D([], [], color="white", linestyle="none", label=label, marker=marker, markersize=diameter)
        handle.set(markeredgecolor=INK, markeredgewidth=0.8)
        for split in drawn:
            x, y = curve.place(splits[split]) if split in splits else (None, None)
            if x is None or y is None:
                continue
            for view in views:
                # A point may lie on the frame of the whole square, but not beside the corner that is shown larger.
                (mark,) = view.plot([x], [y], marker, color=SPLIT_COLOURS[split], clip_on=view is not views[0])
                mark.set(zorder=3, markersize=diameter, markeredgecolor=INK, markeredgewidth=0.8)
        handles.append(handle)
    return handles


def _with_interval(values: SplitMetrics, name: str, area: float) -> str:
    # An area of 0.9998 is not 1.
    digits = 3 if area < 0.999 else 4
    interval = values.intervals.get(name)
    if interval is None or values.bootstrap is None:
        return _("{area} (no interval)").format(area=number(area, f".{digits}f"))
    low, high = interval
    return _("{area} ({level} % CI {low}–{high})").format(
        area=number(area, f".{digits}f"),
        level=number(100 * values.bootstrap.level, "g"),
        low=number(low, f".{digits}f"),
        high=number(high, f".{digits}f"),
    )


def _reason(values: SplitMetrics, split: str, curve: Curve) -> str:
    """Say why a split has no curve: the area is defined wherever there are cells of both classes."""
    if values.n_parasitized == values.n:
        text = _("{split}: no curve, because every cell is parasitized.")
    elif curve.area == "average_precision":
        text = _("{split}: no curve, because no cell is parasitized.")
    else:
        text = _("{split}: no curve, because every cell is uninfected.")
    return text.format(split=_(SPLIT_NAMES[split]))


def _draw_reliability(panel: Axes, counts: Axes, rows: pd.DataFrame, column: str, name: str) -> None:
    actual, p = labels_and_probabilities(rows, name, column)
    error = expected_calibration_error(actual, p)
    bins = reliability_bins(p)
    held = np.bincount(bins, minlength=BINS)
    filled = np.flatnonzero(held)
    mean_p = np.bincount(bins, weights=p, minlength=BINS)[filled] / held[filled]
    share = np.bincount(bins, weights=actual, minlength=BINS)[filled] / held[filled]
    panel.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", zorder=1)
    enough = held[filled] >= FEW_CELLS
    panel.plot(mean_p[enough], share[enough], color=BLUE, linewidth=1, alpha=0.5, zorder=2)
    panel.vlines(mean_p, mean_p, share, color=VERMILLION, alpha=np.where(enough, 1, 0.4), linewidth=1.5, zorder=2)
    panel.scatter(mean_p[enough], share[enough], s=28, color=BLUE, zorder=3)
    panel.scatter(mean_p[~enough], share[~enough], s=28, facecolors="white", edgecolors=BLUE, zorder=3)
    off = _("off by {points} percentage points on average (ECE {ece})")
    off = off.format(points=number(100 * error, ".1f"), ece=number(error, ".3f"))
    style.title_panel(panel, f"{name}\n{off}")
    panel.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), ylabel=_("share that is parasitized"))
    panel.yaxis.set_major_formatter(percent_ticks())
    panel.tick_params(labelbottom=False)  # the counts below have the same axis
    counts.bar(np.arange(BINS) / BINS, held, width=1 / BINS, align="edge", color=GREY, edgecolor="white", linewidth=0.5)
    counts.set(xlim=(-0.03, 1.03), yscale="log", ylim=(0.5, max(held.max() * 2, 10)))
    counts.set(xlabel=_("probability of being parasitized"), ylabel=_("cells"))
    counts.yaxis.set_major_formatter(number_ticks(",.0f", lowest=1))
