"""Cells that a user leaves out, for instance after a label audit."""

from __future__ import annotations

import csv
import logging
from collections.abc import Container, Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from unicodedata import normalize

import pandas as pd

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import refuse_device
from malaria_kedro.language import N_
from malaria_kedro.names import is_image_name, is_other_image_name, spreadsheet_exact

logger = logging.getLogger(__name__)

HEADERS = ("cell_id", "path")

_NEEDED = "it needs a header and, in its first column, cells"

_composed = partial(normalize, "NFC")


class ExclusionError(MalariaKedroError, ValueError):
    """The list of cells to leave out cannot be used; the message says why and what to do."""


def read_exclusions(path: Path, known: Container[str] = ()) -> list[str]:
    """Read the names in the first column of a CSV in UTF-8, such as ``label_audit.csv``, as they are written.

    The first line is a header, unless it names a cell (``known``, see ``names_of_cells``) or ends like an image's name.

    Raises:
        ExclusionError: the file is missing, is not a CSV, or names no cell; a line has values, but not in its
            first column; or another column is called ``cell_id`` or ``path`` and names other cells.
    """
    rows = read_lines(path)
    for line, (first, *others) in rows:
        if not first.strip() and any(other.strip() for other in others) and not _names_a_cell(first, known):
            raise ExclusionError(
                f"source.exclude names {path}, whose line {line} has nothing in its first column, but "
                f"{next(filter(str.strip, others))!r} in another: put cell_id or path into the first column of every "
                "line (pandas writes no index before it with index=False)"
            )
    header = None
    if not _names_a_cell(rows[0][1][0], known):
        titles = [text.strip() for text in rows.pop(0)[1]]
        header = titles[0]
        if header not in HEADERS:
            _refuse_another_column(path, titles, rows)
    names = [row[0] for _, row in rows if row[0]]
    if not any(name.strip() or name in known for name in names):
        raise ExclusionError(
            f"source.exclude names {path}, which names no cell; {_NEEDED}"
            + (f" (its only line, {header!r}, is of no cell here)" if header else "")
        )
    if header and header not in HEADERS:
        logger.warning("the first line of %s, %r, is of no cell here and taken for a header", path.name, header)
    return names


def read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the lines of a list that are not empty, with their numbers.

    Raises:
        ExclusionError: the file is missing, is not a CSV, or has no such line but a header.
    """
    try:
        refuse_device(path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            rows = [(lines.line_num, row) for row in lines if any(row)]
    except OSError as error:
        raise ExclusionError(
            f"source.exclude names {path}, which cannot be read ({error.strerror}); give the path of a CSV"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExclusionError(f"source.exclude names {path}, which is no CSV in UTF-8 ({error}); save it so") from error
    if not rows or (len(rows) == 1 and rows[0][1][0].strip() in HEADERS):
        raise ExclusionError(f"source.exclude names {path}, which names no cell; {_NEEDED}")
    return rows


def names_of_cells(cell_ids: Iterable[str], paths: Iterable[str]) -> set[str]:
    """Return every name that a list may call a cell by: its id, its path and its file's name, normalised (NFC)."""
    return {
        _composed(name)
        for cell_id, path in zip(cell_ids, paths, strict=True)
        for name in (cell_id, path, PurePosixPath(path).name)
    }


def exclude_cells(index: pd.DataFrame, names: list[str], source: str) -> pd.DataFrame:
    """Return the index with the named cells excluded; what was excluded before keeps its reason.

    Names are compared as they are written, and then in Unicode's normal form (NFC): macOS takes accents apart (NFD).

    Args:
        index: the cell index (columns ``cell_id``, ``path``, ``excluded``).
        names: each a ``cell_id``, a file name or a ``path``; ``ExclusionError``: it is of no cell, or of several.
        source: what the reason calls the list.
    """
    known: dict[str, set[int]] = {}
    normal: dict[str, set[int]] = {}  # in NFC
    for row, cell_id, path in zip(index.index, index["cell_id"], index["path"], strict=True):
        for name in (cell_id, path, PurePosixPath(path).name):
            known.setdefault(name, set()).add(row)
            normal.setdefault(_composed(name), set()).add(row)

    def rows_of(name: str) -> set[int]:
        found = (known.get(text) or normal.get(_composed(text)) for text in _meanings(name))
        return next(filter(None, found), set())

    rows = {name: rows_of(name) for name in names}
    # A name of spaces is a name if a cell has it, otherwise a blank line.
    names = [name for name in names if name.strip() or rows[name]]
    for problem, wrong in (
        ("are of no cell here", [name for name in names if not rows[name]]),
        ("are of several cells", [name for name in names if len(rows[name]) > 1]),
    ):
        if wrong:
            raise ExclusionError(
                f"{len(wrong)} of the {len(names)} names in {source} {problem} (the first is {wrong[0]!r}); its first "
                "column must hold cell_id or path as cell_index has them"
            )
    index = index.copy()
    named = index.index.isin(set().union(*rows.values()))
    index.loc[named & (index["excluded"] == ""), "excluded"] = N_("named in {source}").format(source=source)
    return index


def _names_a_cell(text: str, known: Container[str]) -> bool:
    ends_like_an_image = is_image_name(text.strip()) or is_other_image_name(text.strip())
    return ends_like_an_image or any(_composed(meant) in known for meant in _meanings(text))


def _refuse_another_column(path: Path, titles: list[str], rows: list[tuple[int, list[str]]]) -> None:
    """Raise where a column that is not the first is called ``cell_id`` or ``path`` and names other cells."""
    for at in (at for at, title in enumerate(titles) if title in HEADERS):
        for line, row in rows:
            if len(row) > at and row[at].strip() and not _spellings(row[0]) & _spellings(row[at]):
                raise ExclusionError(
                    f"source.exclude names {path}, whose first column ({titles[0]}) says {row[0]!r} on line {line}, "
                    f"where {titles[at]} says {row[at]!r}: put the column {titles[at]} first"
                )


def _spellings(text: str) -> set[str]:
    path = PurePosixPath(_composed(spreadsheet_exact(text.strip())))
    return {str(path), path.name, path.stem}


def _meanings(text: str) -> tuple[str, ...]:
    """Return the names that a text in a list may stand for: first as the project's tables write them, then as it is."""
    exact = spreadsheet_exact(text)
    return exact, text, exact.strip(), text.strip()
