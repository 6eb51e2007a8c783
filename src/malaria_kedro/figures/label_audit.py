"""The contact sheet of the label audit: the cells whose labels are least credible, for a person to decide."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from malaria_kedro.figures.cells import PixelTable
from malaria_kedro.figures.style import (
    GREY,
    LETTER_WIDTH,
    POINTS_PER_INCH,
    SMALLEST_FONT,
    VERMILLION,
    Inches,
    finish,
    font_size,
    make_tiles,
    show_message,
)

# Inches per side: in less, a picture leaves no room for the words that belong to it.
SMALLEST_TILE = 1.5


def draw_label_audit(
    audit: pd.DataFrame, databunch: PixelTable, *, count: int, size: Inches, dpi: int, title: str
) -> Figure:
    """Draw the cells whose labels are most suspicious, in the order of their rank: given → suggested label, score.

    Args:
        audit: columns rank (1: most suspicious), cell_id, given_label, suggested_label, score (0-1, low is
            suspicious), is_issue.
        databunch: the pixels and the table that describes them.
        count: how many cells; fewer are drawn where the audit has fewer.
        size: width and height of the whole figure, inches; more where a cell would get less than 1.5 × 1.5 inches.

    Raises:
        ValueError: where a cell is not in the databunch.
    """
    shown = audit.sort_values(["rank", "cell_id"]).head(count)
    if shown.empty:
        figure = Figure(figsize=size, dpi=dpi, layout="constrained")
        font = font_size(size[0], size[1] / 20, letters=80)
        show_message(figure.subplots(), "No label was audited: the table is empty.", font)
        finish(figure, title, font, databunch.phantom)
        return figure
    positions = pd.Series(np.arange(len(databunch.cells)), index=databunch.cells["cell_id"].to_numpy())
    if missing := [cell for cell in shown["cell_id"] if cell not in positions.index]:
        raise ValueError(
            f"cells {missing} were audited but have no pixels: the audit is of another databunch; cross-validate again"
        )
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    least = (columns * SMALLEST_TILE, rows * SMALLEST_TILE)
    figure, tiles, width, height = make_tiles(len(shown), (max(size[0], least[0]), max(size[1], least[1])), dpi)
    font = font_size(width, height / 9, letters=30)
    # In a small tile even the smallest letters need a second line.
    letters = int(width * POINTS_PER_INCH / (SMALLEST_FONT * LETTER_WIDTH)) - 2
    cells: Iterable[Any] = shown.itertuples()  # with the table's columns, of which types know nothing
    for axes, cell in zip(tiles, cells, strict=True):
        axes.imshow(databunch.pixels[positions[cell.cell_id]], interpolation="nearest")
        axes.set_title(
            textwrap.fill(f"{cell.rank}. {cell.given_label} → {cell.suggested_label}", letters)
            + f"\nscore {_score(cell.score)}",
            fontsize=font,
            color=VERMILLION if cell.is_issue else "black",
        )
        name = str(cell.cell_id)
        id_font = min(font * 0.8, font_size(width, height / 9, letters=len(name) + 4))
        # Not by words, which would lose spaces: a name is what it is.
        lines = [name[start : start + letters] for start in range(0, len(name), letters)]
        axes.set_xlabel("\n".join(lines), fontsize=id_font, color=GREY)
    legend = (
        "rank, given → suggested label, score (0-1: how far the label is believed); coloured: taken for a wrong label\n"
        f"{int(audit['is_issue'].sum()):,} of {len(audit):,} labels are taken for wrong; nothing was changed"
    )
    finish(figure, title, font, databunch.phantom, legend)
    return figure


def _score(score: float) -> str:
    return f"{score:.3f}" if score >= 0.0005 else "below 0.0005"
