"""ParquetDataset: a table as it was, in a file that is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError

from malaria_kedro.datasets.parquet_dataset import ParquetDataset

TABLE = pd.DataFrame(
    {
        "cell_id": pd.Series(["001", "1e5", "NA"], dtype="str"),
        "width": pd.Series([1, None, 3], dtype="Int32"),
        "patient_id": pd.Series(["01", None, "nan"], dtype="str"),
    }
)


@pytest.fixture
def dataset(tmp_path: Path) -> ParquetDataset:
    return ParquetDataset(filepath=str(tmp_path / "a" / "table.parquet"))


def test_ids_types_and_attributes_come_back(dataset: ParquetDataset) -> None:
    table = TABLE.copy()
    table.attrs["source"] = {"limit": None}
    dataset.save(table)
    pd.testing.assert_frame_equal(dataset.load(), TABLE)
    assert dataset.load().attrs == {"source": {"limit": None}}


def test_a_table_that_cannot_be_written_leaves_the_old_file(dataset: ParquetDataset) -> None:
    dataset.save(TABLE)
    with pytest.raises(DatasetError):
        dataset.save(pd.DataFrame({"mixed": [1, "a", object()]}))
    pd.testing.assert_frame_equal(dataset.load(), TABLE)
    assert len(list(dataset.load_path.parent.iterdir())) == 1


def test_a_damaged_file_is_named(dataset: ParquetDataset) -> None:
    dataset.save(TABLE)
    dataset.load_path.write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"table\.parquet"):
        dataset.load()


def test_the_preview_has_the_first_rows_and_null_where_nothing_is_known(dataset: ParquetDataset) -> None:
    dataset.save(TABLE)
    assert dataset.preview(nrows=2)["data"] == [["001", 1, "01"], ["1e5", None, None]]
