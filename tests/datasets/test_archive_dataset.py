"""The archive as a catalog entry."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from kedro.io import DataCatalog, DatasetError

from malaria_kedro.cells.archive import ArchiveRequest
from malaria_kedro.datasets.archive_dataset import CellArchiveDataset


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "cells.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("cell_images/Parasitized/a.png", b"x")
    return path


@pytest.fixture
def pointer(tmp_path: Path) -> Path:
    return tmp_path / "data" / "01_raw" / "cell_archive.json"


def test_a_saved_request_loads_as_the_archive(given: Path, pointer: Path) -> None:
    dataset = CellArchiveDataset(filepath=str(pointer))
    dataset.save(ArchiveRequest(path=str(given)))
    assert dataset.load().path == given


def test_a_fresh_process_finds_the_archive(given: Path, pointer: Path) -> None:
    CellArchiveDataset(filepath=str(pointer)).save(ArchiveRequest(path=str(given)))
    assert CellArchiveDataset(filepath=str(pointer)).load().path == given


def test_it_exists_from_the_save_until_the_archive_vanishes(given: Path, pointer: Path) -> None:
    dataset = CellArchiveDataset(filepath=str(pointer))
    seen = [dataset.exists()]
    dataset.save(ArchiveRequest(path=str(given)))
    seen.append(dataset.exists())
    given.unlink()
    seen.append(dataset.exists())
    assert seen == [False, True, False]


def test_loading_an_archive_that_vanished_names_it(given: Path, pointer: Path) -> None:
    dataset = CellArchiveDataset(filepath=str(pointer))
    dataset.save(ArchiveRequest(path=str(given)))
    given.unlink()
    with pytest.raises(DatasetError, match=r"cells\.zip has gone"):
        dataset.load()


def test_a_request_that_fails_leaves_no_pointer(pointer: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        CellArchiveDataset(filepath=str(pointer)).save(ArchiveRequest(path="nowhere.zip"))
    assert not pointer.exists()


def test_the_catalog_makes_it_with_its_metadata(pointer: Path) -> None:
    entry = {
        "type": "malaria_kedro.datasets.archive_dataset.CellArchiveDataset",
        "filepath": str(pointer),
        "metadata": {"kedro-viz": {"layer": "raw"}},
    }
    dataset = DataCatalog.from_config({"cell_archive": entry})["cell_archive"]
    assert dataset.metadata == {"kedro-viz": {"layer": "raw"}}
    assert str(pointer) in str(dataset)
