"""Sheets of cells: the greatest losses, and a batch as the network sees it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from malaria_kedro.evaluation.metrics import called_parasitized, cells_of_split
from malaria_kedro.figures.style import BLUE, VERMILLION, caption_tile, open_sheet
from malaria_kedro.names import PARASITIZED, UNINFECTED
from malaria_kedro.parameters import StyleName

# Inches.
TOP_LOSSES_SIZE, BATCH_SIZE = (10.0, 5.5), (10.0, 10.0)
CELL_LEGEND = "prediction / actual / loss / probability of the predicted class; coloured: wrong"


class PixelTable(Protocol):
    """What a figure of cells needs of a databunch: row i of ``cells`` describes ``pixels[i]``."""

    @property
    def pixels(self) -> np.ndarray:
        """Pixels, uint8 N×H×W×3."""
        ...

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell: column cell_id, and more."""
        ...

    @property
    def phantom(self) -> bool:
        """Whether the cells were drawn by the project itself."""
        ...


def draw_top_losses(
    predictions: pd.DataFrame, databunch: PixelTable, *, threshold: float, count: int, style: StyleName, title: str
) -> Figure:
    """Draw the validation cells with the greatest loss, worst first: prediction / actual / loss / probability.

    The probability is that of the predicted class. Of equal losses the smaller cell_id comes first.

    Args:
        predictions: columns cell_id, split, label, p_parasitized, loss.
        databunch: the pixels and the table that describes them.
        threshold: p_parasitized from here on is called parasitized.
        count: how many cells; fewer are drawn where validation has fewer.
        style, title: see ``open_figure``.

    Raises:
        ValueError: where validation has no cells or a cell is not in the databunch.
    """
    worst = worst_cells(predictions, count)
    images, called = images_of(worst, databunch), called_parasitized(worst, threshold)
    with open_sheet(
        style, TOP_LOSSES_SIZE, len(worst), title=title, footnote=CELL_LEGEND, phantom=databunch.phantom
    ) as (figure, tiles):
        for axes, image, cell, parasitized in zip(tiles, images, worst.itertuples(), called, strict=True):
            axes.imshow(image)
            caption_cell(axes, cell, parasitized)
    return figure


def worst_cells(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the validation cells with the greatest loss, worst first; equal losses are ordered by cell_id."""
    return cells_of_split(predictions, "valid").sort_values(["loss", "cell_id"], ascending=[False, True]).head(count)


def images_of(rows: pd.DataFrame, databunch: PixelTable, *, remedy: str = "predict again") -> np.ndarray:
    """Return the pixels of these cells, uint8 N×H×W×3.

    Args:
        rows: column cell_id.
        databunch: the pixels and the table that describes them.
        remedy: what the error tells the user to do.

    Raises:
        ValueError: where a cell is not in the databunch.
    """
    positions = pd.Series(np.arange(len(databunch.cells)), index=databunch.cells["cell_id"].to_numpy())
    if missing := [cell for cell in rows["cell_id"] if cell not in positions.index]:
        raise ValueError(
            f"cells {missing} have no pixels in this databunch: the table of them is of another one; {remedy}"
        )
    return databunch.pixels[positions[rows["cell_id"]].to_numpy(dtype=np.int64)]


def caption_cell(axes: Axes, cell: Any, called: bool) -> None:
    """Write prediction / actual / loss / probability over a tile, and the cell's id below it."""
    name, p = (PARASITIZED, cell.p_parasitized) if called else (UNINFECTED, 1 - cell.p_parasitized)
    caption_tile(
        axes,
        f"{name} / {cell.label} / {cell.loss:.2f} / {p:.3f}",
        str(cell.cell_id),
        colour="black" if name == cell.label else VERMILLION,
    )


def draw_batch_preview(images: np.ndarray, labels: list[str], *, style: StyleName, phantom: bool) -> Figure:
    """Draw a batch as the network sees it, each cell under its label, in a grid as square as possible.

    Args:
        images: uint8, N×H×W×3.
        labels: N class names.
        style, phantom: see ``open_figure``.

    Raises:
        ValueError: where there is no image, or not one label for each.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images and {len(labels)} labels: give one label for each of at least one image"
        )
    with open_sheet(style, BATCH_SIZE, len(images), phantom=phantom) as (figure, tiles):
        for axes, image, label in zip(tiles, images, labels, strict=True):
            axes.imshow(image)
            axes.set_title(label, color=VERMILLION if label == PARASITIZED else BLUE)
    return figure
