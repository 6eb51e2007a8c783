"""Where reporting has measured a classifier on test cells, those scores count, and only of that classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.evaluation.bootstrap import Bootstrap
from malaria_kedro.evaluation.measurements import Metrics
from malaria_kedro.evaluation.metrics import measure, measure_at, measure_at_threshold
from malaria_kedro.evaluation.stored_metrics import identify, with_test_scores
from malaria_kedro.learning.metadata import Calibration
from metadata_material import changed, metadata

ABOUT = metadata(
    training_id="beef",
    selected={"stage": "stage_2", "epoch": 3},
    calibration={"temperature": 1.5, "threshold": 0.4},
    at_threshold={"split": "valid", "n_parasitized": 2, "n_uninfected": 2},
)
DRAWS = Bootstrap(draws=50)


def cells(*splits: str) -> pd.DataFrame:
    random = np.random.default_rng(1)
    n = 40
    frames = []
    for split in splits:
        parasitized = np.arange(n) % 2 == 0
        p = np.clip(np.where(parasitized, 0.7, 0.3) + random.normal(0, 0.2, n), 0.01, 0.99)
        label = np.where(parasitized, "Parasitized", "Uninfected")
        patients = [f"{split}{number % 8}" for number in range(n)]
        frame = {"split": split, "label": label, "p_parasitized": p, "p_calibrated": p, "loss": 0.1}
        frames.append(pd.DataFrame(frame).assign(patient_id=patients))
    return pd.concat(frames, ignore_index=True)


def stored(data: Path, about=ABOUT, *, threshold: float = 0.4, splits=("valid", "test"), version: str = "1") -> Metrics:
    """Write the metrics as the pipeline reporting does."""
    rows = cells(*splits)
    found = Metrics.model_validate(
        dict(measure(rows, threshold=0.5, intervals=DRAWS))
        | {
            "classifier": {
                **dict(identify(about)),
                "name": about.name,
                "selected": about.selected,
                "versions": {},
                "data_fingerprint": "f",
                "phantom": False,
            },
            "calibration": about.calibration,
            "operating_point": measure_at(rows, threshold=threshold, intervals=DRAWS),
            "patients": {},
            "cost": {
                "n_parameters": 1,
                "weights_bytes": 1,
                "train_seconds": 1.0,
                "ms_per_cell": 1.0,
                "device": "a CPU",
            },
        }
    )
    file = data / "08_reporting" / "resnet18" / "metrics.json" / version / "metrics.json"
    file.parent.mkdir(parents=True)
    file.write_text(found.model_dump_json(exclude_unset=True))
    return found


def folder_in(data: Path) -> Path:
    return data / "06_models" / "resnet18" / "classifier" / "1" / "classifier"


def test_scores_on_test_cells_take_the_place_of_those_on_validation(tmp_path):
    found = stored(tmp_path)
    scores = with_test_scores(ABOUT, folder_in(tmp_path)).at_threshold
    point = found.operating_point.splits["test"]
    assert (scores.split, scores.n_parasitized, scores.n_uninfected, scores.n_patients) == ("test", 20, 20, 8)
    assert (scores.sensitivity, scores.specificity) == (point.sensitivity, point.specificity)
    assert scores.roc_auc == found.splits["test"].roc_auc
    assert scores.intervals["specificity"] == list(point.intervals["specificity"])


@pytest.mark.parametrize(
    ("about", "options"),
    [
        (changed(ABOUT, training_id="another"), {}),
        (changed(ABOUT, calibration={"temperature": 1.6, "threshold": 0.4}), {}),
        (ABOUT, {"threshold": 0.3}),
        (ABOUT, {"splits": ("valid",)}),
    ],
    ids=["training", "temperature", "threshold", "no test split"],
)
def test_metrics_of_anything_else_do_not_count(tmp_path, about, options):
    stored(tmp_path, about, **options)
    assert with_test_scores(ABOUT, folder_in(tmp_path)) == ABOUT


def test_metrics_that_are_missing_or_damaged_change_nothing(tmp_path):
    assert with_test_scores(ABOUT, folder_in(tmp_path)) == ABOUT
    assert with_test_scores(ABOUT, Path("/classifier")) == ABOUT
    stored(tmp_path, version="1")
    (tmp_path / "08_reporting" / "resnet18" / "metrics.json" / "2").mkdir()
    (tmp_path / "08_reporting" / "resnet18" / "metrics.json" / "2" / "metrics.json").write_text("{")
    assert with_test_scores(ABOUT, folder_in(tmp_path)).at_threshold.split == "test"


def test_what_is_stored_at_export_is_validation_at_the_calibrated_threshold():
    rows = cells("valid")
    calibration = Calibration(temperature=2.0, threshold=0.45)
    scores = measure_at_threshold(rows, calibration, DRAWS)
    odds = np.log(rows["p_parasitized"] / (1 - rows["p_parasitized"])) / 2
    called = 1 / (1 + np.exp(-odds)) >= 0.45
    assert (scores.split, scores.unit, scores.n_patients) == ("valid", "patient", 8)
    assert scores.sensitivity == pytest.approx(called[rows["label"] == "Parasitized"].mean())
    assert scores.specificity == pytest.approx((~called)[rows["label"] == "Uninfected"].mean())
    low, high = scores.intervals["roc_auc"]
    assert low <= scores.roc_auc <= high


def test_without_a_threshold_there_are_no_scores():
    assert measure_at_threshold(cells("valid"), Calibration(), DRAWS) is None
