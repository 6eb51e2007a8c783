"""Image statistics: finite for any image, the same at any size, and telling what their names say."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from malaria_kedro.cells.phantoms import phantom_cell
from malaria_kedro.inference.image_statistics import AT_ONCE, GRID, STATISTICS, measure_cells
from malaria_kedro.names import is_image_name
from malaria_kedro.parameters import Phantoms

DATA = Path(__file__).parents[2].parent / "shared" / "data"
RECIPE = Phantoms(patients=8, cells_per_patient=8, size=130, seed=5)


@pytest.fixture(scope="module")
def cells() -> list[np.ndarray]:
    """24 phantom cells of about 130 px."""
    return [phantom_cell(RECIPE, patient, index).image for patient in range(1, 9) for index in range(3)]


def measure(image: np.ndarray) -> dict[str, float]:
    return {name: float(values[0]) for name, values in measure_cells(image[None]).items()}


def table(images: list[np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame([measure(image) for image in images])


def resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def disc(side: int, colour=(200, 140, 150), centre=(0.5, 0.5), radius=0.5) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] / (side - 1)
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return np.where(inside[..., None], colour, 0).astype(np.uint8)


def shift(large: pd.DataFrame, small: pd.DataFrame) -> pd.Series:
    """Return the mean difference of paired images, in standard deviations of the large ones or hundredths."""
    return ((small - large).mean().abs() / large.std().clip(lower=0.01)).drop("edge_width")


def test_a_cell_has_every_statistic_in_order(cells):
    found = measure(cells[0])
    assert list(found) == list(STATISTICS)
    assert all(values.dtype == np.float64 for values in measure_cells(cells[0][None]).values())


@pytest.mark.parametrize("size", [33, GRID, 64, 130])
def test_many_cells_get_what_each_gets_alone(cells, size):
    many = np.stack([resized(cell, size, size) for cell in cells] * 3)
    assert len(many) > AT_ONCE
    found = measure_cells(many)
    assert list(found) == list(STATISTICS)
    assert pd.DataFrame(found).equals(table(list(many)))


def test_no_cells_have_no_statistics():
    assert {len(values) for values in measure_cells(np.empty((0, 64, 64, 3), np.uint8)).values()} == {0}


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 3), (3, 3), (16, 16), (17, 300), (900, 2), (1200, 1600)])
@pytest.mark.parametrize("level", ["black", "white", "noise"])
def test_all_are_finite_for_an_image_of_any_shape(shape, level):
    image = {"black": np.zeros, "white": lambda *a: np.full(shape=a[0], fill_value=255, dtype=a[1])}.get(
        level, lambda *a: np.random.default_rng(0).integers(0, 256, *a)
    )((*shape, 3), np.uint8)
    assert np.isfinite(list(measure(image).values())).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 4), np.uint8),
        np.zeros((40, 40, 3)),
        np.zeros((2, 40, 40, 3), np.uint8),
        np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_image_is_named(image):
    with pytest.raises(ValueError, match=r"uint8 H×W×3, not"):
        measure(image)


def test_a_cell_and_its_small_copy_are_not_told_apart(cells):
    copies = [resized(cell, 50, 50) for cell in cells]
    assert shift(table(cells), table(copies)).max() < 1
    widths = table(cells)["edge_width"], table(copies)["edge_width"]
    assert (widths[1] / widths[0]).between(0.8, 1.25).all()


def test_the_image_is_left_as_it_was(cells):
    before = cells[0].copy()
    before.flags.writeable = False
    measure(before)
    assert np.array_equal(before, cells[0])


def test_turning_a_cell_changes_nothing_but_rounding(cells):
    for cell in cells[:4]:
        assert measure(np.ascontiguousarray(np.rot90(cell))) == pytest.approx(measure(cell), rel=0.05, abs=0.02)


def test_blur_widens_the_edge_whatever_the_size(cells):
    for side in (50, 130):
        sharp = resized(cells[0], side, side)
        widths = [
            measure(np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(share * side))))["edge_width"]
            for share in (0, 0.03, 0.06, 0.12)
        ]
        assert widths == sorted(widths)
        assert widths[0] < 3 < 4 < widths[1]


def test_an_image_below_the_grid_is_measured_as_it_is():
    assert measure(disc(20))["edge_width"] == pytest.approx(1, abs=0.1)
    assert measure(disc(GRID))["edge_width"] == pytest.approx(1, abs=0.1)


def test_two_cells_cross_more_steps_and_have_a_waist():
    one = disc(60, radius=0.46)
    assert measure(one)["outline"] == pytest.approx(0.92, abs=0.03)
    assert measure(one)["waist"] > 0.8
    two = np.concatenate([one, one], axis=1)
    assert measure(two)["outline"] == pytest.approx(1.4, abs=0.1)
    assert measure(two)["waist"] < 0.5


def test_coverage_corners_and_flatness_tell_the_place_of_the_cell():
    whole, half, small = measure(disc(96)), measure(disc(96)[:48]), measure(disc(96, radius=0.25))
    assert whole["coverage"] == pytest.approx(np.pi / 4, abs=0.03)
    assert whole["corners"] < 0.02 < 0.2 < half["corners"]
    assert small["flatness"] == 0 < whole["flatness"] < 0.5 < 0.9 < half["flatness"]


def test_colours_are_ratios_so_that_dim_light_changes_brightness_only():
    bright, dim = measure(disc(60)), measure(disc(60, colour=(100, 70, 75)))
    assert bright["red_green"] == pytest.approx(np.log(200 / 140), abs=0.02)
    assert dim["red_green"] == pytest.approx(bright["red_green"], abs=0.02)
    assert dim["blue_green"] == pytest.approx(bright["blue_green"], abs=0.02)
    assert dim["brightness"] == pytest.approx(bright["brightness"] / 2, abs=2)


def test_texture_is_seen_within_the_cell_and_not_at_its_edge():
    plain = measure(disc(60))
    assert plain["roughest"] < 0.005
    assert plain["tone_spread"] < 0.005
    grain = np.random.default_rng(0).normal(0, 25, (60, 60, 3))
    rough = measure(np.clip(disc(60) + grain * (disc(60) > 0), 0, 255).astype(np.uint8))
    assert rough["roughness"] > 0.02
    assert rough["mottle"] > 0.02


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real cells are not at hand ({DATA})")
def test_a_real_cell_and_its_50_px_copy_are_not_told_apart():
    with (
        zipfile.ZipFile(DATA / "cell_images_fullsize.zip") as large,
        zipfile.ZipFile(DATA / "cell_images.zip") as small,
    ):
        names = sorted(name for name in large.namelist() if is_image_name(name))[::4]
        pairs = [
            [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
            for archive in (large, small)
        ]
    assert {image.shape for image in pairs[1]} == {(50, 50, 3)}
    assert shift(*map(table, pairs)).max() < 0.15
