"""An optional dataset: another entry's data, or None."""

import json

import pytest
from kedro.io import DataCatalog, DatasetError


def catalog(folder, *, versioned: bool = False) -> DataCatalog:
    inner = {"type": "json.JSONDataset", "filepath": str(folder / "metrics.json"), "versioned": versioned}
    return DataCatalog.from_config(
        {
            "metrics": inner,
            "metrics_if_any": {
                "type": "malaria_kedro.datasets.optional_dataset.OptionalDataset",
                "dataset": inner,
            },
        }
    )


def test_what_is_not_there_is_none(tmp_path):
    assert catalog(tmp_path).load("metrics_if_any") is None


def test_what_is_there_is_loaded(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"accuracy": 0.9}))
    assert catalog(tmp_path).load("metrics_if_any") == {"accuracy": 0.9}


def test_of_versions_the_newest_is_loaded(tmp_path):
    for accuracy in (0.8, 0.9):
        catalog(tmp_path, versioned=True).save("metrics", {"accuracy": accuracy})
    assert catalog(tmp_path, versioned=True).load("metrics_if_any") == {"accuracy": 0.9}


def test_it_is_only_read(tmp_path):
    with pytest.raises(DatasetError, match="only read"):
        catalog(tmp_path).save("metrics_if_any", {"accuracy": 1})
