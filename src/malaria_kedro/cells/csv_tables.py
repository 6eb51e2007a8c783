"""CSV tables for people: a spreadsheet runs no formula from them, and every value is read back unchanged."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.names import spreadsheet_exact, spreadsheet_safe

# How a column's type is called, as pandas calls it, and what it is in the file.
TYPES = {"str": pa.string(), "int64": pa.int64(), "Int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
_SMALLEST_BLOCK, _LARGEST_BLOCK = 1 << 20, 1 << 30  # bytes: Arrow parses block by block, and a row must fit into one


class CsvTableError(MalariaKedroError, ValueError):
    """A table cannot be written to or read from a CSV; the message says why and what to do."""


def write_csv(table: pd.DataFrame, path: Path, types: Mapping[str, str] | None = None) -> None:
    """Write a table with a header, UTF-8, a comma between values.

    Text stands in quotes, with an apostrophe before what a spreadsheet would run as a formula. A missing value is
    nothing between two commas, which no text is: the empty text is ``""``.

    Args:
        table: columns of text, numbers or truth values; its index is not written.
        path: the file.
        types: as in ``read_csv``; None: whatever the columns are.

    Raises:
        CsvTableError: two columns of one name, or a column that is not of its declared type or of none of ``TYPES``.
    """
    names = _told_apart([str(name) for name in table.columns], path)
    arrays = []
    for name, (_, column) in zip(names, table.items(), strict=True):
        try:
            arrays.append(_to_arrow(column, None if types is None else types.get(name, "str")))
        except (pa.ArrowException, UnicodeEncodeError) as error:
            raise CsvTableError(
                f"{path.name}: column {name!r} cannot be written: {error}. Text needs no type; declare numbers and "
                "truth values in the catalog entry's columns"
            ) from error
    arrow_csv.write_csv(pa.table(arrays, names=[spreadsheet_safe(name) for name in names]), path)


def read_csv(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    """Read a table as ``write_csv`` writes it, or as a spreadsheet saves it again with commas.

    Nothing is guessed: ``001``, ``NA``, ``null`` and ``1e5`` are text in every column that is not declared otherwise,
    and only nothing between two commas is missing.

    Args:
        path: the file.
        types: column → one of ``TYPES``. A column that is not named is text; a named one may be absent.

    Raises:
        CsvTableError: the file is no such CSV, or a value is not of its column's declared type.
    """
    names = _told_apart([spreadsheet_exact(name) for name in _header(path)], path)
    if types and not set(types) & set(names):
        raise CsvTableError(
            f"{path} has the columns {names}, none of {list(types)}; save it as CSV with commas and with its header"
        )
    if _was_cut_off(path):
        raise CsvTableError(f"{path} ends inside a line: it was cut off, or a quote is missing; make it again")
    block = min(max(path.stat().st_size, _SMALLEST_BLOCK), _LARGEST_BLOCK)
    reading = arrow_csv.ReadOptions(column_names=names, skip_rows_after_names=1, block_size=block, use_threads=False)
    # A missing value of a single column is an empty line.
    parsing = arrow_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(names) > 1)
    converting = arrow_csv.ConvertOptions(
        column_types={name: TYPES[types.get(name, "str")] for name in names},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    try:
        table = arrow_csv.read_csv(path, reading, parsing, converting)
    except pa.ArrowException as error:
        raise CsvTableError(f"{path} cannot be read ({error}); mend the file, or make it again") from error
    columns = {}
    for name in names:
        column, type_ = table[name], types.get(name, "str")
        if type_ == "str":
            texts = [None if text is None else spreadsheet_exact(text) for text in column.to_pylist()]
            columns[name] = pd.Series(texts, dtype="str")
        elif type_ in ("int64", "bool") and column.null_count:
            raise CsvTableError(f"{path}: {column.null_count} rows have nothing in column {name!r}; fill them in")
        else:
            columns[name] = pd.Series(column.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get), dtype=type_)
    return pd.DataFrame(columns, columns=names)


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            names = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise CsvTableError(f"{path} is no CSV in UTF-8 ({error}); save it as UTF-8 with commas") from error
    if not names:
        raise CsvTableError(f"{path} has no header; make it again")
    return names


def _was_cut_off(path: Path) -> bool:
    """Tell whether a table ends in the middle: half a number is a number, and an open quote is read to the end.

    The quotes are odd in number (one inside text is written twice), or the last line does not end, where the header is
    in quotes, as Arrow writes both and a spreadsheet neither.
    """
    quotes, last = 0, b""
    with path.open("rb") as file:
        as_written = file.read(1) == b'"'
        file.seek(0)
        for block in iter(lambda: file.read(_SMALLEST_BLOCK), b""):
            quotes, last = quotes + block.count(b'"'), block[-1:]
    return quotes % 2 == 1 or (as_written and last != b"\n")


def _told_apart(names: list[str], path: Path) -> list[str]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CsvTableError(f"{path.name}: two columns are called {twice[0]!r}; give each a name of its own")
    return names


def _to_arrow(column: pd.Series, declared: str | None) -> pa.Array:
    """Return a column as it is written; ``ArrowException`` or ``UnicodeEncodeError``: it cannot be."""
    array = pa.array(column, from_pandas=True)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        return array.cast(TYPES[declared or "str"])
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        if declared not in (None, "str"):
            raise pa.ArrowTypeError(f"it holds text and is declared {declared}")
        return pa.array([None if text is None else spreadsheet_safe(text) for text in array.to_pylist()], pa.string())
    if declared is None:
        if not pa.types.is_primitive(array.type):
            raise pa.ArrowTypeError(f"it holds {array.type}")
        return array
    of_its_kind = pa.types.is_boolean(array.type) == (declared == "bool") and pa.types.is_primitive(array.type)
    if declared == "str" or not of_its_kind:
        raise pa.ArrowTypeError(f"it holds {array.type} and is declared {declared}")
    if declared in ("int64", "bool") and array.null_count:
        raise pa.ArrowTypeError(f"{array.null_count} of its values are missing, and it is declared {declared}")
    return array.cast(TYPES[declared])
