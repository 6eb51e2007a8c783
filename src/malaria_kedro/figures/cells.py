"""Sheets of cells: the greatest losses, and a batch as the network sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from malaria_kedro.evaluation.labelled_pixels import LabelledPixels
from malaria_kedro.evaluation.metrics import called_parasitized, cells_of_split
from malaria_kedro.figures.numbers import number
from malaria_kedro.figures.style import BLUE, INK, VERMILLION, Look, caption_tile, open_sheet
from malaria_kedro.language import N_, _
from malaria_kedro.names import PARASITIZED, UNINFECTED

# Inches.
TOP_LOSSES_SIZE, BATCH_SIZE = (10.0, 5.5), (10.0, 10.0)
CELL_LEGEND = N_("called / actual / loss / p(parasitized), as the network says; coloured: wrong")


def draw_top_losses(
    predictions: pd.DataFrame, databunch: LabelledPixels, look: Look, *, threshold: float, count: int
) -> Figure:
    """Draw the validation cells with the greatest loss, worst first: call / actual / loss / p(parasitized).

    Of equal losses the smaller cell_id comes first.

    Args:
        predictions: columns cell_id, split, label, p_parasitized, loss.
        databunch: the pixels and the table that describes them.
        threshold: p_parasitized from here on is called parasitized.
        count: how many cells; fewer are drawn where validation has fewer.

    Raises:
        ValueError: where validation has no cells or a cell is not in the databunch.
    """
    worst = worst_cells(predictions, count)
    called = called_parasitized(worst, threshold)
    with open_sheet(look, TOP_LOSSES_SIZE, images_of(worst, databunch), _(CELL_LEGEND)) as (figure, tiles):
        for axes, cell, parasitized in zip(tiles, worst.itertuples(), called, strict=True):
            caption_cell(axes, cell, parasitized)
    return figure


def worst_cells(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the validation cells with the greatest loss, worst first; equal losses are ordered by cell_id."""
    return cells_of_split(predictions, "valid").sort_values(["loss", "cell_id"], ascending=[False, True]).head(count)


def images_of(rows: pd.DataFrame, databunch: LabelledPixels, *, remedy: str = "predict again") -> np.ndarray:
    """Return the pixels of these cells (column cell_id), uint8 N×H×W×3.

    Raises:
        ValueError: where a cell is not in the databunch; it tells the user to do what ``remedy`` says.
    """
    positions = pd.Series(np.arange(len(databunch.cells)), index=databunch.cells["cell_id"].to_numpy())
    if missing := [cell for cell in rows["cell_id"] if cell not in positions.index]:
        raise ValueError(
            f"cells {missing} have no pixels in this databunch: the table of them is of another one; {remedy}"
        )
    return databunch.pixels[positions[rows["cell_id"]].to_numpy(dtype=np.int64)]


def caption_cell(axes: Axes, cell: Any, called: bool) -> None:
    """Write call / actual / loss / p(parasitized) over a tile, and the cell's id below it."""
    name = PARASITIZED if called else UNINFECTED
    colour = INK if name == cell.label else VERMILLION
    said = [_(name), _(cell.label), number(cell.loss, ".2f"), number(cell.p_parasitized, ".3f")]
    caption_tile(axes, " / ".join(said), str(cell.cell_id), colour=colour)


def draw_batch_preview(images: np.ndarray, labels: list[str], look: Look) -> Figure:
    """Draw a batch (uint8, N×H×W×3) as the network sees it, each cell under the name of its class.

    Raises:
        ValueError: where there is no image, or not one label for each.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images and {len(labels)} labels: give one label for each of at least one image"
        )
    with open_sheet(look, BATCH_SIZE, images) as (figure, tiles):
        for axes, label in zip(tiles, labels, strict=True):
            axes.set_title(_(label), color=VERMILLION if label == PARASITIZED else BLUE)
    return figure
