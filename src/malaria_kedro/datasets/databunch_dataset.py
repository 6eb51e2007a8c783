"""The DataBunch on disk: a table, a description, and a pointer to the pixel array that it shares.

``databunch.json`` has the hashes of both: labels and splits that were edited or came from elsewhere are an error.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
from pydantic import JsonValue, ValidationError

from malaria_kedro.cells.pixels import PixelError
from malaria_kedro.datasets.local_dataset import LocalDataset
from malaria_kedro.datasets.pixels_dataset import CellPixelsDataset
from malaria_kedro.files import hash_json, new_folder, sha256_of
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.parameters import Augment

CELLS, DESCRIPTION = "cells.parquet", "databunch.json"


class DataBunchDataset(LocalDataset[DataBunch, DataBunch]):
    """Stores all of a ``DataBunch`` but the pixels, which stay where they are.

    They are found by their place relative to this folder, so the data folder as a whole can be moved.
    """

    PARTS = (CELLS, DESCRIPTION)

    def save(self, data: DataBunch) -> None:
        """Write the table and the description."""
        with new_folder(self.path) as folder:
            data.cells.to_parquet(folder / CELLS, index=False)
            pixels = os.path.relpath(data.pixels_path.parent, self.path)
            described = data.summary.as_dict() | {
                "listed": data.listed.as_dict(),
                "made_with": data.made_with,
                "pixels": Path(pixels).as_posix(),
                "cells_sha256": sha256_of(folder / CELLS),
            }
            text = json.dumps(described | {"sha256": hash_json(described)}, indent=2)
            (folder / DESCRIPTION).write_text(text + "\n")

    def load(self) -> DataBunch:
        """Read the table and map the pixels.

        Raises:
            PixelError: a part is missing, was edited or is another databunch's; or the pixel array is gone, or was made
                anew since, from other cells or in another size (Kedro wraps it in a DatasetError).
        """
        summary, listed, pixels_path, made_with = self._read()
        # Resolved by text: ".." behind a folder that is a link would lead elsewhere than it did when saving.
        place = os.path.normpath(self.path / pixels_path)
        pixels = CellPixelsDataset(filepath=place).load()
        if (pixels.fingerprint, pixels.sha256) != (summary.pixels_fingerprint, summary.array_sha256):
            raise PixelError(
                f"{pixels.path} has been decoded anew since {self.path} was made (other cells or another "
                "image.size); run the pipeline data_engineering with the parameters of this run"
            )
        cells, augment = pd.read_parquet(self.path / CELLS), Augment.model_validate(summary.augment)
        return DataBunch(pixels.array, cells, augment, summary, pixels.path, listed, made_with)

    def read_made_with(self) -> dict[str, dict[str, JsonValue]] | None:
        """Return the parameters that the databunch was made with, by block, and of its pixels the ``bit_depth``.

        None = it is not there, or damaged, which loading it tells. Of an earlier version's only those are known that
        are of its splits, its augmentation and its size.
        """
        try:
            summary, _, _, made_with = self._read()
        except PixelError:
            return None
        return {
            "image": {"size": summary.image_size},
            "split": summary.split,
            "augment": summary.augment,
            **made_with,
            "pixels": {"bit_depth": summary.bit_depth},
        }

    def _read(self) -> tuple[DataBunchSummary, ListedCells, str, dict[str, dict[str, JsonValue]]]:
        """Return summary, lists, the pixels' place and the parameters, if they and the table are whole."""
        try:
            described = json.loads((self.path / DESCRIPTION).read_text())
            sha256 = described.pop("sha256", None)
            if sha256 is None:
                problem = "it is an earlier version's, which kept no hashes"
            elif hash_json(described) != sha256:
                problem = "databunch.json was changed after it was made"
            elif sha256_of(self.path / CELLS) != described.pop("cells_sha256"):
                problem = "cells.parquet, with the labels and splits, is not the table that was made"
            else:
                pixels, listed = described.pop("pixels"), ListedCells.model_validate(described.pop("listed"))
                made_with = described.pop("made_with", {})
                return DataBunchSummary.model_validate(described), listed, pixels, made_with
        except ValidationError:
            problem = "another version of malaria-kedro wrote it"
        except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
            problem = str(error)
        raise PixelError(f"{self.path} is not a complete databunch ({problem}); run the pipeline data_engineering")
