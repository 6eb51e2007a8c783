"""All 16 bits of 16-bit images with several channels, of which Pillow itself gives only the upper eight.

Pillow still does the work: it decodes the lower eight bits of a PNG in a second pass, and reads a TIFF as grey values.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.ImageFile import ImageFile

BLACK_IS_ZERO, RGB = 1, 2
IN_PLANES = 2
DIFFERENCES = 2  # the predictor: each value is stored as its difference to the one on its left
# Of these, those whose data may be differences.
COMPRESSIONS = {1: False, 5: True, 8: True, 32946: True, 32773: False, 34925: True, 50000: True}
UNSIGNED_32 = 4  # the type of a tag's values
UNASSOCIATED = 2  # alpha that the colours are not multiplied with yet


def read_deep_png(image: Image.Image, data: bytes) -> np.ndarray | None:
    """Return all bits of a 16-bit PNG, which is opened, and whose bytes are ``data``.

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


def tag_values(image: Image.Image, tag: int) -> tuple[int, ...]:
    """Return the values of a TIFF's tag; empty = it has none, or the image is not a TIFF."""
    found = getattr(image, "tag_v2", {}).get(tag, ())
    return found if isinstance(found, tuple) else (found,)


def read_deep_tiff(image: Image.Image, data: bytes) -> np.ndarray | None:
    """Return all bits of a 16-bit TIFF: grey or RGB, chunky or planar, in strips or tiles, of either byte order.

    Returns:
        uint16 H×W×C, C as in ``malaria_kedro.cells.decoding.DecodedImage``, as they lie in the file whatever its
        tag of orientation says; None = it is no TIFF, or its values do not have 16 bits each.

    Raises:
        OSError: it is damaged.
        ValueError: a compression or an order of values that is not read.
    """
    if set(tag_values(image, Tag.BitsPerSample)) != {16}:
        return None
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    compression, samples = tags.get(Tag.Compression, 1), tags.get(Tag.SamplesPerPixel, 1)
    if compression not in COMPRESSIONS:
        raise ValueError(f"a 16-bit TIFF with compression {compression} is not read: save it with LZW or without any")
    predictor = tags.get(Tag.Predictor, 1) if COMPRESSIONS[compression] else 1
    if predictor not in (1, DIFFERENCES):
        raise ValueError(f"a 16-bit TIFF with predictor {predictor} is not read: save it with LZW or without any")
    if samples == 1 or tags.get(Tag.PlanarConfiguration, 1) == IN_PLANES:
        planes = [_read_as_grey(data, tags, plane=plane, predictor=predictor) for plane in range(samples)]
        values = np.dstack(planes)
    else:
        row = _read_as_grey(data, tags, side_by_side=samples)
        values = np.ascontiguousarray(row.reshape(len(row), -1, samples))
        if predictor == DIFFERENCES:
            _add_up(values, tags.get(Tag.TileWidth, values.shape[1]))
    colours = 3 if tags.get(Tag.PhotometricInterpretation) == RGB else 1
    extra = tag_values(image, Tag.ExtraSamples) or (UNASSOCIATED,)
    # Colours that are multiplied with their alpha already are what they look like over black.
    has_alpha = samples > colours and extra[0] == UNASSOCIATED
    return np.ascontiguousarray(values[..., : colours + has_alpha])


def _add_up(values: np.ndarray, width: int) -> None:
    """Turn the differences in uint16 H×W×C into values, in place, for each tile by itself."""
    for left in range(0, values.shape[1], width):
        tile = values[:, left : left + width]
        np.cumsum(tile, axis=1, dtype=np.uint16, out=tile)


def _read_as_grey(
    data: bytes, tags: Mapping[int, Any], *, plane: int = 0, side_by_side: int = 1, predictor: int = 1
) -> np.ndarray:
    """Read one plane, or all values of a row side by side, as a grey image: uint16 H×(W × ``side_by_side``)."""
    tiled, length = Tag.TileOffsets in tags, tags[Tag.ImageLength]
    described: dict[int, tuple[int, ...]] = {
        Tag.ImageWidth: (tags[Tag.ImageWidth] * side_by_side,),
        Tag.ImageLength: (length,),
        Tag.BitsPerSample: (16,),
        Tag.Compression: (tags.get(Tag.Compression, 1),),
        Tag.PhotometricInterpretation: (BLACK_IS_ZERO,),
        Tag.SamplesPerPixel: (1,),
        Tag.Predictor: (predictor,),
    }
    if tiled:
        described |= {Tag.TileWidth: (tags[Tag.TileWidth] * side_by_side,), Tag.TileLength: (tags[Tag.TileLength],)}
    else:
        described[Tag.RowsPerStrip] = (min(tags.get(Tag.RowsPerStrip, length), length),)
    count = pieces_of_a_plane(tags)
    pieces = (Tag.TileOffsets, Tag.TileByteCounts) if tiled else (Tag.StripOffsets, Tag.StripByteCounts)
    described |= {tag: tags[tag][plane * count : (plane + 1) * count] for tag in pieces if tag in tags}
    with Image.open(io.BytesIO(_redescribed(data, described)), formats=("TIFF",)) as grey:
        return np.asarray(grey).astype(np.uint16)


def pieces_of_a_plane(tags: Mapping[int, Any]) -> int:
    """Return how many strips or tiles hold one plane of a TIFF (all values, where it is chunky)."""
    width, length = tags[Tag.ImageWidth], tags[Tag.ImageLength]
    if Tag.TileOffsets in tags:
        return math.ceil(width / max(1, tags[Tag.TileWidth])) * math.ceil(length / max(1, tags[Tag.TileLength]))
    return math.ceil(length / max(1, tags.get(Tag.RowsPerStrip, length)))


def _redescribed(data: bytes, described: dict[int, tuple[int, ...]]) -> bytes:
    """Return a TIFF of the same data that is described by other tags."""
    order = "<" if data.startswith(b"II") else ">"
    start = len(data) + len(data) % 2
    after = start + 2 + 12 * len(described) + 4
    directory, values = struct.pack(f"{order}H", len(described)), b""
    for tag, numbers in sorted(described.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            place = struct.pack(f"{order}I", after + len(values))
            values += packed
        else:
            place = packed.ljust(4, b"\0")
        directory += struct.pack(f"{order}HHI", tag, UNSIGNED_32, len(numbers)) + place
    # A classic header, even where the file is a BigTIFF: with 100 MB at the most its places fit into 32 bits.
    header = data[:2] + struct.pack(f"{order}HI", 42, start)
    return header + data[8:] + bytes(start - len(data)) + directory + bytes(4) + values
