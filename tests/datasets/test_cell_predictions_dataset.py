"""What was found in new cells, on disk."""

import pandas as pd
import pyarrow as pa
import pytest

from malaria_kedro.datasets.cell_predictions_dataset import CellPredictionsDataset
from malaria_kedro.inference.results import SCHEMA, Results, write_part


@pytest.fixture
def results(tmp_path) -> Results:
    """Three rows in two parts."""
    rows = {
        "path": ["a.png", "b.png", "c.png"],
        "patient_id": ["C1", None, "C1"],
        "p_parasitized": [0.9, 0.1, None],
        "call": ["Parasitized", "Uninfected", ""],
        "quality": ["", "", "unreadable"],
        "reason": ["", "", "the file is empty"],
        "width": [50, 50, None],
        "height": [50, 50, None],
        "label": ["Parasitized", None, None],
    }
    table = pa.Table.from_pydict(rows, schema=SCHEMA)
    folder = tmp_path / "parts"
    folder.mkdir()
    write_part(folder, 0, table.slice(0, 2))
    write_part(folder, 2, table.slice(2))
    return Results(folder, 3)


def test_parquet_and_csv_hold_the_same_rows(results, tmp_path):
    dataset = CellPredictionsDataset(filepath=str(tmp_path / "cell_predictions"))
    dataset.save(results)
    loaded = dataset.load()
    rows = pd.concat(loaded.frames(), ignore_index=True)
    assert len(loaded) == 3
    pd.testing.assert_frame_equal(rows, pd.concat(results.frames(), ignore_index=True))
    told = pd.read_csv(tmp_path / "cell_predictions" / "cell_predictions.csv")
    assert told["path"].tolist() == ["a.png", "b.png", "c.png"]
    assert told["p_parasitized"].isna().tolist() == [False, False, True]


def test_kedro_viz_sees_the_first_rows(results, tmp_path):
    dataset = CellPredictionsDataset(filepath=str(tmp_path / "cell_predictions"))
    dataset.save(results)
    preview = dataset.preview(nrows=1)
    assert preview["columns"][:2] == ["path", "patient_id"]
    assert len(preview["data"]) == 1


def test_a_save_that_fails_leaves_nothing(results, tmp_path):
    (results.folder / "part-000000002.parquet").unlink()
    dataset = CellPredictionsDataset(filepath=str(tmp_path / "cell_predictions"))
    with pytest.raises(Exception, match="predict again"):
        dataset.save(results)
    assert not dataset.exists()
    assert not list(tmp_path.glob(".cell_predictions*"))
