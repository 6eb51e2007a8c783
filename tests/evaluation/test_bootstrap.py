"""Intervals: they draw patients, and find what a plain loop finds."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn import metrics as sklearn_metrics

from malaria_kedro.evaluation import bootstrap as uncertainty
from malaria_kedro.evaluation.bootstrap import (
    ALL_METRICS,
    Bootstrap,
    WeightedMetrics,
    bootstrap_intervals,
    sample_cells,
)
from malaria_kedro.learning.calibration import expected_calibration_error


def smears(patients: int, cells: int, *, spread: float = 1.0, digits: int = 12, seed: int = 0) -> pd.DataFrame:
    """Make patients whose cells look alike: each has an offset of its own, in logits, of this spread."""
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), cells)
    actual = generator.random(len(patient)) < 0.5
    logits = np.where(actual, 1.2, -1.2) + generator.normal(0, spread, patients)[patient]
    p = np.round(expit(logits + generator.logistic(0, 0.6, len(patient))), digits)
    return pd.DataFrame(
        {
            "patient_id": [f"C{number}" for number in patient],
            "label": np.where(actual, "Parasitized", "Uninfected"),
            "p_parasitized": p,
            "loss": -np.log(np.where(actual, p, 1 - p).clip(1e-9)),
        }
    )


def drawn_weights(sample: uncertainty.Sample, bootstrap: Bootstrap) -> np.ndarray:
    return np.concatenate(list(uncertainty._draw_weights(sample, bootstrap)))


def plain_metrics(actual: np.ndarray, p: np.ndarray, losses: np.ndarray, threshold: float) -> dict[str, float]:
    """Measure the cells of one draw with scikit-learn, one metric after the other."""
    called = p >= threshold
    return {
        "accuracy": sklearn_metrics.accuracy_score(actual, called),
        "error_rate": 1 - sklearn_metrics.accuracy_score(actual, called),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(actual, called),
        "sensitivity": sklearn_metrics.recall_score(actual, called),
        "specificity": sklearn_metrics.recall_score(~actual, ~called),
        "precision": sklearn_metrics.precision_score(actual, called),
        "npv": sklearn_metrics.precision_score(~actual, ~called),
        "f1": sklearn_metrics.f1_score(actual, called),
        "mcc": sklearn_metrics.matthews_corrcoef(actual, called),
        "roc_auc": sklearn_metrics.roc_auc_score(actual, p),
        "average_precision": sklearn_metrics.average_precision_score(actual, p),
        "loss": losses.mean(),
        "brier": sklearn_metrics.brier_score_loss(actual, p),
        "ece": expected_calibration_error(actual, p),
    }


@pytest.mark.parametrize("digits", [12, 1], ids=["all different", "many alike"])
def test_the_intervals_are_those_of_a_plain_loop_over_the_same_draws(digits):
    sample = sample_cells(smears(12, 15, digits=digits))
    bootstrap = Bootstrap(draws=60, seed=7, level=0.9)
    plain = []
    for weights in drawn_weights(sample, bootstrap):
        cells = np.repeat(np.arange(len(sample.p)), weights[sample.unit_of].astype(int))
        plain.append(plain_metrics(sample.actual[cells], sample.p[cells], sample.losses[cells], 0.4))
    found = bootstrap_intervals(sample, bootstrap, threshold=0.4).intervals
    assert set(found) == set(ALL_METRICS) == set(plain[0])
    for name, interval in found.items():
        assert interval == pytest.approx(np.quantile([one[name] for one in plain], (0.05, 0.95)), abs=1e-12), name


def test_one_of_each_patient_is_the_sample_itself():
    sample = sample_cells(smears(5, 30))
    measured = WeightedMetrics(sample, 0.5).measure(np.ones((1, 5)))
    expected = plain_metrics(sample.actual, sample.p, sample.losses, 0.5)
    assert {name: values[0] for name, values in measured.items()} == pytest.approx(expected)


def test_whole_patients_are_drawn_as_many_as_there_are():
    sample = sample_cells(smears(7, 4))
    weights = drawn_weights(sample, Bootstrap(draws=500))
    assert weights.shape == (500, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert set(np.unique(weights)) >= {0, 1, 2}
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.2)


def test_patients_whose_cells_resemble_each_other_make_wider_intervals_than_single_cells():
    alike = smears(20, 60, spread=1.5)
    by_patient = bootstrap_intervals(sample_cells(alike), Bootstrap(draws=400), threshold=0.5)
    single = bootstrap_intervals(sample_cells(alike.drop(columns="patient_id")), Bootstrap(draws=400), threshold=0.5)
    assert (by_patient.unit, by_patient.units) == ("patient", 20)
    assert (single.unit, single.units) == ("cell", 1200)
    for name in ("accuracy", "sensitivity", "specificity", "roc_auc", "loss"):
        (low, high), (single_low, single_high) = by_patient.intervals[name], single.intervals[name]
        assert high - low > 1.3 * (single_high - single_low), name


def test_an_interval_holds_the_value_itself():
    sample = sample_cells(smears(30, 40))
    values = WeightedMetrics(sample, 0.5).measure(np.ones((1, 30)))
    found = bootstrap_intervals(sample, Bootstrap(draws=300), threshold=0.5).intervals
    # Small samples have a larger calibration error, and a draw is a smaller sample: its interval may lie above.
    assert all(low <= values[name][0] <= high for name, (low, high) in found.items() if name != "ece")


def test_a_seed_gives_the_same_intervals_and_another_seed_others():
    sample = sample_cells(smears(10, 20))
    first, again, other = (bootstrap_intervals(sample, Bootstrap(draws=50, seed=s), threshold=0.5) for s in (1, 1, 2))
    assert first == again
    assert first.intervals != other.intervals


def test_how_many_draws_are_measured_at_once_changes_nothing(monkeypatch):
    sample = sample_cells(smears(10, 20))
    at_once = bootstrap_intervals(sample, Bootstrap(draws=50), threshold=0.5)
    monkeypatch.setattr(uncertainty, "NUMBERS_AT_ONCE", 700)
    few = bootstrap_intervals(sample, Bootstrap(draws=50), threshold=0.5)
    assert {name: pytest.approx(bounds, abs=1e-12) for name, bounds in at_once.intervals.items()} == few.intervals


def test_2000_draws_of_the_whole_set_run():
    whole = smears(200, 138).head(27_558)
    found = bootstrap_intervals(sample_cells(whole), Bootstrap(), threshold=0.5)
    assert found.units == 200
    assert all(high > low for low, high in found.intervals.values())
    assert found.notes == []


def test_a_wider_level_makes_wider_intervals():
    sample = sample_cells(smears(15, 20))
    usual = bootstrap_intervals(sample, Bootstrap(draws=300), threshold=0.5).intervals["accuracy"]
    wide = bootstrap_intervals(sample, Bootstrap(draws=300, level=0.99), threshold=0.5).intervals["accuracy"]
    assert wide[0] < usual[0] < usual[1] < wide[1]


def test_only_the_wanted_metrics_are_measured():
    found = bootstrap_intervals(
        sample_cells(smears(10, 5)), Bootstrap(draws=10), threshold=0.5, names=("loss", "accuracy")
    )
    assert list(found.intervals) == ["loss", "accuracy"]


def test_an_endless_loss_spoils_no_other_interval():
    cells = smears(12, 10)
    names = tuple(name for name in ALL_METRICS if name != "loss")
    sound = bootstrap_intervals(sample_cells(cells), Bootstrap(draws=50), threshold=0.5, names=names)
    cells.loc[3, "loss"] = np.inf
    assert bootstrap_intervals(sample_cells(cells), Bootstrap(draws=50), threshold=0.5, names=names) == sound


def test_one_patient_has_no_interval():
    found = bootstrap_intervals(sample_cells(smears(1, 50)), Bootstrap(draws=10), threshold=0.5)
    assert set(found.intervals.values()) == {None}
    assert "one patient" in found.notes[0]


def test_few_patients_are_said_to_be_few():
    found = bootstrap_intervals(sample_cells(smears(4, 50)), Bootstrap(draws=50), threshold=0.5)
    assert ["4 patients" in note for note in found.notes] == [True]


def test_without_patients_single_cells_are_drawn_and_that_is_said():
    cells = smears(10, 10).assign(patient_id=None)
    found = bootstrap_intervals(sample_cells(cells), Bootstrap(draws=50), threshold=0.5)
    assert (found.unit, found.units) == ("cell", 100)
    assert ["no patient is known" in note for note in found.notes] == [True]


def test_cells_of_unknown_patients_are_drawn_singly_and_that_is_said():
    cells = smears(12, 10)
    cells.loc[:24, "patient_id"] = None
    sample = sample_cells(cells)
    assert (sample.unit, sample.units, sample.unknown) == ("patient", 10 + 25, 25)
    assert sorted(np.bincount(sample.unit_of)) == [1] * 25 + [5] + [10] * 9
    found = bootstrap_intervals(sample, Bootstrap(draws=50), threshold=0.5)
    assert ["25 cells of unknown patients" in note for note in found.notes] == [True]


def test_a_metric_that_many_draws_do_not_define_has_no_interval():
    # One patient of twelve has parasitized cells: more than a third of the draws go without.
    cells = smears(12, 10)
    cells["label"] = np.where(cells["patient_id"] == "C0", "Parasitized", "Uninfected")
    found = bootstrap_intervals(sample_cells(cells), Bootstrap(draws=200), threshold=0.5)
    undefined = {name for name, interval in found.intervals.items() if interval is None}
    assert {"sensitivity", "balanced_accuracy", "mcc", "roc_auc", "average_precision"} <= undefined
    assert found.intervals["specificity"] is not None
    assert len(found.notes) == len(undefined)
    assert any(note.startswith("sensitivity has no interval, because ") for note in found.notes)


@pytest.mark.parametrize("draws", [0, -5])
def test_no_draws_are_refused(draws):
    with pytest.raises(ValueError, match=f"draws is {draws}"):
        Bootstrap(draws=draws)


@pytest.mark.parametrize("level", [0, 1, 95, math.nan])
def test_a_level_that_is_none_is_refused(level):
    with pytest.raises(ValueError, match=f"level {level} is not between 0 and 1"):
        Bootstrap(level=level)
