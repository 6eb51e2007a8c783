"""From a file's bytes to a cell that the network can read, or to the reason why it cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from malaria_kedro.cells.decoding import UNREADABLE, AnyImage, ImageError, explain, open_image
from malaria_kedro.cells.resizing import resize_cell
from malaria_kedro.inference.image_sets import ImageRef, ImageSet, is_machine_fault
from malaria_kedro.language import N_

CONTENT_BYTES = 16  # of a hash


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class DecodedCell:
    """One image, decoded or refused.

    The flags ``unreadable`` and ``too_small`` refuse; ``several_pages``, ``exif_rotated`` and ``few_bits`` inform.
    """

    pixels: np.ndarray | None = None  # uint8 S×S×3, RGB; None = refused
    flags: tuple[str, ...] = ()
    reason: str = ""  # what the flags mean here, separated by "; "
    width: int | None = None  # px, of the original; None = unknown
    height: int | None = None
    content: bytes | None = None  # a hash of what was decoded, by which equal files are found; None = refused


def decode_image(data: AnyImage, size: int, *, bit_depth: int | None = None) -> DecodedCell:
    """Decode an image, mostly the bytes of its file, as training does, see ``malaria_kedro.cells.decoding.open_image``.

    Nothing is raised for what is wrong with the image: what cannot be read is ``unreadable``, less than 16 px per side
    is ``too_small``. The cell has ``size`` px per side; without a bit depth, 16-bit images are refused.
    """
    try:
        image = open_image(data)
        pixels = resize_cell(image.rgb(bit_depth), size)
        remarks = image.remarks_at(bit_depth)
    except MemoryError:
        raise
    except Exception as error:  # one image costs one row
        return _refused(error)
    return DecodedCell(pixels, tuple(remarks), "; ".join(remarks.values()), *image.size, _content_of(data))


def _content_of(data: AnyImage) -> bytes:
    """Return a hash of a file's bytes, or of the pixels of an image in memory."""
    held = data if isinstance(data, bytes) else np.asarray(data).tobytes()
    return hashlib.blake2b(held, digest_size=CONTENT_BYTES).digest()


def _refused(error: Exception) -> DecodedCell:
    if isinstance(error, ImageError):
        return DecodedCell(None, (error.flag,), error.reason, *error.size)
    reason = N_("there was not enough memory to read it") if isinstance(error, MemoryError) else explain(error)
    return DecodedCell(flags=(UNREADABLE,), reason=reason)


def decode_images(
    images: ImageSet, refs: Iterable[ImageRef], size: int, bit_depth: int | None = None
) -> tuple[list[DecodedCell], list[int]]:
    """Read and decode images as ``decode_image`` does; one that is lost, locked or damaged is refused.

    Returns:
        The cells, in order, and which of them (from 0) failed for a reason of the machine and not of the image.
    """
    cells: list[DecodedCell] = []
    failed: list[int] = []
    for row, ref in enumerate(refs):
        try:
            cells.append(decode_image(images.read(ref), size, bit_depth=bit_depth))
        except Exception as error:  # one file costs one row
            cells.append(_refused(error))
            if is_machine_fault(error):
                failed.append(row)
    return cells, failed
