"""Decoding: one decoder for every usual kind of image, and a plan that knows what it stands for."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from malaria_kedro.cells.decoding import BitDepthError, ImageError, decode_cell, open_image
from malaria_kedro.cells.index import index_cells
from malaria_kedro.cells.pixels import PixelError, decode_cells, refuse_other_image
from malaria_kedro.cells.resizing import resize_cell
from malaria_kedro.names import CLASSES, NIH_PATIENT_PATTERN, PARASITIZED, UNINFECTED
from malaria_kedro.parameters import Image

RED = (200, 10, 30)


def reopened(image: PillowImage.Image, kind: str = "PNG") -> PillowImage.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return PillowImage.open(buffer)


# --- the decoder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [(17, 20), (32, 32), (150, 90)])
def test_a_cell_becomes_a_square_of_uint8_whatever_its_shape(side):
    pixels = decode_cell(PillowImage.new("RGB", side, RED), 32)
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)


def test_channels_are_red_green_and_blue():
    assert decode_cell(PillowImage.new("RGB", (20, 20), RED), 4)[0, 0].tolist() == [200, 10, 30]


def test_squishing_keeps_all_of_the_image():
    left_to_right = np.zeros((20, 80, 3), dtype=np.uint8)
    left_to_right[:, :8] = left_to_right[:, -8:] = 255
    pixels = decode_cell(PillowImage.fromarray(left_to_right), 10)
    assert (pixels[:, [0, -1]] > 200).all()
    assert (pixels[:, 3:7] == 0).all()


@pytest.mark.parametrize("shape", [(24, 24), (20, 31), (130, 142), (47, 5), (1, 1), (3000, 40)])
@pytest.mark.parametrize("size", [24, 64])
def test_a_cell_is_squished_as_pillow_does_it_within_one_level(shape, size):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = PillowImage.fromarray(image).resize((size, size), PillowImage.Resampling.BILINEAR)
    pixels = resize_cell(image, size)
    assert (pixels.dtype, pixels.shape, pixels.flags.c_contiguous) == (np.uint8, (size, size, 3), True)
    assert np.abs(pixels.astype(int) - np.asarray(expected)).max() <= 1


def test_a_cell_of_the_right_size_stays_as_it_is():
    image = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    assert np.array_equal(resize_cell(image, 24), image)


def test_a_file_gives_the_pixels_of_pillows_image_whichever_decoder_reads_it(phantom_folder, phantom_index):
    for name in phantom_index["path"][:8]:
        path = phantom_folder.root / name
        with PillowImage.open(path) as image:
            assert np.array_equal(decode_cell(path, 24), decode_cell(image, 24))


@pytest.mark.parametrize("content", [b"no image", b"\x89PNG\r\n\x1a\n and no more"], ids=["text", "start of a PNG"])
def test_the_error_of_a_file_that_is_no_image_names_it(tmp_path, content):
    (tmp_path / "notes.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"notes\.png"):
        decode_cell(tmp_path / "notes.png", 24)


def test_a_decoded_file_is_closed(tmp_path, recwarn):
    PillowImage.new("RGB", (20, 20)).save(
        tmp_path / "two.tif", save_all=True, append_images=[PillowImage.new("L", (20, 20))]
    )
    decode_cell(tmp_path / "two.tif", 4)
    assert [str(warning.message) for warning in recwarn if warning.category is ResourceWarning] == []


def clear_below(mode: str, *colour: int) -> PillowImage.Image:
    """Return an image of one colour, of which the lower three quarters are transparent."""
    image = PillowImage.new(mode, (16, 16), (*colour, 255))
    image.paste((*colour, 0), (0, 4, 16, 16))
    return image


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (PillowImage.new("L", (16, 16), 77), (77, 77, 77)),
        (PillowImage.new("1", (16, 16), 1), (255, 255, 255)),
        (PillowImage.new("RGB", (16, 16), RED).quantize(4), RED),
        (PillowImage.new("RGBA", (16, 16), (*RED, 255)), RED),
        (clear_below("RGBA", 255, 255, 255), (0, 0, 0)),
        (PillowImage.new("LA", (16, 16), (77, 255)), (77, 77, 77)),
        (clear_below("LA", 255), (0, 0, 0)),
        (PillowImage.fromarray(np.full((16, 16), 0x4DFF, dtype=np.uint16)), (77, 77, 77)),
    ],
    ids=["grey", "black and white", "palette", "opaque", "transparent", "grey opaque", "grey transparent", "16-bit"],
)
def test_other_modes_become_the_rgb_they_look_like(image, colour):
    assert decode_cell(reopened(image), 8, 16)[4, 4].tolist() == list(colour)


def test_half_transparent_is_laid_over_black():
    image = PillowImage.new("RGBA", (16, 16), (200, 100, 50, 128))
    assert np.abs(decode_cell(reopened(image), 8, 16)[4, 4].astype(int) - [100, 50, 25]).max() <= 1


def test_a_transparent_palette_colour_becomes_black():
    image = PillowImage.new("P", (16, 16), 0)
    image.putpalette([255, 255, 255, 10, 20, 30])
    image.paste(1, (0, 0, 16, 8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=0)
    pixels = decode_cell(PillowImage.open(buffer), 8)
    assert (pixels[0, 0].tolist(), pixels[7, 0].tolist()) == ([10, 20, 30], [0, 0, 0])


def test_16_bit_grey_keeps_its_gradations():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    for kind in ("PNG", "TIFF"):
        pixels = open_image(reopened(PillowImage.fromarray(ramp), kind)).rgb(16)
        assert np.array_equal(pixels[..., 0], ramp >> 8)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_without_a_known_range_are_refused(dtype):
    with pytest.raises(ImageError, match=r"32-bit .* save it as 8-bit RGB"):
        decode_cell(PillowImage.fromarray(np.ones((16, 16), dtype=dtype)), 4)


# --- all cells ------------------------------------------------------------------------------------------------------


@pytest.fixture
def cells(phantom_folder, phantom_index):
    return decode_cells(phantom_folder.root, phantom_index, Image(size=24))


def test_every_used_cell_is_decoded_in_the_order_of_its_id(cells, phantom_folder, phantom_index):
    images = list(cells)
    assert cells.cell_ids == sorted(phantom_index["cell_id"])
    assert cells.shape == (64, 24, 24, 3) == np.stack(images).shape
    assert all(
        np.array_equal(cell, decode_cell(phantom_folder.root / path, 24))
        for cell, path in zip(images, phantom_index["path"], strict=True)
    )


def test_excluded_cells_are_not_decoded(phantom_folder, phantom_index):
    index = phantom_index.copy()
    index.loc[3, "excluded"] = "unreadable: the file is empty"
    cells = decode_cells(phantom_folder.root, index, Image(size=24))
    assert cells.cell_ids == phantom_index["cell_id"].drop(3).tolist()


def test_a_fingerprint_does_not_depend_on_the_order_of_the_rows(cells, phantom_folder, phantom_index):
    shuffled = phantom_index.sample(frac=1, random_state=1)
    again = decode_cells(phantom_folder.root, shuffled, Image(size=24))
    assert (again.fingerprint, again.paths) == (cells.fingerprint, cells.paths)


def test_a_fingerprint_does_not_depend_on_where_the_cells_lie(cells, phantom_index):
    assert decode_cells(Path("elsewhere"), phantom_index, Image(size=24)).fingerprint == cells.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda index, size: (index, size + 1),
        lambda index, size: (index.drop(5), size),
        lambda index, size: (index.assign(excluded=[""] * 63 + ["beyond source.limit of 5 cells a class"]), size),
        lambda index, size: (index.assign(sha256=["f" * 64, *index["sha256"][1:]]), size),
        lambda index, size: (index.assign(cell_id=["another", *index["cell_id"][1:]]), size),
    ],
    ids=["size", "a cell less", "an excluded cell", "other bytes", "another name"],
)
def test_a_fingerprint_changes_with(change, cells, phantom_folder, phantom_index):
    index, size = change(phantom_index, 24)
    assert decode_cells(phantom_folder.root, index, Image(size=size)).fingerprint != cells.fingerprint


def test_nothing_to_decode_is_an_error(phantom_folder, phantom_index):
    with pytest.raises(PixelError, match="no usable cell"):
        decode_cells(phantom_folder.root, phantom_index.assign(excluded="unreadable"), Image(size=24))


@pytest.fixture
def copied(phantom_folder, tmp_path) -> Path:
    """The phantoms' class folders, to be changed."""
    return shutil.copytree(phantom_folder.root, tmp_path / "copied")


