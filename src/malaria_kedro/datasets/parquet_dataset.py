"""A table as one parquet file, written whole or not at all."""

from __future__ import annotations

import pandas as pd
from kedro_datasets._typing import TablePreview

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import write_file


class ParquetDataset(LocalVersionedDataset[pd.DataFrame, pd.DataFrame]):
    """A pandas table as parquet; kedro-datasets' own writes over the old one, which a full disk would lose."""

    def load(self) -> pd.DataFrame:
        """Return the table."""
        self.load_path.open("rb").close()  # of a folder, pandas would read what lies in it, or no row at all
        return pd.read_parquet(self.load_path)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table."""
        write_file(self.save_path, data.to_parquet)

    def preview(self, nrows: int = 5) -> TablePreview:
        """Show the first rows in kedro-viz."""
        table = self.load().head(nrows).astype("object")
        return TablePreview(table.where(table.notna(), None).to_dict(orient="split"))
