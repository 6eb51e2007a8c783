"""All 16 bits of 16-bit images with several channels, of which Pillow itself gives only the upper eight.

Pillow still does the work: it decodes the lower eight bits in a second pass over a PNG, and reads a TIFF as one of grey
16-bit values, which it knows.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES = 322, 323, 324, 325, 338
BLACK_IS_ZERO, RGB = 1, 2
IN_PLANES = 2
DIFFERENCES = 2  # the predictor: each value is stored as its difference to the one on its left
# Of these, those whose data may be differences.
COMPRESSIONS = {1: False, 5: True, 8: True, 32946: True, 32773: False, 34925: True, 50000: True}
UNASSOCIATED = 2  # alpha that the colours are not multiplied with yet


def read_deep_png(image: Image.Image, data: bytes) -> np.ndarray | None:
    """Return all bits of a 16-bit PNG.

    Args:
        image: the PNG, opened.
        data: its bytes.

    Returns:
        uint16 H×W×C, C as in ``malaria_kedro.cells.decoding.DecodedImage``; None = it has 8 bits or fewer.

    Raises:
        OSError: it is damaged.
    """
    rawmode = image.tile[0][3] if isinstance(image, ImageFile) and image.tile else ""
    values: np.ndarray
    if image.mode == "I;16":
        values = np.asarray(image).astype(np.uint16)[..., None]
    elif rawmode in ("RGB;16B", "RGBA;16B"):
        upper = _unpacked(data, rawmode).astype(np.uint16)
        values = upper << 8 | _unpacked(data, rawmode.replace("16B", "16L"))
    elif rawmode == "LA;16B":
        halves = _unpacked(data, "RGBA").astype(np.uint16)  # the four bytes of a pixel, as they lie
        values = halves[..., ::2] << 8 | halves[..., 1::2]
    else:
        return None
    return with_clear_colour(values, image.info.get("transparency"))


def with_clear_colour(values: np.ndarray, clear: int | tuple[int, ...] | None) -> np.ndarray:
    """Add an alpha channel to uint16 H×W×1 or H×W×3 where one colour stands for what is transparent."""
    if clear is None or values.shape[2] not in (1, 3):
        return values
    opaque = (values != np.asarray(clear, dtype=np.uint16)).any(axis=2, keepdims=True)
    return np.concatenate([values, opaque.astype(np.uint16) * 0xFFFF], axis=2)


def _unpacked(data: bytes, rawmode: str) -> np.ndarray:
    """Decode a PNG with its samples unpacked as ``rawmode`` says: uint8 H×W×C."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
        return np.array(image)


def read_deep_tiff(image: TiffImageFile, data: bytes) -> np.ndarray | None:
    """Return all bits of a 16-bit TIFF, grey or RGB, chunky or planar, in strips or tiles, of either byte order.

    Args:
        image: the TIFF, opened.
        data: its bytes.

    Returns:
        uint16 H×W×C, C as in ``malaria_kedro.cells.decoding.DecodedImage``, as they lie in the file whatever its
        tag of orientation says; None = its values have not 16 bits each.

    Raises:
        OSError: it is damaged.
        ValueError: a compression or an order of values that is not read.
    """
    tags: dict[int, Any] = dict(image.tag_v2)
    bits = tags.get(BITS, 1)
    if set(bits if isinstance(bits, tuple) else (bits,)) != {16}:
        return None
    compression, samples = tags.get(COMPRESSION, 1), tags.get(SAMPLES, 1)
    if compression not in COMPRESSIONS:
        raise ValueError(f"a 16-bit TIFF with compression {compression} is not read: save it with LZW or without any")
    predictor = tags.get(PREDICTOR, 1) if COMPRESSIONS[compression] else 1
    if predictor not in (1, DIFFERENCES):
        raise ValueError(f"a 16-bit TIFF with predictor {predictor} is not read: save it with LZW or without any")
    if samples > 1 and tags.get(PLANAR, 1) == IN_PLANES:
        planes = [_read_as_grey(image, data, tags, plane=plane, predictor=predictor) for plane in range(samples)]
        values = np.dstack(planes)
    elif samples > 1:
        row = _read_as_grey(image, data, tags, side_by_side=samples)
        values = np.ascontiguousarray(row.reshape(len(row), -1, samples))
        if predictor == DIFFERENCES:
            _add_up(values, tags[TILE_WIDTH] if TILE_WIDTH in tags else values.shape[1])
    else:
        values = _read_as_grey(image, data, tags, predictor=predictor)[..., None]
    colours = 3 if tags.get(PHOTOMETRIC) == RGB else 1
    extra = tags.get(EXTRA_SAMPLES, () if samples == colours else (UNASSOCIATED,))
    # Colours that are multiplied with their alpha already are what they look like over black.
    has_alpha = samples > colours and (extra if isinstance(extra, tuple) else (extra,))[0] == UNASSOCIATED
    return np.ascontiguousarray(values[..., : colours + has_alpha])


