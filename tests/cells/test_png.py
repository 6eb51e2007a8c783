"""The quick decoder: the pixels that Pillow gives, or none, so that Pillow looks."""

from __future__ import annotations

import importlib.util
import io
import random
import struct
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from malaria_kedro.cells.png import SIGNATURE, decode_plain_png

Chunks = list[tuple[bytes, bytes]]
FLAWS_IN_THE_STREAM = "broken data stream"


@pytest.fixture(autouse=True)
def _needs_the_extra():
    pytest.importorskip("kornia_rs", reason='needs the extra "png"')


@pytest.fixture
def image() -> np.ndarray:
    """A disc with some noise on black, 31 × 23 px: every filter of PNG finds work."""
    rows, columns = np.mgrid[:31, :23]
    inside = (rows - 15) ** 2 + (columns - 11) ** 2 < 100
    pixels = np.stack([rows * 7, columns * 11, rows + columns], axis=-1) % 256
    noise = np.random.default_rng(0).integers(0, 9, pixels.shape)
    return np.where(inside[..., None], pixels // 2 + noise, 0).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunks_of(data: bytes) -> Chunks:
    found, at = [], len(SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def joined(chunks: Chunks) -> bytes:
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def by_pillow(data: bytes) -> np.ndarray | Exception:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            return np.array(opened)
    except Exception as error:
        return error


# --- what it decodes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 9])
def test_the_pixels_are_those_of_the_image(image, level):
    pixels = decode_plain_png(encoded(image, compress_level=level))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, image)


def test_the_pixels_can_be_written_to(image):
    assert decode_plain_png(encoded(image)).flags.writeable


@pytest.mark.parametrize(
    "chunk",
    [(b"tIME", bytes(7)), (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)), (b"gAMA", struct.pack(">I", 45455))],
    ids=["time", "resolution", "gamma"],
)
def test_what_changes_no_pixel_may_be_in_the_file(image, chunk):
    first, *others = chunks_of(encoded(image))
    data = joined([first, chunk, *others])
    assert np.array_equal(decode_plain_png(data), image)
    assert np.array_equal(by_pillow(data), image)


def test_several_pieces_of_pixels_and_bytes_after_the_end_are_fine(image):
    first, (name, content), last = chunks_of(encoded(image))
    data = joined([first, (name, content[:100]), (name, content[100:]), last]) + b"and more"
    assert np.array_equal(decode_plain_png(data), image)


# --- what it leaves to Pillow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        Image.new("L", (8, 8), 9),
        Image.new("RGBA", (8, 8), 9),
        Image.new("P", (8, 8), 1),
        Image.new("1", (8, 8), 1),
        Image.fromarray(np.full((8, 8), 9, np.uint16)),
    ],
    ids=["grey", "with alpha", "palette", "black and white", "16-bit"],
)
def test_other_kinds_are_left(other):
    assert decode_plain_png(encoded(other)) is None


def test_a_transparent_colour_exif_and_text_are_left(image):
    exif = Image.Exif()
    exif[0x0112] = 6
    first, *others = chunks_of(encoded(image))
    assert decode_plain_png(encoded(Image.fromarray(image), transparency=(1, 2, 3))) is None
    assert decode_plain_png(encoded(image, exif=exif)) is None
    assert decode_plain_png(joined([first, (b"tEXt", b"Title\0cell"), *others])) is None


def test_more_pixels_than_a_cell_has_are_left():
    assert decode_plain_png(encoded(Image.new("RGB", (2048, 1024)))) is None


@pytest.mark.parametrize("data", [b"", b"BM", SIGNATURE, SIGNATURE + bytes(40)], ids=["empty", "BMP", "start", "zeros"])
def test_what_is_no_png_is_left(data):
    assert decode_plain_png(data) is None


def test_a_file_that_is_cut_anywhere_is_left(image):
    data = encoded(image)
    assert [end for end in range(len(data)) if decode_plain_png(data[:end]) is not None] == []


def test_a_spoilt_chunk_beside_the_pixels_is_left(image):
    first, *others = chunks_of(encoded(image))
    data = joined([first, (b"tIME", bytes(7)), *others])
    assert decode_plain_png(data.replace(b"tIME" + bytes(7), b"tIME" + bytes(6) + b"\1")) is None


def with_library(monkeypatch, decode):
    """Return ``decode_plain_png`` as it is where the library's function is ``decode``; None: it is not installed."""
    library = None if decode is None else SimpleNamespace(decode_image_png_u8=decode)
    monkeypatch.setitem(sys.modules, "kornia_rs.io", library)
    spec = importlib.util.find_spec("malaria_kedro.cells.png")
    fresh = importlib.util.module_from_spec(spec)  # the library is imported once, with the first file
    spec.loader.exec_module(fresh)
    return fresh.decode_plain_png


def test_without_the_extra_every_file_is_left(image, monkeypatch):
    assert with_library(monkeypatch, None)(encoded(image)) is None


class PanicException(BaseException):
    """What the decoder's language raises when it gives up; no Exception there either."""


@pytest.mark.parametrize("error", [PanicException("index out of bounds"), ValueError("crc"), MemoryError()])
def test_whatever_the_decoder_raises_the_file_is_left(image, monkeypatch, error):
    def fails(*_):
        raise error

    assert with_library(monkeypatch, fails)(encoded(image)) is None


def test_an_interruption_is_none_of_the_decoders_errors(image, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_library(monkeypatch, interrupted)(encoded(image))


# --- damage of any kind ---------------------------------------------------------------------------------------------


def spoilt(data: bytes, dice: random.Random) -> bytes:
    """Return a file with a few wrong bytes: as a bad disk leaves it, or sealed again, as no disk does."""
    if dice.random() < 0.5:
        wrong = bytearray(data)
        for _ in range(dice.randint(1, 3)):
            wrong[dice.randrange(len(wrong))] = dice.randrange(256)
        return bytes(wrong)
    chunks = [(name, bytearray(content)) for name, content in chunks_of(data)]
    for _ in range(dice.randint(1, 3)):
        content = dice.choice([content for _, content in chunks if content])
        content[dice.randrange(len(content))] = dice.randrange(256)
    return joined([(name, bytes(content)) for name, content in chunks])


def test_a_spoilt_file_has_pillows_pixels_or_none(image):
    dice = random.Random(0)
    data = encoded(image)
    decoded = left = 0
    for _ in range(1500):
        file = spoilt(data, dice)
        pixels = decode_plain_png(file)
        if pixels is None:
            left += 1
            continue
        expected = by_pillow(file)
        if isinstance(expected, Exception):
            # A checksum within the checksum: wrong in no file but one that was written wrong.
            assert FLAWS_IN_THE_STREAM in str(expected)
        else:
            assert np.array_equal(pixels, expected)
            decoded += 1
    assert decoded > 10
    assert left > 1000
