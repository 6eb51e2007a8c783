"""The figures: confusion matrix, loss curves, worst cells, a batch. Drawn without a display and without pyplot."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from malaria_kedro.cells.names import CLASSES, PARASITIZED, UNINFECTED
from malaria_kedro.interpretation.metrics import EVALUATED_SPLITS, called_parasitized, cells_of_split

PHANTOM_NOTE = "phantom cells drawn by malaria-kedro – not blood"
SPLIT_NAMES = {"train": "training", "valid": "validation", "test": "test"}

# Okabe and Ito's colours: told apart with any colour vision, and in grey by their lightness.
BLUE, ORANGE, VERMILLION, GREY = "#0072B2", "#E69F00", "#D55E00", "#5F5F5F"

CELL_LEGEND = "prediction / actual / loss / probability of the predicted class; coloured: wrong"

POINTS_PER_INCH = 72
# A letter of DejaVu Sans is about this wide and a line this high, measured in font sizes.
LETTER_WIDTH, LINE_HEIGHT = 0.62, 1.3
SMALLEST_FONT, LARGEST_FONT = 5.0, 20.0

Inches = tuple[float, float]


class PixelTable(Protocol):
    """What a figure of cells needs of a databunch: row i of ``cells`` describes ``pixels[i]``."""

    pixels: np.ndarray  # uint8, N x H x W x 3
    cells: pd.DataFrame  # column cell_id, and more
    phantom: bool


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
    font = _font_size(width / 5, height / 5, letters=len(PARASITIZED))
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
    _finish(figure, title, font, phantom, f"predicted Parasitized from p = {threshold:g}; % of the row")
    return figure


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
    font = _font_size(size[0] / 4, size[1] / 10, letters=30)
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
    _finish(figure, title, font, phantom)
    return figure


def draw_top_losses(
    predictions: pd.DataFrame,
    databunch: PixelTable,
    *,
    threshold: float,
    count: int,
    size: Inches,
    dpi: int,
    title: str,
) -> Figure:
    """Draw the validation cells that cost most, worst first: prediction / actual / loss / probability.

    The probability is that of the predicted class. Of equal losses the smaller cell_id comes first.

    Args:
        predictions: columns cell_id, split, label, p_parasitized, loss.
        databunch: the pixels and the table that describes them.
        threshold: p_parasitized from here on is called parasitized.
        count: how many cells; fewer are drawn where validation has fewer.
        size: width and height of the whole figure, inches.

    Raises:
        ValueError: where validation has no cells or a cell is not in the databunch.
    """
    worst = worst_cells(predictions, count)
    images = images_of(worst, databunch)
    figure, tiles, tile_width, tile_height = _tiles(len(worst), size, dpi)
    font = _font_size(tile_width, tile_height / 9, letters=36)
    for axes, image, cell, called in zip(
        tiles, images, worst.itertuples(), called_parasitized(worst, threshold), strict=True
    ):
        axes.imshow(image, interpolation="nearest")
        _name_cell(axes, cell, called, font, tile_width, tile_height)
    _finish(figure, title, font, databunch.phantom, CELL_LEGEND)
    return figure


def worst_cells(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the validation cells that cost most, worst first; of equal losses the smaller cell_id comes first."""
    return cells_of_split(predictions, "valid").sort_values(["loss", "cell_id"], ascending=[False, True]).head(count)


def images_of(rows: pd.DataFrame, databunch: PixelTable) -> np.ndarray:
    """Return the pixels of these cells, uint8 N×H×W×3.

    Raises:
        ValueError: where a cell is not in the databunch.
    """
    positions = pd.Series(np.arange(len(databunch.cells)), index=databunch.cells["cell_id"].to_numpy())
    if missing := [cell for cell in rows["cell_id"] if cell not in positions.index]:
        raise ValueError(
            f"cells {missing} have predictions but no pixels: the predictions are of another databunch; predict again"
        )
    return databunch.pixels[positions[rows["cell_id"]].to_numpy(dtype=np.int64)]


def _name_cell(axes: Axes, cell: Any, called: bool, font: float, width: float, height: float) -> None:
    """Write prediction / actual / loss / probability over a tile and the cell's id below it."""
    name, p = (PARASITIZED, cell.p_parasitized) if called else (UNINFECTED, 1 - cell.p_parasitized)
    axes.set_title(
        f"{name} / {cell.label} / {cell.loss:.2f} / {p:.3f}",
        fontsize=font,
        color="black" if name == cell.label else VERMILLION,
    )
    id_font = min(font * 0.75, _font_size(width, height / 9, letters=len(str(cell.cell_id))))
    axes.set_xlabel(str(cell.cell_id), fontsize=id_font, color=GREY)


def draw_batch_preview(images: np.ndarray, labels: list[str], *, size: Inches, dpi: int, phantom: bool) -> Figure:
    """Draw a batch as the network sees it, each cell under its label, in a grid as square as possible.

    Args:
        images: uint8, N x H x W x 3.
        labels: N class names.
        size: width and height of the whole figure, inches.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images and {len(labels)} labels: give one label for each of at least one image"
        )
    figure, tiles, width, height = _tiles(len(images), size, dpi)
    font = _font_size(width, height / 8, letters=max(len(label) for label in labels))
    for axes, image, label in zip(tiles, images, labels, strict=True):
        axes.imshow(image, interpolation="nearest")
        axes.set_title(label, fontsize=font, color=VERMILLION if label == PARASITIZED else BLUE)
    _finish(figure, "", font, phantom)
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


def _tiles(count: int, size: Inches, dpi: int) -> tuple[Figure, list[Axes], float, float]:
    """Open a figure of ``count`` empty tiles, as square a grid as possible; also a tile's width and height, inches."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)
    tiles = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in tiles[count:]:
        axes.remove()
    for axes in tiles[:count]:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    return figure, tiles[:count], size[0] / columns, size[1] / rows


def _font_size(width: float, height: float, *, letters: int) -> float:
    """Return the size (points) at which a line of so many letters fits into a box of so many inches."""
    fits = min(width / (letters * LETTER_WIDTH), height / LINE_HEIGHT) * POINTS_PER_INCH
    return min(max(fits, SMALLEST_FONT), LARGEST_FONT)


def write_literally(figure: Figure) -> None:
    """Have a finished figure show every text as it is: in a name, ``$`` begins no formula.

    The ticks that matplotlib writes by itself keep their powers of ten. Only this figure is changed, not the settings
    of matplotlib.
    """
    numbers = set()
    for axis in figure.findobj(Axis):
        numbers.add(axis.offsetText)
        for formatter, ticks in (
            (axis.get_major_formatter(), axis.get_major_ticks()),
            (axis.get_minor_formatter(), axis.get_minor_ticks()),
        ):
            if not isinstance(formatter, (FixedFormatter, FuncFormatter)):
                numbers |= {label for tick in ticks for label in (tick.label1, tick.label2)}
    for text in figure.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)
            text.set_usetex(False)


def _finish(figure: Figure, title: str, font: float, phantom: bool, legend: str = "") -> None:
    if title:
        figure.suptitle(title, fontsize=font * 1.15)
    foot = "\n".join(line for line in (legend, PHANTOM_NOTE if phantom else "") if line)
    if foot:
        figure.supxlabel(foot, fontsize=font * 0.85, color=GREY)
    write_literally(figure)