def _add_up(values: np.ndarray, width: int) -> None:
    """Turn the differences in uint16 H×W×C into values, in place, for each tile by itself."""
    for left in range(0, values.shape[1], width):
        tile = values[:, left : left + width]
        np.cumsum(tile, axis=1, dtype=np.uint16, out=tile)


def _read_as_grey(
    image: TiffImageFile,
    data: bytes,
    tags: dict[int, Any],
    *,
    plane: int = 0,
    side_by_side: int = 1,
    predictor: int = 1,
) -> np.ndarray:
    """Read one plane, or all values of a row side by side, as a grey image: uint16 H×(W × ``side_by_side``)."""
    tiled = TILE_OFFSETS in tags
    places, counts = (TILE_OFFSETS, TILE_BYTES) if tiled else (STRIP_OFFSETS, STRIP_BYTES)
    count = pieces_of_a_plane(tags)
    own = slice(plane * count, (plane + 1) * count)
    described: dict[int, tuple[str, tuple[int, ...]]] = {
        WIDTH: ("I", (tags[WIDTH] * side_by_side,)),
        LENGTH: ("I", (tags[LENGTH],)),
        BITS: ("H", (16,)),
        COMPRESSION: ("H", (tags.get(COMPRESSION, 1),)),
        PHOTOMETRIC: ("H", (BLACK_IS_ZERO,)),
        places: ("I", tags[places][own]),
        SAMPLES: ("H", (1,)),
        PREDICTOR: ("H", (predictor,)),
    }
    if counts in tags:
        described[counts] = ("I", tags[counts][own])
    if tiled:
        described[TILE_WIDTH] = ("I", (tags[TILE_WIDTH] * side_by_side,))
        described[TILE_LENGTH] = ("I", (tags[TILE_LENGTH],))
    else:
        described[ROWS_PER_STRIP] = ("I", (min(tags.get(ROWS_PER_STRIP, tags[LENGTH]), tags[LENGTH]),))
    order = "<" if image.tag_v2.prefix == b"II" else ">"
    with Image.open(io.BytesIO(_redescribed(data, described, order)), formats=("TIFF",)) as grey:
        return np.asarray(grey).astype(np.uint16)


def pieces_of_a_plane(tags: Mapping[int, Any]) -> int:
    """Return how many strips or tiles hold one plane of a TIFF (all values, where it is chunky)."""
    width, length = tags[WIDTH], tags[LENGTH]
    if TILE_OFFSETS in tags:
        return math.ceil(width / max(1, tags[TILE_WIDTH])) * math.ceil(length / max(1, tags[TILE_LENGTH]))
    return math.ceil(length / max(1, tags.get(ROWS_PER_STRIP, length)))


def _redescribed(data: bytes, described: dict[int, tuple[str, tuple[int, ...]]], order: str) -> bytes:
    """Return a TIFF of the same data that is described by other tags, ``tag -> (H or I, values)``."""
    start = len(data) + len(data) % 2
    after = start + 2 + 12 * len(described) + 4
    entries, values = [], b""
    for tag, (kind, numbers) in sorted(described.items()):
        packed = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", after + len(values))
            values += packed
        else:
            place = packed.ljust(4, b"\0")
        entries.append(struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(numbers)) + place)
    # A classic header, even where the file is a BigTIFF: with 100 MB at the most its places fit into 32 bits.
    header = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, start)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return header + data[8:] + bytes(start - len(data)) + directory + values
