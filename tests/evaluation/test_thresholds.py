"""The calls at every threshold."""

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from malaria_kedro.evaluation.metrics import measure_at
from malaria_kedro.evaluation.thresholds import THRESHOLDS, sweep_thresholds


def cells(labels: str, p: list[float]) -> pd.DataFrame:
    label = ["Parasitized" if letter == "P" else "Uninfected" for letter in labels]
    return pd.DataFrame({"split": "valid", "label": label, "p_calibrated": p, "loss": 0.1})


SOME = cells("PPPUUU", [0.999, 0.5, 0.2, 0.5, 0.01, 0.3])


def test_the_calls_at_each_threshold_are_those_that_are_measured_there():
    sweep = sweep_thresholds(SOME, "valid")
    assert [calls.threshold for calls in sweep.calls] == list(THRESHOLDS)
    for threshold, found, alarms in sweep.calls:
        confusion = measure_at(SOME, threshold=threshold).splits["valid"].confusion
        assert (found, alarms) == (confusion.tp, confusion.fp)


def test_the_curve_has_the_area_of_scikit_learn():
    x, y = zip(*sweep_thresholds(SOME, "valid").roc, strict=True)
    area = sum((x[i + 1] - x[i]) * (y[i + 1] + y[i]) / 2 for i in range(len(x) - 1))
    assert area == pytest.approx(roc_auc_score(SOME["label"] == "Parasitized", SOME["p_calibrated"]))


def test_one_class_has_no_curve_and_is_counted():
    sweep = sweep_thresholds(cells("UU", [0.9, 0.1]), "valid")
    assert sweep.roc == []
    assert (sweep.n_parasitized, sweep.n_uninfected) == (0, 2)
    assert sweep.calls[-1].alarms == 0


def test_a_probability_that_is_none_is_refused():
    with pytest.raises(ValueError, match="1 of 2 cells"):
        sweep_thresholds(cells("PU", [0.9, float("nan")]), "valid")
