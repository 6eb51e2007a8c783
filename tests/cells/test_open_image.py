"""The door: 8-bit images as they are, what is refused, and one bit depth for a set."""

from __future__ import annotations

import io
import logging
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from image_zoo import CMYK, LZW, NONE, WHITE_IS_ZERO, encoded, png_16, tiff, values
from malaria_kedro.cells import decoding
from malaria_kedro.cells.decoding import (
    ALL_TRANSPARENT,
    LOST_BITS,
    BitDepthError,
    ImageError,
    check_bit_depth,
    find_bit_depth,
    open_image,
)

# --- 8 bits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("layout", [{}, {"rows": 5}, {"tile": (16, 32)}], ids=["one strip", "strips", "tiles"])
@pytest.mark.parametrize("compression", [NONE, LZW])
def test_an_8_bit_tiff_is_what_was_written(order, layout, compression):
    grey, colour, cmyk = values(8), values(8, 3), values(8, 4)
    how = {"order": order, "compression": compression, **layout}
    inks = np.asarray(Image.fromarray(cmyk, "CMYK").convert("RGB"))
    for data, expected in (
        (tiff(grey, **how), np.repeat(grey[..., None], 3, axis=2)),
        (tiff(grey, photometric=WHITE_IS_ZERO, **how), np.repeat(255 - grey[..., None], 3, axis=2)),
        (tiff(colour, **how), colour),
        (tiff(colour, planar=True, **how), colour),
        (tiff(cmyk, photometric=CMYK, **how), inks),
    ):
        found = open_image(data)
        assert np.array_equal(found.values, expected)
        assert (found.peak, found.remarks) == (None, {})


@pytest.mark.parametrize("planar", [False, True])
def test_grey_and_alpha_are_laid_over_black_or_refused(planar):
    array = values(8, 2)
    data = tiff(array, planar=planar, compression=LZW, photometric=1, t338=(2,))
    if planar:
        with pytest.raises(ImageError, match="grey and alpha in planes"):
            open_image(data)
        return
    over = (array[..., 0].astype(float) * array[..., 1] / 255)[..., None]
    assert np.abs(open_image(data).values - over).max() <= 1


def test_a_bit_depth_changes_nothing_about_an_8_bit_image():
    colour = values(8, 3)
    assert np.array_equal(open_image(encoded(colour)).rgb(12), colour)


# --- what may be handed over ----------------------------------------------------------------------------------------


def test_a_path_its_text_the_bytes_a_picture_and_an_array_are_one_image(tmp_path):
    colour = values(8, 3)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(colour))
    with Image.open(path) as picture:
        for source in (path, str(path), path.read_bytes(), picture, Image.fromarray(colour), colour):
            assert np.array_equal(open_image(source).rgb(), colour)


def test_an_array_stays_its_owners():
    colour = values(8, 3)
    colour.flags.writeable = False
    found = open_image(colour).rgb()
    found[:] = 0
    assert colour.any()


@pytest.mark.parametrize(
    "source", [Image.new("RGB", (15, 40)), np.zeros((40, 15, 3), np.uint8)], ids=["picture", "array"]
)
def test_what_is_open_already_is_measured_too(source):
    with pytest.raises(ImageError, match="less than 16 a side") as caught:
        open_image(source)
    assert (caught.value.flag, min(caught.value.size)) == ("too_small", 15)


@pytest.mark.parametrize(
    "source", [Image.new("1", (6000, 5000)), np.broadcast_to(np.uint8(0), (5000, 6000, 3))], ids=["picture", "array"]
)
def test_what_is_open_already_may_be_too_large(source):
    with pytest.raises(ImageError, match="too many for one cell"):
        open_image(source)


@pytest.mark.parametrize("make", [png_16, tiff], ids=["PNG", "TIFF"])
def test_a_picture_that_has_lost_half_of_its_bits_is_refused(make):
    data = make(values(12, 3))
    with Image.open(io.BytesIO(data)) as image, pytest.raises(ImageError, match="give the file itself"):
        open_image(image)


