"""A table as one CSV file whose columns have declared types: an id is text, whatever it looks like."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError, Version
from kedro_datasets._typing import TablePreview

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import write_file

if TYPE_CHECKING:
    import pandas as pd


class TableDataset(LocalVersionedDataset["pd.DataFrame", "pd.DataFrame"]):
    """A pandas table as a CSV for people and for the project itself; no type in it is guessed.

    Columns of numbers and truth values are declared; every other column is text, so that the patients ``001``, ``NA``
    and ``1e5`` stay what they are. Text is quoted, and only an unquoted empty field is a missing value. Text that a
    spreadsheet would run as a formula has an apostrophe before it in the file, and none when it is loaded; see
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
            filepath: a local path.
            columns: column → ``int64``, ``Int64`` (may be missing), ``float64``, ``bool`` or ``str``. A column that is
                not named is text; a named one may be absent.
            version: Kedro's version, where the entry says ``versioned: true``.
            metadata: for kedro-viz and other plugins; not used here.
        """
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
