"""An optional dataset: another entry's data, or None."""

import json

import pytest
from kedro.io import DataCatalog, DatasetError


def catalog(folder, *, versioned: bool = False, version: str | None = None) -> DataCatalog:
    inner = {"type": "json.JSONDataset", "filepath": str(folder / "metrics.json"), "versioned": versioned}
    return DataCatalog.from_config(
        {
            "metrics": inner,
            "metrics_if_any": {
                "type": "malaria_kedro.datasets.optional_dataset.OptionalDataset",
                "dataset": inner,
            },
        },
        save_version=version,
    )


def test_what_is_not_there_is_none(tmp_path):
    assert catalog(tmp_path).load("metrics_if_any") is None


def test_what_is_there_is_loaded(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"accuracy": 0.9}))
    assert catalog(tmp_path).load("metrics_if_any") == {"accuracy": 0.9}


def test_of_versions_the_newest_is_loaded(tmp_path):
    # Versions by name: by the clock, both might be of the same millisecond.
    for accuracy, version in ((0.8, "2026-01-01T00.00.00.000Z"), (0.9, "2026-01-01T00.00.00.001Z")):
        catalog(tmp_path, versioned=True, version=version).save("metrics", {"accuracy": accuracy})
    assert catalog(tmp_path, versioned=True).load("metrics_if_any") == {"accuracy": 0.9}


def test_it_is_only_read(tmp_path):
    with pytest.raises(DatasetError, match="only read"):
        catalog(tmp_path).save("metrics_if_any", {"accuracy": 1})
