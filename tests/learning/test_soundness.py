"""How good a classifier is, and what speaks against it, is told from its metadata."""

from __future__ import annotations

import pytest

from malaria_kedro.learning.soundness import count_steps, describe_scores, find_doubts, summarise_scores
from metadata_material import SMALLEST, metadata

SCORES = {
    "split": "valid",
    "n_parasitized": 1204,
    "n_uninfected": 1500,
    "n_patients": 26,
    "unit": "patient",
    "sensitivity": 0.981,
    "specificity": 0.942,
    "roc_auc": 0.99,
    "intervals": {"sensitivity": [0.97, 0.99], "specificity": [0.9, 0.96], "roc_auc": [0.98, 0.995]},
}
COUNTS = {"train": {"Parasitized": 60, "Uninfected": 70}, "valid": {"Parasitized": 20, "Uninfected": 30}}
CALIBRATION = {"temperature": 1.2, "threshold": 0.3, "sensitivity": 0.98, "specificity": 0.95}


def test_scores_are_told_with_intervals_numbers_and_false_alarms():
    said = describe_scores(metadata(at_threshold=SCORES))
    for words in (
        "98.1 %",
        "97.0 to 99.0",
        "1,204",
        "94.2 %",
        "90.0 to 96.0",
        "1,500",
        "26 patients",
        "58 false alarms",
    ):
        assert words in said
    told = summarise_scores(metadata(at_threshold=SCORES, calibration=CALIBRATION))
    assert told["measured"]
    assert told["false_alarms_per_1000_healthy_cells"] == pytest.approx(58)
    assert told["intervals"]["specificity"] == [0.9, 0.96]
    assert told["threshold"] == 0.3


def test_an_earlier_classifier_tells_what_its_calibration_knows_and_no_interval():
    about = metadata(calibration=CALIBRATION, data={"fingerprint": "f", "counts": COUNTS})
    told = summarise_scores(about)
    assert (told["sensitivity"], told["n_parasitized"], told["n_uninfected"]) == (0.98, 20, 30)
    assert "interval" not in describe_scores(about)


@pytest.mark.parametrize("changes", [{}, {"calibration": CALIBRATION}, {"calibration": {"temperature": 1.0}}], ids=str)
def test_what_was_not_measured_is_said_not_to_be(changes):
    assert summarise_scores(metadata(**changes)) == {"measured": False}
    assert "not measured" in describe_scores(metadata(**changes))


def test_what_is_undefined_is_not_invented():
    said = describe_scores(metadata(at_threshold=SCORES | {"specificity": None, "sensitivity": None}))
    assert "unknown share" in said
    assert "were not measured" in said


RECIPE = {"batch_size": 64, "stage_1": {"epochs": 10, "lr_max": 0.01}}
BAD = {
    "phantom": ({"data": SMALLEST["data"] | {"phantom": True}}, "was trained on phantom cells"),
    "specificity": ({"at_threshold": SCORES | {"specificity": 0.8999}}, "specificity under 90 %"),
    "AUC": ({"at_threshold": SCORES | {"roc_auc": 0.8999}}, "ROC AUC"),
    "lower bound": ({"calibration": CALIBRATION | {"temperature": 0.05}}, "temperature at the bound"),
    "upper bound": ({"calibration": CALIBRATION | {"temperature": 20.0}}, "temperature at the bound"),
    "steps": (
        {
            "parameters": RECIPE,
            "selected": {"stage": "stage_2", "epoch": 39},
            "data": SMALLEST["data"] | {"counts": COUNTS},
        },
        "for 98 steps only",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_each_reason_to_doubt_a_classifier_is_named(kind):
    changes, words = BAD[kind]
    (doubt,) = find_doubts(metadata(**changes))
    assert words in doubt


def test_a_sound_classifier_is_not_doubted():
    changes = BAD["steps"][0] | {"selected": {"stage": "stage_2", "epoch": 40}, "calibration": CALIBRATION}
    assert not find_doubts(metadata(at_threshold=SCORES | {"specificity": 0.9, "roc_auc": 0.9}, **changes))


@pytest.mark.parametrize(
    ("selected", "batch_size", "steps"),
    [
        ({"stage": "stage_1", "epoch": 3}, 64, 6),
        ({"stage": "stage_2", "epoch": 3}, 64, 26),
        ({"stage": "stage_1", "epoch": 3}, 512, 3),
        ({}, 64, None),
    ],
)
def test_steps_are_counted_to_the_exported_epoch(selected, batch_size, steps):
    data = SMALLEST["data"] | {"counts": COUNTS}
    assert count_steps(metadata(parameters=RECIPE | {"batch_size": batch_size}, selected=selected, data=data)) == steps
