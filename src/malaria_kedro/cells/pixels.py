"""All cells as one uint8 array: each image decoded and resized once, memory-mapped ever after."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as PillowImage

from malaria_kedro.cells.parallel import in_order
from malaria_kedro.cells.png import decode_plain_png
from malaria_kedro.parameters import Image

logger = logging.getLogger(__name__)


class PixelError(ValueError):
    """The pixel array cannot be made or does not fit; the message says why and what to do."""


def decode_cell(source: Path | PillowImage.Image, size: int) -> np.ndarray:
    """Decode one cell image and squish it to a square.

    The one decoder of the project, for training and for serving, so that their pixels agree.

    Args:
        source: an image file, or an image that Pillow already opened.
        size: side of the result, px.

    Returns:
        uint8, ``size × size × 3``, RGB, 0-255.

    Raises:
        OSError: no such file, or not an image that Pillow reads.
        PixelError: its values have no known range, see :func:`to_rgb`.
    """
    if isinstance(source, PillowImage.Image):
        return resize_cell(np.array(to_rgb(source)), size)
    if (rgb := decode_plain_png(source.read_bytes())) is not None:
        return resize_cell(rgb, size)
    with PillowImage.open(source) as image:  # by its path, which Pillow's errors name
        return decode_cell(image, size)


def resize_cell(rgb: np.ndarray, size: int) -> np.ndarray:
    """Squish an image to a square: bilinear, over all pixels that a new one covers.

    Pillow's ``BILINEAR`` within one level of 255, in a quarter of its time.

    Args:
        rgb: uint8 H×W×3, which can be written to (torch shares it, and knows no other).
        size: side of the result, px.

    Returns:
        uint8 ``size × size × 3``.
    """
    import torch

    # In this order of axes torch takes the pixels as they lie, and gives them back so.
    image = torch.from_numpy(rgb)[None].permute(0, 3, 1, 2)
    squished = torch.nn.functional.interpolate(image, (size, size), mode="bilinear", antialias=True)
    return squished.permute(0, 2, 3, 1)[0].numpy()


def to_rgb(image: PillowImage.Image) -> PillowImage.Image:
    """Turn an image of any usual mode into 8-bit RGB.

    Grey and palette become RGB, what is transparent becomes black (the NIH cells are cut out on black), and 16-bit
    grey keeps its high byte, as Pillow does with 16-bit colour. What is 8-bit RGB is returned as it is, decoded.

    Raises:
        OSError: it is damaged.
        PixelError: 32-bit values, integer or float, whose range no image file tells.
    """
    if image.mode.startswith("I;16"):
        # convert("RGB") would clip at 255, which turns nearly every pixel of a microscope's 16-bit image white.
        image = PillowImage.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise PixelError(f"32-bit values (Pillow's mode {image.mode}) have no known range: save it as 8-bit RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, (0, 0, 0, 255)), image)
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()  # what is damaged is found here, as in any conversion
    return image


@dataclass(frozen=True)
class PixelPlan:
    """What is to be decoded; nothing is read before :meth:`decode` is iterated."""

    root: Path
    paths: list[str] = field(repr=False)
    cell_ids: list[str] = field(repr=False)
    sha256: list[str] = field(repr=False)
    size: int
    fingerprint: str

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N × H × W × 3."""
        return (len(self.paths), self.size, self.size, 3)

    def decode(self) -> Iterator[np.ndarray]:
        """Yield every cell, uint8 H×W×3, in order, decoded by all cores.

        Raises:
            PixelError: an image cannot be read any more, or is not the file that was indexed.
        """
        return in_order(self._decode_one, zip(self.paths, self.sha256, strict=True))

    def _decode_one(self, file: tuple[str, str]) -> np.ndarray:
        path, sha256 = self.root / file[0], file[1]
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == sha256:
                return _decode_content(content, self.size)
        except Exception as error:  # Pillow's decoders raise many kinds, and few of them name the file
            raise PixelError(
                f"{path} was readable when it was indexed and is not now ({error}); "
                "run the pipeline data_engineering again"
            ) from error
        raise PixelError(
            f"{path} is not the file that was indexed (its sha256 is another than in cell_index); run the pipeline "
            "data_engineering from its start"
        )


def _decode_content(content: bytes, size: int) -> np.ndarray:
    if (rgb := decode_plain_png(content)) is not None:
        return resize_cell(rgb, size)
    with PillowImage.open(io.BytesIO(content)) as image:
        return decode_cell(image, size)


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class CellPixels:
    """The decoded cells.

    Attributes:
        array: uint8 N×H×W×3, memory-mapped, read-only.
        cell_ids: the cell of each row.
        fingerprint: sha256 that stands for the images' bytes and the way they were decoded.
        path: the file behind ``array``.
        sha256: of the array's content, see :mod:`malaria_kedro.cells.pixel_hashes`.
        files: sha256 of the file that each row was decoded from, by cell id.
    """

    array: np.ndarray
    cell_ids: np.ndarray
    fingerprint: str
    path: Path
    sha256: str
    files: pd.Series


def plan_pixels(root: Path, index: pd.DataFrame, image: Image) -> PixelPlan:
    """Plan the decoding of all used cells, in the order of ``cell_id``.

    Raises:
        PixelError: no cell is to be used.
    """
    used = index[index["excluded"] == ""].sort_values("cell_id")
    if used.empty:
        raise PixelError("no usable cell in the index: nothing to decode")
    digest = hashlib.sha256(f"rgb bilinear torch {image.resize_method} {image.size}".encode())
    for cell_id, sha256 in zip(used["cell_id"], used["sha256"], strict=True):
        digest.update(f"\n{cell_id} {sha256}".encode())
    paths, cell_ids, sha256 = (used[column].tolist() for column in ("path", "cell_id", "sha256"))
    return PixelPlan(root, paths, cell_ids, sha256, image.size, digest.hexdigest())
