"""ROC and precision-recall curves, and the reliability diagram."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from malaria_kedro.evaluation.measurements import Measurement, SplitMetrics
from malaria_kedro.evaluation.metrics import EVALUATED_SPLITS, cells_of_split
from malaria_kedro.figures.style import (
    BLUE,
    GREY,
    VERMILLION,
    legend_below,
    message_figure,
    open_figure,
    percent_axis,
    write_message,
)
from malaria_kedro.learning.calibration import (
    BINS,
    expected_calibration_error,
    labels_and_probabilities,
    reliability_bins,
)
from malaria_kedro.learning.metadata import Calibration
from malaria_kedro.names import SPLIT_NAMES
from malaria_kedro.parameters import StyleName

# Inches; of the reliability diagram, the row of one split.
CURVE_SIZE, RELIABILITY_SIZE = (5.0, 5.0), (9.0, 4.5)

# Validation is blue as in the loss curves, whose orange is the training's.
SPLIT_COLOURS = {"valid": BLUE, "test": VERMILLION}
# From this area on a curve runs along the edges: the corner that matters is shown enlarged.
ZOOM_FROM = 0.9
# The share of fewer cells is mostly chance: their bin is drawn hollow.
FEW_CELLS = 20

Point = tuple[float, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One kind of curve: how it is computed, where a pair of calls lies on it, and the corner that matters."""

    area: str  # the metric
    area_name: str
    x: str
    y: str
    trace: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    place: Callable[[SplitMetrics], tuple[float | None, float | None]]
    guessing: Callable[[SplitMetrics], tuple[Point, Point]]
    corner: tuple[Range, Range]
    inset: tuple[float, float, float, float]  # left, bottom, width, height, in shares of the axes
    drawstyle: str


def draw_roc_curve(
    predictions: pd.DataFrame,
    metrics: Measurement,
    operating_point: Measurement | None = None,
    *,
    style: StyleName,
    title: str,
    phantom: bool,
) -> Figure:
    """Draw sensitivity against the false-positive rate at every threshold, for validation and for test if there is one.

    Args:
        predictions: columns split, label, p_parasitized.
        metrics: what ``measure`` returned; the area and its interval go into the legend.
        operating_point: what ``measure_at`` returned; None: only the threshold of ``metrics`` is marked.
        style, title, phantom: see ``open_figure``.

    Raises:
        ValueError: where a measured split has no cell, a label is unknown or a probability is not within 0-1.
    """
    return _draw_curves(_ROC, predictions, metrics, operating_point, style, title, phantom)


def draw_precision_recall_curve(
    predictions: pd.DataFrame,
    metrics: Measurement,
    operating_point: Measurement | None = None,
    *,
    style: StyleName,
    title: str,
    phantom: bool,
) -> Figure:
    """Draw precision against sensitivity at every threshold; see ``draw_roc_curve``.

    The area is average precision: a step curve, because no threshold reaches the straight lines between its points
    (Davis and Goadrich 2006). Guessing reaches the share of parasitized cells, which is far higher among the crops than
    in blood.
    """
    return _draw_curves(_PRECISION_RECALL, predictions, metrics, operating_point, style, title, phantom)


