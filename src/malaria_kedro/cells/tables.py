"""Tables that a user gives: which class, or which patient, the image of a file is of."""

from __future__ import annotations

import csv
import glob
import io
import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import pandas as pd
from pyarrow.parquet import read_schema

from malaria_kedro.cells.archive import relative_below
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import sha256_of
from malaria_kedro.language import N_
from malaria_kedro.names import patient_of, printable, spreadsheet_exact
from malaria_kedro.parameters import Source

log = logging.getLogger(__name__)

# What people call the columns, the best name first: a table may have several of them.
COLUMNS = {
    "file": (
        *("file", "filename", "file_name", "path", "filepath", "file_path"),
        *("image", "image_path", "image_name", "name", "cell_id", "cell"),
    ),
    "label": ("label", "class"),
    "patient": ("patient", "patient_id"),
}
# A line of the NIH's mapping: a patient's id, then the names of its cells as Python writes a list.
_NIH = re.compile(r"\s*([^,\"]+),\s*\"?\[(.*)")


class TableError(MalariaKedroError, ValueError):
    """A table of labels or patients cannot be used; the message names the parameter, the file and what to do."""


class Row(NamedTuple):
    """A row of a table; what it does not say is empty."""

    file: str
    label: str = ""
    patient: str = ""


@dataclass(frozen=True)
class GivenTable:
    """All rows of the tables that a parameter names.

    Attributes:
        parameter: its name, ``source.labels`` or ``source.patients``.
        name: what messages and reports call the tables.
        sha256: of each file.
        rows: of all files.
        columns: what the columns are called in the files, by what they are; none in the NIH's lists.
    """

    parameter: str
    name: str
    sha256: list[str]
    rows: list[Row] = field(repr=False)
    columns: dict[str, str] = field(default_factory=dict)

    def tell(self, notes: dict[str, int]) -> None:
        """Log which columns were read, and what was counted."""
        read = ", ".join(f"{what} is {name!r}" for what, name in self.columns.items())
        counts = "; ".join(f"{what}: {n}" for what, n in notes.items())
        log.info("%s: %s%s", self.parameter, counts, f" ({read})" if read else "")

    @property
    def has_patients(self) -> bool:
        """Whether any row names a patient."""
        return any(row.patient for row in self.rows)


@dataclass(frozen=True)
class TableUse:
    """How a table fits the images: ``rows`` in all, ``unmatched`` without an image, ``repeated`` for one twice."""

    name: str
    rows: int
    unmatched: int
    repeated: int
    example: str = ""  # a file that is not there

    def notes(self) -> dict[str, int]:
        """Return what was counted, as a report lists it."""
        counts = {
            N_("rows in {table}").format(table=self.name): self.rows,
            N_("rows in {table} without an image").format(table=self.name): self.unmatched,
            N_("rows in {table} for an image that another row is for").format(table=self.name): self.repeated,
        }
        return {what: n for what, n in counts.items() if n}


def read_tables(parameter: str, given: str | Sequence[str], needed: str, patient_pattern: str) -> GivenTable:
    """Read the tables that a parameter names: CSV (with commas, semicolons or tabs), parquet or Excel.

    Columns are ``file``, ``label`` and ``patient``, or called as ``COLUMNS`` has them. The NIH's own lists of patients
    are read as they are; their ids name a patient and a slide (``C47P8thin_Original_Motic``), of which
    ``patient_pattern`` finds the patient, as it does in file names.

    Args:
        parameter: for messages, as ``source.labels``.
        given: a path, a pattern such as ``mapping_*.csv``, or several.
        needed: the column that must be there beside ``file``.
        patient_pattern: regular expression whose first group is the patient.

    Raises:
        TableError: a file is missing, unreadable or empty, or lacks a column.
    """
    given = [given] if isinstance(given, str) else given
    paths = list(chain.from_iterable(_find(parameter, one) for one in given))
    rows: list[Row] = []
    columns: dict[str, str] = {}
    for path in paths:
        try:
            read, named = _read(path, needed, patient_pattern)
        except Exception as error:  # whatever pandas, Arrow and openpyxl raise for a damaged file
            raise TableError(
                f"{parameter}: {path} cannot be read ({' '.join(str(error).split())}); a table is CSV in "
                f"UTF-8, parquet or Excel, with the columns file and {needed}"
            ) from error
        if not read:
            raise TableError(f"{parameter}: {path} has no rows; give a table with the columns file and {needed}")
        rows += read
        columns |= named
    name = printable(" and ".join(Path(one).name for one in given)) if len(given) < 3 else f"{len(given)} tables"
    return GivenTable(parameter, name, [sha256_of(path) for path in paths], rows, columns)


