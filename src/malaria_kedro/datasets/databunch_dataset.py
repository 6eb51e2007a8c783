"""The DataBunch on disk: a table, a description, and a pointer to the pixel array that it shares."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from malaria_kedro.datasets.pixels_dataset import CellPixelsDataset
from malaria_kedro.files import new_folder
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.parameters import Augment


class DataBunchDataset(AbstractDataset[DataBunch, DataBunch]):
    """Stores all of a :class:`DataBunch` but the pixels, which stay where they are.

    They are found by their place relative to this folder, so the data folder as a whole can be moved.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._folder = Path(filepath)
        self.metadata = metadata

    def save(self, data: DataBunch) -> None:
        """Write the table and the description."""
        with new_folder(self._folder) as folder:
            data.cells.to_parquet(folder / "cells.parquet", index=False)
            pixels = os.path.relpath(data.pixels_path.parent, self._folder)
            text = json.dumps(data.summary | {"pixels": Path(pixels).as_posix()}, indent=2)
            (folder / "databunch.json").write_text(text + "\n")

    def load(self) -> DataBunch:
        """Read the table and map the pixels.

        Raises:
            DatasetError: the pixel array is gone, or has been made anew since, from other cells or in another size.
        """
        summary = json.loads((self._folder / "databunch.json").read_text())
        # Resolved by text: ".." behind a folder that is a link would lead elsewhere than it did when saving.
        place = os.path.normpath(self._folder / summary.pop("pixels"))
        pixels = CellPixelsDataset(filepath=place).load()
        if pixels.fingerprint != summary["pixels_fingerprint"]:
            raise DatasetError(
                f"{pixels.path} has been decoded anew since {self._folder} was made (other cells or another "
                "image.size); run the pipeline data_engineering with the parameters of this run"
            )
        cells = pd.read_parquet(self._folder / "cells.parquet")
        return DataBunch(pixels.array, cells, Augment(**summary["augment"]), summary, pixels.path)

    def _exists(self) -> bool:
        return all((self._folder / name).is_file() for name in ("cells.parquet", "databunch.json"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder)}
