"""The pixel array on disk: a folder with ``pixels.npy``, the cell of each row, and what they were made of."""

from __future__ import annotations

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from tqdm import tqdm

from malaria_kedro.cells.pixels import CellPixels, PixelPlan
from malaria_kedro.files import new_folder

logger = logging.getLogger(__name__)


class CellPixelsDataset(AbstractDataset[PixelPlan, CellPixels]):
    """Decodes a :class:`PixelPlan` into a memory-mapped array, unless that very array is already there."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._folder = Path(filepath)
        self.metadata = metadata

    def save(self, data: PixelPlan) -> None:
        """Decode and write, cell by cell: the memory needed does not grow with their number.

        Raises:
            DatasetError: the disk has no room for the array.
            PixelError: an image cannot be read any more (Kedro wraps it in a DatasetError). The old array stays.
        """
        if self._holds(data):
            logger.info("pixels of %d cells are already decoded at %d px: re-used", *data.shape[:2])
            return
        logger.info("decoding %d cells to %d px", *data.shape[:2])
        with new_folder(self._folder) as folder:
            needed, free = math.prod(data.shape), shutil.disk_usage(folder).free
            if needed > free:
                raise DatasetError(
                    f"{data.shape[0]} cells at {data.shape[1]} px take {needed / 1e9:.1f} GB and {folder.parent} has "
                    f"{free / 1e9:.1f} GB free: make room, or set a smaller image.size or a source.limit"
                )
            with (folder / "pixels.npy").open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": data.shape}
                np.lib.format.write_array_header_2_0(file, header)
                for cell in tqdm(data.decode(), total=data.shape[0], desc="decode", unit="cell", disable=None):
                    file.write(cell.tobytes())
            pd.DataFrame({"cell_id": data.cell_ids}).to_parquet(folder / "cells.parquet", index=False)
            described = {"fingerprint": data.fingerprint, "shape": data.shape, "dtype": "uint8", "channels": "RGB"}
            described["bit_depth"] = data.bit_depth
            (folder / "pixels.json").write_text(json.dumps(described, indent=2) + "\n")

    def load(self) -> CellPixels:
        """Map the array into memory, read-only.

        Raises:
            DatasetError: no array is there, or a part of it is missing.
        """
        try:
            array = np.load(self._folder / "pixels.npy", mmap_mode="r")
            cell_ids = pd.read_parquet(self._folder / "cells.parquet")["cell_id"].to_numpy()
            described = self._described()
            path, bit_depth = self._folder / "pixels.npy", described.get("bit_depth")
            return CellPixels(array, cell_ids, described["fingerprint"], path, bit_depth)
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(
                f"{self._folder} holds no whole pixel array ({error}); run the pipeline data_engineering"
            ) from error

    def _holds(self, plan: PixelPlan) -> bool:
        """Tell whether what the plan would decode is there already, whole."""
        try:
            there = self.load()
        except DatasetError:
            return False
        return there.fingerprint == plan.fingerprint and there.array.shape == plan.shape

    def _described(self) -> dict[str, Any]:
        return json.loads((self._folder / "pixels.json").read_text())

    def _exists(self) -> bool:
        return all((self._folder / name).is_file() for name in ("pixels.npy", "cells.parquet", "pixels.json"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder)}
