"""The DataBunch on disk: a table, a description, and a pointer to the pixel array that it shares.

``databunch.json`` has the hashes of both: labels and splits that were edited or came from elsewhere are an error.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset
from pydantic import ValidationError

from malaria_kedro.cells.pixels import PixelError
from malaria_kedro.datasets.hashes import hash_json
from malaria_kedro.datasets.pixels_dataset import CellPixelsDataset
from malaria_kedro.files import new_folder, sha256_of
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.parameters import Augment


class DataBunchDataset(AbstractDataset[DataBunch, DataBunch]):
    """Stores all of a ``DataBunch`` but the pixels, which stay where they are.

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
            described = data.summary.as_dict() | {
                "listed": data.listed.as_dict(),
                "pixels": Path(pixels).as_posix(),
                "cells_sha256": sha256_of(folder / "cells.parquet"),
            }
            text = json.dumps(described | {"sha256": hash_json(described)}, indent=2)
            (folder / "databunch.json").write_text(text + "\n")

    def load(self) -> DataBunch:
        """Read the table and map the pixels.

        Raises:
            PixelError: a part is missing, was edited or is another databunch's; or the pixel array is gone, or has
                been made anew since, from other cells or in another size (Kedro wraps it in a DatasetError).
        """
        summary, listed, pixels_path = self._read()
        # Resolved by text: ".." behind a folder that is a link would lead elsewhere than it did when saving.
        place = os.path.normpath(self._folder / pixels_path)
        pixels = CellPixelsDataset(filepath=place).load()
        if (pixels.fingerprint, pixels.sha256) != (summary.pixels_fingerprint, summary.array_sha256):
            raise PixelError(
                f"{pixels.path} has been decoded anew since {self._folder} was made (other cells or another "
                "image.size); run the pipeline data_engineering with the parameters of this run"
            )
        cells, augment = pd.read_parquet(self._folder / "cells.parquet"), Augment.model_validate(summary.augment)
        return DataBunch(pixels.array, cells, augment, summary, pixels.path, listed)

    def _read(self) -> tuple[DataBunchSummary, ListedCells, str]:
        """Return summary, lists and the pixels' place, if they are whole and the table is the one they describe."""
        try:
            described = json.loads((self._folder / "databunch.json").read_text())
            sha256 = described.pop("sha256", None)
            if sha256 is None:
                problem = "it is an earlier version's, which kept no hashes"
            elif hash_json(described) != sha256:
                problem = "databunch.json was changed after it was made"
            elif sha256_of(self._folder / "cells.parquet") != described.pop("cells_sha256"):
                problem = "cells.parquet, with the labels and splits, is not the table that was made"
            else:
                pixels, listed = described.pop("pixels"), ListedCells.model_validate(described.pop("listed"))
                return DataBunchSummary.model_validate(described), listed, pixels
        except ValidationError:
            problem = "another version of malaria-kedro wrote it"
        except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
            problem = str(error)
        raise PixelError(f"{self._folder} is not a complete databunch ({problem}); run the pipeline data_engineering")

    def _exists(self) -> bool:
        return all((self._folder / name).is_file() for name in ("cells.parquet", "databunch.json"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder)}
