"""Image files of every kind that a microscope, a phone or a mishap may leave, as bytes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

SIDE = 20


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def cell(shade: int = 100, side: int = SIDE, mode: str = "RGB") -> Image.Image:
    """Return a one-coloured image, ``shade`` in red."""
    return Image.new("RGB", (side, side), (shade % 256, shade // 256, 7)).convert(mode)


def png(shade: int = 100, side: int = SIDE) -> bytes:
    return encoded(cell(shade, side))


def noise(side: int = SIDE) -> Image.Image:
    """Return an image that no compression makes small, so that cutting its file cuts its pixels."""
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (side, side, 3), dtype=np.uint8))


def bomb() -> bytes:
    """Return a PNG of some hundred bytes whose header promises 10,000,000,000 pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def rotated_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif
