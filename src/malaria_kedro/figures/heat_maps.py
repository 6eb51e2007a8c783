"""Sheets of cells, each beside its heat map: the worst calls, and parasites that were found."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from malaria_kedro.evaluation.metrics import called_parasitized, cells_of_split
from malaria_kedro.figures.cells import CELL_LEGEND, TOP_LOSSES_SIZE, caption_cell
from malaria_kedro.figures.numbers import number
from malaria_kedro.figures.style import Look, message_figure, open_sheet
from malaria_kedro.language import _
from malaria_kedro.names import PARASITIZED

# Opacity of the map at its peak: the cell stays visible below it.
STRONGEST = 0.7
# Log-odds: each map is scaled to its own peak, but a change of the odds by less than a factor of e is not exaggerated.
WEAKEST_PEAK = 1.0
# Weights of red, green and blue in brightness (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])


def true_positives(predictions: pd.DataFrame, *, threshold: float, count: int) -> pd.DataFrame:
    """Return ``count`` parasitized validation cells that were found, the surest of each patient before anyone's second.

    Fewer where fewer were found. The predictions have columns cell_id, patient_id, split, label and p_parasitized.
    """
    rows = cells_of_split(predictions, "valid")
    found = rows[(rows["label"] == PARASITIZED) & called_parasitized(rows, threshold)]
    found = found.sort_values(["p_parasitized", "cell_id"], ascending=[False, True])
    turn = found.groupby("patient_id", dropna=False, sort=False).cumcount()
    return found.iloc[np.argsort(turn.to_numpy(), kind="stable")].head(count)


def draw_heat_maps(rows: pd.DataFrame, images: np.ndarray, maps: np.ndarray, look: Look, *, threshold: float) -> Figure:
    """Draw each cell as it is and, beside it, in grey under its heat map.

    Args:
        rows: N cells: columns cell_id, label, p_parasitized, loss.
        images: their pixels, uint8 N×H×W×3.
        maps: the evidence for each cell's call, float32 N×H×W, log-odds, 0 or more.
        threshold: p_parasitized from here on is called parasitized.
    """
    if rows.empty:
        return message_figure(look, TOP_LOSSES_SIZE, _("There is no such cell."))
    called = called_parasitized(rows, threshold)
    footnote = "\n".join(
        [_(CELL_LEGEND), _("right: evidence for the call, found by covering parts of the cell; peak in log-odds")]
    )
    pairs = [side_by_side(image, heat) for image, heat in zip(images, maps, strict=True)]
    with open_sheet(look, TOP_LOSSES_SIZE, pairs, footnote) as (figure, tiles):
        for axes, heat, cell, parasitized in zip(tiles, maps, rows.itertuples(), called, strict=True):
            caption_cell(axes, cell, parasitized)
            peak = _("peak {log_odds}").format(log_odds=number(heat.max(), ".1f"))
            axes.set_xlabel(f"{axes.get_xlabel()}\n{peak}")
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
