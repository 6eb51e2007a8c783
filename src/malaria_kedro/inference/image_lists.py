"""Lists of images, CSV, Excel or parquet, read row by row."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from malaria_kedro.inference.contents import SourceError
from malaria_kedro.names import is_image_name, is_other_image_name, spreadsheet_exact

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

PATH, PATIENT, LABEL = "path", "patient_id", "label"
# In lower case: other names of the column of paths, if exactly one has such a name, and of that of patients.
PATH_WORDS = re.compile(r"(file|image|img)([ _]?(path|name))?")
PATIENT_WORDS, LABEL_WORDS = (PATIENT, "patient"), (LABEL, "class")
# What people call a single column of paths; the log says so when another first line counts as a header.
HEADER = re.compile(r"(path|(file|image)[ _]?(path|name)?|name|cell(_id)?|id)s?", re.IGNORECASE)
SEPARATORS = ",;\t|"  # of columns, the usual one first
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
ROWS_AT_ONCE = 8192  # of a parquet list


class Row(NamedTuple):
    """A row of a list; ``patient`` "" = unknown, ``label`` None = the list has no such column."""

    path: str
    patient: str = ""
    label: str | None = None


class Columns(NamedTuple):
    """Where a list has its path, its patient and its label; None = it has none."""

    path: int | None
    patient: int | None
    label: int | None

    @classmethod
    def among(cls, names: Sequence[str]) -> Columns:
        """Find them by their names, in any case."""
        lower = [name.strip().lower() for name in names]
        paths = [PATH] if PATH in lower else [name for name in lower if PATH_WORDS.fullmatch(name)]
        path = lower.index(paths[0]) if len(paths) == 1 and lower.count(paths[0]) == 1 else None
        patient = next((lower.index(word) for word in PATIENT_WORDS if word in lower), None)
        label = next((lower.index(word) for word in LABEL_WORDS if word in lower), None)
        return cls(path, patient, label)


def csv_rows(path: Path, folder: Path, called: str) -> Iterator[Row]:
    """Yield a CSV's rows; the separator is the first of comma, semicolon, tab and bar that gives a column of paths.

    Args:
        path: the file.
        folder: where relative paths start.
        called: what errors call the list.

    Raises:
        SourceError: it is no readable CSV, or has no column of paths.
    """
    with path.open("rb") as start:
        # Excel's "Unicode text". Elsewhere bytes that are not UTF-8 may be a file's true name, and go to the file
        # system as they are.
        utf_16 = start.read(2) in UTF_16
    how = ("utf-16", "strict") if utf_16 else ("utf-8-sig", "surrogateescape")
    with path.open(encoding=how[0], errors=how[1], newline="") as file:
        try:
            separator = _separator(file)
            # Strict: a quote that is never closed would swallow all rows after it.
            reader = csv.reader(file, strict=True, delimiter=separator)
            yield from _rows((line for line in reader if line), folder, called, separator)
        except (csv.Error, UnicodeError) as error:
            where = f"{error}, line {reader.line_num}" if isinstance(error, csv.Error) else error
            raise SourceError(f"the list {called} is not a readable CSV ({where}): repair it") from error


def _separator(file: IO[str]) -> str:
    """Return what separates the columns, and leave the file at its header."""
    at, line = 0, file.readline()
    if told := re.match(r"sep=(.)\r?\n?$", line):  # how Excel is told
        at, line = file.tell(), file.readline()
        file.seek(at)
        return told[1]
    file.seek(0)
    for separator in SEPARATORS:
        names = next(csv.reader(io.StringIO(line), delimiter=separator), [])
        if len(names) > 1 and Columns.among(names).path is not None:
            return separator
    return ","


def nul_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a list of bare paths with a NUL after each, as ``find -print0`` writes them."""
    rest = b""
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 16), b""):
            *names, rest = (rest + block).split(b"\0")
            yield from (Row(os.fsdecode(name)) for name in names)
    if rest:
        yield Row(os.fsdecode(rest))


