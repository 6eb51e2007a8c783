"""The DataBunch on disk: all but the pixels, which it finds again wherever the data folder went."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from malaria_kedro.cells.pixels import PixelError, plan_pixels
from malaria_kedro.datasets.databunch_dataset import DataBunchDataset
from malaria_kedro.datasets.pixels_dataset import CellPixelsDataset
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.databunch_summary import ListedCells
from malaria_kedro.parameters import Image


@pytest.fixture
def data(phantom_data: Path, tmp_path: Path) -> Path:
    """A data folder of its own, with the phantoms' pixels."""
    shutil.copytree(
        phantom_data / "05_model_input" / "cell_pixels", tmp_path / "data" / "05_model_input" / "cell_pixels"
    )
    return tmp_path / "data"


@pytest.fixture
def bunch(phantom_bunch: DataBunch, data: Path) -> DataBunch:
    pixels = dataset_of_pixels(data).load()
    return dataclasses.replace(phantom_bunch, pixels=pixels.array, pixels_path=pixels.path)


def dataset_of_pixels(data: Path) -> CellPixelsDataset:
    return CellPixelsDataset(filepath=str(data / "05_model_input" / "cell_pixels"))


def dataset_of(data: Path) -> DataBunchDataset:
    return DataBunchDataset(filepath=str(data / "05_model_input" / "databunch"))


def assert_same(one: DataBunch, other: DataBunch) -> None:
    pd.testing.assert_frame_equal(one.cells, other.cells)
    assert np.array_equal(one.pixels, other.pixels)
    assert (one.augment, one.summary) == (other.augment, other.summary)


def test_a_saved_bunch_loads_as_it_was(data, bunch):
    dataset_of(data).save(bunch)
    assert_same(dataset_of(data).load(), bunch)


def test_pixels_are_shared_and_not_copied(data, bunch):
    dataset_of(data).save(bunch)
    loaded = dataset_of(data).load()
    assert isinstance(loaded.pixels, np.memmap)
    assert loaded.pixels_path == data / "05_model_input" / "cell_pixels" / "pixels.npy"
    assert sorted(path.name for path in (data / "05_model_input" / "databunch").iterdir()) == [
        "cells.parquet",
        "databunch.json",
    ]


def test_it_exists_from_the_save_on(data, bunch):
    assert not dataset_of(data).exists()
    dataset_of(data).save(bunch)
    assert dataset_of(data).exists()


def test_the_data_folder_can_be_moved(data, bunch, tmp_path):
    dataset_of(data).save(bunch)
    whole = np.array(bunch.pixels)
    (tmp_path / "another" / "place").mkdir(parents=True)
    moved = data.rename(tmp_path / "another" / "place" / "data")
    loaded = dataset_of(moved).load()
    assert np.array_equal(loaded.pixels, whole)
    assert loaded.pixels_path.is_relative_to(moved)


def test_relative_paths_load_from_the_project_they_were_saved_in(data, bunch, monkeypatch):
    monkeypatch.chdir(data.parent)
    relative = dataclasses.replace(bunch, pixels_path=Path("data/05_model_input/cell_pixels/pixels.npy"))
    dataset_of(Path("data")).save(relative)
    assert_same(dataset_of(Path("data")).load(), bunch)
    assert_same(dataset_of(data).load(), bunch)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_folder_behind_a_link_finds_its_pixels(data, bunch, tmp_path):
    dataset_of(data).save(bunch)
    folder = data / "05_model_input" / "databunch"
    (tmp_path / "larger_disk").mkdir()
    shutil.move(folder, tmp_path / "larger_disk" / "databunch")
    folder.symlink_to(tmp_path / "larger_disk" / "databunch")
    assert_same(dataset_of(data).load(), bunch)


def test_pixels_decoded_anew_since_are_an_error_that_says_what_to_run(data, bunch, phantom_folder, phantom_index):
    dataset_of(data).save(bunch)
    dataset_of_pixels(data).save(plan_pixels(phantom_folder.root, phantom_index, Image(size=16)))
    with pytest.raises(
        DatasetError, match=r"decoded anew since .*databunch was made.*run the pipeline data_engineering"
    ):
        dataset_of(data).load()


