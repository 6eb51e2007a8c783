"""The gate that comes with a classifier."""

import dataclasses
import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd

from backend_material import phantom_like_cells, small_classifier
from malaria_kedro.inference.gate import QualityGate
from malaria_kedro.inference.image_statistics import measure_cells
from malaria_kedro.inference.training_gate import fit_training_gate

LABELS = np.where(phantom_like_cells()[1], "Parasitized", "Uninfected")


def bunch(n_train: int, valid: np.ndarray | None = None) -> SimpleNamespace:
    """Return cells of which the first train; ``valid`` are further ones, held out."""
    cells = phantom_like_cells()[0][:n_train]
    n_valid = 0 if valid is None else len(valid)
    return SimpleNamespace(
        pixels=cells if valid is None else np.concatenate([cells, valid]),
        cells=pd.DataFrame({"label": [*LABELS[:n_train], *LABELS[:n_valid]]}),
        rows=lambda part: {"train": np.arange(n_train), "valid": np.arange(n_train, n_train + n_valid)}[part],
    )


def test_it_lets_cells_like_its_own_through_and_noise_not():
    gate = QualityGate.from_dict(fit_training_gate("small", bunch(160)))
    unseen, _ = phantom_like_cells(32, seed=9)
    noise = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    let_through = [not flags for flags, _ in gate.judge(measure_cells(unseen))]
    assert np.mean(let_through) > 0.8
    assert all(flags for flags, _ in gate.judge(measure_cells(noise)))


def test_it_is_the_same_gate_again():
    assert fit_training_gate("small", bunch(160)) == fit_training_gate("small", bunch(160))


def test_it_knows_each_class_by_itself():
    stored = fit_training_gate("small", bunch(160))
    assert list(stored["classes"]) == ["Parasitized", "Uninfected"]


def test_refusals_are_counted_by_class_on_training_and_held_out_cells(caplog):
    held_out, _ = phantom_like_cells(40, seed=9)
    held_out = held_out.copy()
    held_out[1] = np.random.default_rng(1).integers(0, 256, held_out[1].shape)  # an uninfected one
    with caplog.at_level(logging.INFO):
        stored = fit_training_gate("small", bunch(160, held_out))
    refused = stored["refused"]
    assert {side: list(found) for side, found in refused.items()} == {
        "train": ["Parasitized", "Uninfected"],
        "valid": ["Parasitized", "Uninfected"],
    }
    assert [of for _, of in refused["train"].values()] == [80, 80]
    assert [of for _, of in refused["valid"].values()] == [20, 20]
    assert refused["valid"]["Uninfected"][0] >= 1
    told = f"{refused['valid']['Parasitized'][0]} of 20 Parasitized and {refused['valid']['Uninfected'][0]} of 20"
    assert f"{told} Uninfected held-out cells" in caplog.text
    assert QualityGate.from_dict(stored).to_dict() == stored


def test_held_out_cells_have_no_part_in_the_fit():
    held_out, _ = phantom_like_cells(40, seed=9)
    with_them, without = (fit_training_gate("small", bunch(160, valid)) for valid in (held_out, None))
    assert with_them["id"] == without["id"]
    assert list(without["refused"]) == ["train"]


def test_held_out_cells_of_one_class_refused_beyond_chance_are_warned_of(caplog):
    held_out = phantom_like_cells(40, seed=9)[0].copy()
    fit_training_gate("small", bunch(160, held_out))
    assert "does not refuse both classes alike" not in caplog.text
    held_out[::2] = np.random.default_rng(1).integers(0, 256, held_out[::2].shape)  # the parasitized
    fit_training_gate("small", bunch(160, held_out))
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "20 of 20 Parasitized" in warning.getMessage()
    assert "p = " in warning.getMessage()


def test_of_a_rare_class_no_cell_is_left_undrawn(monkeypatch):
    from malaria_kedro.inference import training_gate

    monkeypatch.setattr(training_gate, "CELLS", 60)
    labels = np.array(["Parasitized"] * 7 + ["Uninfected"] * 200)
    drawn = training_gate._draw(np.arange(207), labels)
    assert len(drawn) == 60
    assert list(drawn) == sorted(set(drawn))
    assert set(range(7)) < set(drawn)


def test_of_too_few_cells_there_is_none_and_it_is_said(caplog):
    assert fit_training_gate("small", bunch(20)) is None
    assert "no quality gate: 20 training cells" in caplog.text


def test_the_gate_is_stored_with_the_classifier(tmp_path):
    from malaria_kedro.learning.classifier import read_classifier, write_classifier

    stored = fit_training_gate("small", bunch(160))
    write_classifier(dataclasses.replace(small_classifier(), quality_gate=stored), tmp_path)
    assert read_classifier(tmp_path).quality_gate == stored
