"""JSONDataset: one file, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DatasetError, Version

from malaria_kedro.datasets.json_dataset import JSONDataset

CONTENT = {"rates": [1e-3, None], "id": "001", "name": "Präparat"}


def test_it_loads_what_was_saved(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=str(tmp_path / "a" / "b.json"))
    assert not dataset.exists()
    dataset.save(CONTENT)
    assert dataset.exists()
    assert dataset.load() == CONTENT


def test_versions_are_kept_apart(tmp_path: Path) -> None:
    for number, version in enumerate(("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z")):
        JSONDataset(filepath=str(tmp_path / "a.json"), version=Version(None, version)).save(number)
    assert JSONDataset(filepath=str(tmp_path / "a.json"), version=Version(None, None)).load() == 1


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=str(tmp_path / "a.json"))
    dataset.save(1)
    with pytest.raises(DatasetError):
        dataset.save({1, 2})
    assert dataset.load() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DatasetError, match=r"a\.json"):
        JSONDataset(filepath=str(tmp_path / "a.json")).load()


def test_kedro_viz_shows_the_file(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=str(tmp_path / "a.json"))
    dataset.save({"id": "001"})
    assert '"id": "001"' in str(dataset.preview())