def draw_reliability_diagram(
    predictions: pd.DataFrame,
    calibration: Calibration | None = None,
    *,
    style: StyleName,
    title: str,
    phantom: bool,
) -> Figure:
    """Draw the share of parasitized cells among those of similar probability, before and after calibration.

    One row per split: 15 bins of equal width, each at its mean probability (DeGroot and Fienberg 1983), and below them
    the number of cells in each bin. On the diagonal a probability is the share of parasitized cells.

    Args:
        predictions: columns split, label, p_parasitized, and p_calibrated where there is a calibration.
        calibration: what ``calibrate`` returned, for its temperature and its notes; None where it is not known.
        style, title, phantom: see ``open_figure``.

    Raises:
        ValueError: where validation has no cell, a label is unknown or a probability is not within 0-1.
    """
    splits = [split for split in EVALUATED_SPLITS if (predictions["split"] == split).any()] or ["valid"]
    footnote = [f"one point per bin of {BINS}; hollow: fewer than {FEW_CELLS} cells; dotted: perfect calibration"]
    if calibration:
        footnote.append(f"calibrated: one temperature, {calibration.temperature:.3g}, fitted on validation")
        footnote += [note for note in calibration.notes if note.startswith("temperature")]
    width, height = RELIABILITY_SIZE
    with open_figure(
        style, (width, height * len(splits)), title=title, footnote="\n".join(footnote), phantom=phantom
    ) as figure:
        grid = figure.subplots(2 * len(splits), 2, squeeze=False, height_ratios=[3, 1] * len(splits))
        for split, panels, counts in zip(splits, grid[::2], grid[1::2], strict=True):
            rows, name = cells_of_split(predictions, split), SPLIT_NAMES[split]
            _draw_reliability(panels[0], counts[0], rows, "p_parasitized", f"{name}, as the network says")
            if calibration or _is_calibrated(rows):
                _draw_reliability(panels[1], counts[1], rows, "p_calibrated", f"{name}, calibrated")
                counts[1].set_ylim(counts[0].get_ylim())
            else:
                write_message(panels[1], "Nothing was calibrated: the classifier has no temperature. Train it again.")
                counts[1].set_axis_off()
    return figure


