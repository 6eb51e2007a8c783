"""Calibration: the temperature, the threshold, and the numbers that judge a probability."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss, log_loss

from malaria_kedro.learning.calibration import (
    apply_temperature,
    brier_score,
    calibrate,
    choose_threshold,
    cross_entropy,
    expected_calibration_error,
    fit_temperature,
    labels_and_probabilities,
    reliability_bins,
)
from malaria_kedro.learning.metadata import Calibration


def table(labels: str, probabilities: list[float], split: str = "valid") -> pd.DataFrame:
    """Make predictions from a word of P and U."""
    label = ["Parasitized" if letter == "P" else "Uninfected" for letter in labels]
    return pd.DataFrame({"split": split, "label": label, "p_parasitized": np.asarray(probabilities, dtype=float)})


def honest_cells(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits, and classes that come up as often as the logits say."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, n)
    return generator.random(n) < expit(logits), logits


def test_the_calibration_error_by_hand():
    # Bin 13 (0.867 to 0.933): two cells of 0.9, one parasitized: gap 0.4. Bin 1: 0.1 and 0.12, none: gap 0.11.
    actual = np.array([True, False, False, False])
    p = np.array([0.9, 0.9, 0.1, 0.12])
    assert expected_calibration_error(actual, p) == pytest.approx(2 / 4 * 0.4 + 2 / 4 * 0.11)


def test_the_calibration_error_is_that_of_bins_one_by_one():
    actual, logits = honest_cells(3000)
    p = expit(3 * logits)
    expected = 0.0
    for low in range(15):
        high = 1.01 if low == 14 else (low + 1) / 15
        inside = (p >= low / 15) & (p < high)
        if inside.any():
            expected += inside.mean() * abs(p[inside].mean() - actual[inside].mean())
    assert expected_calibration_error(actual, p) == pytest.approx(expected, abs=1e-12)


def test_certain_probabilities_fall_into_the_outer_bins():
    assert list(reliability_bins(np.array([0.0, 1.0, 0.5, 1 / 15]))) == [0, 14, 7, 1]


def test_brier_and_cross_entropy_are_those_of_scikit_learn():
    actual, logits = honest_cells(500)
    p = expit(logits)
    assert brier_score(actual, p) == pytest.approx(brier_score_loss(actual, p))
    assert cross_entropy(actual, p) == pytest.approx(log_loss(actual, p))


def test_a_wrong_certainty_does_not_cost_infinity():
    assert cross_entropy(np.array([True]), np.array([0.0])) == pytest.approx(53 * math.log(2))


@pytest.mark.parametrize("sharpness", [0.5, 2.5, 4.0])
def test_the_temperature_of_unsure_and_of_too_sure_logits_is_recovered(sharpness):
    actual, logits = honest_cells(20_000)
    fitted = fit_temperature(actual, expit(sharpness * logits))
    assert fitted.temperature == pytest.approx(sharpness, rel=0.05)
    assert fitted.nll_after < fitted.nll_before
    assert fitted.brier_after < fitted.brier_before
    assert fitted.ece_after < fitted.ece_before
    assert fitted.notes == []


def test_no_other_temperature_has_less_loss():
    actual, logits = honest_cells(2000)
    p = expit(3 * logits)
    fitted = fit_temperature(actual, p)
    around = fitted.temperature * np.array([0.97, 0.999, 1.001, 1.03])
    assert all(cross_entropy(actual, apply_temperature(p, other)) > fitted.nll_after for other in around)


def test_a_fitted_temperature_leaves_nothing_to_mend():
    actual, logits = honest_cells(5000)
    calibrated = apply_temperature(expit(3 * logits), fit_temperature(actual, expit(3 * logits)).temperature)
    assert fit_temperature(actual, calibrated).temperature == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1, 1.3, 20])
def test_order_and_the_side_of_one_half_stay(temperature):
    hairs = [0.5]
    for _ in range(50):
        hairs = [np.nextafter(hairs[0], 0), *hairs, np.nextafter(hairs[-1], 1)]
    p = np.sort(np.concatenate([np.linspace(0, 1, 10_001), expit(np.linspace(-60, 60, 2001)), hairs]))
    calibrated = apply_temperature(p, temperature)
    assert (np.diff(calibrated) >= 0).all()
    assert ((calibrated >= 0.5) == (p >= 0.5)).all()
    assert ((calibrated >= 0) & (calibrated <= 1)).all()


def test_temperature_divides_the_logit():
    assert apply_temperature(expit(np.array([-4.0, 0.0, 3.0])), 2) == pytest.approx(expit(np.array([-2.0, 0.0, 1.5])))


@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf])
def test_a_temperature_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=f"temperature {wrong} is not a positive number"):
        apply_temperature(np.array([0.5]), wrong)


@pytest.mark.parametrize(
    ("labels", "probabilities", "reason"),
    [
        ("PPP", [0.9, 0.2, 0.8], "every cell is parasitized"),
        ("UUU", [0.9, 0.2, 0.8], "every cell is uninfected"),
        ("PUPU", [0.7] * 4, r"the same prediction \(0.7\)"),
        ("PUU", [0.9, 0.1, 0.2], "no cell is on the wrong side of 0.5"),
    ],
)
def test_where_cells_cannot_tell_the_temperature_stays_1(labels, probabilities, reason):
    found = calibrate(table(labels, probabilities), 0.95)
    assert found.temperature == 1
    assert found.nll_after == found.nll_before
    assert any(pd.Series(note).str.contains(reason).all() for note in found.notes)


def test_a_temperature_at_its_bound_is_not_to_be_trusted():
    # Mostly wrong: the less sure, the better.
    fitted = fit_temperature(np.array([True, False, True]), np.array([0.1, 0.9, 0.6]))
    assert fitted.temperature == 20
    assert "upper bound" in fitted.notes[0]


def test_no_cell_has_no_temperature():
    with pytest.raises(ValueError, match=r"no cell to fit a temperature on.*valid_pct"):
        calibrate(table("", []), 0.95)


@pytest.mark.parametrize("target", [0.5, 0.9, 0.98, 0.999, 1.0])
def test_the_threshold_reaches_the_target_and_no_higher_one_does(target):
    actual, logits = honest_cells(2000)
    p = expit(logits)
    point = choose_threshold(actual, p, target)
    assert (p[actual] >= point.threshold).mean() == point.sensitivity >= target
    assert (p[~actual] < point.threshold).mean() == point.specificity
    higher = p[p > point.threshold].min()
    assert (p[actual] >= higher).mean() < target


def test_49_of_50_are_98_percent():
    p = np.linspace(0.5, 0.99, 50)
    point = choose_threshold(np.ones(50, dtype=bool), p, 0.98)
    assert (point.threshold, point.sensitivity, point.specificity) == (p[1], 0.98, None)
    assert "because no cell is uninfected" in point.notes[0]


def test_cells_with_the_same_probability_are_called_alike():
    point = choose_threshold(np.array([True, True, True, False]), np.array([0.9, 0.6, 0.6, 0.6]), 0.5)
    assert (point.threshold, point.sensitivity, point.specificity) == (0.6, 1, 0)
    assert "calls every cell parasitized" in point.notes[0]


def test_without_a_parasitized_cell_there_is_no_threshold():
    point = choose_threshold(np.zeros(3, dtype=bool), np.array([0.1, 0.2, 0.3]), 0.98)
    assert (point.threshold, point.sensitivity, point.specificity) == (None, None, None)
    assert point.notes == ["no threshold can be chosen, because no cell is parasitized."]


@pytest.mark.parametrize("target", [0, -0.1, 1.01, math.nan])
def test_a_target_out_of_range_is_refused(target):
    with pytest.raises(ValueError, match=f"target_sensitivity {target}"):
        choose_threshold(np.array([True]), np.array([0.5]), target)


def test_calibration_tells_what_it_did_and_on_what():
    actual, logits = honest_cells(4000)
    cells = pd.DataFrame(
        {"split": "valid", "label": np.where(actual, "Parasitized", "Uninfected"), "p_parasitized": expit(3 * logits)}
    )
    found = calibrate(cells, 0.95)
    assert list(found.as_dict()) == [
        *("method", "fitted_on", "n", "temperature", "nll_before", "nll_after", "ece_before", "ece_after"),
        *("brier_before", "brier_after", "notes", "target_sensitivity", "threshold", "sensitivity", "specificity"),
    ]
    assert (found.method, found.fitted_on, found.n) == ("temperature scaling", "valid", 4000)
    assert found.nll_before == pytest.approx(log_loss(actual, cells["p_parasitized"]))
    # The threshold is one of calibrated probabilities, and finds the same cells there.
    calibrated = apply_temperature(cells["p_parasitized"], found.temperature)
    assert (calibrated[actual] >= found.threshold).mean() == found.sensitivity >= 0.95
    assert Calibration.model_validate(json.loads(json.dumps(found.as_dict(), allow_nan=False))) == found


def test_the_threshold_survives_json():
    actual, logits = honest_cells(300, seed=5)
    cells = pd.DataFrame({"label": np.where(actual, "Parasitized", "Uninfected"), "p_parasitized": expit(2.3 * logits)})
    found = Calibration.model_validate_json(calibrate(cells, 0.9).model_dump_json())
    calibrated = apply_temperature(cells["p_parasitized"], found.temperature)
    assert (calibrated[actual] >= found.threshold).mean() == found.sensitivity


@pytest.mark.parametrize("labels", ["P", "U", "PU", "PPU", "UUU"])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_few_cells_and_certainties_give_strict_json(labels, p):
    json.dumps(calibrate(table(labels, [p] * len(labels)), 0.98).as_dict(), allow_nan=False)


def test_test_cells_have_no_say():
    both = pd.concat([table("PU", [0.9, 0.1]), table("PU", [0.9, 0.1], split="test")])
    with pytest.raises(ValueError, match=r"validation cells only, and there are cells of \['test'\]"):
        calibrate(both, 0.98)


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="the predictions of split 'valid' have no column 'p_calibrated'"):
        labels_and_probabilities(table("PU", [0.9, 0.1]), "split 'valid'", "p_calibrated")


@pytest.mark.parametrize("wrong", [math.nan, -0.1, 1.1, math.inf])
def test_a_probability_that_is_none_is_counted(wrong):
    with pytest.raises(ValueError, match="p_parasitized of 1 of 2 cells in split 'valid' is not a number from 0 to 1"):
        calibrate(table("PU", [0.5, wrong]), 0.98)


def test_an_unknown_label_is_named():
    with pytest.raises(ValueError, match="'Infected'"):
        calibrate(table("PU", [0.5, 0.5]).assign(label=["Infected", "Uninfected"]), 0.98)
