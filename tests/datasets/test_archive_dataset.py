"""The archive as a catalog entry."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from kedro.io import DataCatalog, DatasetError

from malaria_kedro.cells.archive import acquire
from malaria_kedro.datasets.archive_dataset import CellArchiveDataset
from malaria_kedro.parameters import Source


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "cells.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("cell_images/Parasitized/a.png", b"x")
    return path


@pytest.fixture
def pointer(tmp_path: Path) -> Path:
    return tmp_path / "data" / "01_raw" / "cell_archive.json"


def test_a_saved_archive_loads(given: Path, pointer: Path) -> None:
    dataset = CellArchiveDataset(filepath=str(pointer))
    dataset.save(acquire(Source(path=str(given)), pointer.parent))
    assert dataset.load().path == given


def test_a_fresh_process_finds_the_archive(given: Path, pointer: Path) -> None:
    CellArchiveDataset(filepath=str(pointer)).save(acquire(Source(path=str(given)), pointer.parent))
    assert CellArchiveDataset(filepath=str(pointer)).load().path == given


def test_it_exists_from_the_save_until_the_archive_vanishes(given: Path, pointer: Path) -> None:
    dataset = CellArchiveDataset(filepath=str(pointer))
    seen = [dataset.exists()]
    dataset.save(acquire(Source(path=str(given)), pointer.parent))
    seen.append(dataset.exists())
    given.unlink()
    seen.append(dataset.exists())
    assert seen == [False, True, False]


def test_loading_an_archive_that_vanished_names_it(given: Path, pointer: Path) -> None:
    dataset = CellArchiveDataset(filepath=str(pointer))
    dataset.save(acquire(Source(path=str(given)), pointer.parent))
    given.unlink()
    with pytest.raises(DatasetError, match=r"cells\.zip has gone"):
        dataset.load()


def test_the_catalog_makes_it_with_its_metadata(pointer: Path) -> None:
    entry = {
        "type": "malaria_kedro.datasets.archive_dataset.CellArchiveDataset",
        "filepath": str(pointer),
        "metadata": {"kedro-viz": {"layer": "raw"}},
    }
    dataset = DataCatalog.from_config({"cell_archive": entry})["cell_archive"]
    assert dataset.metadata == {"kedro-viz": {"layer": "raw"}}
    assert str(pointer) in str(dataset)
