"""Predictions in parts on disk, and their totals; the rows are never all in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet as arrow_parquet

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import write_file
from malaria_kedro.inference.repeats import Repeats
from malaria_kedro.names import PARASITIZED, UNINFECTED, natural_order, spreadsheet_safe

REFUSED = ""  # the call of an image that is not called

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("patient_id", pa.string()),
        pa.field("p_parasitized", pa.float32()),
        pa.field("call", pa.string(), nullable=False),
        pa.field("quality", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("label", pa.string()),
    ]
)

# What parts hold besides: a hash of each image that could be decoded.
PART_SCHEMA = SCHEMA.append(pa.field("content", pa.binary()))
PARTS = "part-*.parquet"
# In a part's metadata: rows that failed for a reason of the machine. In a table's: how its images were read.
READ_AGAIN, ABOUT = b"malaria_kedro.read_again", b"malaria_kedro.about"
# Columns whose text comes from file names and messages, and so from other people.
FOREIGN_TEXT = ("path", "patient_id", "reason")


class ResultsError(MalariaKedroError, ValueError):
    """Parts of the results are missing or damaged; the message names them and says what to do."""


@dataclass(frozen=True)
class ReadingRequest:
    """How images were read."""

    images: str  # absolute path of the source; of several, those of the first, and how many there are
    fingerprint: str  # of the source, see ``malaria_kedro.inference.sources.open_images``
    patient_pattern: str | None  # regular expression for the patient in a file's name; None = names tell none
    classifier: str  # its folder
    classifier_id: str  # what identifies all that was computed with, see ``CellPredictor.id``
    backend: str  # and its precision
    threshold: float  # from which p on a cell was called parasitized
    gate: str  # ``refuse``, ``flag``, ``off`` or ``none``, see ``CellPredictor.gate_mode``
    bit_depth: int | None  # of 16-bit images; None = unknown, and they were refused
    labels: list[str] = field(default_factory=list)  # how labels were read, and what was assumed; empty = there is none
    repeats: list[str] = field(default_factory=list)  # what is there more than once; empty = nothing is


@dataclass(frozen=True)
class Counts:
    """Numbers of images."""

    cells: int
    called: int
    refused: int
    parasitized: int
    uninfected: int
    quality: dict[str, int]  # per flag; an image may have several
    unreadable: int  # without a probability; all of them are refused
    flagged: int  # called images that have a flag, of the quality gate or for information


def part_name(first_row: int) -> str:
    """Return the file name of the part that begins with this row."""
    return f"part-{first_row:09d}.parquet"


def write_part(folder: Path, first_row: int, rows: pa.Table, read_again: Sequence[int] = ()) -> None:
    """Write the rows from ``first_row`` on, whole or not at all; ``read_again`` failed for a reason of the machine."""
    kept = rows.replace_schema_metadata({READ_AGAIN: json.dumps(read_again)} if read_again else None)
    write_file(folder / part_name(first_row), lambda beside: arrow_parquet.write_table(kept, beside))


def read_part(folder: Path, first_row: int) -> pa.Table:
    """Read the rows of a part.

    Raises:
        ResultsError: it is missing or damaged.
    """
    part = folder / part_name(first_row)
    try:
        with arrow_parquet.ParquetFile(part) as file:
            rows = file.read().replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        raise ResultsError(f"{part} is missing or damaged ({error}): predict again, which writes it anew") from error
    if not rows.num_rows:
        raise ResultsError(f"{part} is empty: remove it and predict again, which writes it anew")
    return rows


def rows_to_read_again(folder: Path, rows: int) -> Iterator[tuple[int, list[int]]]:
    """Yield the first row of each part that has rows which failed for a reason of the machine, and which ones (from 0).

    ``rows`` is how many there are, as ``whole_rows`` counts them.
    """
    first = 0
    while first < rows:
        with arrow_parquet.ParquetFile(folder / part_name(first)) as file:
            held, metadata = file.metadata.num_rows, file.schema_arrow.metadata or {}
        if READ_AGAIN in metadata:
            yield first, json.loads(metadata[READ_AGAIN])
        first += held


def whole_rows(folder: Path) -> int:
    """Count the rows that whole parts hold from row 0 on without a gap, and remove what comes after.

    A part that is damaged, or behind a damaged or missing one, is read again.
    """
    rows = 0
    leftovers = set(folder.glob(PARTS))
    while held := _rows_in(part := folder / part_name(rows)):
        leftovers.discard(part)
        rows += held
    for leftover in leftovers:
        leftover.unlink()
    return rows


def _rows_in(part: Path) -> int:
    try:
        with arrow_parquet.ParquetFile(part) as file:
            return file.metadata.num_rows if file.schema_arrow.equals(PART_SCHEMA) else 0
    except (pa.ArrowException, OSError):
        return 0


@dataclass(frozen=True)
class Results:
    """One row per image, in the order of the source, in parts.

    The columns: ``path`` (as the source names it, see ``malaria_kedro.inference.sources.open_images``; bytes that
    are not UTF-8 as ``\\xff``), ``patient_id`` (null = unknown), ``p_parasitized`` (float32, 0-1, null = unreadable),
    ``call`` ("Parasitized", "Uninfected", or "" = refused), ``quality`` (flags, ";" between), ``reason``, ``width`` and
    ``height`` (int32, px, of the original image, null = unreadable), ``label`` ("Parasitized" or "Uninfected" where the
    source tells, null = unknown; no call depends on it). A cell that the quality gate refuses keeps its
    ``p_parasitized``.
    """

    folder: Path  # holds the parts
    n: int  # rows in all
    about: ReadingRequest | None = None  # how the images were read; kept in the table. None = unknown

    def __len__(self) -> int:
        return self.n

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows as Arrow tables, one per part, in order.

        Raises:
            ResultsError: a part is missing or damaged.
        """
        row = 0
        while row < self.n:
            yield (table := read_part(self.folder, row)).select(SCHEMA.names)
            row += table.num_rows

    def count_equal(self) -> int:
        """Count the images that could be decoded and have the very content of an earlier one, under whatever names."""
        repeats, row = Repeats(self.folder), 0
        while row < self.n:
            contents = read_part(self.folder, row)["content"]
            for content in contents:
                repeats.add(content.as_py() or b"")
            row += len(contents)
        return repeats.find().count

    def frames(self) -> Iterator[pd.DataFrame]:
        """Yield the rows as pandas frames, one per part, in order; ``width`` and ``height`` are nullable Int32."""
        return map(_frame, self.tables())

    def write(self, parquet: Path, csv: Path) -> None:
        """Merge the parts into one parquet file and one CSV, part by part; each appears whole or not at all.

        In the CSV a null is an empty field, and text is quoted, with an apostrophe before what a spreadsheet would run
        as a formula (``malaria_kedro.names.spreadsheet_safe``).
        """
        schema = SCHEMA.with_metadata({ABOUT: json.dumps(asdict(self.about))} if self.about else None)
        write_file(parquet, lambda beside: _write(arrow_parquet.ParquetWriter(beside, schema), self.tables()))
        safe = map(_for_spreadsheets, self.tables())
        write_file(csv, lambda beside: _write(arrow_csv.CSVWriter(beside, SCHEMA), safe))