def match_rows(
    table: GivenTable, paths: Iterable[str], same: Callable[[str, str], bool] = lambda _one, _other: False
) -> tuple[dict[str, list[Row]], list[str], TableUse]:
    """Find the image of each row.

    A row's file is the path of an image, or the end of one (``x.png`` of ``a/x.png``), or has folders before it
    (``/home/me/cells/a/x.png``); its name may lack the ending, as a ``cell_id`` does.

    Args:
        table: the rows.
        paths: of the images below the source, with forward slashes.
        same: checks whether two images have the same content.

    Returns:
        Path → its rows; second copies of images that have rows; and how the table fits.

    Raises:
        TableError: a row may be of two different images.
    """
    known: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
    for path in paths:
        parts = _parts(path)
        known[parts[-1]].append((parts, path))
        known["\0" + os.path.splitext(parts[-1])[0]].append((parts, path))  # no name has a NUL

    def images_of(file: str) -> list[str]:
        parts = _parts(file)
        found = known.get(parts[-1]) or known.get("\0" + parts[-1]) or [] if parts else []
        fitting = [(its, path) for its, path in found if _end_alike(its[:-1], parts[:-1])]
        exact = [path for its, path in fitting if its[:-1] == parts[:-1]]
        return exact or [path for _, path in fitting]

    of_image: dict[str, list[Row]] = defaultdict(list)
    copies: dict[str, None] = {}
    unmatched: list[str] = []
    for row in table.rows:
        images = images_of(row.file) or (images_of(row.file.replace("\\", "/")) if "\\" in row.file else [])
        if not images:
            unmatched.append(row.file)
            continue
        first, *others = sorted(images, key=lambda path: (path.count("/"), path))
        if different := next((path for path in others if not same(first, path)), None):
            raise TableError(
                f"{table.parameter}: {row.file!r} in {table.name} may be {first} or {different}; write the paths below "
                "the source"
            )
        copies |= dict.fromkeys(others)
        of_image[first].append(row)
    repeated = sum(len(rows) - 1 for rows in of_image.values())
    example = next(iter(unmatched), "")
    return (
        of_image,
        [path for path in copies if path not in of_image],
        TableUse(table.name, len(table.rows), len(unmatched), repeated, example),
    )


def attribute_patients(
    table: GivenTable, paths: Sequence[str], named: Sequence[str | None], max_missing_pct: float
) -> tuple[list[str | None], dict[str, int]]:
    """Return each cell's patient as a table has it, and what was counted.

    The file name's patient is no substitute: a person under two names would be in training and in validation.

    Args:
        table: with patients.
        paths: of the cells.
        named: the patients by the file names; they are only compared.
        max_missing_pct: share of cells without a patient, in percent, above which the table is refused.

    Raises:
        TableError: too many cells without a patient, or a row that may be of two cells.
    """
    of_image, _, use = match_rows(table, paths)
    said = [{row.patient for row in of_image.get(path, ()) if row.patient} for path in paths]
    patients = [next(iter(names)) if len(names) == 1 else None for names in said]
    missing, several = patients.count(None), sum(len(names) > 1 for names in said)
    cells = pd.DataFrame({"path": paths, "named": named, "patient": patients}, dtype="str")
    both = cells.dropna()
    # Other names for the same people are no contradiction; other people are.
    pairs = both.drop_duplicates(["named", "patient"])
    torn = both[both["named"].isin(_twice(pairs["named"])) | both["patient"].isin(_twice(pairs["patient"]))]
    if 100 * missing > max_missing_pct * len(paths):
        first = cells.loc[cells["patient"].isna(), "path"].iloc[0]
        raise TableError(
            f"{table.parameter}: {table.name} names no patient for {missing} of the {len(paths)} cells (the first is "
            f"{first}), or two, more than source.max_ignored_pct ({max_missing_pct} %): complete it, or raise "
            "source.max_ignored_pct to continue with unknown patients"
        )
    if len(torn):
        first = torn.iloc[0]
        log.warning(
            "%d cells are of other patients in %s than by their file names (%s is %s in the table and %s by its name): "
            "the table counts",
            len(torn),
            table.name,
            *first[["path", "patient", "named"]],
        )
    counts = {
        f"cells whose patient is in {table.name}": len(paths) - missing,
        f"cells without one patient in {table.name}": missing,
        f"cells of several patients in {table.name}": several,
        f"cells of other patients in {table.name} than by their file names": len(torn),
    }
    notes = use.notes() if table.parameter == "source.patients" else {}  # of labels, the listing has said it
    notes |= {what: n for what, n in counts.items() if n}
    table.tell(notes)
    return patients, notes


def read_labels(source: Source) -> GivenTable | None:
    """Return the table of labels that is asked for; raises as `read_tables` does."""
    if source.labels is None:
        return None
    return read_tables("source.labels", source.labels, "label", source.patient_pattern)


def read_patients(source: Source) -> GivenTable | None:
    """Return the table of patients that is asked for, which may be that of labels; None = file names tell.

    Raises:
        TableError: two tables name patients, or as `read_tables` does.
    """
    labels = read_labels(source)
    if labels is None or not labels.has_patients:
        labels = None
    if source.patients is None:
        return labels
    if labels is not None:
        raise TableError(
            f"source.labels: {labels.name} has a column of patients, and source.patients is given too: leave one out"
        )
    return read_tables("source.patients", source.patients, "patient", source.patient_pattern)


