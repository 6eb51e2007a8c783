"""The class folders as a catalog entry."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from kedro.io import DataCatalog, DatasetError

from malaria_kedro.cells.archive import ArchiveRequest, CellArchive, acquire
from malaria_kedro.cells.unpack import UnpackPlan
from malaria_kedro.datasets.folder_dataset import CellFolderDataset


@pytest.fixture
def archive(tmp_path: Path) -> CellArchive:
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as bundle:
        for name in ("Parasitized", "Uninfected"):
            bundle.writestr(f"cell_images/{name}/a.png", name)
    return acquire(ArchiveRequest(path=str(tmp_path / "cells.zip")), tmp_path)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "data" / "02_intermediate" / "cell_images"


def test_a_saved_plan_loads_as_the_class_folders(archive: CellArchive, into: Path) -> None:
    dataset = CellFolderDataset(filepath=str(into))
    dataset.save(UnpackPlan(archive, max_unpacked_bytes=1000))
    folder = dataset.load()
    assert folder.root == into / "train"
    assert folder.counts == {"Parasitized": 1, "Uninfected": 1}
    assert folder.archive == archive


def test_a_fresh_process_finds_the_folders(archive: CellArchive, into: Path) -> None:
    CellFolderDataset(filepath=str(into)).save(UnpackPlan(archive, max_unpacked_bytes=1000))
    assert CellFolderDataset(filepath=str(into)).load().root == into / "train"


def test_it_exists_from_the_save_until_an_image_is_lost(archive: CellArchive, into: Path) -> None:
    dataset = CellFolderDataset(filepath=str(into))
    seen = [dataset.exists()]
    dataset.save(UnpackPlan(archive, max_unpacked_bytes=1000))
    seen.append(dataset.exists())
    (into / "train" / "Uninfected" / "a.png").unlink()
    seen.append(dataset.exists())
    assert seen == [False, True, False]


def test_the_plans_limit_is_kept(archive: CellArchive, into: Path) -> None:
    with pytest.raises(DatasetError, match="max_unpacked_bytes"):
        CellFolderDataset(filepath=str(into)).save(UnpackPlan(archive, max_unpacked_bytes=3))


def test_the_plans_share_of_images_that_are_no_cells_is_kept(archive: CellArchive, into: Path) -> None:
    with zipfile.ZipFile(archive.path, "a") as bundle:
        bundle.writestr("cell_images/Gametocyte/a.png", "x")
    more = acquire(ArchiveRequest(path=str(archive.path)), archive.path.parent)
    dataset = CellFolderDataset(filepath=str(into))
    with pytest.raises(DatasetError, match=r"1 of the 3 images .*source\.max_ignored_pct \(30\.0 %\)"):
        dataset.save(UnpackPlan(more, max_unpacked_bytes=1000, max_ignored_pct=30.0))
    dataset.save(UnpackPlan(more, max_unpacked_bytes=1000, max_ignored_pct=35.0))
    assert dataset.load().n_ignored == 1


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
