"""The pixel array on disk: a folder with ``pixels.npy``, the cell of each row, and what they were made of.

``pixels.json`` has the hashes of all three, so that a damaged, foreign or edited part is noticed.
"""

from __future__ import annotations

import hashlib
import logging
from itertools import islice

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from malaria_kedro.cells.pixel_hashes import combine_blocks, find_changed_block, rows_of_a_block
from malaria_kedro.cells.pixels import CellPixels, DecodedCells, PixelError
from malaria_kedro.datasets.local_dataset import LocalDataset
from malaria_kedro.files import new_folder, sha256_of

logger = logging.getLogger(__name__)

ARRAY, CELLS, DESCRIPTION = "pixels.npy", "cells.parquet", "pixels.json"
# What a damaged, foreign or missing array, table or description raises.
DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError)


class PixelDescription(BaseModel):
    """The content of ``pixels.json``."""

    fingerprint: str  # that of the ``DecodedCells`` that were written
    shape: tuple[int, int, int, int]  # N × H × W × 3
    dtype: str = "uint8"
    channels: str = "RGB"
    bit_depth: int | None = None  # of the 16-bit images among them; None = there are none
    cells_sha256: str  # of ``cells.parquet``
    sha256: str  # of the array's content
    blocks: list[str]  # sha256 of each block of its rows


class CellPixelsDataset(LocalDataset[DecodedCells, CellPixels]):
    """Writes cells into an array as they are decoded, and maps the array into memory.

    Cells that the array holds already are not iterated, and so not decoded, again.
    """

    PARTS = (ARRAY, CELLS, DESCRIPTION)

    def save(self, data: DecodedCells) -> None:
        """Write block by block: the memory needed does not grow with the number of cells.

        Raises:
            PixelError: the disk has no room for the array, or an image is not the one that was indexed (Kedro wraps it
                in a DatasetError). The old array stays.
        """
        if self._exists():
            try:
                there = self._map()
            except DAMAGED as error:
                logger.warning("%s holds no whole pixel array (%s): decoding anew", self.path, _reason(error))
            else:
                if data.are_in(there):
                    return
        with new_folder(self.path) as folder:
            data.check_room(folder)
            blocks, cells, rows = [], iter(data), rows_of_a_block(data.shape)
            with (folder / ARRAY).open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": data.shape}
                np.lib.format.write_array_header_2_0(file, header)
                while block := b"".join(cell.tobytes() for cell in islice(cells, rows)):
                    file.write(block)
                    blocks.append(hashlib.sha256(block).hexdigest())
            table = pd.DataFrame({"cell_id": data.cell_ids, "sha256": data.sha256})
            table.to_parquet(folder / CELLS, index=False)
            described = PixelDescription(
                fingerprint=data.fingerprint,
                shape=data.shape,
                bit_depth=data.bit_depth,
                cells_sha256=sha256_of(folder / CELLS),
                sha256=combine_blocks(blocks),
                blocks=blocks,
            )
            (folder / DESCRIPTION).write_text(described.model_dump_json(indent=2) + "\n")

    def load(self) -> CellPixels:
        """Map the array into memory, read-only.

        Shape, type, file size, the table of cells and a sample of the array's blocks are checked; the whole array is
        checked by ``malaria_kedro.learning.databunch.DataBunch.verify``.

        Raises:
            PixelError: a part is missing, damaged or another array's (Kedro wraps it in a DatasetError).
        """
        try:
            return self._map()
        except DAMAGED as error:
            raise PixelError(
                f"{self.path} holds no whole pixel array ({_reason(error)}); run the pipeline data_engineering"
            ) from error

    def _map(self) -> CellPixels:
        described = PixelDescription.model_validate_json((self.path / DESCRIPTION).read_text())
        array = np.load(self.path / ARRAY, mmap_mode="r")
        found, wanted = (array.shape, str(array.dtype)), (described.shape, described.dtype)
        if found != wanted:
            raise ValueError(f"{ARRAY} is {found[1]} {found[0]}, and {wanted[1]} {wanted[0]} was decoded")
        if beyond := (self.path / ARRAY).stat().st_size - array.offset - array.nbytes:
            raise ValueError(f"{ARRAY} is {beyond} bytes longer than its array")
        if combine_blocks(described.blocks) != described.sha256:
            raise ValueError(f"the hashes in {DESCRIPTION} do not belong together")
        if (block := find_changed_block(array, described.blocks, described.fingerprint)) is not None:
            raise ValueError(f"block {block} of {ARRAY} is not what was decoded")
        if sha256_of(self.path / CELLS) != described.cells_sha256:
            raise ValueError(f"{CELLS} is not the table that was written with the array")
        cells = pd.read_parquet(self.path / CELLS)
        return CellPixels(
            array,
            cells["cell_id"].to_numpy(),
            described.fingerprint,
            self.path / ARRAY,
            described.sha256,
            pd.Series(cells["sha256"].to_numpy(), index=cells["cell_id"].to_numpy()),
            described.bit_depth,
        )


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        wrong = {".".join(map(str, item["loc"])): item["msg"] for item in error.errors()}
        if wrong.get("blocks") == "Field required":
            return "it is an earlier version's, which kept no hashes"
        return f"{DESCRIPTION}: " + ", ".join(f"{key or 'all of it'}: {message}" for key, message in wrong.items())
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
