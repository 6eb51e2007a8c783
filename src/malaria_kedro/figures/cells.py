"""Sheets of cells: the greatest losses, and a batch as the network sees it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from malaria_kedro.evaluation.metrics import called_parasitized, cells_of_split
from malaria_kedro.figures.style import BLUE, GREY, VERMILLION, Inches, finish, font_size, make_tiles
from malaria_kedro.names import PARASITIZED, UNINFECTED

CELL_LEGEND = "prediction / actual / loss / probability of the predicted class; coloured: wrong"


class PixelTable(Protocol):
    """What a figure of cells needs of a databunch: row i of ``cells`` describes ``pixels[i]``."""

    @property
    def pixels(self) -> np.ndarray:
        """Pixels, uint8 N×H×W×3."""
        ...

    @property
    def cells(self) -> pd.DataFrame:
        """A row a cell: column cell_id, and more."""
        ...

    @property
    def phantom(self) -> bool:
        """Whether the cells were drawn by the project itself."""
        ...


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
    figure, tiles, tile_width, tile_height = make_tiles(len(worst), size, dpi)
    font = font_size(tile_width, tile_height / 9, letters=36)
    for axes, image, cell, called in zip(
        tiles, images, worst.itertuples(), called_parasitized(worst, threshold), strict=True
    ):
        axes.imshow(image, interpolation="nearest")
        caption_cell(axes, cell, called, font, tile_width, tile_height)
    finish(figure, title, font, databunch.phantom, CELL_LEGEND)
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


def caption_cell(axes: Axes, cell: Any, called: bool, font: float, width: float, height: float) -> None:
    """Write prediction / actual / loss / probability over a tile and the cell's id below it."""
    name, p = (PARASITIZED, cell.p_parasitized) if called else (UNINFECTED, 1 - cell.p_parasitized)
    axes.set_title(
        f"{name} / {cell.label} / {cell.loss:.2f} / {p:.3f}",
        fontsize=font,
        color="black" if name == cell.label else VERMILLION,
    )
    id_font = min(font * 0.75, font_size(width, height / 9, letters=len(str(cell.cell_id))))
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
    figure, tiles, width, height = make_tiles(len(images), size, dpi)
    font = font_size(width, height / 8, letters=max(len(label) for label in labels))
    for axes, image, label in zip(tiles, images, labels, strict=True):
        axes.imshow(image, interpolation="nearest")
        axes.set_title(label, fontsize=font, color=VERMILLION if label == PARASITIZED else BLUE)
    finish(figure, "", font, phantom)
    return figure
