"""The pixel array on disk: a folder with ``pixels.npy``, the cell of each row, and what they were made of.

``pixels.json`` has the hashes of all three: what is damaged, foreign or edited is not taken for what was decoded.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset
from tqdm import tqdm

from malaria_kedro.cells.pixel_hashes import BlockHasher, combine_blocks, find_changed_block, hash_pixel_array
from malaria_kedro.cells.pixels import CellPixels, PixelError, PixelPlan
from malaria_kedro.files import new_folder, sha256_of

logger = logging.getLogger(__name__)

# What reading a damaged, foreign or missing array, table or description raises.
_UNUSABLE = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError)


class CellPixelsDataset(AbstractDataset[PixelPlan, CellPixels]):
    """Decodes a ``PixelPlan`` into a memory-mapped array, unless that very array is already there."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._folder = Path(filepath)
        self.metadata = metadata

    def save(self, data: PixelPlan) -> None:
        """Decode and write, cell by cell: the memory needed does not grow with their number.

        Raises:
            PixelError: the disk has no room for the array, or an image cannot be read any more or is not the file that
                was indexed (Kedro wraps it in a DatasetError). The old array stays.
        """
        if self._holds(data):
            logger.info("pixels of %d cells are already decoded at %d px: reused", *data.shape[:2])
            return
        logger.info("decoding %d cells to %d px", *data.shape[:2])
        with new_folder(self._folder) as folder:
            needed, free = math.prod(data.shape), shutil.disk_usage(folder).free
            if needed > free:
                raise PixelError(
                    f"{data.shape[0]} cells at {data.shape[1]} px take {needed / 1e9:.1f} GB and {folder.parent} has "
                    f"{free / 1e9:.1f} GB free: make room, or set a smaller image.size or a source.limit"
                )
            hasher = BlockHasher(data.shape)
            with (folder / "pixels.npy").open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": data.shape}
                np.lib.format.write_array_header_2_0(file, header)
                for cell in tqdm(data.decode(), total=data.shape[0], desc="decode", unit="cell", disable=None):
                    row = cell.tobytes()
                    file.write(row)
                    hasher.update(row)
            cells = pd.DataFrame({"cell_id": data.cell_ids, "sha256": data.sha256})
            cells.to_parquet(folder / "cells.parquet", index=False)
            blocks = hasher.blocks()
            described = {
                "fingerprint": data.fingerprint,
                "shape": data.shape,
                "dtype": "uint8",
                "channels": "RGB",
                "bit_depth": data.bit_depth,
                "cells_sha256": sha256_of(folder / "cells.parquet"),
                "sha256": combine_blocks(blocks),
                "blocks": blocks,
            }
            (folder / "pixels.json").write_text(json.dumps(described, indent=2) + "\n")

    def load(self) -> CellPixels:
        """Map the array into memory, read-only.

        Shape, type, file size, the table of cells and a sample of the array's blocks are checked; all of the array is
        by ``malaria_kedro.learning.databunch.DataBunch.verify``.

        Raises:
            PixelError: no array is there, or a part of it is missing, damaged or another array's (Kedro wraps it in a
                DatasetError).
        """
        try:
            return self._read()
        except _UNUSABLE as error:
            raise PixelError(
                f"{self._folder} holds no whole pixel array ({_reason(error)}); run the pipeline data_engineering"
            ) from error

    def _read(self) -> CellPixels:
        described = json.loads((self._folder / "pixels.json").read_text())
        if "blocks" not in described:
            raise ValueError("it is an earlier version's, which kept no hashes")
        path, table = self._folder / "pixels.npy", self._folder / "cells.parquet"
        array = np.load(path, mmap_mode="r")
        found, wanted = (array.shape, str(array.dtype)), (tuple(described["shape"]), described["dtype"])
        if found != wanted:
            raise ValueError(f"pixels.npy is {found[1]} {found[0]}, and {wanted[1]} {wanted[0]} was decoded")
        if beyond := path.stat().st_size - array.offset - array.nbytes:
            raise ValueError(f"pixels.npy is {beyond} bytes longer than its array")
        if combine_blocks(described["blocks"]) != described["sha256"]:
            raise ValueError("the hashes in pixels.json do not belong together")
        if (block := find_changed_block(array, described["blocks"], described["fingerprint"])) is not None:
            raise ValueError(f"block {block} of pixels.npy is not what was decoded")
        if sha256_of(table) != described["cells_sha256"]:
            raise ValueError("cells.parquet is not the table that was written with the array")
        cells = pd.read_parquet(table)
        cell_ids = cells["cell_id"].to_numpy()
        files = pd.Series(cells["sha256"].to_numpy(), index=cell_ids)
        return CellPixels(
            array, cell_ids, described["fingerprint"], path, described["sha256"], files, described.get("bit_depth")
        )

    def _holds(self, plan: PixelPlan) -> bool:
        """Tell whether what the plan would decode is there already, whole and unchanged."""
        if not self._exists():
            return False
        try:
            there = self._read()
        except _UNUSABLE as error:
            logger.warning("%s is of no use (%s): decoding anew", self._folder, _reason(error))
            return False
        if (there.fingerprint, there.array.shape) != (plan.fingerprint, plan.shape):
            return False
        if (there.cell_ids.tolist(), there.files.tolist()) != (plan.cell_ids, plan.sha256):
            logger.warning("%s is of other cells than its fingerprint says: decoding anew", self._folder)
            return False
        if hash_pixel_array(there.array) != there.sha256:
            logger.warning("%s is not what was decoded (its sha256 is another): decoding anew", there.path)
            return False
        return True

    def _exists(self) -> bool:
        return all((self._folder / name).is_file() for name in ("pixels.npy", "cells.parquet", "pixels.json"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder)}


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
