"""What was found in each image, part by part on disk, and what it adds up to: never all rows in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet as arrow_parquet

from malaria_kedro.cells.names import PARASITIZED, UNINFECTED
from malaria_kedro.files import write_file

REFUSED = ""  # the call of a cell that was not called

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("patient_id", pa.string()),
        pa.field("p_parasitized", pa.float32()),
        pa.field("call", pa.string(), nullable=False),
        pa.field("flags", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
    ]
)

PARTS = "part-*.parquet"


class ResultsError(ValueError):
    """Parts of the results are missing or damaged; the message names them and says what to do."""


@dataclass(frozen=True)
class Counts:
    """What the images came to.

    Attributes:
        cells: images in all.
        called: images with a call.
        refused: images without one.
        parasitized: called so.
        uninfected: called so.
        flags: images of each flag; an image may have several.
    """

    cells: int
    called: int
    refused: int
    parasitized: int
    uninfected: int
    flags: dict[str, int]


def part_name(first_row: int) -> str:
    """Return the file name of the part that begins with this row."""
    return f"part-{first_row:09d}.parquet"


def write_part(folder: Path, first_row: int, rows: pa.Table) -> None:
    """Write the rows from ``first_row`` on, whole or not at all."""
    write_file(folder / part_name(first_row), lambda beside: arrow_parquet.write_table(rows, beside))


def whole_rows(folder: Path) -> int:
    """Count the rows that whole parts hold from row 0 on without a gap, and remove what lies behind them.

    A part that is damaged, or behind a damaged or missing one, will be made again.
    """
    rows = 0
    found = {path.name: path for path in folder.glob(PARTS)}
    while (part := found.get(part_name(rows))) is not None and (held := _rows_in(part)):
        del found[part.name]
        rows += held
    for leftover in found.values():
        leftover.unlink()
    return rows


def _rows_in(part: Path) -> int:
    try:
        with arrow_parquet.ParquetFile(part) as file:
            return file.metadata.num_rows if file.schema_arrow.equals(SCHEMA) else 0
    except (pa.ArrowException, OSError):
        return 0


@dataclass(frozen=True)
class Results:
    """One row an image, in the order of the source, in parts.

    The columns: ``path`` (as the source names it, see :func:`malaria_kedro.inference.sources.open_images`; bytes that
    are not UTF-8 as ``\\xff``), ``patient_id`` (null = unknown), ``p_parasitized`` (float32, 0-1, null = not called),
    ``call`` ("Parasitized", "Uninfected", or "" = refused), ``flags`` (";" between), ``reason``, ``width`` and
    ``height`` (int32, px, of the original image, null = unreadable).

    Attributes:
        folder: holds the parts.
        n: rows in all.
    """

    folder: Path
    n: int

    def __len__(self) -> int:
        return self.n

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows as Arrow tables, one a part, in order.

        Raises:
            ResultsError: a part is missing or damaged.
        """
        row = 0
        while row < self.n:
            part = self.folder / part_name(row)
            try:
                with arrow_parquet.ParquetFile(part) as file:
                    table = file.read()
            except (pa.ArrowException, OSError) as error:
                raise ResultsError(
                    f"{part} is missing or damaged ({error}): predict again, which makes it anew"
                ) from error
            if not table.num_rows:
                raise ResultsError(f"{part} is empty: remove it and predict again, which makes it anew")
            yield table
            row += table.num_rows

    def frames(self) -> Iterator[pd.DataFrame]:
        """Yield the rows as pandas frames, one a part, in order; ``width`` and ``height`` are nullable Int32."""
        for table in self.tables():
            yield table.to_pandas(types_mapper={pa.int32(): pd.Int32Dtype()}.get)

    def write(self, parquet: Path, csv: Path) -> None:
        """Merge the parts into one parquet file and one CSV, part by part; each appears whole or not at all.

        In the CSV a null is nothing between commas, and text stands in quotes.
        """
        write_file(parquet, lambda beside: self._merge(arrow_parquet.ParquetWriter(beside, SCHEMA)))
        write_file(csv, lambda beside: self._merge(arrow_csv.CSVWriter(beside, SCHEMA)))

    def _merge(self, writer: arrow_parquet.ParquetWriter | arrow_csv.CSVWriter) -> None:
        with writer:
            for table in self.tables():
                writer.write_table(table)

    def counts(self) -> Counts:
        """Count calls, refusals and flags."""
        calls: Counter[str] = Counter()
        flags: Counter[str] = Counter()
        for table in self.tables():
            calls.update(table["call"].to_pylist())
            flags.update(flag for found in table["flags"].to_pylist() if found for flag in found.split(";"))
        called = calls[PARASITIZED] + calls[UNINFECTED]
        return Counts(
            cells=calls.total(),
            called=called,
            refused=calls[REFUSED],
            parasitized=calls[PARASITIZED],
            uninfected=calls[UNINFECTED],
            flags=dict(sorted(flags.items())),
        )


@dataclass(frozen=True)
class SavedResults:
    """The rows of a finished run in one parquet file, as :meth:`Results.write` writes it; read as a stream."""

    path: Path

    def __len__(self) -> int:
        with arrow_parquet.ParquetFile(self.path) as file:
            return file.metadata.num_rows

    def frames(self) -> Iterator[pd.DataFrame]:
        """Yield the rows as pandas frames, in order; at least one, which may be empty."""
        with arrow_parquet.ParquetFile(self.path) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number).to_pandas(types_mapper={pa.int32(): pd.Int32Dtype()}.get)
            if not file.num_row_groups:
                yield SCHEMA.empty_table().to_pandas()


def patient_summary(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Sum up the cells of each patient; only the sums are held.

    Args:
        frames: rows as `Results.frames` yields them.

    Returns:
        One row a patient, sorted, the cells of unknown patients last (``patient_id`` missing). Columns ``patient_id``,
        ``cells``, ``called``, ``refused``, ``parasitized`` (counts, int64) and ``apparent_parasitaemia`` (parasitized /
        called, 0-1; NaN where none was called). It is apparent because cells were chosen and called by a program: no
        share of a patient's blood.
    """
    sums: dict[str | None, np.ndarray] = {}
    for frame in frames:
        call = frame["call"].to_numpy()
        ones = pd.DataFrame({"cells": 1, "called": call != REFUSED, "parasitized": call == PARASITIZED})
        for patient, found in ones.groupby(frame["patient_id"].to_numpy(), dropna=False).sum().iterrows():
            key = None if pd.isna(patient) else str(patient)
            sums[key] = sums.get(key, 0) + found.to_numpy(dtype="int64")
    patients = sorted(sums, key=lambda patient: (patient is None, patient or ""))
    cells, called, parasitized = np.array([sums[patient] for patient in patients], dtype="int64").reshape(-1, 3).T
    return pd.DataFrame(
        {
            "patient_id": pd.Series(patients, dtype="str"),
            "cells": cells,
            "called": called,
            "refused": cells - called,
            "parasitized": parasitized,
            "apparent_parasitaemia": np.divide(parasitized, called, where=called > 0, out=np.full(len(cells), np.nan)),
        }
    )
