"""Every file becomes a cell as training would decode it, or a row that says why not."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from malaria_kedro.cells.decoding import decode_cell
from malaria_kedro.inference.decoding import decode_image, decode_images
from malaria_kedro.inference.image_sets import ImageRef, ImageSet
from odd_images import SIDE, bomb, cell, encoded, noise, png, rotated_exif

SIZE = 16


class Memory(ImageSet):
    """Images that lie in memory, and how many were read."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__("memory", len(files))
        self.files = files
        self.reads = 0
        self._lock = threading.Lock()

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        yield from (ImageRef(name) for name in list(self.files)[start:])

    def read(self, ref: ImageRef) -> bytes:
        with self._lock:
            self.reads += 1
        return self.files[ref.name]


# --- what is read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_is_read_as_training_reads_it(kind: str, mode: str) -> None:
    image = noise().convert(mode)
    found = decode_image(data := encoded(image, kind), SIZE)
    assert (found.flags, found.reason, found.width, found.height) == ((), "", SIDE, SIDE)
    assert found.pixels.dtype == np.uint8
    assert found.pixels.shape == (SIZE, SIZE, 3)
    np.testing.assert_array_equal(found.pixels, decode_cell(Image.open(io.BytesIO(data)), SIZE))


def test_the_content_decides() -> None:
    assert decode_image(encoded(cell(), "BMP"), SIZE).flags == ()


def test_grey_becomes_three_equal_channels() -> None:
    pixels = decode_image(encoded(Image.new("L", (SIDE, SIDE), 90)), SIZE).pixels
    assert (pixels == 90).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_of_16_bits_the_upper_eight_are_kept(kind: str) -> None:
    image = Image.fromarray(np.full((SIDE, SIDE), 0xABCD, dtype=np.uint16))
    assert (decode_image(encoded(image, kind), SIZE, bit_depth=16).pixels == 0xAB).all()


def test_of_12_bits_the_upper_eight_are_kept() -> None:
    image = Image.fromarray(np.full((SIDE, SIDE), 0x0ABC, dtype=np.uint16))
    assert (decode_image(encoded(image), SIZE, bit_depth=12).pixels == 0xAB).all()


def test_16_bit_values_of_unknown_depth_are_refused_with_the_remedy() -> None:
    found = decode_image(encoded(Image.fromarray(np.full((SIDE, SIDE), 0x0ABC, dtype=np.uint16))), SIZE)
    assert (found.pixels, found.flags, found.width) == (None, ("unreadable",), SIDE)
    assert "inference.bit_depth, malaria-kedro predict --bit-depth" in found.reason


def test_an_image_as_dark_as_one_of_fewer_bits_is_read_and_the_row_says_so() -> None:
    image = Image.fromarray(np.full((SIDE, SIDE), 1023, dtype=np.uint16))
    found = decode_image(encoded(image), SIZE, bit_depth=12)
    assert found.flags == ("few_bits",)
    assert found.reason == "its largest value, 1023, needs 10 of 12 bits or fewer"
    assert (found.pixels == 63).all()


def test_values_beyond_the_depth_are_refused_with_both() -> None:
    image = Image.fromarray(np.full((SIDE, SIDE), 4096, dtype=np.uint16))
    found = decode_image(encoded(image), SIZE, bit_depth=12)
    assert (found.pixels, found.flags) == (None, ("unreadable",))
    assert "its largest value, 4096, is beyond 12 bits" in found.reason


