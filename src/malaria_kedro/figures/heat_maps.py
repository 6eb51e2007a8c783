"""Sheets of cells, each beside its heat map: the worst calls, and parasites that were found."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from malaria_kedro.evaluation.metrics import called_parasitized, cells_of_split
from malaria_kedro.figures.cells import CELL_LEGEND, caption_cell
from malaria_kedro.figures.style import Inches, finish, font_size, make_tiles, show_message
from malaria_kedro.names import PARASITIZED

# The cell stays visible under its warmest place.
STRONGEST = 0.7
# log-odds: each map is drawn up to its own peak, but what changes the odds by less than e is not blown up.
WEAKEST_PEAK = 1.0
# Weights of red, green and blue in brightness (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])


def true_positives(predictions: pd.DataFrame, *, threshold: float, count: int) -> pd.DataFrame:
    """Return parasitized validation cells that were found, the surest of each patient before anyone's second.

    Args:
        predictions: columns cell_id, patient_id, split, label, p_parasitized.
        threshold: p_parasitized from here on is called parasitized.
        count: how many cells; fewer where fewer were found.
    """
    rows = cells_of_split(predictions, "valid")
    found = rows[(rows["label"] == PARASITIZED) & called_parasitized(rows, threshold)]
    found = found.sort_values(["p_parasitized", "cell_id"], ascending=[False, True])
    turn = found.groupby("patient_id", dropna=False, sort=False).cumcount()
    return found.iloc[np.argsort(turn.to_numpy(), kind="stable")].head(count)


def draw_heat_maps(
    rows: pd.DataFrame,
    images: np.ndarray,
    maps: np.ndarray,
    *,
    threshold: float,
    size: Inches,
    dpi: int,
    title: str,
    phantom: bool,
) -> Figure:
    """Draw each cell as it is and, beside it, in grey under its heat map.

    Args:
        rows: N cells: columns cell_id, label, p_parasitized, loss.
        images: their pixels, uint8 N×H×W×3.
        maps: what speaks for each cell's call, float32 N×H×W, log-odds, 0 or more.
        threshold: p_parasitized from here on is called parasitized.
        size: width and height of the whole figure, inches.
    """
    if rows.empty:
        figure = Figure(figsize=size, dpi=dpi, layout="constrained")
        font = font_size(size[0], size[1] / 20, letters=80)
        show_message(figure.subplots(), "There is no such cell.", font)
        finish(figure, title, font, phantom)
        return figure
    figure, tiles, width, height = make_tiles(len(rows), size, dpi)
    font = font_size(width, height / 9, letters=36)
    called = called_parasitized(rows, threshold)
    for axes, image, heat, cell, parasitized in zip(tiles, images, maps, rows.itertuples(), called, strict=True):
        axes.imshow(side_by_side(image, heat), interpolation="nearest")
        caption_cell(axes, cell, parasitized, font, width, height)
        axes.set_xlabel(f"{axes.get_xlabel()}   peak {heat.max():.1f}")
    legend = f"{CELL_LEGEND}\nright: warm is what speaks for the call, found by covering it; peak in log-odds"
    finish(figure, title, font, phantom, legend)
    return figure


def side_by_side(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return uint8 H×(2W+gap)×3: the cell, a white gap, and the cell in grey under its map (log-odds)."""
    heat = heat / max(float(heat.max()), WEAKEST_PEAK)
    grey = np.repeat((image @ _LUMA)[..., None] / 255, 3, axis=2)
    colours = matplotlib.colormaps["inferno"](heat)[..., :3]
    opacity = STRONGEST * heat[..., None]
    under = np.round(255 * (grey * (1 - opacity) + colours * opacity)).astype(np.uint8)
    gap = np.full((image.shape[0], max(1, image.shape[1] // 16), 3), 255, dtype=np.uint8)
    return np.concatenate([image, gap, under], axis=1)