def test_an_image_that_has_gone_since_it_was_indexed_is_named(copied, phantom_index):
    first = copied / phantom_index["path"][0]
    first.unlink()
    cells = decode_cells(copied, phantom_index, Image(size=24))
    with pytest.raises(PixelError, match=f"{first.name} was readable .*data_engineering"):
        next(iter(cells))


# --- images of 16 bits ----------------------------------------------------------------------------------------------


@pytest.fixture
def deep(tmp_path):
    """A folder and its index: eight 12-bit PNGs and an 8-bit one."""
    for number in range(8):
        shades = np.full((20, 20), 1100 + 400 * number, dtype=np.uint16)
        (tmp_path / PARASITIZED).mkdir(exist_ok=True)
        PillowImage.fromarray(shades).save(tmp_path / PARASITIZED / f"{number}.png")
    (tmp_path / UNINFECTED).mkdir()
    PillowImage.new("RGB", (20, 20), RED).save(tmp_path / UNINFECTED / "8.png")
    return tmp_path, index_cells(tmp_path, patient_pattern=NIH_PATIENT_PATTERN)


def test_the_depth_is_found_over_the_set_and_8_bit_images_stay(deep):
    cells = decode_cells(*deep, Image(size=16))
    assert cells.bit_depth == 12
    shades = [cell[0, 0].tolist() for cell in cells]
    assert shades == [[(1100 + 400 * number) >> 4] * 3 for number in range(8)] + [list(RED)]


