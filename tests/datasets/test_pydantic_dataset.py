"""A model as JSON: the same fields and numbers after loading, and what is not one is refused."""

import json
from pathlib import Path

import pytest
from kedro.io import DatasetError
from kedro.io.core import Version

from malaria_kedro.datasets.pydantic_dataset import PydanticDataset
from malaria_kedro.evaluation.measurements import Draws, Scores

NAME = "malaria_kedro.evaluation.measurements.Scores"


def dataset(folder: Path, **more) -> PydanticDataset:
    return PydanticDataset(filepath=str(folder / "scores.json"), model=NAME, **more)


def test_numbers_and_absent_fields_survive(tmp_path):
    scores = Scores(accuracy=0.1 + 0.2, roc_auc=None)
    dataset(tmp_path).save(scores)
    assert json.loads((tmp_path / "scores.json").read_text()) == {"accuracy": 0.1 + 0.2, "roc_auc": None}
    loaded = dataset(tmp_path).load()
    assert (loaded, loaded.model_fields_set) == (scores, {"accuracy", "roc_auc"})


def test_it_is_versioned_and_previewed(tmp_path):
    version = "2026-01-01T00.00.00.000Z"
    dataset(tmp_path, version=Version(None, version)).save(Scores(f1=0.5))
    again = dataset(tmp_path, version=Version(None, None))
    assert again.exists()
    assert again.load().f1 == 0.5
    assert json.loads(again.preview()) == {"f1": 0.5}


@pytest.mark.parametrize("content", ["{", '{"accuracy": "high"}', '{"accuracy": NaN}'])
def test_what_is_not_such_a_model_is_refused_with_its_path(tmp_path, content):
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(DatasetError, match=r"scores\.json cannot be read \(it is no Scores"):
        dataset(tmp_path).load()


def test_a_record_of_another_model_is_not_saved(tmp_path):
    with pytest.raises(DatasetError, match=r"Scores: give malaria_kedro\.evaluation\.measurements\.Draws"):
        dataset(tmp_path).save(Draws.model_construct())
    assert list(tmp_path.iterdir()) == []