def _trace_roc(actual: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.metrics import roc_curve

    false_positive_rate, sensitivity, _ = roc_curve(actual, p)
    return false_positive_rate, sensitivity


def _trace_precision_recall(actual: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(actual, p)
    return recall, precision


def _place_roc(calls: SplitMetrics) -> tuple[float | None, float | None]:
    return None if calls.specificity is None else 1 - calls.specificity, calls.sensitivity


_ROC = Curve(
    area="roc_auc",
    area_name="AUC",
    x="false-positive rate (1 − specificity)",
    y="sensitivity",
    trace=_trace_roc,
    place=_place_roc,
    guessing=lambda _: ((0, 1), (0, 1)),
    corner=((0, 0.2), (0.8, 1)),
    inset=(0.42, 0.08, 0.54, 0.54),
    drawstyle="default",
)
_PRECISION_RECALL = Curve(
    area="average_precision",
    area_name="average precision",
    x="sensitivity (recall)",
    y="precision (positive predictive value)",
    trace=_trace_precision_recall,
    place=lambda calls: (calls.sensitivity, calls.precision),
    guessing=lambda split: ((0, 1), (split.n_parasitized / split.n,) * 2),
    corner=((0.8, 1), (0.8, 1)),
    inset=(0.14, 0.08, 0.54, 0.54),
    drawstyle="steps-post",
)


def _draw_curves(
    curve: Curve,
    predictions: pd.DataFrame,
    metrics: Measurement,
    operating_point: Measurement | None,
    style: StyleName,
    title: str,
    phantom: bool,
) -> Figure:
    # Each split is checked, with or without a curve, so that wrong labels are not taken for one class.
    checked = {
        split: labels_and_probabilities(cells_of_split(predictions, split), f"split {split!r}")
        for split in metrics.splits
    }
    drawn = {split: area for split, values in metrics.splits.items() if (area := values.score(curve.area)) is not None}
    if not drawn:
        reasons = " ".join(_reason(metrics, split, curve) for split in metrics.splits)
        return message_figure(style, CURVE_SIZE, reasons, title=title, phantom=phantom)
    with open_figure(style, CURVE_SIZE, title=title, phantom=phantom) as figure:
        axes = figure.subplots()
        views = [axes]
        if min(drawn.values()) >= ZOOM_FROM:
            views.append(_enlarge_corner(axes, curve))
        handles: list[Line2D] = []
        for split, values in metrics.splits.items():
            if split not in drawn:
                handles.append(Line2D([], [], linestyle="none", label=_reason(metrics, split, curve)))
                continue
            x, y = curve.trace(*checked[split])
            label = f"{SPLIT_NAMES[split]}: {curve.area_name} {_with_interval(values, curve.area, drawn[split])}"
            for view in views:
                view.plot(*curve.guessing(values), color=GREY, linewidth=1, linestyle=":", zorder=1)
                view.plot(x, y, color=SPLIT_COLOURS[split], drawstyle=curve.drawstyle, label=label, zorder=2)
            handles.append(axes.lines[-1])
        handles += _mark_points(views, curve, metrics, operating_point, drawn)
        handles.append(Line2D([], [], color=GREY, linewidth=1, linestyle=":", label="guessing"))
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=curve.x, ylabel=curve.y)
        legend_below(axes, handles)
    return figure


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
    marked = [("s", 5, f"called parasitized from p = {metrics.threshold:g}", metrics.splits)]
    if point:
        words = "calibrated p" if point.column == "p_calibrated" else "p"
        # Larger and below the other, so that both are seen where they coincide.
        marked.insert(0, ("o", 9, f"operating point: from {words} = {point.threshold:.3g}", point.splits))
    handles = []
    for marker, diameter, label, splits in marked:
        handle = Line2D([], [], color="white", linestyle="none", label=label, marker=marker, markersize=diameter)
        handle.set(markeredgecolor="black", markeredgewidth=0.8)
        for split in drawn:
            x, y = curve.place(splits[split]) if split in splits else (None, None)
            if x is None or y is None:
                continue
            for view in views:
                # A point may lie on the frame of the whole square, but not beside the corner that is shown larger.
                (mark,) = view.plot([x], [y], marker, color=SPLIT_COLOURS[split], clip_on=view is not views[0])
                mark.set(zorder=3, markersize=diameter, markeredgecolor="black", markeredgewidth=0.8)
        handles.append(handle)
    return handles


def _with_interval(values: SplitMetrics, name: str, area: float) -> str:
    # An area of 0.9998 is not 1.
    digits = 3 if area < 0.999 else 4
    interval = values.intervals.get(name)
    if interval is None or values.bootstrap is None:
        return f"{area:.{digits}f} (no interval)"
    low, high = interval
    level = f"{100 * values.bootstrap.level:g} %"
    return f"{area:.{digits}f} ({level} CI {low:.{digits}f}–{high:.{digits}f})"


def _reason(metrics: Measurement, split: str, curve: Curve) -> str:
    """Return why a split has no curve, in the words of the metrics."""
    start = f"{split}: {curve.area} is undefined, "
    because = next((note.removeprefix(start) for note in metrics.notes if note.startswith(start)), "undefined.")
    return f"{SPLIT_NAMES[split]}: no curve, {because}"


def _is_calibrated(rows: pd.DataFrame) -> bool:
    """Return whether calibration changed the probabilities; without a temperature both columns are alike."""
    return "p_calibrated" in rows and bool((rows["p_calibrated"] != rows["p_parasitized"]).any())


def _draw_reliability(panel: Axes, counts: Axes, rows: pd.DataFrame, column: str, name: str) -> None:
    actual, p = labels_and_probabilities(rows, name, column)
    error = expected_calibration_error(actual, p)
    number = reliability_bins(p)
    held = np.bincount(number, minlength=BINS)
    filled = np.flatnonzero(held)
    mean_p = np.bincount(number, weights=p, minlength=BINS)[filled] / held[filled]
    share = np.bincount(number, weights=actual, minlength=BINS)[filled] / held[filled]
    panel.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", zorder=1)
    enough = held[filled] >= FEW_CELLS
    panel.plot(mean_p[enough], share[enough], color=BLUE, linewidth=1, alpha=0.5, zorder=2)
    panel.vlines(mean_p, mean_p, share, color=VERMILLION, alpha=np.where(enough, 1, 0.4), linewidth=1.5, zorder=2)
    panel.scatter(mean_p[enough], share[enough], s=28, color=BLUE, zorder=3)
    panel.scatter(mean_p[~enough], share[~enough], s=28, facecolors="white", edgecolors=BLUE, zorder=3)
    panel.set_title(f"{name}\noff by {100 * error:.1f} percentage points on average (ECE {error:.3f})")
    panel.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), ylabel="share that is parasitized")
    panel.yaxis.set_major_formatter(percent_axis())
    panel.tick_params(labelbottom=False)  # the counts below have the same axis
    counts.bar(np.arange(BINS) / BINS, held, width=1 / BINS, align="edge", color=GREY, edgecolor="white", linewidth=0.5)
    counts.set(xlim=(-0.03, 1.03), yscale="log", ylim=(0.5, max(held.max() * 2, 10)))
    counts.set(xlabel="probability of being parasitized", ylabel="cells")
    counts.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else ""))
