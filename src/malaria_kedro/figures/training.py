"""How a training went: loss and learning rate over its batches, and the learning-rate finder's curve."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from malaria_kedro.figures.numbers import number, number_ticks
from malaria_kedro.figures.style import BLUE, GREY, INK, ORANGE, PAPER, VERMILLION, Look, open_figure
from malaria_kedro.language import _

# Inches.
LOSS_SIZE, LEARNING_RATE_SIZE = (9.0, 6.0), (8.0, 5.0)


def draw_loss_curves(batch_history: pd.DataFrame, history: pd.DataFrame, look: Look) -> Figure:
    """Draw training loss over batches, validation loss at the end of each epoch, and the learning rate below.

    The loss axis is logarithmic: by the time the validation loss turns, the training loss is small.

    Args:
        batch_history: columns stage, epoch, batch (from 1, through all stages), train_loss, smooth_loss, lr.
        history: columns stage, epoch, valid_loss; epochs whose batches are not known are left out.
    """
    batches = batch_history["batch"]
    ends = batch_history.groupby(["stage", "epoch"], as_index=False)["batch"].max()
    epochs = history.merge(ends, on=["stage", "epoch"]).sort_values("batch")
    with open_figure(look, LOSS_SIZE) as figure:
        losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        raw = batch_history["train_loss"]
        losses.plot(batches, raw, color=ORANGE, alpha=0.3, linewidth=0.8, label=_("training, batch"))
        losses.plot(batches, batch_history["smooth_loss"], color=ORANGE, linewidth=2, label=_("training, smoothed"))
        losses.plot(epochs["batch"], epochs["valid_loss"], color=BLUE, marker="o", label=_("validation, end of epoch"))
        _mark_lowest(losses, epochs)
        _set_log_scale(losses, pd.concat([batch_history["smooth_loss"], epochs["valid_loss"]]))
        losses.set_ylabel(_("cross-entropy loss"))
        legend = losses.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
        legend.get_frame().set_facecolor(PAPER)  # curves may lie behind its words
        rates.plot(batches, batch_history["lr"], color=GREY)
        # The cycle ends at a hundred-thousandth of its top; what is below a thousandth adds nothing.
        _set_log_scale(rates, batch_history["lr"].clip(lower=batch_history["lr"].max() / 1000))
        rates.set(xlabel=_("batch"), ylabel=_("learning rate"))
        rates.xaxis.set_major_locator(MaxNLocator(integer=True))
        _mark_stages(losses, rates, batch_history)
    return figure


def _set_log_scale(axes: Axes, values: pd.Series) -> None:
    """Scale an axis to show these values and a margin, with ticks at 1, 2 and 5; outliers are cut off."""
    shown = values[np.isfinite(values.to_numpy(dtype=float)) & (values > 0)]
    if shown.empty:
        return
    low, high = shown.min() / 1.5, shown.max() * 1.5
    axes.set_yscale("log", nonpositive="mask")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,), numticks=10))
    axes.yaxis.set_major_formatter(number_ticks("g"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _mark_lowest(axes: Axes, epochs: pd.DataFrame) -> None:
    finite = epochs[np.isfinite(epochs["valid_loss"].to_numpy(dtype=float))]
    if finite.empty:
        return
    best = finite.loc[finite["valid_loss"].idxmin()]
    label = _("lowest validation loss: {loss}, {stage} epoch {epoch}").format(
        loss=number(best["valid_loss"], ".4f"), stage=_stage_name(best["stage"]), epoch=best["epoch"]
    )
    (star,) = axes.plot([best["batch"]], [best["valid_loss"]], "*", color=VERMILLION, markersize=13, label=label)
    star.set_zorder(3)


def _mark_stages(losses: Axes, rates: Axes, batch_history: pd.DataFrame) -> None:
    """Draw a line between the stages and write each stage's name where it begins."""
    begins = batch_history.groupby("stage")["batch"].min().sort_values()
    for stage, first in begins.items():
        if first > begins.min():
            for axes in (losses, rates):
                axes.axvline(first - 0.5, color=INK, linestyle="--", linewidth=1)
        place: dict[str, Any] = {"xytext": (4, 4), "textcoords": "offset points", "va": "bottom", "fontsize": "small"}
        losses.annotate(_stage_name(stage), (first, 0), xycoords=("data", "axes fraction"), **place)


def _stage_name(stage: Any) -> str:
    name = str(stage).replace("_", " ")
    numbered = re.fullmatch(r"stage (\d+)", name)
    return _("stage {number}").format(number=numbered[1]) if numbered else name


def draw_learning_rate_curve(
    rates: np.ndarray, losses: np.ndarray, suggestions: dict[str, float], look: Look
) -> Figure:
    """Draw the loss over the rate (logarithmic), with the suggested rates marked.

    Args:
        rates: float64 N, rising.
        losses: float64 N, the smoothed training loss at each rate.
        suggestions: rule → rate.
    """
    with open_figure(look, LEARNING_RATE_SIZE) as figure:
        axes = figure.subplots()
        axes.plot(rates, losses, color=BLUE)
        for (rule, rate), colour in zip(suggestions.items(), (GREY, ORANGE, VERMILLION), strict=False):
            axes.axvline(rate, color=colour, linestyle="--", label=f"{rule}: {number(rate, '.1e')}")
        axes.set(xscale="log", xlabel=_("learning rate"), ylabel=_("smoothed training loss"))
        axes.xaxis.set_major_formatter(number_ticks(".0e"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        # The loss explodes at the end of the search; what matters lies below twice its value at the start.
        axes.set_ylim(top=2 * np.nanmax(losses[: max(1, len(losses) // 4)]))
        axes.legend()
    return figure
