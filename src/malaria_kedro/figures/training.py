"""How a training went: loss and learning rate over its batches, and the learning-rate finder's curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from malaria_kedro.figures.style import BLUE, GREY, ORANGE, VERMILLION, Inches, finish, font_size, write_literally


def draw_loss_curves(
    batch_history: pd.DataFrame, history: pd.DataFrame, *, size: Inches, dpi: int, title: str, phantom: bool
) -> Figure:
    """Draw training loss over batches, validation loss at the epochs' ends, and the learning rate below.

    The loss axis is logarithmic: where validation loss turns, training loss has long become small.

    Args:
        batch_history: columns stage, epoch, batch (from 1, through all stages), train_loss, smooth_loss, lr.
        history: columns stage, epoch, valid_loss; epochs whose batches are not known are left out.
        size: width and height, inches.
    """
    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    font = font_size(size[0] / 4, size[1] / 10, letters=30)
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    batches = batch_history["batch"]
    losses.plot(batches, batch_history["train_loss"], color=ORANGE, alpha=0.3, linewidth=0.8, label="training, a batch")
    losses.plot(batches, batch_history["smooth_loss"], color=ORANGE, linewidth=2, label="training, smoothed")
    ends = batch_history.groupby(["stage", "epoch"], as_index=False)["batch"].max()
    epochs = history.merge(ends, on=["stage", "epoch"]).sort_values("batch")
    losses.plot(
        epochs["batch"], epochs["valid_loss"], color=BLUE, marker="o", markersize=4, label="validation, epoch's end"
    )
    _mark_lowest(losses, epochs, font)
    _set_log_scale(losses, pd.concat([batch_history["smooth_loss"], epochs["valid_loss"]]), margin=1.5)
    losses.set_ylabel("cross-entropy loss", fontsize=font)
    losses.legend(fontsize=font * 0.9, frameon=False, loc="best")
    rates.plot(batches, batch_history["lr"], color=GREY, linewidth=1.5)
    rates.set_ylabel("learning rate", fontsize=font)
    # The cycle ends at a hundred-thousandth of its top; what is below a thousandth says nothing more.
    _set_log_scale(rates, batch_history["lr"].clip(lower=batch_history["lr"].max() / 1000), margin=1.5)
    rates.set_xlabel("batch", fontsize=font)
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, rates):
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=font * 0.9)
        axes.spines[["top", "right"]].set_visible(False)
    _mark_stages(losses, rates, batch_history, font)
    finish(figure, title, font, phantom)
    return figure


def _set_log_scale(axes: Axes, values: pd.Series, *, margin: float) -> None:
    """Scale an axis to show these values and a margin (a factor), with ticks at 1, 2 and 5; outliers run off it."""
    shown = values[np.isfinite(values.to_numpy(dtype=float)) & (values > 0)]
    if shown.empty:
        return
    low, high = shown.min() / margin, shown.max() * margin
    axes.set_yscale("log", nonpositive="mask")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _mark_lowest(axes: Axes, epochs: pd.DataFrame, font: float) -> None:
    finite = epochs[np.isfinite(epochs["valid_loss"].to_numpy(dtype=float))]
    if finite.empty:
        return
    best = finite.loc[finite["valid_loss"].idxmin()]
    axes.plot(
        *([best["batch"]], [best["valid_loss"]]),
        color=VERMILLION,
        marker="*",
        markersize=font * 1.4,
        linestyle="none",
        label=f"lowest validation loss: {best['valid_loss']:.4f}, {_stage_name(best['stage'])} epoch {best['epoch']}",
        zorder=3,
    )


def _mark_stages(losses: Axes, rates: Axes, batch_history: pd.DataFrame, font: float) -> None:
    """Draw a line between the stages and write each stage's name where it begins."""
    spans = batch_history.groupby("stage")["batch"].agg(["min", "max"]).sort_values("min")
    for stage, first in spans["min"].items():
        if first > spans["min"].min():
            for axes in (losses, rates):
                axes.axvline(first - 0.5, color="black", linestyle="--", linewidth=1)
        losses.annotate(
            _stage_name(stage),
            xy=(first, 0),
            xycoords=("data", "axes fraction"),
            xytext=(font * 0.4, font * 0.4),
            textcoords="offset points",
            va="bottom",
            fontsize=font * 0.9,
        )


def _stage_name(stage: Any) -> str:
    return str(stage).replace("_", " ")


def draw_learning_rate_curve(
    rates: np.ndarray, losses: np.ndarray, suggestions: dict[str, float], *, title: str, size: Inches, dpi: int
) -> Figure:
    """Draw the loss over the rate (logarithmic), with the suggested rates marked.

    Args:
        rates: float64 N, rising.
        losses: float64 N, the smoothed training loss at each rate.
        suggestions: rule → rate.
        title: the variant.
        size: width and height, inches.
        dpi: dots per inch.
    """
    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color=BLUE)
    for (rule, rate), colour in zip(suggestions.items(), ("#999999", "#E69F00", "#D55E00"), strict=False):
        axes.axvline(rate, color=colour, linestyle="--", label=f"{rule}: {rate:.1e}")
    axes.set(
        xscale="log", xlabel="learning rate", ylabel="smoothed training loss", title=f"{title}: learning-rate search"
    )
    # The loss explodes at the end of the search; what matters lies below twice its start.
    axes.set_ylim(top=2 * np.nanmax(losses[: max(1, len(losses) // 4)]))
    axes.legend()
    write_literally(figure)
    return figure