def test_a_picture_of_deep_grey_is_read():
    grey = values(12)
    assert np.array_equal(open_image(Image.fromarray(grey)).rgb(12)[..., 0], grey >> 4)


# --- equal pictures -------------------------------------------------------------------------------------------------


def test_equal_pictures_have_equal_hashes_whatever_their_files_are():
    colour = values(8, 3)
    hashes = {open_image(data).sha256 for data in (encoded(colour), encoded(colour, "BMP"), tiff(colour, planar=True))}
    assert len(hashes) == 1
    other = colour.copy()
    other[3, 4, 1] ^= 1
    assert open_image(encoded(other)).sha256 not in hashes


def test_of_a_deep_image_every_bit_counts_for_its_hash():
    deep = values(12, 3)
    other = deep.copy()
    other[3, 4, 1] ^= 1
    assert open_image(png_16(deep)).sha256 == open_image(tiff(deep)).sha256 != open_image(png_16(other)).sha256


# --- what is refused ------------------------------------------------------------------------------------------------


def test_postscript_under_an_images_name_starts_no_program(tmp_path):
    (tmp_path / "cell.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n"
    )
    ghost = tmp_path / "gs"
    ghost.write_text(f"#!/bin/sh\necho 10.0; touch {tmp_path / 'started'}\n")
    ghost.chmod(0o755)
    code = (
        "import sys; from pathlib import Path\n"
        "from malaria_kedro.cells.index import inspect_cell\n"
        "from malaria_kedro.cells.decoding import decode_cell\n"
        "path = Path(sys.argv[1])\n"
        "assert inspect_cell(path).excluded.startswith('unreadable: not a PNG, JPEG, TIFF or BMP image')\n"
        "try:\n    decode_cell(path, 32)\nexcept ValueError as error:\n    print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cell.png")],
        env=os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("ImageError\n", 0)
    assert not (tmp_path / "started").exists()