def excel_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of the first sheet of an Excel workbook; see ``csv_rows``."""
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise SourceError(
            f"the list {path} is an Excel workbook, and openpyxl, which reads it, is not installed: pip install "
            "openpyxl, or save it as CSV"
        ) from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
        sheet, *others = book.worksheets
        lines = ([_text(value) for value in row] for row in sheet.iter_rows(values_only=True))
        if others:
            log.warning("of the workbook %s only the first sheet, %s, is read", path, sheet.title)
        yield from _rows((_without_empty_end(line) for line in lines if any(line)), path.parent, str(path))
        book.close()
    except (MemoryError, SourceError):
        raise
    except Exception as error:  # many kinds: of the zip, of its XML, of its cells
        raise SourceError(f"the list {path} is not a readable Excel workbook ({error}): save it as CSV") from error


def _without_empty_end(line: list[str]) -> list[str]:
    return line[: next(end for end in range(len(line), 0, -1) if line[end - 1])]


def _rows(lines: Iterator[list[str]], folder: Path, called: str, separator: str = ",") -> Iterator[Row]:
    first = next(lines, [PATH])
    columns = [name.strip() for name in first]
    only = len(columns) == 1
    if only and _names_an_image(first[0], folder):
        columns, lines = [PATH], chain([first], lines)
    elif only and not HEADER.fullmatch(columns[0]):
        log.warning(
            "the first line of %s, %r, is taken for a header: write 'path' above it if it is an image", called, first[0]
        )
    path, patient, label = _columns(columns, called)
    for line in lines:
        name = _exact_path(separator.join(line) if only else _field(line, path), folder)
        yield Row(
            name,
            "" if patient is None else spreadsheet_exact(_field(line, patient).strip()),
            None if label is None else _field(line, label),
        )


def _names_an_image(text: str, folder: Path) -> bool:
    """Tell whether the first line of a single column is an image's path, or empty, rather than a header."""
    name = text.strip()
    if not name or is_image_name(name) or is_other_image_name(name):
        return True
    if ("/" in name or "\\" in name) and not any(mark in name for mark in SEPARATORS):
        return True
    return os.path.isfile(os.path.join(folder, _exact_path(text, folder)))


def _exact_path(text: str, folder: Path) -> str:
    """Return a path without the apostrophe that this project's CSV files put before what looks like a formula."""
    exact = spreadsheet_exact(text)
    return text if exact == text or os.path.lexists(os.path.join(folder, text)) else exact


def _columns(names: list[str], called: object) -> tuple[int, int | None, int | None]:
    """Return the index of the columns of paths, patients and labels; a single column is one of paths."""
    path, patient, label = Columns.among(names)
    if path is not None:
        return path, patient, label
    if len(names) == 1 and not any(mark in names[0] for mark in SEPARATORS):
        return 0, None, None
    raise SourceError(
        f"the list {called} needs one column {PATH!r}, or a single column; its first line has "
        f"{', '.join(map(repr, names))}: write a header above it, such as path,patient_id,label"
    )


def _field(line: list[str], at: int) -> str:
    return line[at] if at < len(line) else ""


# --- parquet ----------------------------------------------------------------------------------------------------


@contextmanager
def readable_parquet(path: Path) -> Iterator[Any]:
    """Open a parquet file; ``SourceError``: it is no readable one, found now or while it is read."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # Buffered in advance, all columns of a list would be held until its last row is read.
        with parquet.ParquetFile(path, pre_buffer=False) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not a readable parquet file ({error}): write it again") from error


def column_names(schema: pa.Schema) -> list[str]:
    """Return the names of a parquet file's columns, without those in which pandas keeps an index."""
    return [name for name in schema.names if not re.fullmatch(r"__index_level_\d+__", name)]


def class_names(schema: pa.Schema) -> list[str]:
    """Return what the numbers of a column of labels stand for, where Hugging Face has noted it."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][LABEL]["names"]
        return [str(name) for name in noted]
    except (KeyError, TypeError, ValueError):
        return []


def parquet_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a parquet list.

    Raises:
        SourceError: it is no readable parquet file, or has no column of paths.
    """
    with readable_parquet(path) as table:
        names = column_names(table.schema_arrow)
        if not names:
            raise SourceError(f"the list {path} has no column: it needs one called {PATH!r}")
        at, patient, label = _columns(names, path)
        for batch in table.iter_batches(
            ROWS_AT_ONCE, columns=[names[i] for i in (at, patient, label) if i is not None]
        ):
            paths, patients, labels = (texts(batch, None if i is None else names[i]) for i in (at, patient, label))
            for row, name in enumerate(paths):
                yield Row(name, patients[row].strip() if patients else "", labels[row] if labels else None)


def texts(batch: pa.RecordBatch, name: str | None) -> list[str]:
    """Return a column of a batch as text, what is missing as ""; nothing where ``name`` is None."""
    # By name: the file may have its columns in another order.
    return [] if name is None else [_text(value) for value in batch.column(name).to_pylist()]


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN, which pandas may write for a missing one
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas turns integers into floats where one is missing: patient 7 is not 7.0
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
