"""Measurements on disk: what was not measured is absent, what is undefined is null, and nothing is NaN."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from malaria_kedro.evaluation.measurements import ClassifierIdentity, Confusion, Measurement, Scores, SplitMetrics


def split_metrics(**scores: float | None) -> SplitMetrics:
    counts = Confusion(tp=1, fn=0, fp=0, tn=1)
    return SplitMetrics(n=2, n_parasitized=1, n_patients=None, confusion=counts, **scores)


def test_what_was_not_measured_is_absent_and_what_is_undefined_is_null() -> None:
    scores = Scores(accuracy=0.5, mcc=None)
    assert json.loads(scores.model_dump_json(exclude_unset=True)) == {"accuracy": 0.5, "mcc": None}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_json_does_not_know_is_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="accuracy"):
        Scores(accuracy=value)


def test_a_metric_is_found_by_its_name() -> None:
    assert Scores(roc_auc=0.9).score("roc_auc") == 0.9
    assert Scores().score("roc_auc") is None


@pytest.mark.parametrize(("splits", "main"), [(["valid"], "valid"), (["valid", "test"], "test")])
def test_the_numbers_of_a_test_split_come_first(splits: list[str], main: str) -> None:
    found = dict.fromkeys(splits, split_metrics())
    assert Measurement(positive_class="Parasitized", threshold=0.5, splits=found, notes=[]).main_split == main


def test_a_record_is_not_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        split_metrics().n = 3  # type: ignore[misc]


def test_a_record_reads_back_as_it_was_written() -> None:
    metrics = split_metrics(accuracy=1.0, f1=None)
    assert SplitMetrics.model_validate_json(metrics.model_dump_json(exclude_unset=True)) == metrics


def test_a_classifier_is_told_by_training_epoch_and_temperature() -> None:
    identity = ClassifierIdentity(training_id="ab" * 32, stage="stage_2", epoch=3, temperature=1.5)
    assert str(identity) == "training abababababab, stage_2, epoch 3, temperature 1.5"
