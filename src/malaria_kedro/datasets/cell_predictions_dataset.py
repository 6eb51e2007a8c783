"""Predictions of new cells on disk: one parquet file and one CSV, written and read as a stream."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractVersionedDataset, Version
from kedro_datasets._typing import TablePreview

from malaria_kedro.files import new_folder

if TYPE_CHECKING:
    from malaria_kedro.inference.results import Results, SavedResults

PARQUET, CSV = "cell_predictions.parquet", "cell_predictions.csv"


class CellPredictionsDataset(AbstractVersionedDataset[Any, Any]):
    """``cell_predictions.parquet`` and ``cell_predictions.csv``, the same rows; never all of them in memory."""

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def save(self, data: Results) -> None:
        """Merge the parts into both files, beside, then rename the folder."""
        with new_folder(Path(self._get_save_path())) as folder:
            data.write(folder / PARQUET, folder / CSV)

    def load(self) -> SavedResults:
        """Return the rows, to be read as a stream."""
        from malaria_kedro.inference.results import SavedResults

        return SavedResults(Path(self._get_load_path()) / PARQUET)

    def preview(self, nrows: int = 40) -> TablePreview:
        """Show the first rows in kedro-viz."""
        frame = next(self.load().frames()).head(nrows).astype("object")
        return TablePreview(frame.where(frame.notna(), None).to_dict(orient="split"))

    def _exists(self) -> bool:
        return (Path(self._get_load_path()) / PARQUET).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
