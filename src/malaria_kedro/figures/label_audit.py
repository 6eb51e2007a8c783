"""The contact sheet of the label audit: the cells whose labels are least credible, for a person to judge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from malaria_kedro.evaluation.labelled_pixels import LabelledPixels
from malaria_kedro.figures.cells import images_of
from malaria_kedro.figures.style import INK, VERMILLION, Look, caption_tile, message_figure, open_sheet

SIZE = (10.0, 10.0)  # inches


def draw_label_audit(audit: pd.DataFrame, databunch: LabelledPixels, look: Look, *, count: int) -> Figure:
    """Draw the cells whose labels are most suspicious, in the order of their rank: given → suggested label, score.

    Args:
        audit: columns audit_rank (1: most suspicious), cell_id, given_label, suggested_label, score (0-1, low is
            suspicious), is_issue.
        databunch: the pixels and the table that describes them.
        count: how many cells; fewer are drawn where the audit has fewer.

    Raises:
        ValueError: where a cell is not in the databunch.
    """
    shown = audit.sort_values(["audit_rank", "cell_id"]).head(count)
    if shown.empty:
        return message_figure(look, SIZE, "No label was audited: the table is empty.")
    images = images_of(shown, databunch, remedy="cross-validate again")
    footnote = (
        "rank, given → suggested label, score (0-1: how credible the label is); coloured: probably wrong\n"
        f"{int(audit['is_issue'].sum()):,} of {len(audit):,} labels are probably wrong; nothing was changed"
    )
    cells: Iterable[Any] = shown.itertuples()  # with the table's columns, which type checkers do not know
    with open_sheet(look, SIZE, images, footnote) as (figure, tiles):
        for axes, cell in zip(tiles, cells, strict=True):
            score = f"{cell.score:.3f}" if cell.score >= 0.0005 else "below 0.0005"
            caption = f"{cell.audit_rank}. {cell.given_label} → {cell.suggested_label}\nscore {score}"
            colour = VERMILLION if cell.is_issue else INK
            caption_tile(axes, caption, str(cell.cell_id), colour=colour, size="x-small")
    return figure
