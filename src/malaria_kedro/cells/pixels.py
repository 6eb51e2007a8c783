"""All cells as one uint8 array: each image is decoded and resized once, and memory-mapped from then on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from malaria_kedro.cells.decoding import decode_cell, find_bit_depth
from malaria_kedro.cells.parallel import ordered_parallel_map
from malaria_kedro.cells.plain_files import read_file
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.names import cell_file
from malaria_kedro.parameters import Image

logger = logging.getLogger(__name__)


class PixelError(MalariaKedroError, ValueError):
    """The pixel array cannot be made or does not fit; the message says why and what to do."""


@dataclass(frozen=True)
class PixelPlan:
    """What is to be decoded; nothing is read before ``decode`` is iterated."""

    root: Path
    paths: list[str] = field(repr=False)
    cell_ids: list[str] = field(repr=False)
    sha256: list[str] = field(repr=False)
    size: int
    fingerprint: str
    bit_depth: int | None = None  # of the 16-bit images; None = there is none

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N × H × W × 3."""
        return (len(self.paths), self.size, self.size, 3)

    def decode(self) -> Iterator[np.ndarray]:
        """Yield every cell, uint8 H×W×3, in order, decoded by all cores.

        Raises:
            PixelError: an image cannot be read any more, or is not the file that was indexed.
        """
        return ordered_parallel_map(self._decode_one, zip(self.paths, self.sha256, strict=True))

    def _decode_one(self, file: tuple[str, str]) -> np.ndarray:
        path, sha256 = cell_file(self.root, file[0]), file[1]
        try:
            content = read_file(path)
            if hashlib.sha256(content).hexdigest() == sha256:
                return decode_cell(content, self.size, self.bit_depth)
        except Exception as error:  # Pillow's decoders raise many kinds, and few of them name the file
            raise PixelError(
                f"{path} was readable when it was indexed and is not now ({error}); "
                "run the pipeline data_engineering again"
            ) from error
        raise PixelError(
            f"{path} is not the file that was indexed (its sha256 is another than in cell_index); run the pipeline "
            "data_engineering from its start"
        )


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class CellPixels:
    """The decoded cells.

    Attributes:
        array: uint8 N×H×W×3, memory-mapped, read-only.
        cell_ids: the cell of each row.
        fingerprint: sha256 that stands for the images' bytes and the way they were decoded.
        path: the file behind ``array``.
        bit_depth: of the 16-bit images among them; None = there is none.
        sha256: of the array's content, see ``malaria_kedro.cells.pixel_hashes``.
        files: sha256 of the file that each row was decoded from, by cell id.
    """

    array: np.ndarray
    cell_ids: np.ndarray
    fingerprint: str
    path: Path
    sha256: str
    files: pd.Series
    bit_depth: int | None = None


def plan_pixels(root: Path, index: pd.DataFrame, image: Image) -> PixelPlan:
    """Plan the decoding of all used cells, in the order of ``cell_id``.

    Raises:
        PixelError: no cell is to be used.
        BitDepthError: the 16-bit images among them have no single bit depth.
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
    return PixelPlan(root, paths, cell_ids, sha256, image.size, digest.hexdigest(), bit_depth)