def _frame(rows: pa.Table) -> pd.DataFrame:
    return rows.to_pandas(types_mapper={pa.int32(): pd.Int32Dtype()}.get)


def _write(writer: arrow_parquet.ParquetWriter | arrow_csv.CSVWriter, tables: Iterable[pa.Table]) -> None:
    with writer:
        for table in tables:
            writer.write_table(table)


def _for_spreadsheets(table: pa.Table) -> pa.Table:
    for name in FOREIGN_TEXT:
        texts = [None if text is None else spreadsheet_safe(text) for text in table[name].to_pylist()]
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(texts, pa.string()))
    return table


@dataclass(frozen=True)
class SavedResults:
    """The rows of a finished run in one parquet file, as ``Results.write`` writes it; read as a stream."""

    path: Path

    def __len__(self) -> int:
        with arrow_parquet.ParquetFile(self.path) as file:
            return file.metadata.num_rows

    @property
    def about(self) -> ReadingRequest | None:
        """How the images were read; None in a table of an earlier version, which also had other columns."""
        with arrow_parquet.ParquetFile(self.path) as file:
            told = (file.schema_arrow.metadata or {}).get(ABOUT)
            return ReadingRequest(**json.loads(told)) if told and file.schema_arrow.equals(SCHEMA) else None

    def frames(self) -> Iterator[pd.DataFrame]:
        """Yield the rows as pandas frames, in order; at least one, which may be empty."""
        with arrow_parquet.ParquetFile(self.path) as file:
            for number in range(file.num_row_groups):
                yield _frame(file.read_row_group(number))
            if not file.num_row_groups:
                yield SCHEMA.empty_table().to_pandas()


