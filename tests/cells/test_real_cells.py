"""The real NIH cells, where they are at hand: names, index, splits and pixels hold on more than phantoms."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PillowImage

from malaria_kedro.cells.archive import acquire
from malaria_kedro.cells.decoding import decode_cell
from malaria_kedro.cells.duplicates import count_equal
from malaria_kedro.cells.index import index_cells
from malaria_kedro.cells.pixels import decode_cells
from malaria_kedro.cells.resizing import resize_cell
from malaria_kedro.cells.splits import BALANCE_TOLERANCE, split_cells
from malaria_kedro.cells.tables import attribute_patients, read_patients
from malaria_kedro.cells.unpack import CellFolder, unpack
from malaria_kedro.names import CLASSES, NIH_PATIENT_PATTERN, is_image_name, patient_of
from malaria_kedro.parameters import Image, Source, Split

DATA = Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real cells are not at hand ({DATA})")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CellFolder:
    """The 613 cells at their original size."""
    into = tmp_path_factory.mktemp("real")
    archive = acquire(Source(path=str(DATA / "cell_images_fullsize.zip")), into / "01_raw")
    return unpack(archive, into / "02_intermediate", max_unpacked_bytes=100_000_000)


@pytest.fixture(scope="module")
def index(folder: CellFolder) -> pd.DataFrame:
    return index_cells(folder.root, patient_pattern=NIH_PATIENT_PATTERN, max_broken_pct=0.0)


def test_all_full_size_cells_are_readable_and_have_a_patient(index):
    assert len(index) == 613
    assert (index["excluded"] == "").all()
    assert index["patient_id"].nunique() == 153
    assert index["patient_id"].notna().all()


def test_the_lists_of_the_nih_name_the_same_patients_as_the_file_names(index):
    table = read_patients(Source(path="cells", patients=str(DATA / "patientid_cellmapping_*.csv")))
    patients, notes = attribute_patients(table, list(index["path"]), list(index["patient_id"]), 0.0)
    assert patients == list(index["patient_id"])
    assert sorted(notes.values()) == [613, 23_820 - 613, 23_820]


def test_ids_are_the_official_names(index):
    assert not index["cell_id"].str.contains("/").any()
    assert index["cell_id"].str.contains("_cell_").all()


def test_no_two_full_size_cells_show_the_same_picture(index):
    assert count_equal(index) == {"n_cells": 0, "n_pictures": 0, "n_across_patients": 0}


def test_a_limited_index_uses_that_many_cells_of_each_class(folder):
    limited = index_cells(folder.root, patient_pattern=NIH_PATIENT_PATTERN, limit=50)
    assert limited.loc[limited["excluded"] == "", "label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 50)


@pytest.mark.parametrize("seed", [0, 42])
def test_no_real_patient_is_on_two_sides(index, seed):
    splits = split_cells(index, Split(strategy="patient", valid_pct=0.2, test_pct=0.15, seed=seed))
    cells = splits.merge(index, on="cell_id")
    assert cells.groupby("patient_id")["split"].nunique().max() == 1
    parasitized = cells["label"] == "Parasitized"
    assert (parasitized.groupby(cells["split"]).mean() - parasitized.mean()).abs().max() <= BALANCE_TOLERANCE


def test_real_cells_decode_as_plain_rgb(folder, index):
    cells = decode_cells(folder.root, index.head(40), Image(size=64))
    for path, pixels in zip(cells.paths, cells, strict=True):
        with PillowImage.open(folder.root / path) as image:
            rgb = image.convert("RGB")
        assert np.array_equal(pixels, resize_cell(np.array(rgb), 64))
        plain = np.asarray(rgb.resize((64, 64), PillowImage.Resampling.BILINEAR))
        assert np.abs(pixels.astype(int) - plain).max() <= 1
        assert np.array_equal(pixels, decode_cell(folder.root / path, 64))


def test_the_large_archives_names_are_of_169_patients():
    with zipfile.ZipFile(DATA / "cell_images.zip") as archive:
        names = [Path(name).name for name in archive.namelist() if is_image_name(name)]
    patients = [patient_of(name) for name in names]
    assert len(names) == len(set(names)) == 23_820
    assert None not in patients
    assert len(set(patients)) == 169


def test_a_wrapped_folder_gives_the_same_cells_as_the_zip(folder, index, tmp_path):
    with zipfile.ZipFile(DATA / "cell_images_fullsize.zip") as archive:
        archive.extractall(tmp_path / "given" / "my_cells")
    wrapped = unpack(
        acquire(Source(path=str(tmp_path / "given")), tmp_path),
        tmp_path / "02_intermediate",
        max_unpacked_bytes=1,
        max_ignored_pct=0.0,
    )
    assert (wrapped.counts, wrapped.n_ignored) == (folder.counts, 0)
    pd.testing.assert_frame_equal(index_cells(wrapped.root, patient_pattern=NIH_PATIENT_PATTERN), index)
