"""The ONNX files of a classifier: written only when they are found to be right, and kept by the dataset."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from backend_material import phantom_like_cells, small_classifier
from malaria_kedro.datasets.onnx_dataset import OnnxDataset
from malaria_kedro.inference import onnx_plan
from malaria_kedro.inference.quantise import Acceptance
from malaria_kedro.inference.reader import find_onnx


@pytest.fixture(scope="module")
def plan():
    """A plan for the small classifier: 96 cells trained, 64 validate, 32 test."""
    cells, parasitized = phantom_like_cells()
    split = np.array(["train"] * 96 + ["valid"] * 64 + ["test"] * 32)
    table = pd.DataFrame({"label": np.where(parasitized, "Parasitized", "Uninfected"), "split": split})
    bunch = SimpleNamespace(
        pixels=cells,
        cells=table,
        fingerprint="f00d",
        phantom=True,
        rows=lambda part: np.flatnonzero(split == part),
    )
    classifier = small_classifier()
    card = classifier.card | {"training_id": classifier.card.get("training_id", "beef")}
    return onnx_plan.OnnxPlan(dataclasses.replace(classifier, card=card), bunch)


def test_the_folder_tells_parity_and_what_int8_changes(plan, tmp_path):
    dataset = OnnxDataset(filepath=str(tmp_path / "net" / "onnx"))
    dataset.save(plan)
    about = json.loads((dataset.load() / "onnx.json").read_text())
    assert about["parity"]["p"] <= 1e-4
    assert about["int8"]["sentence"].startswith("int8 is")
    assert (dataset.load() / "model.onnx").is_file()
    assert (dataset.load() / "model.int8.onnx").is_file() == about["int8"]["accepted"]
    assert "parity" in str(dataset.preview())


def test_int8_that_changes_results_is_not_written_and_the_log_says_why(plan, tmp_path, monkeypatch, caplog):
    refused = Acceptance(False, 3.0, 0.1, "int8 is not accepted: accuracy changes by +3 points")
    monkeypatch.setattr(onnx_plan, "accept_int8", lambda *_: refused)
    with caplog.at_level("INFO"):
        plan.write(tmp_path)
    assert (tmp_path / "model.onnx").is_file()
    assert not (tmp_path / "model.int8.onnx").exists()
    assert refused.sentence in caplog.text
    assert "not written" in caplog.text


def test_a_graph_is_found_beside_its_classifier_the_newest_first(tmp_path):
    classifier = tmp_path / "net" / "classifier" / "2026" / "classifier"
    assert find_onnx(classifier, "model.onnx") is None
    for version in ("2025", "2026"):
        folder = tmp_path / "net" / "onnx" / version / "onnx"
        folder.mkdir(parents=True)
        (folder / "model.onnx").touch()
    assert find_onnx(classifier, "model.onnx") == tmp_path / "net" / "onnx" / "2026" / "onnx" / "model.onnx"
