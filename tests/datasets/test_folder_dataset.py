"""The class folders as a catalog entry."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from kedro.io import DataCatalog, DatasetError

from malaria_kedro.cells.archive import CellArchive, acquire
from malaria_kedro.cells.unpack import unpack
from malaria_kedro.datasets.folder_dataset import CellFolderDataset
from malaria_kedro.parameters import Source


@pytest.fixture
def archive(tmp_path: Path) -> CellArchive:
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as bundle:
        for name in ("Parasitized", "Uninfected"):
            bundle.writestr(f"cell_images/{name}/a.png", name)
    return acquire(Source(path=str(tmp_path / "cells.zip")), tmp_path)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "data" / "02_intermediate" / "cell_images"


def test_what_was_unpacked_loads_as_the_class_folders(archive: CellArchive, into: Path) -> None:
    dataset = CellFolderDataset(filepath=str(into))
    dataset.save(unpack(archive, into, max_unpacked_bytes=1000))
    folder = dataset.load()
    assert folder.root == into / "train"
    assert folder.counts == {"Parasitized": 1, "Uninfected": 1}
    assert folder.archive == archive


def test_a_fresh_process_finds_the_folders(archive: CellArchive, into: Path) -> None:
    CellFolderDataset(filepath=str(into)).save(unpack(archive, into, max_unpacked_bytes=1000))
    assert CellFolderDataset(filepath=str(into)).load().root == into / "train"


def test_it_exists_from_the_save_until_an_image_is_lost(archive: CellArchive, into: Path) -> None:
    dataset = CellFolderDataset(filepath=str(into))
    seen = [dataset.exists()]
    dataset.save(unpack(archive, into, max_unpacked_bytes=1000))
    seen.append(dataset.exists())
    (into / "train" / "Uninfected" / "a.png").unlink()
    seen.append(dataset.exists())
    assert seen == [False, True, False]


def test_loading_before_anything_was_unpacked_says_what_to_run(into: Path) -> None:
    with pytest.raises(DatasetError, match="data_engineering"):
        CellFolderDataset(filepath=str(into)).load()


def test_the_catalog_makes_it_with_its_metadata(into: Path) -> None:
    entry = {
        "type": "malaria_kedro.datasets.folder_dataset.CellFolderDataset",
        "filepath": str(into),
        "metadata": {"kedro-viz": {"layer": "intermediate"}},
    }
    dataset = DataCatalog.from_config({"cell_images": entry})["cell_images"]
    assert dataset.metadata == {"kedro-viz": {"layer": "intermediate"}}
    assert str(into) in str(dataset)
