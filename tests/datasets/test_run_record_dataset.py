"""RunRecordDataset: a page knows its run."""

import pytest
from kedro.io import DataCatalog, DatasetError

from malaria_kedro import __version__, versions

ENTRY = {"run_record": {"type": "malaria_kedro.datasets.run_record_dataset.RunRecordDataset", "versioned": True}}


def catalog() -> DataCatalog:
    return DataCatalog.from_config(ENTRY, save_version="2026-01-31T12.00.00.000Z")


def test_the_run_is_the_version_of_what_it_saves():
    record = catalog().load("run_record")
    assert (record.run, record.version) == ("2026-01-31T12.00.00.000Z", __version__)
    assert record.written.endswith(" UTC")


def test_it_exists_and_is_never_saved():
    assert catalog().exists("run_record")
    with pytest.raises(DatasetError, match="no node can save it"):
        catalog().save("run_record", "mine")


def test_without_git_there_is_no_commit(monkeypatch, tmp_path):
    versions.commit.cache_clear()
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "versions.py"))
    assert versions.commit() is None
    versions.commit.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.commit() is None
    versions.commit.cache_clear()
