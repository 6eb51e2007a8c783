"""A fast decoder for the most common file: a plain 8-bit RGB PNG.

Optional (``pip install "malaria-kedro[png]"``): what it does not know, or where it is not installed, Pillow decodes,
and the pixels are the same.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from malaria_kedro.machine import is_panic

try:
    from kornia_rs.io import decode_image_png_u8
except ImportError:  # the extra is not installed
    decode_image_png_u8 = None

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = struct.Struct(">II5s")  # width, height, kind
PLAIN = bytes([8, 2, 0, 0, 0])  # 8 bits, RGB, deflate, the five usual filters, not interlaced
# Chunks that change no pixel, and the bytes each has to have. Any other is a reason for Pillow to look.
HARMLESS = {b"tIME": 7, b"pHYs": 9, b"gAMA": 4, b"sRGB": 1, b"cHRM": 32}
MAX_CHUNKS = 64
MAX_PIXELS = 1024 * 1024  # what a header may claim before a byte of it is decoded: 3 MB


def decode_plain_png(data: bytes) -> np.ndarray | None:
    """Decode the bytes of a plain 8-bit RGB PNG.

    Returns:
        uint8 H×W×3, RGB; None = no such file, or not a flawless one, or the extra ``png`` is not installed: let Pillow
        look, which reads what can be read, and else says what is wrong.
    """
    if decode_image_png_u8 is None or not _is_plain(data):
        return None
    width, height, _ = HEADER.unpack_from(data, 16)
    try:
        return decode_image_png_u8(data, (height, width), "rgb")
    except BaseException as error:
        if isinstance(error, Exception) or is_panic(error):
            return None
        raise


def _is_plain(data: bytes) -> bool:
    """Whether nothing but the pixels is in the file, and the file is whole."""
    if not data.startswith(SIGNATURE) or data[8:16] != b"\0\0\0\rIHDR" or len(data) < 33:
        return False
    width, height, kind = HEADER.unpack_from(data, 16)
    if kind != PLAIN or not 0 < width * height <= MAX_PIXELS:
        return False
    at = 33
    for _ in range(MAX_CHUNKS):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + length
        if name == b"IEND":
            return length == 0 and len(data) >= end + 4
        if name != b"IDAT" and (
            HARMLESS.get(name) != length or zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big")
        ):
            return False
        at = end + 4
    return False
