"""A trained stage on disk: a versioned folder of weights, description, epochs and batches."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd
from kedro.io import AbstractVersionedDataset, Version

from malaria_kedro.datasets.atomic import new_folder

if TYPE_CHECKING:  # torch and fastai take seconds to import, and a catalog is also loaded where nothing is trained
    from malaria_kedro.learning.training import TrainedStage


class StageDataset(AbstractVersionedDataset[Any, Any]):
    """``model.safetensors``, ``stage.json``, ``history.parquet`` and ``batches.parquet``."""

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def save(self, data: TrainedStage) -> None:
        """Write the folder beside, then rename it."""
        from malaria_kedro.learning.tensors import write_tensors

        with new_folder(Path(self._get_save_path())) as folder:
            write_tensors(data.state, folder / "model.safetensors", metadata={"format": "pt"})
            text = json.dumps(data.description, indent=2, ensure_ascii=False, allow_nan=False)
            (folder / "stage.json").write_text(text + "\n", encoding="utf-8")
            data.history.to_parquet(folder / "history.parquet", index=False)
            data.batches.to_parquet(folder / "batches.parquet", index=False)

    def load(self) -> TrainedStage:
        """Read the folder."""
        from malaria_kedro.learning.tensors import read_tensors
        from malaria_kedro.learning.training import TrainedStage

        folder = Path(self._get_load_path())
        return TrainedStage(
            read_tensors(folder / "model.safetensors"),
            json.loads((folder / "stage.json").read_text(encoding="utf-8")),
            pd.read_parquet(folder / "history.parquet"),
            pd.read_parquet(folder / "batches.parquet"),
        )

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