def count_calls(frames: Iterable[pd.DataFrame]) -> Counts:
    """Count calls, refusals and flags in rows as ``Results.frames`` yields them."""
    calls: Counter[Any] = Counter()
    quality: Counter[str] = Counter()
    unreadable = flagged = 0
    for frame in frames:
        calls.update(frame["call"].value_counts().to_dict())
        unreadable += int(frame["p_parasitized"].isna().sum())
        noted = frame["quality"] != ""
        flagged += int(((frame["call"] != REFUSED) & noted).sum())
        quality.update(flag for flags in frame.loc[noted, "quality"] for flag in flags.split(";"))
    called = calls[PARASITIZED] + calls[UNINFECTED]
    return Counts(
        cells=calls.total(),
        called=called,
        refused=calls[REFUSED],
        parasitized=calls[PARASITIZED],
        uninfected=calls[UNINFECTED],
        quality=dict(sorted(quality.items())),
        unreadable=unreadable,
        flagged=flagged,
    )


def patient_summary(frames: Iterable[pd.DataFrame], threshold: float | None = None) -> pd.DataFrame:
    """Sum up the cells of each patient; only the sums are held.

    The quality gate refuses more parasitized than uninfected cells, so a parasitaemia without the refused cells is
    apparent in this sense, too; the bounds tell how much may hide there.

    Args:
        frames: rows as ``Results.frames`` yields them.
        threshold: at which the cells were called; None = unknown.

    Returns:
        One row per patient, C2 before C10, the cells of unknown patients last (``patient_id`` missing). Columns,
        counts in int64 and shares in float64, 0-1:

        - ``cells``, ``called``, ``refused`` (cells - called), ``parasitized`` (called parasitized);
        - ``unreadable``: refused cells without a probability;
        - ``refused_at_threshold``: refused cells whose p is at or above the threshold; only with a threshold;
        - ``apparent_parasitaemia``: parasitized / called, NaN where none was called. It is apparent because a
          program chose and called the cells: it is not a share of a patient's blood;
        - ``apparent_low``, ``apparent_high``: the same over all readable cells, with every refused one counted as
          uninfected, and as parasitized; NaN without such cells.
    """
    sums: dict[str | None, np.ndarray] = {}
    for frame in frames:
        call, p = frame["call"].to_numpy(), frame["p_parasitized"].to_numpy(dtype="float32")
        ones = pd.DataFrame(
            {
                "cells": 1,
                "called": call != REFUSED,
                "parasitized": call == PARASITIZED,
                "unreadable": np.isnan(p),
                "at_threshold": (call == REFUSED) & (p >= np.float32(np.nan if threshold is None else threshold)),
            }
        )
        found = ones.groupby(frame["patient_id"].to_numpy(), dropna=False).sum()
        # Arrays and not pandas' rows: each part may hold as many patients as rows.
        for patient, counted in zip(found.index, found.to_numpy(dtype="int64"), strict=True):
            key = None if pd.isna(patient) else str(patient)
            if (before := sums.get(key)) is None:
                sums[key] = counted.copy()  # a row of its own: a view would keep the whole part
            else:
                before += counted
    patients = sorted(sums, key=lambda patient: (patient is None, natural_order(patient or "")))
    counts = np.array([sums[patient] for patient in patients], dtype="int64").reshape(-1, 5).T
    cells, called, parasitized, unreadable, at_threshold = counts
    refused, readable = cells - called, cells - unreadable
    table = pd.DataFrame(
        {
            "patient_id": pd.Series(patients, dtype="str"),
            "cells": cells,
            "called": called,
            "refused": refused,
            "unreadable": unreadable,
            "parasitized": parasitized,
            "refused_at_threshold": at_threshold,
            "apparent_parasitaemia": _share(parasitized, called),
            "apparent_low": _share(parasitized, readable),
            "apparent_high": _share(parasitized + refused - unreadable, readable),
        }
    )
    return table if threshold is not None else table.drop(columns="refused_at_threshold")


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, where=whole > 0, out=np.full(len(whole), np.nan))
