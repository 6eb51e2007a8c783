"""Metrics: what they are worth, and what they say where they are worth nothing."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.interpretation.metrics import measure, overfitting_onset


def table(labels: str, probabilities: list[float], split: str = "valid") -> pd.DataFrame:
    """Make predictions from a word of P and U."""
    label = ["Parasitized" if letter == "P" else "Uninfected" for letter in labels]
    p = np.asarray(probabilities, dtype=float)
    likelihood = np.where(np.array(list(labels)) == "P", p, 1 - p).clip(1e-7)
    return pd.DataFrame(
        {
            "cell_id": [f"{split}_{i}" for i in range(len(labels))],
            "patient_id": None,
            "split": split,
            "label": label,
            "p_parasitized": p,
            "loss": -np.log(likelihood),
        }
    )


def history(*stages: list[float]) -> pd.DataFrame:
    """Make a history from the validation losses of each stage."""
    rows = [
        (f"stage_{number}", epoch, loss)
        for number, losses in enumerate(stages, start=1)
        for epoch, loss in enumerate(losses, start=1)
    ]
    return pd.DataFrame(rows, columns=["stage", "epoch", "valid_loss"])


def test_the_positive_class_is_parasitized():
    # 3 of 4 parasitized cells found, 1 of 2 uninfected cells left alone.
    found = measure(table("PPPPUU", [0.9, 0.8, 0.7, 0.2, 0.6, 0.1]), threshold=0.5)
    valid = found["splits"]["valid"]
    assert found["positive_class"] == "Parasitized"
    assert valid["confusion"] == {"tp": 3, "fn": 1, "fp": 1, "tn": 1}
    assert valid["n"] == 6
    assert valid["n_parasitized"] == 4
    assert valid["accuracy"] == pytest.approx(4 / 6)
    assert valid["error_rate"] == pytest.approx(2 / 6)
    assert valid["sensitivity"] == 0.75
    assert valid["specificity"] == 0.5
    assert valid["precision"] == 0.75
    assert valid["f1"] == 0.75
    assert valid["roc_auc"] == pytest.approx(7 / 8)
    assert valid["loss"] == pytest.approx(np.mean([-math.log(p) for p in (0.9, 0.8, 0.7, 0.2, 0.4, 0.9)]))
    assert found["notes"] == []


def test_a_probability_at_the_threshold_is_called_parasitized():
    valid = measure(table("PU", [0.3, 0.29]), threshold=0.3)["splits"]["valid"]
    assert valid["confusion"] == {"tp": 1, "fn": 0, "fp": 0, "tn": 1}


def test_each_split_is_measured_by_itself():
    both = pd.concat([table("PU", [0.9, 0.1]), table("PU", [0.1, 0.9], split="test")])
    splits = measure(both, threshold=0.5)["splits"]
    assert list(splits) == ["valid", "test"]
    assert splits["valid"]["accuracy"] == 1
    assert splits["test"]["accuracy"] == 0


@pytest.mark.parametrize(
    ("labels", "probabilities", "undefined"),
    [
        ("PP", [0.9, 0.2], {"specificity", "roc_auc"}),
        ("UU", [0.9, 0.2], {"sensitivity", "roc_auc"}),
        ("UU", [0.1, 0.2], {"sensitivity", "precision", "f1", "roc_auc"}),
        ("PU", [0.1, 0.2], {"precision"}),
    ],
)
def test_what_is_undefined_is_null_with_a_reason(labels, probabilities, undefined):
    found = measure(table(labels, probabilities), threshold=0.5)
    assert {name for name, value in found["splits"]["valid"].items() if value is None} == undefined
    assert {note.split()[1] for note in found["notes"]} == undefined
    assert all(note.startswith("valid: ") and "because" in note for note in found["notes"])


def test_a_constant_prediction_has_a_chance_auc():
    assert measure(table("PPUU", [0.7] * 4), threshold=0.5)["splits"]["valid"]["roc_auc"] == 0.5


def test_an_endless_loss_is_null_with_a_reason():
    found = measure(table("PU", [0.9, 0.1]).assign(loss=[np.inf, 0.1]), threshold=0.5)
    assert found["splits"]["valid"]["loss"] is None
    assert found["notes"] == ["valid: loss is undefined, because 1 cells have no finite loss."]


@pytest.mark.parametrize("labels", ["P", "U", "PU", "PPU"])
def test_the_json_is_strict(labels):
    json.dumps(measure(table(labels, [0.5] * len(labels)), threshold=0.5), allow_nan=False)


def test_a_split_without_cells_is_named():
    with pytest.raises(ValueError, match=r"'valid' has no predicted cells.*\['test'\]"):
        measure(table("PU", [0.9, 0.1], split="test"), threshold=0.5)


@pytest.mark.parametrize("wrong", [math.nan, -0.1, 1.1])
def test_a_probability_that_is_none_stops_with_a_reason(wrong):
    with pytest.raises(ValueError, match="1 of 2 cells in split 'valid' is no number from 0 to 1"):
        measure(table("PU", [0.5, 0.5]).assign(p_parasitized=[0.5, wrong]), threshold=0.5)


def test_an_unknown_label_is_named():
    with pytest.raises(ValueError, match="'Infected'"):
        measure(table("PU", [0.5, 0.5]).assign(label=["Infected", "Uninfected"]), threshold=0.5)


def test_the_turn_of_validation_loss_is_found_in_the_last_stage():
    onset = overfitting_onset(history([0.1, 0.05], [0.3, 0.2, 0.25, 0.4]))
    assert (onset["stage"], onset["epoch"], onset["valid_loss"]) == ("stage_2", 2, 0.2)
    assert (onset["last_epoch"], onset["last_valid_loss"], onset["rose"]) == (4, 0.4, True)
    assert onset["sentence"] == (
        "Validation loss turned after epoch 2 of stage 2: from 0.2000 it rose to 0.4000 at epoch 4, "
        "which can be a sign of overfitting."
    )


def test_a_loss_that_only_falls_has_not_turned():
    onset = overfitting_onset(history([0.3, 0.2, 0.1]))
    assert onset["rose"] is False
    assert "no sign of overfitting" in onset["sentence"]


def test_one_epoch_shows_no_turn():
    assert "Only one epoch of stage 1" in overfitting_onset(history([0.3]))["sentence"]


@pytest.mark.parametrize("losses", [[], [math.nan, math.inf]])
def test_without_a_finite_loss_there_is_no_turn(losses):
    assert overfitting_onset(history(losses)) is None
