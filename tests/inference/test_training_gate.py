"""The gate that comes with a classifier."""

import dataclasses
from types import SimpleNamespace

import numpy as np
from backend_material import phantom_like_cells, small_classifier

from malaria_kedro.inference.gate import QualityGate
from malaria_kedro.inference.image_statistics import measure
from malaria_kedro.inference.training_gate import fit_training_gate


def bunch(n_train: int) -> SimpleNamespace:
    cells, _ = phantom_like_cells()
    return SimpleNamespace(pixels=cells, rows=lambda part: np.arange(n_train) if part == "train" else np.arange(0))


def test_it_lets_cells_like_its_own_through_and_noise_not():
    gate = QualityGate.from_dict(fit_training_gate(small_classifier(), bunch(160)))
    unseen, _ = phantom_like_cells(32, seed=9)
    noise = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    let_through = [not flags for flags, _ in gate.judge([measure(cell) for cell in unseen])]
    assert np.mean(let_through) > 0.8
    assert all(flags for flags, _ in gate.judge([measure(image) for image in noise]))


def test_it_is_the_same_gate_again():
    assert fit_training_gate(small_classifier(), bunch(160)) == fit_training_gate(small_classifier(), bunch(160))


def test_of_too_few_cells_there_is_none_and_it_is_said(caplog):
    assert fit_training_gate(small_classifier(), bunch(20)) is None
    assert "no quality gate: 20 training cells" in caplog.text


def test_the_gate_is_stored_with_the_classifier(tmp_path):
    from malaria_kedro.learning.classifier import read_classifier, write_classifier

    stored = fit_training_gate(small_classifier(), bunch(160))
    write_classifier(dataclasses.replace(small_classifier(), quality_gate=stored), tmp_path)
    assert read_classifier(tmp_path).quality_gate == stored
