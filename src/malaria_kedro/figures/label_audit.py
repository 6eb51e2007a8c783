"""The contact sheet of the label audit: the cells whose labels are least credible, for a person to judge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from malaria_kedro.evaluation.labelled_pixels import LabelledPixels
from malaria_kedro.figures.cells import images_of
from malaria_kedro.figures.numbers import number
from malaria_kedro.figures.style import INK, VERMILLION, Look, caption_tile, message_figure, open_sheet
from malaria_kedro.language import _

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
        return message_figure(look, SIZE, _("No label was audited: the table is empty."))
    images = images_of(shown, databunch, remedy="cross-validate again")
    footnote = [
        _("rank, given → suggested label, score (0-1: how credible the label is); coloured: probably wrong"),
        _("{wrong} of {n} labels are probably wrong; nothing was changed").format(
            wrong=number(audit["is_issue"].sum()), n=number(len(audit))
        ),
    ]
    cells: Iterable[Any] = shown.itertuples()  # with the table's columns, which type checkers do not know
    with open_sheet(look, SIZE, images, "\n".join(footnote)) as (figure, tiles):
        for axes, cell in zip(tiles, cells, strict=True):
            given, suggested = _(cell.given_label), _(cell.suggested_label)
            if cell.score >= 0.0005:
                score = _("score {score}").format(score=number(cell.score, ".3f"))
            else:
                score = _("score below {score}").format(score=number(0.0005, ""))
            caption = f"{cell.audit_rank}. {given} → {suggested}\n{score}"
            colour = VERMILLION if cell.is_issue else INK
            caption_tile(axes, caption, str(cell.cell_id), colour=colour, size="x-small")
    return figure
