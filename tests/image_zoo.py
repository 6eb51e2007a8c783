"""Image files of every kind, written by hand where Pillow cannot write them, as bytes."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 37, 53  # odd, and whole numbers of no strip or tile
NONE, LZW, DEFLATE = 1, 5, 8
GREY, WHITE_IS_ZERO, RGB, CMYK, YCBCR, LAB = 1, 0, 2, 5, 6, 8


def values(bits: int, channels: int = 0, seed: int = 0) -> np.ndarray:
    """Return random values of so many bits, uint8 or uint16, H×W or H×W×C; the largest that there can be is there."""
    shape = (HEIGHT, WIDTH, channels) if channels else (HEIGHT, WIDTH)
    made = np.random.default_rng(seed).integers(0, 2**bits, shape, dtype=np.uint16)
    made.flat[0] = 2**bits - 1
    return made.astype(np.uint8) if bits == 8 else made


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(
    array: np.ndarray,
    *,
    order: str = "<",
    planar: bool = False,
    rows: int | None = None,
    tile: tuple[int, int] | None = None,
    compression: int = NONE,
    predictor: bool = False,
    photometric: int | None = None,
    **tags: tuple[int, ...],
) -> bytes:
    """Write a TIFF: H×W or H×W×C; ``tile`` is (rows, columns), and other tags are given as ``t339=(2,)``."""
    array = array if array.ndim == 3 else array[..., None]
    height, width, samples = array.shape
    step_y, step_x = tile or (rows or height, width)
    pieces = []
    for plane in np.moveaxis(array, 2, 0)[..., None] if planar else [array]:
        for y, x in itertools.product(range(0, height, step_y), range(0, width, step_x)):
            piece = plane[y : y + step_y, x : x + step_x]
            if tile:
                lacking = (step_y - piece.shape[0], step_x - piece.shape[1])
                piece = np.pad(piece, ((0, lacking[0]), (0, lacking[1]), (0, 0)))
            if predictor:
                piece = np.diff(piece, axis=1, prepend=np.zeros_like(piece[:, :1]))
            data = piece.astype(piece.dtype.newbyteorder(order)).tobytes()
            pieces.append({NONE: bytes, LZW: _lzw, DEFLATE: zlib.compress}[compression](data))
    places = list(itertools.accumulate((len(piece) for piece in pieces), initial=8))
    described = {
        256: (width,),
        257: (height,),
        258: (array.dtype.itemsize * 8,) * samples,
        259: (compression,),
        262: (photometric if photometric is not None else RGB if samples > 2 else GREY,),
        277: (samples,),
        284: (2 if planar else 1,),
        317: (2 if predictor else 1,),
        **({322: (step_x,), 323: (step_y,)} if tile else {278: (step_y,)}),
        324 if tile else 273: tuple(places[:-1]),
        325 if tile else 279: tuple(len(piece) for piece in pieces),
    } | {int(name[1:]): numbers for name, numbers in tags.items()}
    body = b"".join(pieces)
    return _with_directory(body, described, order)


def _with_directory(body: bytes, described: dict[int, tuple[int, ...]], order: str) -> bytes:
    body += bytes(len(body) % 2)
    start = 8 + len(body)
    after = start + 2 + 12 * len(described) + 4
    entries, long = b"", b""
    for tag, numbers in sorted(described.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            packed, long = struct.pack(f"{order}I", after + len(long)), long + packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    header = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, start)
    return header + body + struct.pack(f"{order}H", len(described)) + entries + bytes(4) + long


def _lzw(data: bytes) -> bytes:
    """Encode without compressing: the table is cleared before a code needs more than nine bits."""
    codes = [code for at in range(0, len(data), 250) for code in (256, *data[at : at + 250])] + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    return int(bits.ljust(8 * math.ceil(len(bits) / 8), "0"), 2).to_bytes(math.ceil(len(bits) / 8), "big")


def packed_12_bits(array: np.ndarray) -> bytes:
    """Write a TIFF of grey values that take 12 bits each, a row after the other from a whole byte on."""
    rows = ["".join(f"{value:012b}" for value in row) for row in array]
    length = math.ceil(len(rows[0]) / 8)
    body = b"".join(int(row.ljust(8 * length, "0"), 2).to_bytes(length, "big") for row in rows)
    described = {256: array.shape[1], 257: array.shape[0], 258: 12, 259: 1, 262: GREY, 273: 8, 277: 1, 279: len(body)}
    return _with_directory(body, {tag: (number,) for tag, number in described.items()}, "<")


def png_16(array: np.ndarray, **chunks: bytes) -> bytes:
    """Write a 16-bit PNG, grey (H×W), grey and alpha, RGB, or RGB and alpha; its rows use all five filters."""
    array = array if array.ndim == 3 else array[..., None]
    height, width, samples = array.shape
    row_bytes = np.frombuffer(array.astype(">u2").tobytes(), np.uint8).reshape(height, -1).astype(int)
    up = np.pad(row_bytes, ((1, 0), (0, 0)))[:-1]
    left, corner = (np.pad(rows, ((0, 0), (2 * samples, 0)))[:, : -2 * samples] for rows in (row_bytes, up))
    guess = left + up - corner
    near = np.stack([abs(guess - left), abs(guess - up), abs(guess - corner)]).argmin(axis=0)
    paeth = np.choose(near, [left, up, corner])
    predicted = [np.zeros_like(up), left, up, (left + up) // 2, paeth]
    rows = b"".join(
        bytes([at % 5]) + ((row_bytes[at] - predicted[at % 5][at]) % 256).astype(np.uint8).tobytes()
        for at in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[samples], 0, 0, 0)
    parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name.encode()
        + content
        + struct.pack(">I", zlib.crc32(name.encode() + content))
        for name, content in parts.items()
    )


def zoo() -> dict[str, bytes]:
    """Return one file of each kind, good and bad, 8-bit and 12-bit, by name."""
    grey, colour, four = values(8), values(8, 3), values(8, 4)
    deep, deep_colour = values(12), values(12, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    half = Image.fromarray(four, "RGBA")
    palette = Image.fromarray(colour).quantize(16)

    files: dict[str, bytes] = {
        "rgb.png": encoded(colour),
        "grey.png": encoded(grey),
        "alpha.png": encoded(half),
        "grey alpha.png": encoded(half.convert("LA")),
        "palette.png": encoded(palette),
        "clear palette.png": encoded(palette, transparency=0),
        "one bit.png": encoded(Image.fromarray(grey).convert("1")),
        "rotated.png": encoded(colour, exif=exif),
        "animated.png": encoded(colour, save_all=True, append_images=[Image.fromarray(colour // 2)]),
        "rgb.jpg": encoded(colour, "JPEG"),
        "grey.jpg": encoded(grey, "JPEG"),
        "cmyk.jpg": encoded(Image.fromarray(four, "CMYK"), "JPEG"),
        "rotated.jpg": encoded(colour, "JPEG", exif=exif),
        "rgb.bmp": encoded(colour, "BMP"),
        "rgb.tif": tiff(colour),
        "planar.tif": tiff(colour, planar=True, rows=5),
        "rotated.tif": tiff(colour, t274=(6,)),
        "white is zero.tif": tiff(grey, photometric=WHITE_IS_ZERO),
        "cmyk.tif": tiff(four, photometric=CMYK),
        "alpha.tif": tiff(four, t338=(2,)),
        "pages.tif": encoded(colour, "TIFF", save_all=True, append_images=[Image.fromarray(grey)]),
        "packed 12 bits.tif": packed_12_bits(deep),
        # 16 bits, with values of 12
        "deep.png": png_16(deep),
        "deep rgb.png": png_16(deep_colour),
        "deep alpha.png": png_16(np.dstack([deep_colour, np.full_like(deep, 65535)])),
        "deep.tif": tiff(deep),
        "deep motorola.tif": tiff(deep, order=">"),
        "deep rgb.tif": tiff(deep_colour, compression=LZW, predictor=True, rows=7),
        "deep planar.tif": tiff(deep_colour, planar=True, tile=(16, 32), compression=DEFLATE),
        "deep rotated.tif": tiff(deep_colour, t274=(8,)),
        "deep beyond.png": png_16(values(14)),
        "deep white is zero.tif": tiff(deep, photometric=WHITE_IS_ZERO),
        "deep cmyk.tif": tiff(values(12, 4), photometric=CMYK),
        # of no known range, or of colours that are not read
        "signed 8.tif": tiff(grey, t339=(2,)),
        "signed 16.tif": tiff(deep, t339=(2,)),
        "32 bits.tif": tiff(deep.astype(np.uint32)),
        "float.tif": tiff(grey.astype(np.float32), t339=(3,)),
        "float rgb.tif": tiff(colour.astype(np.float32), t339=(3, 3, 3)),
        "lab.tif": tiff(colour, photometric=LAB),
        "ycbcr.tif": tiff(colour, photometric=YCBCR),
        # damaged, of other formats, too small or too large
        "empty.png": b"",
        "text.png": b"Patient 7 has no parasites.",
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\nshowpage\n",
        "ppm.png": encoded(colour, "PPM"),
        "gif.png": encoded(colour, "GIF"),
        "ico.png": encoded(colour, "ICO"),
        "tga.png": encoded(colour, "TGA"),
        "cut.png": encoded(colour)[:900],
        "cut.jpg": encoded(colour, "JPEG")[:700],
        "cut.tif": tiff(colour)[:900],
        "cut deep.png": png_16(deep_colour)[:2000],
        "strips missing.tif": tiff(colour, rows=5, t273=(8,), t279=(5 * WIDTH * 3,)),
        "one px.png": encoded(colour[:1, :1]),
        "narrow.png": encoded(colour[:, :15]),
        "narrow deep.tif": tiff(deep[:15]),
        "slide.png": encoded(Image.new("1", (6000, 5000))),
        "bomb.png": encoded(Image.new("1", (20_000, 20_000))),
    }
    # Formats for which a Pillow may lack the encoder.
    for kind in ("WEBP", "AVIF", "JPEG2000"):
        with contextlib.suppress(OSError, KeyError, ValueError):
            files[f"{kind.lower()}.png"] = encoded(colour, kind)
    return files


# What of the zoo becomes a cell where the set has 12 bits; everything else is refused.
ACCEPTED = (
    "rgb.png", "grey.png", "alpha.png", "grey alpha.png", "palette.png", "clear palette.png", "one bit.png",
    "rotated.png", "animated.png", "rgb.jpg", "grey.jpg", "cmyk.jpg", "rotated.jpg", "rgb.bmp", "rgb.tif", "planar.tif",
    "rotated.tif", "white is zero.tif", "cmyk.tif", "alpha.tif", "pages.tif", "packed 12 bits.tif",
    "deep.png", "deep rgb.png", "deep alpha.png", "deep.tif", "deep motorola.tif", "deep rgb.tif", "deep planar.tif",
    "deep rotated.tif",
)  # fmt: skip
