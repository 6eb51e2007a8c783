"""From a file's bytes to a cell the network can read, or to the reason why it cannot."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from malaria_kedro.cells.index import MAX_CELL_PIXELS
from malaria_kedro.cells.pixels import PixelError, resize_cell, to_rgb
from malaria_kedro.cells.png import decode_plain_png
from malaria_kedro.inference.sources import ImageRef, ImageSet

# Refused: such an image has no pixels for the network.
UNREADABLE = "unreadable"
TOO_SMALL = "too_small"
# Information only: the cell is read and called nevertheless.
SEVERAL_PAGES = "several_pages"
EXIF_ROTATED = "exif_rotated"

MIN_SIDE = 16  # px; a cell of the NIH set has 40 px at the least, and what is smaller shows no parasite
# What is documented, and no more: among Pillow's other formats are some that start foreign programs (EPS).
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
ORIENTATION = 0x0112  # the Exif tag
UNNAMED = ImageRef("")


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class DecodedCell:
    """One image, decoded or refused.

    Attributes:
        ref: which image.
        pixels: uint8 S×S×3, RGB; None = refused, and ``flags`` and ``reason`` say why.
        flags: ``unreadable`` and ``too_small`` refuse; ``several_pages`` and ``exif_rotated`` are information.
        reason: what the flags mean here, "; " between; empty without flags.
        width: px, of the original; None = unknown.
        height: px, of the original; None = unknown.
    """

    ref: ImageRef
    pixels: np.ndarray | None = None
    flags: tuple[str, ...] = ()
    reason: str = ""
    width: int | None = None
    height: int | None = None


def decode_image(data: bytes, size: int, *, ref: ImageRef = UNNAMED) -> DecodedCell:
    """Decode one image as training decodes its cells, see :func:`malaria_kedro.cells.pixels.to_rgb`.

    PNG, JPEG, TIFF and BMP, whatever the name says. Grey and palette become RGB, what is transparent becomes black,
    16-bit grey keeps its high byte, CMYK is converted without a colour profile. Of several pages the first is read
    (``several_pages``). A PNG or JPEG that Exif wants rotated stays as its pixels lie, as in training
    (``exif_rotated``); a TIFF is rotated by Pillow itself, there and here.

    Args:
        data: the file's bytes.
        size: side of the result, px.
        ref: which image it is.

    Returns:
        The cell. It never raises for what is wrong with the image: damaged, truncated, empty, of another format, of
        32-bit values or more than 25 million px is ``unreadable``; less than 16 px a side is ``too_small``.
    """
    if not data:
        return refused(ref, "the file is empty")
    try:
        rgb, flags, reasons = decode_plain_png(data), (), []
        if rgb is None:
            rgb, flags, reasons = _decode_any(data)
        height, width = rgb.shape[:2]
        if min(width, height) < MIN_SIDE:
            reason = f"{width} × {height} px: less than {MIN_SIDE} a side"
            return DecodedCell(ref, None, (TOO_SMALL,), reason, width, height)
        return DecodedCell(ref, resize_cell(rgb, size), flags, "; ".join(reasons), width, height)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds; any of them means one unusable image
        return refused(ref, error)


def _decode_any(data: bytes) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Return the image as RGB, uint8 H×W×3, and what is worth knowing about it: flags and their reasons."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_CELL_PIXELS:
            raise PixelError(f"{width} × {height} px are too many for one cell")
        rgb = np.array(to_rgb(image))  # a TIFF may be rotated here
        return rgb, *_remarks(image)  # the last, for it goes on to the next page


def refused(ref: ImageRef, reason: Exception | str) -> DecodedCell:
    """Return the row of an image that cannot be read."""
    if isinstance(reason, Image.UnidentifiedImageError):
        reason = f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image, or its header is damaged"
    elif isinstance(reason, OSError) and reason.strerror:
        reason = reason.strerror  # without the path, which is the row's name already
    # Pillow names the buffer (<_io.BytesIO object at 0x…>): of no use, and another text in every run.
    said = " ".join(re.sub(r"<_io\.[^>]*>", "", str(reason)).split())
    return DecodedCell(ref, flags=(UNREADABLE,), reason=said or type(reason).__name__)


def _remarks(image: Image.Image) -> tuple[tuple[str, ...], list[str]]:
    """Return what is worth knowing about an image that was read: flags and their reasons."""
    remarks = {}
    if "exif" in image.info and image.format != "TIFF" and (orientation := _orientation(image)) not in (None, 1):
        remarks[EXIF_ROTATED] = f"Exif orientation {orientation} is not applied"
    if _has_another_page(image):
        remarks[SEVERAL_PAGES] = "only the first of several pages is read"
    return tuple(remarks), list(remarks.values())


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # a damaged Exif block harms no pixel
        return None


def _has_another_page(image: Image.Image) -> bool:
    # Looking for a second page and not counting them: a TIFF may have a hundred thousand.
    try:
        image.seek(1)
    except EOFError:
        return False
    except Exception:  # there is one, and it is damaged: no matter to the first
        return True
    return True


def decode_images(images: ImageSet, refs: Iterable[ImageRef], size: int) -> Iterator[DecodedCell]:
    """Read and decode images, one after the other; one that cannot be read is refused, be it lost, locked or damaged.

    Args:
        images: the source.
        refs: which of its images.
        size: side of the cells, px.
    """
    for ref in refs:
        try:
            data = images.read(ref)
        except MemoryError:
            raise
        except Exception as error:  # one file costs one row
            yield refused(ref, error)
        else:
            yield decode_image(data, size, ref=ref)
