"""Cells that a user has decided to leave out, after a label audit or a look of their own."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

import pandas as pd

from malaria_kedro.cells.names import spreadsheet_exact


class ExclusionError(ValueError):
    """The list of cells to leave out cannot be used; the message says why and what to do."""


def read_exclusions(path: Path) -> list[str]:
    """Read the names in the first column of a CSV with a header, such as ``label_audit.csv``.

    Raises:
        ExclusionError: the file is not there, is no CSV text, or names no cell.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row and row[0]]
    except OSError as error:
        raise ExclusionError(
            f"source.exclude names {path}, which cannot be read ({error.strerror}); give the path of a CSV"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExclusionError(f"source.exclude names {path}, which is no CSV in UTF-8 ({error})") from error
    if not any(row[0].strip() for row in rows[1:]):
        raise ExclusionError(
            f"source.exclude names {path}, which names no cell; it needs a header and, in its first column, cells"
        )
    return [spreadsheet_exact(row[0]) for row in rows[1:]]


def exclude_cells(index: pd.DataFrame, names: list[str], source: str) -> pd.DataFrame:
    """Return the index with the named cells excluded; what was excluded before keeps its reason.

    Args:
        index: the cell index (columns ``cell_id``, ``path``, ``excluded``).
        names: each a ``cell_id``, a file name or a ``path``.
        source: what the reason calls the list.

    Raises:
        ExclusionError: a name is of no cell here, or of several.
    """
    known: dict[str, set[int]] = {}
    for row, cell_id, path in zip(index.index, index["cell_id"], index["path"], strict=True):
        for name in {cell_id, path, PurePosixPath(path).name}:
            known.setdefault(name, set()).add(row)
    # A name of spaces is a name where a cell has it, and a blank line where none has.
    names = [name if name in known else name.strip() for name in names if name in known or name.strip()]
    for problem, wrong in (
        ("are of no cell here", [name for name in names if name not in known]),
        ("are of several cells", [name for name in names if len(known.get(name, ())) > 1]),
    ):
        if wrong:
            raise ExclusionError(
                f"{len(wrong)} of the {len(names)} names in {source} {problem} (the first is {wrong[0]!r}); its first "
                "column must hold cell_id or path as cell_index has them"
            )
    index = index.copy()
    rows = [next(iter(known[name])) for name in names]
    chosen = index.index.isin(rows) & (index["excluded"] == "")
    index.loc[chosen, "excluded"] = f"named in {source}"
    return index
