"""16-bit images, written by hand: every bit comes back, whatever the container's layout is."""

from __future__ import annotations

import io
import itertools
import struct

import numpy as np
import pytest
from PIL import Image

from image_zoo import DEFLATE, GREY, LZW, NONE, packed_12_bits, png_16, tiff, values
from malaria_kedro.cells.decoding import ImageError, open_image

BITS = (8, 10, 12, 14, 16)
LAYOUTS = {"one strip": {}, "strips": {"rows": 5}, "tiles": {"tile": (16, 32)}}


def deep(bits: int, channels: int, seed: int = 0) -> np.ndarray:
    return values(bits, channels, seed).astype(np.uint16)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_keeps_all_bits(bits, channels):
    array = deep(bits, channels)
    found = open_image(png_16(array))
    assert np.array_equal(found.values, array)
    assert found.peak == array[..., : 1 if channels < 3 else 3].max()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("channels", "planar"), [(1, False), (3, False), (4, False), (3, True), (4, True)])
@pytest.mark.parametrize(
    ("compression", "predictor"),
    [(NONE, False), (LZW, False), (LZW, True), (DEFLATE, False), (DEFLATE, True)],
    ids=["none", "LZW", "LZW of differences", "deflate", "deflate of differences"],
)
def test_a_tiff_keeps_all_bits(order, layout, channels, planar, compression, predictor):
    for bits in BITS:
        array = deep(bits, channels, seed=bits)
        extra = {"t338": (2,)} if channels == 4 else {}
        data = tiff(
            array, order=order, planar=planar, compression=compression, predictor=predictor, **LAYOUTS[layout], **extra
        )
        assert np.array_equal(open_image(data).values, array)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("planar", [False, True])
def test_a_16_bit_tiff_is_turned_as_pillow_turns_an_8_bit_one(orientation, planar):
    array = values(8, 3)
    turned = open_image(tiff(array, planar=planar, t274=(orientation,))).rgb()
    found = open_image(tiff(array.astype(np.uint16) * 257, planar=planar, t274=(orientation,)))
    assert np.array_equal(found.rgb(16), turned)


@pytest.mark.parametrize("make", [png_16, tiff], ids=["PNG", "TIFF"])
def test_the_depth_decides_which_eight_bits_are_seen(make):
    array = deep(12, 3)
    assert np.array_equal(open_image(make(array)).rgb(12), (array >> 4).astype(np.uint8))
    assert np.array_equal(open_image(make(array)).rgb(16), (array >> 8).astype(np.uint8))


def test_true_16_bit_colours_are_those_that_pillow_gives():
    data = png_16(deep(16, 3))
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(open_image(data).rgb(16), np.asarray(image))


@pytest.mark.parametrize("opaque", [4095, 65535], ids=["as deep as the colours", "as deep as the file"])
def test_transparency_is_measured_in_its_own_range(opaque):
    array = deep(12, 4)
    array[..., 3] = opaque
    array[:9, :9, 3] = 0
    rgb = open_image(png_16(array)).rgb(12)
    assert (rgb[:9, :9] == 0).all()
    assert np.array_equal(rgb[9:, 9:], (array[9:, 9:, :3] >> 4).astype(np.uint8))


def test_colours_that_are_multiplied_with_their_alpha_are_what_they_are_over_black():
    array = deep(16, 4)
    assert np.array_equal(open_image(tiff(array, t338=(1,))).values, array[..., :3])


@pytest.mark.parametrize("planar", [False, True])
def test_a_channel_without_a_meaning_is_left_out(planar):
    array = deep(16, 4)
    assert np.array_equal(open_image(tiff(array, planar=planar, t338=(0,))).values, array[..., :3])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_clear_colour_of_a_png_is_black(channels):
    array = deep(12, channels)
    clear = array[20, 20].tolist()
    array[5, 5] = clear
    data = png_16(array, tRNS=struct.pack(f">{channels}H", *clear))
    rgb = open_image(data).rgb(12)
    assert rgb[5, 5].tolist() == rgb[20, 20].tolist() == [0, 0, 0]
    others = (array != clear).any(axis=2)
    assert np.array_equal(rgb[others], np.broadcast_to((array >> 4).astype(np.uint8), rgb.shape)[others])


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"photometric": 0}, "0 for black|kind that is not read"),
        ({"t266": (2,)}, "reverse order|kind that is not read"),
        ({"t259": (7,)}, "compression 7"),
        ({"t317": (3,), "t259": (DEFLATE,)}, "predictor 3"),
    ],
    ids=["white is zero", "fill order", "compression", "predictor"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_not_understood_is_refused_and_never_guessed(tags, reason, channels):
    with pytest.raises(ImageError, match=reason):
        open_image(tiff(deep(12, channels), **tags))


@pytest.mark.parametrize(("planar", "layout"), itertools.product([False, True], LAYOUTS))
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_file_that_is_cut_is_refused(planar, layout):
    data = tiff(deep(12, 3), planar=planar, **LAYOUTS[layout])
    with pytest.raises(ImageError, match=r"a TIFF that is damaged|Invalid dimensions"):
        open_image(data[:3000])


def test_places_beyond_the_files_end_are_refused():
    array = deep(12, 3)
    with pytest.raises(ImageError, match="truncated"):
        open_image(tiff(array, planar=True, t273=(8, 8, 50_000)))
    with pytest.raises(ImageError, match="truncated"):
        open_image(tiff(array, t273=(50_000,)))


@pytest.mark.parametrize(
    "tags",
    [{"t277": ()}, {"t322": (16,), "t324": (8,)}, {"t278": (0,), "t273": ()}],
    ids=["no samples", "half a tile", "no rows"],
)
@pytest.mark.filterwarnings("ignore")
def test_tags_that_make_no_sense_are_refused_in_words(tags):
    with pytest.raises(ImageError, match=r"a TIFF that is damaged|missing"):
        open_image(tiff(deep(12, 3), **tags))


def test_12_bits_without_gaps_are_known_to_be_12():
    array = deep(12, 0)
    found = open_image(packed_12_bits(array))
    assert found.peak is None
    assert np.array_equal(found.values, np.repeat((array >> 4).astype(np.uint8)[..., None], 3, axis=2))


def test_grey_is_spread_over_three_channels():
    array = deep(10, 0)
    rgb = open_image(tiff(array, photometric=GREY)).rgb(10)
    assert np.array_equal(rgb, np.repeat((array >> 2).astype(np.uint8)[..., None], 3, axis=2))