def identify(source: Source) -> dict[str, Any]:
    """Return what tells a cell index from one that was made with other parameters or tables, as JSON has it.

    Of the places that cells may come from only the one that is used is there, and a place in the working folder as it
    is called from there: a project may be moved. What only bounds or checks something, and changes no cell, is left
    out.
    """
    told = source.model_dump(mode="json", include={"class_names", "patient_pattern", "limit"})
    told |= dict.fromkeys(("path", "phantoms", "sha256"))
    if source.path:
        told["path"] = relative_below(Path(source.path), Path.cwd()).as_posix()
    elif source.phantoms:
        told["phantoms"] = source.phantoms.model_dump(mode="json")
    else:
        told["sha256"] = source.sha256
    for key in ("labels", "patients", "exclude"):
        given = getattr(source, key)
        names = [given] if isinstance(given, str) else given or []
        told[key] = [sha256_of(path) for name in names for path in _find(f"source.{key}", name)]
    return told


def refuse_other_source(index: pd.DataFrame, source: Source) -> None:
    """Raise TableError for an index that was made with other parameters or tables; an earlier version's tells none."""
    now = identify(source)
    made_with = index.attrs.get("source", now)
    if changed := [key for key, value in now.items() if made_with.get(key, value) != value]:
        raise TableError(
            f"cell_index was made with another source.{changed[0]} than now, or its file has changed: run the "
            "data_engineering pipeline from its start"
        )


def _find(parameter: str, given: str) -> list[Path]:
    found = [given] if os.path.lexists(given) else sorted(glob.glob(given))
    if not found:
        raise TableError(f"{parameter}: {given} does not exist; give a CSV, parquet or Excel table")
    for one in found:
        if not os.path.isfile(one):
            raise TableError(f"{parameter}: {one} is no plain file; give a CSV, parquet or Excel table")
    return [Path(one) for one in found]


def _read(path: Path, needed: str, patient_pattern: str) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of a file, and the names of the columns that they are from."""
    ending = path.suffix.lower()
    if ending in (".parquet", ".pq"):
        names = read_schema(path).names
        at = _columns_of(names, needed)
        # Others may hold whole images.
        table = pd.read_parquet(path, columns=list(at))
    elif ending in (".xlsx", ".xlsm"):
        if find_spec("openpyxl") is None:
            raise ValueError("it needs openpyxl, which is not installed: pip install openpyxl, or save it as CSV")
        table = pd.read_excel(path, dtype=object, keep_default_na=False)
        at = _columns_of(list(table.columns), needed)
    else:
        text = path.read_text(encoding="utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip()]
        if lines and all(map(_NIH.match, lines)):
            if needed != "patient":
                raise ValueError("it is a list of patients and has no labels: give it as source.patients")
            return _nih_rows(lines, patient_pattern), {}
        separator = max(",;\t", key=lines[0].count) if lines else ","
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header, *values = [row for row in reader if any(map(str.strip, row))] or [[]]
        at = _columns_of(header, needed)
        if ragged := next((row for row in values if len(row) != len(header)), None):
            raise ValueError(f"the row of {ragged[0]!r} has {len(ragged)} values, and the header has {len(header)}")
        table = pd.DataFrame(values, columns=header, dtype=object)
    texts = {what: map(_text, table[name]) for name, what in at.items()}
    nothing = [""] * len(table)
    rows = map(Row, *(texts.get(what, nothing) for what in COLUMNS))
    # 1.0: as a whole number is kept beside missing ones
    return [row._replace(label=re.sub(r"^(\d+)\.0$", r"\1", row.label)) for row in rows], {
        what: str(name) for name, what in at.items()
    }


def _columns_of(names: Sequence[Any], needed: str) -> dict[Any, str]:
    """Return which column is the file, the label and the patient: its name as it is → one of ``COLUMNS``."""
    titles = [str(name).strip().casefold() for name in names]
    at = {}
    for what, known in COLUMNS.items():
        if (title := next((name for name in known if name in titles), None)) is None:
            if what in ("file", needed):
                shown = ", ".join(map(repr, names[:8])) + (", …" if len(names) > 8 else "")
                raise ValueError(f"it has the columns {shown or 'none'}, and none called {what}")
        elif titles.count(title) > 1:
            raise ValueError(f"it has {titles.count(title)} columns called {title!r}")
        else:
            at[names[titles.index(title)]] = what
    return at


def _nih_rows(lines: list[str], patient_pattern: str) -> list[Row]:
    rows = []
    for line in lines:
        name, cells = _NIH.match(line).groups()  # type: ignore[union-attr] # all lines match
        patient = patient_of(name.strip(), patient_pattern) or name.strip()
        rows += [Row(file, patient=patient) for file in re.findall(r"'([^']+)'", cells)]
    return rows


def _text(value: Any) -> str:
    """Return a value of a table as text: 12.0, as tables keep a whole number beside missing ones, is 12."""
    if isinstance(value, dict):  # an image as Hugging Face keeps it
        value = value.get("path")
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return normalize("NFC", spreadsheet_exact(str(value).strip()))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in normalize("NFC", path).split("/") if part not in ("", "."))


def _end_alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    n = min(len(one), len(other))
    return one[len(one) - n :] == other[len(other) - n :]


def _twice(values: pd.Series) -> pd.Series:
    return values[values.duplicated()]
