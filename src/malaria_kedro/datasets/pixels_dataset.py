"""The pixel array on disk: a folder with ``pixels.npy``, the cell of each row, and what they were made of."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset
from tqdm import tqdm

from malaria_kedro.cells.pixels import CellPixels, PixelPlan
from malaria_kedro.datasets.atomic import new_folder

logger = logging.getLogger(__name__)


class CellPixelsDataset(AbstractDataset[PixelPlan, CellPixels]):
    """Decodes a :class:`PixelPlan` into a memory-mapped array, unless that very array is already there."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._folder = Path(filepath)
        self.metadata = metadata

    def save(self, data: PixelPlan) -> None:
        """Decode and write, cell by cell: the memory needed does not grow with their number."""
        if self._exists() and self._described()["fingerprint"] == data.fingerprint:
            logger.info("pixels of %d cells are already decoded at %d px: re-used", *data.shape[:2])
            return
        logger.info("decoding %d cells to %d px", *data.shape[:2])
        with new_folder(self._folder) as folder:
            with (folder / "pixels.npy").open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": data.shape}
                np.lib.format.write_array_header_2_0(file, header)
                for cell in tqdm(data.decode(), total=data.shape[0], desc="decode", unit="cell", disable=None):
                    file.write(cell.tobytes())
            pd.DataFrame({"cell_id": data.cell_ids}).to_parquet(folder / "cells.parquet", index=False)
            described = {"fingerprint": data.fingerprint, "shape": data.shape, "dtype": "uint8", "channels": "RGB"}
            (folder / "pixels.json").write_text(json.dumps(described, indent=2) + "\n")

    def load(self) -> CellPixels:
        """Map the array into memory, read-only."""
        array = np.load(self._folder / "pixels.npy", mmap_mode="r")
        cell_ids = pd.read_parquet(self._folder / "cells.parquet")["cell_id"].to_numpy()
        return CellPixels(array, cell_ids, self._described()["fingerprint"], self._folder / "pixels.npy")

    def _described(self) -> dict[str, Any]:
        return json.loads((self._folder / "pixels.json").read_text())

    def _exists(self) -> bool:
        return (self._folder / "pixels.json").is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder)}
