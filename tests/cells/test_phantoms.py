"""Phantom cells: the same recipe draws the same archive, in the layout of the NIH set, with parasites where it says."""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from malaria_kedro.cells import phantoms
from malaria_kedro.cells.phantoms import draw_archive, draw_cell, patient_stain, phantom_cell, phantom_cells
from malaria_kedro.evaluation.colour_baseline import colour_statistics
from malaria_kedro.names import CLASSES, PARASITIZED, UNINFECTED, is_image_name, patient_of, slide_of
from malaria_kedro.parameters import Phantoms

RECIPE = Phantoms(patients=8, cells_per_patient=12, size=40, seed=3)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_archive(RECIPE, tmp_path_factory.mktemp("drawn") / "cell_images.zip")


@pytest.fixture(scope="module")
def cells() -> list[phantoms.PhantomCell]:
    return list(phantom_cells(RECIPE))


def image_names(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as file:
        return [name for name in file.namelist() if is_image_name(name)]


def inside(image: np.ndarray) -> np.ndarray:
    return image.sum(axis=2) > 100


def within_the_membrane(image: np.ndarray) -> np.ndarray:
    """The cell without its outermost two pixels, which fade into the black."""
    mask = inside(image)
    for _ in range(2):
        wide = np.pad(mask, 1)
        mask = wide[1:-1, 1:-1] & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask


# --- the archive


def test_same_recipe_draws_the_same_bytes(archive: Path, tmp_path: Path):
    assert draw_archive(RECIPE, tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_another_seed_draws_other_bytes(archive: Path, tmp_path: Path):
    other = draw_archive(RECIPE.model_copy(update={"seed": 4}), tmp_path / "other.zip")
    assert other.read_bytes() != archive.read_bytes()
    assert image_names(other) == image_names(archive)


def test_layout_is_that_of_the_nih_archive(archive: Path):
    with zipfile.ZipFile(archive) as file:
        names = set(file.namelist())
    for label in CLASSES:
        assert f"cell_images/{label}/Thumbs.db" in names
    files = {name for name in names if not name.endswith("/")}
    assert {name.rsplit("/", 1)[0] for name in files} == {f"cell_images/{label}" for label in CLASSES}
    assert len(image_names(archive)) == RECIPE.patients * RECIPE.cells_per_patient


def test_names_tell_patient_and_slide(archive: Path):
    slides = defaultdict(set)
    for name in image_names(archive):
        slides[patient_of(name)].add(slide_of(name))
    assert set(slides) == {f"C{number}" for number in range(1, RECIPE.patients + 1)}
    assert all(len(of_patient) == phantoms.SLIDES_PER_PATIENT for of_patient in slides.values())
    assert any("thinF" in name for name in image_names(archive))
    assert any("ThinF" in name for name in image_names(archive))


def test_images_in_the_archive_are_the_cells_drawn_by_number(archive: Path, cells: list[phantoms.PhantomCell]):
    with zipfile.ZipFile(archive) as file:
        for cell in cells:
            stored = np.asarray(Image.open(io.BytesIO(file.read(f"cell_images/{cell.label}/{cell.name}"))))
            np.testing.assert_array_equal(stored, cell.image)


def test_an_archive_of_the_same_recipe_is_kept(archive: Path):
    os.utime(archive, (1_000_000_000, 1_000_000_000))
    assert draw_archive(RECIPE, archive) == archive
    assert archive.stat().st_mtime == 1_000_000_000


@pytest.mark.parametrize("change", [{"seed": 9}, {"size": 32}, {"patients": 5}, {"cells_per_patient": 5}])
def test_an_archive_of_another_recipe_is_drawn_anew(tmp_path: Path, change: dict[str, int]):
    small = Phantoms(patients=4, cells_per_patient=4, size=24, seed=0)
    other = small.model_copy(update=change)
    path = draw_archive(small, tmp_path / "cells.zip")
    before = path.read_bytes()
    draw_archive(other, path)
    assert path.read_bytes() != before
    assert len(image_names(path)) == other.patients * other.cells_per_patient


def test_an_archive_of_an_older_drawing_is_drawn_anew(tmp_path: Path):
    recipe = Phantoms(patients=4, cells_per_patient=4, size=24)
    path = draw_archive(recipe, tmp_path / "cells.zip")
    drawn = path.read_bytes()
    with zipfile.ZipFile(path, "a") as bundle:
        about = json.loads(bundle.comment)
        bundle.comment = json.dumps(about | {"drawing": about["drawing"] - 1}, sort_keys=True).encode()
    draw_archive(recipe, path)
    assert path.read_bytes() == drawn


def _cut_short(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _flip_one_byte_of_a_cell(whole: bytes) -> bytes:
    at = whole.index(b"IDAT") + 40
    return whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]


@pytest.mark.parametrize("damage", [_cut_short, _flip_one_byte_of_a_cell, lambda whole: b""])
def test_a_damaged_archive_is_drawn_anew(archive: Path, tmp_path: Path, damage, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "cell_images.zip"
    path.write_bytes(damage(archive.read_bytes()))
    with caplog.at_level(logging.WARNING):
        draw_archive(RECIPE, path)
    assert path.read_bytes() == archive.read_bytes()
    assert "damaged" in caplog.text


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn, save = [], Image.Image.save

    def interrupted_at_the_fifth(*args, **kwargs):
        drawn.append(1)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        save(*args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", interrupted_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        draw_archive(RECIPE, tmp_path / "cell_images.zip")
    assert list(tmp_path.iterdir()) == []


def test_the_log_says_that_it_is_not_blood(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        draw_archive(Phantoms(patients=4, cells_per_patient=4, size=24), tmp_path / "new" / "cells.zip")
    assert "not blood" in caplog.text


# --- patients and classes


def test_a_quarter_of_the_patients_is_healthy_and_the_others_have_both_classes(cells: list[phantoms.PhantomCell]):
    labels = defaultdict(set)
    for cell in cells:
        labels[patient_of(cell.name)].add(cell.label)
    healthy = [patient for patient, of_patient in labels.items() if of_patient == {UNINFECTED}]
    assert len(healthy) == RECIPE.patients // 4
    assert all(of_patient == set(CLASSES) for patient, of_patient in labels.items() if patient not in healthy)


@pytest.mark.parametrize(("patients", "cells_per_patient"), [(4, 4), (8, 12), (12, 25)])
def test_classes_are_about_balanced(patients: int, cells_per_patient: int):
    recipe = Phantoms(patients=patients, cells_per_patient=cells_per_patient, size=24)
    labels = [cell.label for cell in phantom_cells(recipe)]
    assert 0.45 <= labels.count(PARASITIZED) / len(labels) <= 0.55


def test_patients_differ_in_their_stain_and_keep_it():
    stains = [patient_stain(RECIPE, patient) for patient in range(1, RECIPE.patients + 1)]
    assert len(set(stains)) == RECIPE.patients
    assert stains == [patient_stain(RECIPE, patient) for patient in range(1, RECIPE.patients + 1)]


def test_a_cell_does_not_depend_on_how_many_others_there_are(cells: list[phantoms.PhantomCell]):
    fewer = RECIPE.model_copy(update={"patients": 4, "cells_per_patient": 6})
    np.testing.assert_array_equal(
        phantom_cell(fewer, 2, 5).image, cells[RECIPE.cells_per_patient + 5].image, strict=True
    )


@pytest.mark.parametrize(("patient", "index"), [(0, 0), (9, 0), (1, -1), (1, 12)])
def test_a_cell_that_the_recipe_has_not_is_refused(patient: int, index: int):
    with pytest.raises(IndexError, match="this recipe has"):
        phantom_cell(RECIPE, patient, index)


# --- what tells the classes apart


@pytest.fixture(scope="module", params=[1, 2, 3])
def many(request: pytest.FixtureRequest) -> list[phantoms.PhantomCell]:
    """480 cells of 24 patients, at three seeds."""
    return list(phantom_cells(Phantoms(patients=24, cells_per_patient=20, size=64, seed=request.param)))


def purple(image: np.ndarray) -> np.ndarray:
    """Where a cell has less green than its median pixel, and more blue beside it, as parasites and debris are."""
    levels = image.astype(int)
    _, green, blue = np.median(levels[inside(image)], axis=0)
    return inside(image) & (levels[..., 1] < 0.8 * green) & (levels[..., 2] - levels[..., 1] > blue - green + 8)


def deep(image: np.ndarray) -> np.ndarray:
    """Away from the membrane: within 0.8 of the way from the centre of a crop, which its cell fills, to its sides."""
    down, right = (np.linspace(-1, 1, side) for side in image.shape[:2])
    return np.hypot(down[:, None], right) < 0.8


def largest_patch_within(image: np.ndarray) -> int:
    """The pixels of the largest connected purple patch, of which four fifths at least lie away from the membrane."""
    patches, count = ndimage.label(purple(image), np.ones((3, 3)))
    sizes = [(patches == n).sum() for n in range(1, count + 1) if deep(image)[patches == n].mean() >= 0.8]
    return int(max(sizes, default=0))


def is_parasitized(cells: list[phantoms.PhantomCell]) -> np.ndarray:
    return np.array([cell.label == PARASITIZED for cell in cells])


def test_colour_alone_does_not_tell_the_classes_of_unseen_patients_apart(many: list[phantoms.PhantomCell]):
    colours = np.concatenate([colour_statistics(cell.image[None], np.array([0])) for cell in many])
    actual, patients = is_parasitized(many), np.array([int(patient_of(cell.name)[1:]) for cell in many])
    right = []
    for fold in range(3):
        unseen = patients % 3 == fold
        regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        right.append(regression.fit(colours[~unseen], actual[~unseen]).score(colours[unseen], actual[unseen]))
    assert np.mean(right) < 0.78


def test_the_shape_of_what_is_purple_does(many: list[phantoms.PhantomCell]):
    called = np.array([largest_patch_within(cell.image) > 16 for cell in many])
    assert (called == is_parasitized(many)).mean() > 0.92


def test_both_classes_are_as_purple_on_average_and_cell_by_cell_alike(many: list[phantoms.PhantomCell]):
    areas, parasitized = np.array([purple(cell.image).sum() for cell in many]), is_parasitized(many)
    assert 0.8 < areas[~parasitized].mean() / areas[parasitized].mean() < 1.25
    medians = np.median(areas[parasitized]), np.median(areas[~parasitized])
    assert np.quantile(areas[~parasitized], 0.25) < medians[0] < np.quantile(areas[~parasitized], 0.75)
    assert np.quantile(areas[parasitized], 0.25) < medians[1] < np.quantile(areas[parasitized], 0.75)


def test_some_uninfected_cells_are_clean_and_no_parasitized_one_is(many: list[phantoms.PhantomCell]):
    clean, parasitized = np.array([purple(cell.image).sum() < 6 for cell in many]), is_parasitized(many)
    assert 0.2 < clean[~parasitized].mean() < 0.4
    assert not clean[parasitized].any()


def test_debris_lies_beside_the_cell_in_most_uninfected_cells(many: list[phantoms.PhantomCell]):
    beside, soiled = 0, 0
    for cell in many:
        if cell.label == UNINFECTED and (stained := purple(cell.image)).sum() >= 6:
            soiled += 1
            beside += (stained & deep(cell.image)).sum() < 6
    assert 0.6 < beside / soiled < 0.95


# --- one cell


def test_cells_are_cut_out_on_black_and_fill_their_crop(cells: list[phantoms.PhantomCell]):
    for cell in cells:
        image = cell.image
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert 0.6 < inside(image).mean() < 0.95
    corners = np.stack([cell.image[[0, 0, -1, -1], [0, -1, 0, -1]] for cell in cells])
    assert (corners.max(axis=2) == 0).mean() > 0.8, "corners are black, but for debris"


def test_sides_stay_within_their_spread_and_vary(cells: list[phantoms.PhantomCell]):
    sides = np.array([cell.image.shape[:2] for cell in cells])
    assert sides.min() >= round(0.85 * RECIPE.size)
    assert sides.max() <= round(1.15 * RECIPE.size)
    assert (sides[:, 0] != sides[:, 1]).any()


def test_only_parasitized_cells_have_a_parasite_and_it_lies_inside(cells: list[phantoms.PhantomCell]):
    for cell in cells:
        assert (cell.parasite_centre is not None) == (cell.label == PARASITIZED)
        if cell.parasite_centre:
            row, column = cell.parasite_centre
            assert inside(cell.image)[round(row), round(column)], f"{cell.name}: parasite outside the cell"


def test_a_parasite_is_darker_and_bluer_than_its_surroundings():
    darker, bluer = [], []
    for cell in phantom_cells(Phantoms(patients=8, cells_per_patient=30, size=64, seed=1)):
        if cell.parasite_centre is None:
            continue
        image = cell.image.astype(float)
        typical = np.median(image[inside(cell.image)], axis=0)
        row, column = (round(place) for place in cell.parasite_centre)
        around = np.s_[max(row - 8, 0) : row + 9, max(column - 8, 0) : column + 9]
        near = image[around][within_the_membrane(cell.image)[around]]
        stained = near[near[:, 1] <= np.quantile(near[:, 1], 0.1)].mean(axis=0)
        darker.append(typical[1] - stained[1])
        bluer.append((stained[2] - stained[1]) - (typical[2] - typical[1]))
    assert min(darker) > 5  # grey levels: a faint parasite is still there
    assert np.quantile(darker, 0.1) > 25
    assert np.quantile(bluer, 0.1) > 10


def test_smallest_and_largest_cells_can_be_drawn():
    stain = patient_stain(RECIPE, 1)
    for size in (24, 512):
        image, centre, _ = draw_cell(np.random.default_rng(0), stain=stain, parasitized=True, size=size)
        assert abs(image.shape[0] - size) <= 0.15 * size + 1
        assert centre is not None


def test_the_mask_is_where_the_parasite_is_and_nowhere_in_an_uninfected_cell():
    for cell in phantom_cells(Phantoms(patients=4, cells_per_patient=20, size=64, seed=2)):
        assert cell.parasite_mask.shape == cell.image.shape[:2]
        assert cell.parasite_mask.any() == (cell.label == PARASITIZED)
        if cell.parasite_centre:
            rows, columns = np.nonzero(cell.parasite_mask)
            away = np.hypot(rows - cell.parasite_centre[0], columns - cell.parasite_centre[1])
            assert away.min() < 2.5  # px: the centre of an open ring may lie beside it
            assert cell.parasite_mask.mean() < 0.2