def test_pixels_that_have_gone_are_an_error_that_says_what_to_run(data, bunch):
    dataset_of(data).save(bunch)
    shutil.rmtree(data / "05_model_input" / "cell_pixels")
    with pytest.raises(
        DatasetError, match=r"cell_pixels holds no whole pixel array.*run the pipeline data_engineering"
    ):
        dataset_of(data).load()


def test_a_second_save_replaces_the_first(data, bunch):
    dataset_of(data).save(bunch)
    other = dataclasses.replace(bunch, summary=bunch.summary.model_copy(update={"origin": "elsewhere"}))
    dataset_of(data).save(other)
    assert dataset_of(data).load().summary.origin == "elsewhere"


# --- what is not what was made --------------------------------------------------------------------------------------


def swap_labels(path: Path) -> None:
    cells = pd.read_parquet(path)
    cells.loc[[0, 63], "label"] = cells.loc[[63, 0], "label"].to_numpy()
    cells.to_parquet(path, index=False)


def move_to_train(path: Path) -> None:
    pd.read_parquet(path).assign(split="train").to_parquet(path, index=False)


def edit(**changes: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cells.parquet", swap_labels),
        ("cells.parquet", move_to_train),
        ("cells.parquet", Path.unlink),
        ("databunch.json", edit(phantom=False)),
        ("databunch.json", edit(fingerprint="0" * 64)),
        ("databunch.json", edit(more=1)),
        ("databunch.json", lambda path: path.write_text("[]")),
        ("databunch.json", lambda path: path.write_text("half")),
        ("databunch.json", Path.unlink),
    ],
)
def test_a_changed_bunch_is_an_error_that_names_the_part_and_says_what_to_run(data, bunch, name, change):
    dataset_of(data).save(bunch)
    change(data / "05_model_input" / "databunch" / name)
    with pytest.raises(
        DatasetError, match=r"databunch is not a complete databunch \(.*run the pipeline data_engineering"
    ) as caught:
        dataset_of(data).load()
    assert isinstance(caught.value.__cause__, PixelError)  # so the user sees its sentence, and no traceback


def test_the_table_of_another_bunch_is_noticed(data, bunch):
    folder = data / "05_model_input" / "databunch"
    dataset_of(data).save(bunch)
    shutil.copy(folder / "cells.parquet", data / "cells.parquet")
    other = bunch.cells.assign(split=bunch.cells["split"].replace("test", "train"))
    dataset_of(data).save(dataclasses.replace(bunch, cells=other))
    shutil.copy(data / "cells.parquet", folder / "cells.parquet")
    with pytest.raises(DatasetError, match=r"cells\.parquet, with the labels and splits, is not the table"):
        dataset_of(data).load()


def test_an_earlier_versions_bunch_is_told_from_a_damaged_one(data, bunch):
    dataset_of(data).save(bunch)
    path = data / "05_model_input" / "databunch" / "databunch.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({key: described[key] for key in described if key not in ("sha256", "cells_sha256")}))
    with pytest.raises(DatasetError, match="earlier version's, which kept no hashes"):
        dataset_of(data).load()


def test_pixels_decoded_otherwise_from_the_same_files_are_not_the_same(data, bunch):
    dataset_of(data).save(
        dataclasses.replace(bunch, summary=bunch.summary.model_copy(update={"array_sha256": "0" * 64}))
    )
    with pytest.raises(DatasetError, match=r"decoded anew since .*databunch was made"):
        dataset_of(data).load()


def test_lists_of_cells_come_back(data, bunch):
    cell = {"cell_id": "a", "label": "Parasitized", "patient_id": None, "excluded": "unreadable: the file is empty"}
    listed = ListedCells.model_validate({"excluded": {"unreadable": [cell]}, "equal": []})
    dataset_of(data).save(dataclasses.replace(bunch, listed=listed))
    assert dataset_of(data).load().listed == listed
    assert "listed" not in dataset_of(data).load().summary.model_dump()
