"""TableDataset: ids are text in the file, when loaded, in the catalog and in kedro-viz."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, DatasetError, Version

from malaria_kedro.datasets.table_dataset import TableDataset
from malaria_kedro.evaluation.label_noise import audit_labels
from malaria_kedro.evaluation.patients import patient_table

CONF = Path(__file__).parents[2] / "conf" / "base"
ODD_IDS = [
    "001",
    "01",
    "1",
    "1.0",
    "1e5",
    "NA",
    "nan",
    "null",
    "None",
    "True",
    "-",
    "inf",
    " ",
    "  x",
    "=1+1",
    'a",\nb',
]


@pytest.fixture
def catalog(tmp_path) -> DataCatalog:
    """The project's own CSV entries, in a folder of their own."""
    text = (CONF / "catalog.yml").read_text().replace("${globals:data_dir}", tmp_path.as_posix())
    entries = {name: entry for name, entry in yaml.safe_load(text).items() if "TableDataset" in str(entry)}
    return DataCatalog.from_config(entries)


@pytest.fixture
def predictions() -> pd.DataFrame:
    """Two cells of every odd patient, and two of nobody; each cell is called like its patient."""
    patients = [patient for patient in [*ODD_IDS, None] for _ in range(2)]
    return pd.DataFrame(
        {
            "cell_id": [f"={number:03d}" for number in range(len(patients))],
            "patient_id": pd.Series(patients, dtype="str"),
            "split": "valid",
            "label": ["Parasitized", "Uninfected"] * (len(patients) // 2),
            "p_parasitized": np.linspace(0.05, 0.95, len(patients)),
            "loss": 0.5,
        }
    )


def test_the_patients_of_a_run_are_loaded_as_they_were_saved(catalog, predictions):
    table = patient_table(predictions, threshold=0.5, column="p_parasitized")
    catalog.save("resnet18.patients", table)
    loaded = catalog.load("resnet18.patients")
    assert sorted(loaded["patient_id"]) == sorted(ODD_IDS)
    pd.testing.assert_frame_equal(loaded, table, check_exact=True)


def test_a_label_audit_is_loaded_as_it_was_saved(catalog, predictions):
    audit = audit_labels(predictions)
    catalog.save("label_audit", audit)
    pd.testing.assert_frame_equal(catalog.load("label_audit"), audit, check_exact=True)
    assert audit["patient_id"].isna().sum() == 2


def test_the_patients_of_new_cells_are_loaded_as_they_were_saved(catalog):
    from malaria_kedro.inference.results import patient_summary

    frame = pd.DataFrame(
        {"patient_id": pd.Series([*ODD_IDS, None], dtype="str"), "call": "Parasitized", "p_parasitized": 0.9}
    )
    summary = patient_summary([frame])
    catalog.save("patient_summary", summary)
    pd.testing.assert_frame_equal(catalog.load("patient_summary"), summary, check_exact=True)


def test_no_entry_of_the_catalog_lets_pandas_guess():
    assert "pandas.CSVDataset" not in (CONF / "catalog.yml").read_text()


def test_kedro_viz_sees_ids_as_text_and_what_is_missing_as_null(catalog, predictions):
    catalog.save("label_audit", audit_labels(predictions))
    preview = catalog.get("label_audit").preview(nrows=40)
    place = preview["columns"].index("patient_id")
    shown = json.loads(json.dumps(preview, allow_nan=False))["data"]
    assert {row[place] for row in shown} == {*ODD_IDS, None}
    assert len(catalog.get("label_audit").preview(nrows=3)["data"]) == 3


def test_each_version_is_kept(tmp_path):
    path = str(tmp_path / "table.csv")
    for version in ("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"):
        TableDataset(filepath=path, version=Version(None, version)).save(pd.DataFrame({"version": [version]}))
    newest = TableDataset(filepath=path, version=Version(None, None))
    assert newest.exists()
    assert newest.load()["version"].tolist() == ["2026-01-02T00.00.00.000Z"]


def test_a_column_whose_type_nobody_has_declared_is_refused_and_leaves_nothing(tmp_path):
    dataset = TableDataset(filepath=str(tmp_path / "table.csv"), columns={"cells": "int64"})
    with pytest.raises(DatasetError, match=r"column 'rate' cannot be written.* declare numbers"):
        dataset.save(pd.DataFrame({"cells": [1], "rate": [0.5]}))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_type_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(DatasetError, match="one of str, int64, Int64, float64, bool"):
        TableDataset(filepath=str(tmp_path / "table.csv"), columns={"cells": "number"})
