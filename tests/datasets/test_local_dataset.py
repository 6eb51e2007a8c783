"""What all datasets of the project share."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DataCatalog, DatasetError

CATALOG = {
    "page": {
        "type": "malaria_kedro.datasets.html_dataset.HTMLDataset",
        "filepath": "report.html",
        "versioned": True,
    },
    "table": {
        "type": "malaria_kedro.datasets.table_dataset.TableDataset",
        "filepath": "table.csv",
        "columns": {"n": "int64"},
    },
    "folder": {"type": "malaria_kedro.datasets.directory_dataset.DirectoryDataset", "filepath": "work"},
}


@pytest.mark.parametrize("name", CATALOG)
def test_kedro_can_write_out_the_catalog_entry_that_a_dataset_was_made_from(name: str) -> None:
    assert DataCatalog.from_config({name: CATALOG[name]}).to_config()[0] == {name: CATALOG[name]}


@pytest.mark.parametrize("name", CATALOG)
def test_an_address_of_another_machine_is_refused(name: str) -> None:
    with pytest.raises(DatasetError, match=r"s3://bucket/x.* is not on this machine"):
        DataCatalog.from_config({name: CATALOG[name] | {"filepath": "s3://bucket/x"}}).get(name)


def test_a_folder_without_one_of_its_parts_does_not_exist(tmp_path: Path) -> None:
    from malaria_kedro.datasets.databunch_dataset import DataBunchDataset

    dataset = DataBunchDataset(filepath=str(tmp_path))
    (tmp_path / "cells.parquet").touch()
    assert not dataset.exists()
    (tmp_path / "databunch.json").touch()
    assert dataset.exists()
