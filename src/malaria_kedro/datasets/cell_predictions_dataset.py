"""Predictions of new cells on disk: one parquet file and one CSV, written and read as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_datasets._typing import TablePreview

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import new_folder

if TYPE_CHECKING:
    from malaria_kedro.inference.results import Results, SavedResults

PARQUET, CSV = "cell_predictions.parquet", "cell_predictions.csv"


class CellPredictionsDataset(LocalVersionedDataset[Any, Any]):
    """``cell_predictions.parquet`` and ``cell_predictions.csv``, the same rows; never all of them in memory."""

    PARTS = (PARQUET,)

    def save(self, data: Results) -> None:
        """Merge the parts into both files, beside, then rename the folder."""
        with new_folder(self.save_path) as folder:
            data.write(folder / PARQUET, folder / CSV)

    def load(self) -> SavedResults:
        """Return the rows, to be read as a stream."""
        from malaria_kedro.inference.results import SavedResults

        saved = SavedResults(self.load_path / PARQUET)
        _ = saved.about  # a damaged file is told here, and not by the node that reads its rows
        return saved

    def preview(self, nrows: int = 40) -> TablePreview:
        """Show the first rows in kedro-viz."""
        frame = next(self.load().frames()).head(nrows).astype("object")
        return TablePreview(frame.where(frame.notna(), None).to_dict(orient="split"))