def test_every_image_that_is_opened_passes_the_list_of_formats():
    found = []
    for path in sorted(decoding.Path(decoding.__file__).parents[1].rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found += [path.name for line in text.splitlines() if "Image.open(" in line and "formats=" not in line]
    assert found == []


def test_an_unknown_error_of_a_decoder_is_a_refusal(monkeypatch):
    def fails(*_, **__):
        raise SyntaxError("broken PNG file (chunk b'abcd')")

    monkeypatch.setattr(decoding.Image, "open", fails)
    with pytest.raises(ImageError, match="broken PNG file"):
        open_image(b"anything")


def test_memory_that_is_full_is_no_refusal(monkeypatch):
    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr(decoding.Image, "open", fails)
    with pytest.raises(MemoryError):
        open_image(b"anything")


# --- one depth for a set --------------------------------------------------------------------------------------------


def peaks(*found: int) -> dict[str, int]:
    return {f"{number}.png": peak for number, peak in enumerate(found)}


@pytest.mark.parametrize(
    ("largest", "depth"),
    [
        (3, 8),
        (255, 8),
        (256, 10),
        (1023, 10),
        (1024, 12),
        (4095, 12),
        (4096, 14),
        (16383, 14),
        (16384, 16),
        (65535, 16),
    ],
)
def test_the_smallest_depth_that_holds_the_largest_value_is_the_sets(largest, depth, caplog):
    caplog.set_level(logging.INFO)
    assert find_bit_depth(peaks(largest, largest)) == depth
    assert f"have {depth} bits: the largest is {largest}" in caplog.text


def test_a_set_without_16_bit_images_has_none():
    assert find_bit_depth({}) is None
    assert find_bit_depth({}, given=12) is None


@pytest.mark.parametrize(("dark", "light"), [(4095, 65535), (4095, 16383), (1023, 4095), (255, 65535)])
def test_two_cameras_are_refused_with_both_named(dark, light):
    with pytest.raises(BitDepthError) as caught:
        find_bit_depth(peaks(*[dark] * 10, *[light] * 10))
    for part in (f"10.png has values up to {light}", "10 of 20 images", f"0.png, up to {dark}", "image.bit_depth"):
        assert part in str(caught.value)


def test_a_dark_crop_among_many_is_no_other_camera(caplog):
    assert find_bit_depth(peaks(900, *[3500] * 19)) == 12
    assert "fit 10 bits or fewer (e.g. 0.png, up to 900)" in caplog.text


def test_a_hot_pixel_does_not_decide_for_all():
    with pytest.raises(BitDepthError, match="19 of 20 images fit 10 bits"):
        find_bit_depth(peaks(4095, *[900] * 19))


def test_a_given_depth_is_taken_even_for_dark_images(caplog):
    assert find_bit_depth(peaks(900, 800, 700), given=12) == 12
    assert "the largest, 900, fits 10" in caplog.text


def test_values_beyond_a_given_depth_are_refused():
    with pytest.raises(BitDepthError, match=r"is 10, and 1 of 3 .* 4095 in 1\.png: .*give 12"):
        find_bit_depth(peaks(900, 4095, 700), given=10)


@pytest.mark.parametrize("depth", [0, 9, 32, "12", True, 12.5])
def test_what_is_no_depth_is_refused(depth):
    with pytest.raises(BitDepthError, match="one of 8, 10, 12, 14, 16"):
        check_bit_depth(depth)


# --- what Pillow has opened already -----------------------------------------------------------------------------------


def test_16_bit_colours_that_pillow_has_loaded_are_refused_as_before(tmp_path):
    file = tmp_path / "cell.png"
    file.write_bytes(png_16(values(16, 3) >> 4))
    for load in (False, True):
        with Image.open(file) as image:
            if load:
                image.load()
            with pytest.raises(ImageError, match=LOST_BITS):
                open_image(image)


def test_a_loaded_png_that_cannot_be_looked_up_is_refused_and_a_converted_one_is_taken(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(values(8, 3)).save(buffer, "PNG")
    with Image.open(buffer) as image:
        image.load()
        with pytest.raises(ImageError, match="had 16-bit colours"):
            open_image(image)
        assert np.array_equal(open_image(image.convert("RGB")).values, values(8, 3))


def test_a_loaded_8_bit_png_of_a_file_is_taken_as_it_was_changed(tmp_path):
    Image.fromarray(values(8, 3)).save(tmp_path / "cell.png")
    with Image.open(tmp_path / "cell.png") as image:
        image.load()
        image.putpixel((2, 1), (1, 2, 3))
        found = open_image(image).values
    assert found[1, 2].tolist() == [1, 2, 3]
    assert np.array_equal(found[2:], values(8, 3)[2:])


# --- nothing to be seen -----------------------------------------------------------------------------------------------


def clear_bmp() -> bytes:
    """A 32-bit BMP with a mask for alpha of which every fourth byte is 0, as some programs write it."""
    pixels = np.full((16, 16, 4), 150, np.uint8)
    pixels[..., 3] = 0
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 16, -16, 1, 32, 3, pixels.nbytes, 2835, 2835, 0, 0) + masks
    header = header.ljust(108, b"\0")
    return struct.pack("<2sIHHI", b"BM", 14 + 108 + pixels.nbytes, 0, 0, 14 + 108) + header + pixels.tobytes()


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.new("RGBA", (16, 16), (150, 150, 150, 0)), "PNG"),
        encoded(Image.new("LA", (16, 16), (150, 0)), "PNG"),
        png_16(np.full((16, 16, 4), [900, 900, 900, 0], np.uint16)),
        png_16(np.full((16, 16, 2), [900, 0], np.uint16)),
        clear_bmp(),
    ],
    ids=["colour", "grey", "16-bit colour", "16-bit grey", "BMP"],
)
def test_what_is_transparent_everywhere_is_no_black_cell(data):
    with pytest.raises(ImageError, match=ALL_TRANSPARENT):
        open_image(data)