def test_excluded_images_do_not_count_for_the_depth(deep):
    root, index = deep
    index.loc[3, "peak"] = 60_000
    with pytest.raises(BitDepthError, match="no single depth"):
        decode_cells(root, index, Image(size=16))
    index.loc[3, "excluded"] = "beyond source.limit of 7 cells a class"
    assert decode_cells(root, index, Image(size=16)).bit_depth == 12


def test_a_fingerprint_changes_with_the_depth(deep):
    root, index = deep
    sets = [decode_cells(root, index, Image(size=16, bit_depth=depth)) for depth in (12, 14, 16)]
    assert len({cells.fingerprint for cells in sets}) == 3
    assert decode_cells(root, index, Image(size=16)).fingerprint == sets[0].fingerprint


def test_a_given_depth_that_is_too_small_is_refused(deep):
    with pytest.raises(BitDepthError, match=r"image\.bit_depth is 10, .*8 of 8 .* 3900 in .*7\.png"):
        decode_cells(*deep, Image(size=16, bit_depth=10))


def test_a_set_without_16_bit_images_has_no_depth(cells):
    assert cells.bit_depth is None


@pytest.mark.parametrize("content", [b"no image", b""], ids=["spoilt", "empty"])
def test_a_file_that_is_not_the_one_indexed_is_named(content, copied, phantom_index):
    first = copied / phantom_index["path"][0]
    first.write_bytes(content)
    cells = decode_cells(copied, phantom_index, Image(size=24))
    with pytest.raises(PixelError, match=f"{first.name} is not the file .* from its start"):
        next(iter(cells))


def test_files_swapped_between_the_classes_are_never_decoded_as_the_true_cells(copied, phantom_index):
    one, other = (copied / phantom_index.loc[phantom_index["label"] == label, "path"].iloc[0] for label in CLASSES)
    one.rename(copied / "aside")
    other.rename(one)
    (copied / "aside").rename(other)
    cells = decode_cells(copied, phantom_index, Image(size=24))
    with pytest.raises(PixelError, match=r"is not the file that was indexed"):
        list(cells)


def test_another_file_with_equal_pixels_is_not_the_one_indexed_either(copied, phantom_index):
    first = copied / phantom_index["path"][0]
    first.write_bytes(first.read_bytes() + b"appended")
    cells = decode_cells(copied, phantom_index, Image(size=24))
    with pytest.raises(PixelError, match=r"is not the file that was indexed"):
        list(cells)


def test_pixels_of_another_size_are_refused(phantom_pixels) -> None:
    refuse_other_image(phantom_pixels, Image(size=32))
    with pytest.raises(PixelError, match=r"image\.size=32, and it is 48 now"):
        refuse_other_image(phantom_pixels, Image(size=48))