def test_what_is_transparent_becomes_black() -> None:
    image = Image.new("RGBA", (SIDE, SIDE), (200, 100, 50, 0))
    image.paste((200, 100, 50, 255), (0, 0, SIDE, SIDE // 2))
    pixels = decode_image(encoded(image), SIZE).pixels
    assert (pixels[: SIZE // 4] == (200, 100, 50)).all()
    assert (pixels[-SIZE // 4 :] == 0).all()


def test_a_transparent_palette_colour_becomes_black() -> None:
    image = Image.new("P", (SIDE, SIDE), 1)
    image.paste(2, (0, 0, SIDE, SIDE // 2))
    image.putpalette([0, 0, 0, 200, 100, 50, 20, 30, 40])
    pixels = decode_image(encoded(image, transparency=1), SIZE).pixels
    assert (pixels[: SIZE // 4] == (20, 30, 40)).all()
    assert (pixels[-SIZE // 4 :] == 0).all()
    assert (decode_image(encoded(image), SIZE).pixels[-SIZE // 4 :] == (200, 100, 50)).all()


def test_what_is_transparent_everywhere_is_refused() -> None:
    found = decode_image(encoded(Image.new("RGBA", (SIDE, SIDE), (200, 100, 50, 0))), SIZE)
    assert (found.pixels, found.flags) == (None, ("unreadable",))
    assert found.reason == "it is transparent everywhere: save it without transparency"


def test_a_cmyk_jpeg_is_read() -> None:
    found = decode_image(encoded(Image.new("CMYK", (SIDE, SIDE), (0, 0, 0, 0)), "JPEG"), SIZE)
    assert (found.pixels > 250).all()


def test_of_several_pages_the_first_is_read_and_the_row_says_so() -> None:
    found = decode_image(encoded(cell(10), "TIFF", save_all=True, append_images=[cell(200), cell(250)]), SIZE)
    assert found.flags == ("several_pages",)
    assert found.reason == "only the first of several pages is read"
    assert (found.pixels[..., 0] == 10).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_exif_wants_rotated_stays_and_the_row_says_so(kind: str) -> None:
    wide = Image.new("RGB", (2 * SIDE, SIDE), (80, 80, 80))
    found = decode_image(encoded(wide, kind, exif=rotated_exif()), SIZE)
    assert (found.flags, found.reason) == (("exif_rotated",), "Exif orientation 6 is not applied")
    assert (found.width, found.height) == (2 * SIDE, SIDE)
    assert found.pixels is not None


def test_a_rotated_tiff_is_turned_as_in_training() -> None:
    found = decode_image(encoded(Image.new("RGB", (2 * SIDE, SIDE)), "TIFF", exif=rotated_exif()), SIZE)
    assert (found.flags, found.width, found.height) == (("exif_rotated",), SIDE, 2 * SIDE)
    assert found.reason == "orientation 6 is applied"


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"Patient 7 has no parasites.", "not a PNG, JPEG, TIFF or BMP image"),
        (encoded(noise())[:600], "truncated"),
        (encoded(noise(), "JPEG")[:700], "truncated"),
        (encoded(noise(), "TIFF")[:300], ""),
        (encoded(noise())[:20], ""),
        (encoded(Image.new("F", (SIDE, SIDE), 0.5), "TIFF"), "32-bit values"),
        (encoded(cell(), "GIF"), "not a PNG, JPEG, TIFF or BMP image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n", "not a PNG, JPEG, TIFF or BMP image"),
        (bomb(), "Image size"),
        (encoded(Image.new("1", (6000, 6000))), "6000 × 6000 px are too many for one cell"),
    ],
    ids=["empty", "text", "cut PNG", "cut JPEG", "cut TIFF", "cut header", "float", "GIF", "EPS", "bomb", "slide"],
)
def test_what_cannot_be_read_is_one_row_with_the_reason(data: bytes, reason: str) -> None:
    found = decode_image(data, SIZE)
    assert (found.pixels, found.flags) == (None, ("unreadable",))
    assert reason in found.reason
    assert found.reason
    assert "_io" not in found.reason


@pytest.mark.parametrize("size", [(1, 1), (15, 40), (40, 15)])
def test_less_than_16_px_a_side_is_too_small(size: tuple[int, int]) -> None:
    found = decode_image(encoded(Image.new("RGB", size)), SIZE)
    assert (found.pixels, found.flags, (found.width, found.height)) == (None, ("too_small",), size)
    assert found.reason == f"{size[0]} × {size[1]} px: less than 16 a side"


def test_16_px_are_enough() -> None:
    assert decode_image(png(side=16), SIZE).flags == ()


# --- many -------------------------------------------------------------------------------------------------------


def test_images_come_in_order() -> None:
    images = Memory({f"{row}.png": png(row) for row in range(40)})
    found, failed = decode_images(images, images.refs(5), SIZE)
    assert [int(cell.pixels[0, 0, 0]) for cell in found] == list(range(5, 40))
    assert failed == []


def test_a_file_that_cannot_be_got_costs_one_row() -> None:
    class Locked(Memory):
        def read(self, ref: ImageRef) -> bytes:
            if ref.name == "1.png":
                raise PermissionError(13, "Permission denied", "/home/someone/1.png")
            return super().read(ref)

    images = Locked({f"{row}.png": png() for row in range(3)})
    found, failed = decode_images(images, images.refs(), SIZE)
    assert [cell.reason for cell in found] == ["", "Permission denied", ""]
    assert failed == [1], "it may be readable later"


def test_memory_that_is_full_costs_a_row_that_is_read_again() -> None:
    class Full(Memory):
        def read(self, ref: ImageRef) -> bytes:
            raise MemoryError

    images = Full({"1.png": png()})
    found, failed = decode_images(images, images.refs(), SIZE)
    assert "not enough memory" in found[0].reason
    assert failed == [0]
