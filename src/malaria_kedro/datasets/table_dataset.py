"""A table as one CSV file whose columns have declared types, versioned: an id is text, whatever it looks like."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro_datasets._typing import TablePreview

from malaria_kedro.datasets.html_dataset import local_path
from malaria_kedro.files import write_file

if TYPE_CHECKING:
    import pandas as pd


class TableDataset(AbstractVersionedDataset["pd.DataFrame", "pd.DataFrame"]):
    """A pandas table as a CSV for people and for the project itself; nothing in it is guessed.

    Columns of numbers and truth values are declared; every other column is text, so that the patients ``001``, ``NA``
    and ``1e5`` are these. Text stands in quotes, and a missing value is nothing between two commas: only that is read
    back as missing. What a spreadsheet would run as a formula has an apostrophe in the file, and none when loaded; see
    ``malaria_kedro.cells.csv_tables``.

    Example:
        ::

            resnet18.patients:
              type: malaria_kedro.datasets.table_dataset.TableDataset
              filepath: data/08_reporting/resnet18/patients.csv
              columns: {cells: int64, apparent_parasitaemia: float64, healthy: bool}
              versioned: true
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        columns: Mapping[str, str] | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file and the columns that are not text.

        Args:
            filepath: where the CSV lies, on this machine.
            columns: column → ``int64``, ``Int64`` (may be missing), ``float64``, ``bool`` or ``str``. A column that is
                not named is text; a named one may be absent.
            version: Kedro's version, where the entry says ``versioned: true``.
            metadata: for kedro-viz and others; not used here.
        """
        super().__init__(local_path(filepath), version)
        self._columns = dict(columns or {})
        self.metadata = metadata
        known = ("str", "int64", "Int64", "float64", "bool")
        if wrong := {name: type_ for name, type_ in self._columns.items() if type_ not in known}:
            raise DatasetError(f"columns of {filepath} have unknown types {wrong}: take one of {', '.join(known)}")

    def load(self) -> pd.DataFrame:
        """Return the table; text is pandas' ``str``, with NaN where it is missing."""
        from malaria_kedro.cells.csv_tables import read_csv

        return read_csv(Path(self._get_load_path()), self._columns)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table, without its index."""
        from malaria_kedro.cells.csv_tables import write_csv

        path = Path(self._get_save_path())
        write_file(path, lambda beside: write_csv(data, beside, self._columns))

    def preview(self, nrows: int = 5) -> TablePreview:
        """Show the first rows in kedro-viz."""
        table = self.load().head(nrows).astype("object")
        return TablePreview(table.where(table.notna(), None).to_dict(orient="split"))

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
