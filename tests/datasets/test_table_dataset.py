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


@pytest.fixture
def three_rows(tmp_path) -> TableDataset:
    dataset = TableDataset(filepath=str(tmp_path / "table.csv"), columns={"cells": "int64"})
    dataset.save(pd.DataFrame({"patient": ["a", "b", "c"], "cells": [1, 2, 3]}))
    return dataset


@pytest.mark.parametrize("lines", [1, 3, 5], ids=["only its header", "a row less", "a row more"])
def test_a_table_that_is_cut_at_the_end_of_a_line_is_no_shorter_table(three_rows, tmp_path, lines):
    written = (tmp_path / "table.csv").read_text().splitlines(keepends=True)
    (tmp_path / "table.csv").write_text("".join([*written, written[-1]][:lines]))
    with pytest.raises(DatasetError) as caught:
        three_rows.load()
    assert f"{tmp_path / 'table.csv'} cannot be read (it has {lines - 1} rows, and " in str(caught.value.__cause__)


@pytest.mark.parametrize("content", [b"", b"many", b"\xff"])
def test_a_damaged_number_of_rows_is_told(three_rows, tmp_path, content):
    (tmp_path / "table.csv.rows").write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        three_rows.load()
    assert "table.csv.rows beside it" in str(caught.value.__cause__)


def test_a_table_that_came_without_its_number_of_rows_is_read(three_rows, tmp_path):
    (tmp_path / "table.csv.rows").unlink()
    assert len(three_rows.load()) == 3


def test_a_table_written_again_has_a_number_of_rows_of_its_own(three_rows):
    three_rows.save(pd.DataFrame({"patient": ["a"], "cells": [1]}))
    assert len(three_rows.load()) == 1


def test_a_column_whose_type_nobody_has_declared_is_refused_and_leaves_nothing(tmp_path):
    dataset = TableDataset(filepath=str(tmp_path / "table.csv"), columns={"cells": "int64"})
    with pytest.raises(DatasetError, match=r"column 'rate' cannot be written.* declare numbers"):
        dataset.save(pd.DataFrame({"cells": [1], "rate": [0.5]}))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_type_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(DatasetError, match="one of str, int64, Int64, float64, bool"):
        TableDataset(filepath=str(tmp_path / "table.csv"), columns={"cells": "number"})
