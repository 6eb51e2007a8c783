"""Metrics: what they are worth, and what they say where they are worth nothing."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from malaria_kedro.evaluation.bootstrap import ALL_METRICS, COUNT_METRICS, Bootstrap
from malaria_kedro.evaluation.measurements import Confusion, Draws, Measurement
from malaria_kedro.evaluation.metrics import measure, measure_at, overfitting_onset

FEW_DRAWS = Bootstrap(draws=60, seed=3)


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


def many_cells(n: int = 600, patients: int = 20, seed: int = 0) -> pd.DataFrame:
    """Make validation cells of several patients, with probabilities that are right more often than not."""
    generator = np.random.default_rng(seed)
    parasitized = generator.random(n) < 0.4
    p = np.where(parasitized, generator.beta(4, 2, n), generator.beta(2, 4, n))
    cells = table("".join("P" if is_so else "U" for is_so in parasitized), p)
    return cells.assign(patient_id=[f"C{number % patients}" for number in range(n)])


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
    valid = found.splits["valid"]
    assert found.positive_class == "Parasitized"
    assert valid.confusion == Confusion(tp=3, fn=1, fp=1, tn=1)
    assert valid.n == 6
    assert valid.n_parasitized == 4
    assert valid.accuracy == pytest.approx(4 / 6)
    assert valid.error_rate == pytest.approx(2 / 6)
    assert valid.sensitivity == 0.75
    assert valid.specificity == 0.5
    assert valid.precision == 0.75
    assert valid.f1 == 0.75
    assert valid.roc_auc == pytest.approx(7 / 8)
    assert valid.loss == pytest.approx(np.mean([-math.log(p) for p in (0.9, 0.8, 0.7, 0.2, 0.4, 0.9)]))
    assert found.notes == []


def calibration_error_bin_by_bin(actual: np.ndarray, p: np.ndarray) -> float:
    """The definition of Naeini et al. 2015, written out: 15 bins, each gap weighted with its share of the cells."""
    error = 0.0
    for number in range(15):
        last = number == 14
        within = (p >= number / 15) & ((p <= 1) if last else (p < (number + 1) / 15))
        if within.any():
            error += within.mean() * abs(p[within].mean() - actual[within].mean())
    return error


def test_the_metrics_are_those_of_scikit_learn():
    cells = many_cells()
    actual, p = (cells["label"] == "Parasitized").to_numpy(), cells["p_parasitized"].to_numpy()
    called = p >= 0.45
    counts = sklearn_metrics.confusion_matrix(actual, called).ravel().tolist()
    assert measure(cells, threshold=0.45).splits["valid"].model_dump(exclude_unset=True) == {
        "n": 600,
        "n_parasitized": int(actual.sum()),
        "n_patients": 20,
        "accuracy": pytest.approx(sklearn_metrics.accuracy_score(actual, called)),
        "error_rate": pytest.approx(1 - sklearn_metrics.accuracy_score(actual, called)),
        "balanced_accuracy": pytest.approx(sklearn_metrics.balanced_accuracy_score(actual, called)),
        "sensitivity": pytest.approx(sklearn_metrics.recall_score(actual, called)),
        "specificity": pytest.approx(sklearn_metrics.recall_score(~actual, ~called)),
        "precision": pytest.approx(sklearn_metrics.precision_score(actual, called)),
        "npv": pytest.approx(sklearn_metrics.precision_score(~actual, ~called)),
        "f1": pytest.approx(sklearn_metrics.f1_score(actual, called)),
        "mcc": pytest.approx(sklearn_metrics.matthews_corrcoef(actual, called)),
        "confusion": dict(zip(("tn", "fp", "fn", "tp"), counts, strict=True)),
        "roc_auc": pytest.approx(sklearn_metrics.roc_auc_score(actual, p)),
        "average_precision": pytest.approx(sklearn_metrics.average_precision_score(actual, p)),
        "loss": pytest.approx(sklearn_metrics.log_loss(actual, p)),
        "brier": pytest.approx(sklearn_metrics.brier_score_loss(actual, p)),
        "ece": pytest.approx(calibration_error_bin_by_bin(actual, p)),
    }


def test_the_calibrated_probabilities_are_judged_beside_the_others():
    cells = many_cells()
    valid = measure(cells.assign(p_calibrated=cells["p_parasitized"] ** 2), threshold=0.5).splits["valid"]
    actual, calibrated = cells["label"] == "Parasitized", cells["p_parasitized"] ** 2
    assert valid.calibrated.model_fields_set == {"brier", "ece", "loss"}
    assert valid.calibrated.brier == pytest.approx(sklearn_metrics.brier_score_loss(actual, calibrated))
    assert valid.calibrated.loss == pytest.approx(sklearn_metrics.log_loss(actual, calibrated))
    assert valid.calibrated.ece == pytest.approx(calibration_error_bin_by_bin(actual.to_numpy(), calibrated.to_numpy()))
    assert valid.brier == measure(cells, threshold=0.5).splits["valid"].brier
    assert "calibrated" not in measure(cells, threshold=0.5).splits["valid"].model_fields_set


def test_every_metric_has_an_interval_of_whole_patients():
    valid = measure(many_cells(), threshold=0.5, intervals=FEW_DRAWS).splits["valid"]
    assert list(valid.intervals) == list(ALL_METRICS)
    assert valid.bootstrap == Draws(unit="patient", units=20, draws=60, seed=3, level=0.95)
    # The calibration error of a draw is that of a smaller sample, and larger for it.
    inside = [low <= valid.score(name) <= high for name, (low, high) in valid.intervals.items() if name != "ece"]
    assert all(inside)


def test_no_interval_is_drawn_unasked():
    valid = measure(many_cells(), threshold=0.5).splits["valid"]
    assert not {"intervals", "bootstrap"} & valid.model_fields_set


def test_an_operating_point_tells_what_follows_from_its_calls():
    cells = many_cells()
    cells = cells.assign(p_calibrated=cells["p_parasitized"] ** 2)
    found = measure_at(cells, threshold=0.3, intervals=FEW_DRAWS)
    same = measure(cells.assign(p_parasitized=cells["p_calibrated"]), threshold=0.3).splits["valid"]
    valid = found.splits["valid"]
    assert (found.positive_class, found.column, found.threshold) == ("Parasitized", "p_calibrated", 0.3)
    assert list(valid.intervals) == list(COUNT_METRICS)
    assert not {"roc_auc", "loss", "brier", "ece"} & valid.model_fields_set
    names = {*COUNT_METRICS, "confusion", "n", "n_parasitized", "n_patients"}
    assert valid.model_dump(include=names) == same.model_dump(include=names)


def test_an_operating_point_of_a_missing_column_is_refused():
    with pytest.raises(ValueError, match="no column 'p_calibrated'"):
        measure_at(many_cells(), threshold=0.3)


def test_a_probability_at_the_threshold_is_called_parasitized():
    valid = measure(table("PU", [0.3, 0.29]), threshold=0.3).splits["valid"]
    assert valid.confusion == Confusion(tp=1, fn=0, fp=0, tn=1)


def test_each_split_is_measured_by_itself():
    both = pd.concat([table("PU", [0.9, 0.1]), table("PU", [0.1, 0.9], split="test")])
    splits = measure(both, threshold=0.5).splits
    assert list(splits) == ["valid", "test"]
    assert splits["valid"].accuracy == 1
    assert splits["test"].accuracy == 0


ONE_CLASS = ("balanced_accuracy", "mcc", "roc_auc")


@pytest.mark.parametrize(
    ("labels", "probabilities", "undefined"),
    [
        ("PP", [0.9, 0.2], {"specificity", *ONE_CLASS}),
        ("PP", [0.9, 0.8], {"specificity", "npv", *ONE_CLASS}),
        ("UU", [0.9, 0.2], {"sensitivity", "average_precision", *ONE_CLASS}),
        ("UU", [0.1, 0.2], {"sensitivity", "precision", "f1", "average_precision", *ONE_CLASS}),
        ("PU", [0.1, 0.2], {"precision", "mcc"}),
        ("PU", [0.8, 0.7], {"npv", "mcc"}),
        ("P", [0.8], {"specificity", "npv", *ONE_CLASS}),
        ("PPU", [0.9, 0.8, 0.1], set()),
    ],
)
def test_what_is_undefined_is_null_with_a_reason(labels, probabilities, undefined):
    found = measure(table(labels, probabilities), threshold=0.5)
    assert {name for name in ALL_METRICS if found.splits["valid"].score(name) is None} == undefined
    assert {note.split()[1] for note in found.notes} == undefined
    assert all(note.startswith("valid: ") and "because" in note for note in found.notes)


def test_a_constant_prediction_is_worth_no_more_than_guessing():
    found = measure(table("PPPU", [0.7] * 4), threshold=0.5)
    valid = found.splits["valid"]
    assert (valid.roc_auc, valid.average_precision, valid.balanced_accuracy) == (0.5, 0.75, 0.5)
    assert valid.mcc is None
    assert any("mcc is undefined" in note for note in found.notes)


def test_one_patient_has_no_interval_and_that_is_said():
    found = measure(many_cells(patients=1), threshold=0.5, intervals=FEW_DRAWS)
    assert found.splits["valid"].n_patients == 1
    assert set(found.splits["valid"].intervals.values()) == {None}
    assert [note for note in found.notes if "no intervals" in note]


def test_what_is_undefined_has_no_interval():
    valid = measure(table("UUU", [0.1, 0.6, 0.2]), threshold=0.5, intervals=FEW_DRAWS).splits["valid"]
    assert list(valid.intervals) == list(ALL_METRICS)
    assert valid.intervals["sensitivity"] is None
    assert valid.intervals["specificity"] is not None


def test_without_a_column_of_patients_none_is_known():
    cells = many_cells().drop(columns="patient_id")
    valid = measure(cells, threshold=0.5, intervals=FEW_DRAWS).splits["valid"]
    assert (valid.n_patients, valid.bootstrap.unit) == (None, "cell")


def test_an_endless_loss_is_null_with_a_reason():
    found = measure(table("PU", [0.9, 0.1]).assign(loss=[np.inf, 0.1]), threshold=0.5)
    assert found.splits["valid"].loss is None
    assert [note.split(",")[0] for note in found.notes] == ["valid: loss is undefined"]


@pytest.mark.parametrize("patient", [None, "C1"])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("labels", ["P", "U", "PU", "PPU", "UUU"])
def test_the_json_is_strict(labels, p, patient):
    cells = table(labels, [p] * len(labels)).assign(patient_id=patient, p_calibrated=p)
    cells = pd.concat([cells, cells.assign(split="test")])
    for found in (
        measure(cells, threshold=0.5, intervals=FEW_DRAWS),
        measure_at(cells, threshold=0.5, intervals=FEW_DRAWS),
    ):
        text = found.model_dump_json(exclude_unset=True)
        assert Measurement.model_validate_json(text) == found
        assert json.loads(text, parse_constant=pytest.fail) == found.model_dump(mode="json", exclude_unset=True)


def test_a_split_without_cells_is_named():
    with pytest.raises(ValueError, match=r"'valid' has no predicted cells.*\['test'\]"):
        measure(table("PU", [0.9, 0.1], split="test"), threshold=0.5)


@pytest.mark.parametrize("wrong", [math.nan, -0.1, 1.1])
def test_a_probability_that_is_none_stops_with_a_reason(wrong):
    with pytest.raises(ValueError, match="1 of 2 cells in split 'valid'"):
        measure(table("PU", [0.5, 0.5]).assign(p_parasitized=[0.5, wrong]), threshold=0.5)


def test_an_unknown_label_is_named():
    with pytest.raises(ValueError, match="'Infected'"):
        measure(table("PU", [0.5, 0.5]).assign(label=["Infected", "Uninfected"]), threshold=0.5)


def test_the_turn_of_validation_loss_is_found_in_the_last_stage():
    onset = overfitting_onset(history([0.1, 0.05], [0.3, 0.2, 0.25, 0.4]))
    assert (onset.stage, onset.epoch, onset.valid_loss, onset.rose) == ("stage_2", 2, 0.2, True)
    assert all(part in onset.sentence for part in ("epoch 2 of stage 2", "0.2000", "0.4000", "epoch 4"))


def test_a_loss_that_only_falls_has_not_turned():
    onset = overfitting_onset(history([0.3, 0.2, 0.1]))
    assert not onset.rose
    assert "no sign of overfitting" in onset.sentence


def test_one_epoch_shows_no_turn():
    assert "one epoch of stage 1" in overfitting_onset(history([0.3])).sentence


@pytest.mark.parametrize("losses", [[], [math.nan, math.inf]])
def test_without_a_finite_loss_there_is_no_turn(losses):
    assert overfitting_onset(history(losses)) is None
