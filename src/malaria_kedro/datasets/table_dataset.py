"""A table as one CSV file whose columns have declared types: an id is text, whatever it looks like."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kedro.io import DatasetError, Version
from kedro_datasets._typing import TablePreview

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset, Metadata
from malaria_kedro.files import write_file

if TYPE_CHECKING:
    import pandas as pd


class TableDataset(LocalVersionedDataset["pd.DataFrame", "pd.DataFrame"]):
    """A pandas table as a CSV for people and for the project itself; no type in it is guessed.

    Columns of numbers and truth values are declared; every other column is text, so that the patients ``001``, ``NA``
    and ``1e5`` stay what they are. How the file looks is told in ``malaria_kedro.cells.csv_tables``.

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
        self._columns = dict(columns or {})
        known = ("str", "int64", "Int64", "float64", "bool")
        if wrong := {name: type_ for name, type_ in self._columns.items() if type_ not in known}:
            raise DatasetError(f"columns of {filepath} have unknown types {wrong}: use one of {', '.join(known)}")

    def load(self) -> pd.DataFrame:
        """Return the table; text is pandas' ``str``, with NaN where it is missing."""
        from malaria_kedro.cells.csv_tables import read_csv

        return read_csv(self.load_path, self._columns)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table, without its index."""
        from malaria_kedro.cells.csv_tables import write_csv

        write_file(self.save_path, lambda beside: write_csv(data, beside, self._columns))

    def preview(self, nrows: int = 5) -> TablePreview:
        """Show the first rows in kedro-viz."""
        table = self.load().head(nrows).astype("object")
        return TablePreview(table.where(table.notna(), None).to_dict(orient="split"))
