"""The prediction table: one pass, and nothing that depends on how it was cut into batches."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from malaria_kedro.learning.classifier import Classifier
from malaria_kedro.learning.databunch import OtherDataError
from malaria_kedro.learning.prediction import PredictionError, predict_cells
from malaria_kedro.parameters import Evaluation
from metadata_material import with_metadata


@pytest.fixture(scope="module")
def table(trained, training) -> pd.DataFrame:
    return predict_cells(trained.classifier, trained.bunch, Evaluation(), training)


def test_every_cell_that_did_not_train_has_a_row_in_the_databunchs_order(table, trained):
    held_out = trained.bunch.cells[trained.bunch.cells["split"] != "train"]
    told = ["cell_id", "patient_id", "split", "label", "p_parasitized", "loss", "p_calibrated"]
    assert list(table.columns) == told
    assert table["cell_id"].tolist() == held_out["cell_id"].tolist()
    assert table["label"].tolist() == held_out["label"].tolist()
    assert table["split"].value_counts().to_dict() == {"valid": 12, "test": 9}


def test_loss_is_minus_log_of_the_labels_probability(table):
    p_label = np.where(table["label"] == "Parasitized", table["p_parasitized"], 1 - table["p_parasitized"])
    assert table["loss"].to_numpy() == pytest.approx(-np.log(p_label), rel=1e-6)
    assert table["p_parasitized"].between(0, 1).all()
    assert table["p_parasitized"].dtype == table["loss"].dtype == np.float64


@pytest.mark.parametrize("changes", [{}, {"calibration": None}, {"calibration": {"temperature": 2.0}}], ids=str)
def test_the_temperature_of_the_metadata_calibrates(trained, training, changes):
    calibrated = with_metadata(trained.classifier, **changes)
    found = predict_cells(calibrated, trained.bunch, Evaluation(), training)
    p = found["p_parasitized"].to_numpy()
    temperature = 2.0 if changes.get("calibration") else 1.0
    expected = 1 / (1 + ((1 - p) / p) ** (1 / temperature))
    assert found["p_calibrated"].to_numpy() == pytest.approx(expected)


def test_the_mean_loss_is_the_historys_of_the_exported_epoch(table, trained):
    valid = table[table["split"] == "valid"]
    assert valid["loss"].mean() == pytest.approx(trained.classifier.metadata.selected.valid_loss, rel=1e-4)


def test_a_confident_mistake_has_a_finite_loss(trained, training):
    state = trained.classifier.state | {"1.4.weight": trained.classifier.state["1.4.weight"] * 1e4}
    table = predict_cells(Classifier(state, trained.classifier.metadata), trained.bunch, Evaluation(), training)
    assert np.isfinite(table["loss"]).all()
    assert table["loss"].max() > 20


@pytest.mark.parametrize("batch_size", [1, 5, 21])
def test_the_batch_size_changes_no_result(table, trained, training, batch_size):
    again = predict_cells(trained.classifier, trained.bunch, Evaluation(batch_size=batch_size), training)
    assert again["p_parasitized"].to_numpy() == pytest.approx(table["p_parasitized"].to_numpy(), abs=1e-6)


def test_nothing_is_drawn_where_there_is_no_terminal(trained, training, capfd):
    predict_cells(trained.classifier, trained.bunch, Evaluation(), training)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "predict" not in captured.err


def test_a_classifier_of_other_data_is_refused(trained, training):
    other = dataclasses.replace(
        trained.bunch, summary=trained.bunch.summary.model_copy(update={"fingerprint": "0123456789abcdef"})
    )
    with pytest.raises(
        OtherDataError, match=r"small was trained on other data .* than this databunch \(0123456789ab\)"
    ):
        predict_cells(trained.classifier, other, Evaluation(), training)


def test_a_databunch_that_holds_nothing_out_is_refused(trained, training):
    greedy = dataclasses.replace(trained.bunch, cells=trained.bunch.cells.assign(split="train"))
    with pytest.raises(PredictionError, match="no cell is held out"):
        predict_cells(trained.classifier, greedy, Evaluation(), training)


def test_a_full_gpu_becomes_a_suggestion(trained, training, monkeypatch):
    class Full(torch.nn.Module):
        def forward(self, _):
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Classifier, "network", lambda _: Full())
    with pytest.raises(PredictionError, match=r"try evaluation\.batch_size=32"):
        predict_cells(trained.classifier, trained.bunch, Evaluation(batch_size=64), training)
