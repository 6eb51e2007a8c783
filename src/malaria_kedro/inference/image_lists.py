"""Lists of images, CSV or parquet, read row by row."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from malaria_kedro.inference.contents import SourceError
from malaria_kedro.names import is_image_name, is_other_image_name, spreadsheet_exact

log = logging.getLogger(__name__)

PATH = "path"
PATIENT = "patient_id"
# What people call a single column of paths; the log says so when another first line counts as a header.
HEADER = re.compile(r"(path|(file|image)[ _]?(path|name)?|name|cell(_id)?|id)s?", re.IGNORECASE)
OTHER_SEPARATORS = ";\t"  # of columns, which are refused
ROWS_AT_ONCE = 8192  # of a parquet list


def csv_rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield path and patient ("" = unknown) of a CSV's rows.

    Raises:
        SourceError: it is no readable CSV, or has no column of paths.
    """
    with path.open("rb") as start:
        if start.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise SourceError(f"the list {path} is UTF-16: save it as UTF-8")
    # Bytes that are not UTF-8 may be a file's true name, and go to the file system as they are.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        # Strict: a quote that is never closed would swallow all rows after it.
        reader = csv.reader(file, strict=True)
        try:
            yield from _rows((line for line in reader if line), path)
        except csv.Error as error:
            raise SourceError(
                f"the list {path} is not a readable CSV ({error}, line {reader.line_num}): repair it"
            ) from error


def _rows(lines: Iterator[list[str]], path: Path) -> Iterator[tuple[str, str]]:
    first = next(lines, [PATH])
    columns = [name.strip() for name in first]
    only = len(columns) == 1
    if only and _names_an_image(first[0], path.parent):
        columns, lines = [PATH], chain([first], lines)
    elif only and not HEADER.fullmatch(columns[0]):
        log.warning(
            "the first line of %s, %r, is taken for a header: write 'path' above it if it is an image", path, first[0]
        )
    at = _column(columns, path)
    patient_at = columns.index(PATIENT) if PATIENT in columns and not only else None
    for line in lines:
        name = _exact_path(",".join(line) if only else _field(line, at), path.parent)
        yield name, "" if patient_at is None else spreadsheet_exact(_field(line, patient_at).strip())


def _names_an_image(text: str, folder: Path) -> bool:
    """Tell whether the first line of a single column is an image's path, or empty, rather than a header."""
    name = text.strip()
    if not name or is_image_name(name) or is_other_image_name(name):
        return True
    if ("/" in name or "\\" in name) and not any(mark in name for mark in OTHER_SEPARATORS):
        return True
    return os.path.isfile(os.path.join(folder, _exact_path(text, folder)))


def _exact_path(text: str, folder: Path) -> str:
    """Return a path without the apostrophe that this project's CSV files put before what looks like a formula."""
    exact = spreadsheet_exact(text)
    return text if exact == text or os.path.lexists(os.path.join(folder, text)) else exact


def _column(columns: list[str], path: Path) -> int:
    """Return the index of the column of paths."""
    if columns.count(PATH) == 1:
        return columns.index(PATH)
    hint = next(
        (f"; it seems to be separated by {mark!r}: use commas" for mark in OTHER_SEPARATORS if mark in columns[0]), ""
    )
    if len(columns) == 1 and not hint:
        return 0
    raise SourceError(
        f"the list {path} needs one column {PATH!r}, or a single column; it has {', '.join(map(repr, columns))}{hint}"
    )


def _field(line: list[str], at: int) -> str:
    return line[at] if at < len(line) else ""


def parquet_rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield path and patient ("" = unknown) of a parquet file's rows.

    Raises:
        SourceError: it is no readable parquet file, or has no column of paths.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            columns = [name for name in table.schema_arrow.names if not re.fullmatch(r"__index_level_\d+__", name)]
            if not columns:
                raise SourceError(f"the list {path} has no column: it needs one called {PATH!r}")
            at = columns[_column(columns, path)]
            wanted = [at, *([PATIENT] if PATIENT in columns and at != PATIENT else [])]
            for batch in table.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted):
                # By name: the file may have its columns in another order.
                values = (batch.column(name).to_pylist() for name in (wanted[0], wanted[-1]))
                for name, patient in zip(*values, strict=True):
                    yield _text(name), _text(patient).strip() if len(wanted) > 1 else ""
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"the list {path} is not a readable parquet file ({error}): write it again") from error


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN, which pandas may write for a missing one
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas turns integers into floats where one is missing: patient 7 is not 7.0
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
