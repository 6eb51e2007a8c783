"""A table as one CSV file whose columns have declared types: an id is text, whatever it looks like."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kedro.io import DatasetError, Version
from kedro_datasets._typing import TablePreview

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset, Metadata, StoredDataError
from malaria_kedro.files import write_file

if TYPE_CHECKING:
    import pandas as pd


class TableDataset(LocalVersionedDataset["pd.DataFrame", "pd.DataFrame"]):
    """A pandas table as a CSV for people and for the project itself; no type in it is guessed.

    Columns of numbers and truth values are declared; every other column is text, so that the patients ``001``, ``NA``
    and ``1e5`` stay what they are. How the file looks is told in ``malaria_kedro.cells.csv_tables``. The number of its
    rows stands in ``<name>.rows`` beside it: a CSV that is cut at the end of a line looks whole.

    Args:
        columns: column → ``int64``, ``Int64`` (may be missing), ``float64``, ``bool`` or ``str``; a named one may be
            absent. The others are as in ``LocalVersionedDataset``.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        columns: Mapping[str, str] | None = None,
        version: Version | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        if not isinstance(columns, Mapping | None):
            raise DatasetError(f"columns of {filepath} are {columns!r}: give a block of `column: type`")
        self._columns = dict(columns or {})
        known = ("str", "int64", "Int64", "float64", "bool")
        if wrong := {name: type_ for name, type_ in self._columns.items() if type_ not in known}:
            raise DatasetError(f"columns of {filepath} have unknown types {wrong}: use one of {', '.join(known)}")

    def load(self) -> pd.DataFrame:
        """Return the table; text is pandas' ``str``, with NaN where it is missing.

        Raises:
            StoredDataError: it has fewer rows, or more, than were written; one that came without their number passes.
        """
        from malaria_kedro.cells.csv_tables import read_csv

        path = self.load_path
        table = read_csv(path, self._columns)
        counted = _rows_beside(path)
        written = counted.read_text(encoding="utf-8", errors="replace").strip() if counted.exists() else str(len(table))
        if written != str(len(table)):
            raise StoredDataError(path, f"it has {len(table)} rows, and {counted.name} beside it says {written[:20]!r}")
        return table

    def save(self, data: pd.DataFrame) -> None:
        """Write the table, without its index, and then the number of its rows."""
        from malaria_kedro.cells.csv_tables import write_csv

        path = self.save_path
        counted = _rows_beside(path)

        def write(beside: Path) -> None:
            write_csv(data, beside, self._columns)
            counted.unlink(missing_ok=True)  # those of the table before; whoever is killed now leaves a table without

        write_file(path, write)
        write_file(counted, lambda beside: beside.write_text(f"{len(data)}\n", encoding="utf-8"))

    def preview(self, nrows: int = 5) -> TablePreview:
        """Show the first rows in kedro-viz."""
        table = self.load().head(nrows).astype("object")
        return TablePreview(table.where(table.notna(), None).to_dict(orient="split"))


def _rows_beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.rows")
