"""All cells as one uint8 array: decoded and resized once for each ``image.size``, and memory-mapped from then on."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from malaria_kedro.cells.decoding import decode_cell, find_bit_depth
from malaria_kedro.cells.parallel import ordered_parallel_map
from malaria_kedro.cells.pixel_hashes import hash_pixel_array
from malaria_kedro.cells.plain_files import read_file
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.machine import is_scarce, megabytes
from malaria_kedro.names import cell_file
from malaria_kedro.parameters import Image

logger = logging.getLogger(__name__)


class PixelError(MalariaKedroError, ValueError):
    """The pixel array cannot be made or does not fit; the message says why and what to do."""


@dataclass(frozen=True)
class DecodedCells:
    """The used cells, uint8 H×W×3 each, decoded while they are iterated: they may be too many for the memory.

    An iterable and not a generator, of which Kedro would save every chunk by itself: a dataset would not be told of
    the last one, nor of a failure in between, so that it could neither rename what is complete nor remove what is not;
    and ``kedro run --async`` would refuse the node.
    """

    root: Path  # the folder that the paths start from
    paths: list[str] = field(repr=False)
    cell_ids: list[str] = field(repr=False)
    sha256: list[str] = field(repr=False)  # of each file, as it was indexed
    size: int  # height and width, px
    fingerprint: str  # sha256 that stands for the images' bytes and the way they are decoded
    bit_depth: int | None = None  # of the 16-bit images among them; None = there are none

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N × H × W × 3."""
        return (len(self.paths), self.size, self.size, 3)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield every cell in order, decoded by several threads; ``PixelError``: one is not what was indexed."""
        logger.info("decoding %d cells to %d px", *self.shape[:2])
        cells = ordered_parallel_map(self._decode_one, zip(self.paths, self.sha256, strict=True))
        yield from tqdm(cells, total=len(self.paths), desc="decode", unit="cell", leave=False, disable=None)

    def are_in(self, pixels: CellPixels) -> bool:
        """Tell whether an array holds these very cells, whole and unchanged; warn where it only claims to."""
        if (pixels.fingerprint, pixels.array.shape) != (self.fingerprint, self.shape):
            return False
        if (pixels.cell_ids.tolist(), pixels.files.tolist()) != (self.cell_ids, self.sha256):
            logger.warning("%s is of other cells than its fingerprint says: decoding anew", pixels.path.parent)
            return False
        if hash_pixel_array(pixels.array) != pixels.sha256:
            logger.warning("%s is not what was decoded (its sha256 is another): decoding anew", pixels.path)
            return False
        logger.info("pixels of %d cells are already decoded at %d px: reused", *self.shape[:2])
        return True

    def check_room(self, folder: Path) -> None:
        """Raise a ``PixelError`` where a folder's disk has no room for the array."""
        needed, free = math.prod(self.shape), shutil.disk_usage(folder).free
        if needed > free:
            raise PixelError(
                f"{self.shape[0]} cells at {self.size} px take {megabytes(needed)} and {folder.parent} has "
                f"{megabytes(free)} free: make room, or set a smaller image.size or a source.limit"
            )

    def _decode_one(self, file: tuple[str, str]) -> np.ndarray:
        path, sha256 = cell_file(self.root, file[0]), file[1]
        try:
            content = read_file(path)
            if hashlib.sha256(content).hexdigest() == sha256:
                return decode_cell(content, self.size, self.bit_depth)
        except Exception as error:  # Pillow's decoders raise many kinds, and few of them name the file
            if is_scarce(error):
                raise
            raise PixelError(
                f"{path} was readable when it was indexed and is not now ({error}); "
                "run the pipeline data_engineering again"
            ) from error
        raise PixelError(
            f"{path} is not the file that was indexed (its sha256 differs from the one in cell_index); run the "
            "pipeline data_engineering from its start"
        )


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class CellPixels:
    """The cells as an array on disk."""

    array: np.ndarray  # uint8 N×H×W×3, memory-mapped, read-only
    cell_ids: np.ndarray  # the cell of each row
    fingerprint: str  # that of the ``DecodedCells`` it was written from
    path: Path  # the file behind ``array``
    sha256: str  # of the array's content, see ``malaria_kedro.cells.pixel_hashes``
    files: pd.Series  # sha256 of the file that each row was decoded from, by cell id
    bit_depth: int | None = None  # of the 16-bit images among them; None = there are none


def refuse_other_image(pixels: CellPixels, image: Image) -> None:
    """Raise PixelError for pixels of another size or bit depth than asked for."""
    asked = {"size": image.size, "bit_depth": image.bit_depth}
    found = {"size": pixels.array.shape[1], "bit_depth": pixels.bit_depth}
    for name, value in asked.items():
        if None not in (value, found[name]) and value != found[name]:
            raise PixelError(
                f"cell_pixels were decoded with image.{name}={found[name]}, and it is {value} now: run the pipeline "
                "data_engineering again"
            )


def decode_cells(root: Path, index: pd.DataFrame, image: Image) -> DecodedCells:
    """Return all used cells, in the order of ``cell_id``, to be decoded as they are iterated.

    ``PixelError``: there is none. ``BitDepthError``: the 16-bit images among them have no single bit depth.
    """
    used = index[index["excluded"] == ""].sort_values("cell_id")
    if used.empty:
        raise PixelError("no usable cell in the index: nothing to decode")
    deep = used[used["peak"].notna()]
    peaks = dict(zip(deep["path"], deep["peak"].astype(int), strict=True))
    bit_depth = find_bit_depth(peaks, image.bit_depth)
    digest = hashlib.sha256(f"rgb bilinear torch {image.resize_method} {image.size}".encode())
    if bit_depth is not None:
        digest.update(f" {bit_depth} bits".encode())
    for cell_id, sha256 in zip(used["cell_id"], used["sha256"], strict=True):
        digest.update(f"\n{cell_id} {sha256}".encode())
    paths, cell_ids, sha256 = (used[column].tolist() for column in ("path", "cell_id", "sha256"))
    return DecodedCells(root, paths, cell_ids, sha256, image.size, digest.hexdigest(), bit_depth)
