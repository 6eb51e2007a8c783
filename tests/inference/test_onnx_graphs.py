"""The ONNX files of a classifier: written only when they are found to be right, and kept by the dataset."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from backend_material import phantom_like_cells, small_classifier
from malaria_kedro.datasets.onnx_dataset import OnnxDataset
from malaria_kedro.inference import onnx_graphs
from malaria_kedro.inference.quantise import Acceptance
from malaria_kedro.inference.reader import find_onnx


@pytest.fixture(scope="module")
def material():
    """The small classifier, and cells for it: 96 train, 64 validate, 32 test."""
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
    return classifier, bunch


def test_the_graphs_are_stored_with_parity_and_what_int8_changes(material, tmp_path):
    graphs = onnx_graphs.export_graphs(*material)
    assert graphs.about.parity.p <= 1e-4
    assert graphs.about.int8.sentence.startswith("int8 is")
    assert (graphs.int8 is not None) == graphs.about.int8.accepted
    dataset = OnnxDataset(filepath=str(tmp_path / "net" / "onnx"))
    dataset.save(graphs)
    assert dataset.load() == graphs
    assert (tmp_path / "net" / "onnx" / "model.onnx").read_bytes() == graphs.float32
    assert (tmp_path / "net" / "onnx" / "model.int8.onnx").is_file() == graphs.about.int8.accepted
    assert "parity" in str(dataset.preview())


def test_int8_that_changes_results_is_not_kept_and_the_log_says_why(material, tmp_path, monkeypatch, caplog):
    refused = Acceptance(False, 3.0, 0.1, "int8 is not accepted: accuracy changes by +3 points")
    monkeypatch.setattr(onnx_graphs, "accept_int8", lambda *_: refused)
    with caplog.at_level("INFO"):
        graphs = onnx_graphs.export_graphs(*material)
    assert graphs.int8 is None
    OnnxDataset(filepath=str(tmp_path / "onnx")).save(graphs)
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == ["model.onnx", "onnx.json"]
    assert refused.sentence in caplog.text
    assert "no int8 graph" in caplog.text


def test_a_graph_is_found_beside_its_classifier_the_newest_first(tmp_path):
    classifier = tmp_path / "net" / "classifier" / "2026" / "classifier"
    assert find_onnx(classifier, "model.onnx") is None
    for version in ("2025", "2026"):
        folder = tmp_path / "net" / "onnx" / version / "onnx"
        folder.mkdir(parents=True)
        (folder / "model.onnx").touch()
    assert find_onnx(classifier, "model.onnx") == tmp_path / "net" / "onnx" / "2026" / "onnx" / "model.onnx"
