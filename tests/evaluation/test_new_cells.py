"""New images are counted by their probabilities; labelled ones are an external test of what was called."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.evaluation import new_cells
from malaria_kedro.evaluation.bootstrap import ALL_METRICS, Bootstrap
from malaria_kedro.evaluation.measurements import ExternalMetrics
from malaria_kedro.evaluation.metrics import measure
from malaria_kedro.evaluation.new_cells import BINS_OF_A_SIDE, count_probabilities, measure_new_cells
from malaria_kedro.inference.results import ReadingRequest

ABOUT = ReadingRequest("new", "f00d", None, "net/classifier", "weights 1", "torch", 0.3, "refuse", None, ["as told"])
DRAWS = Bootstrap(draws=100)


def rows_of(n: int = 200, patients: int = 12) -> pd.DataFrame:
    random = np.random.default_rng(3)
    actual = random.random(n) < 0.4
    p = np.clip(np.where(actual, 0.6, 0.2) + random.normal(0, 0.25, n), 0, 1).astype(np.float32)
    return pd.DataFrame(
        {
            "patient_id": [f"C{number % patients}" for number in range(n)],
            "p_parasitized": p,
            "call": np.where(p >= np.float32(0.3), "Parasitized", "Uninfected"),
            "label": np.where(actual, "Parasitized", "Uninfected"),
        }
    )


def measured(*frames: pd.DataFrame, about: ReadingRequest = ABOUT) -> ExternalMetrics:
    found = measure_new_cells(frames, about, DRAWS)
    assert found is not None
    return found


def test_the_metrics_and_intervals_are_those_of_the_evaluation():
    rows = rows_of()
    losses = -np.log(np.where(rows["label"] == "Parasitized", rows["p_parasitized"], 1 - rows["p_parasitized"]))
    same = measure(rows.assign(split="valid", loss=losses.clip(0, 36)), threshold=0.3, intervals=DRAWS).splits["valid"]
    called = measured(rows).called
    assert (called.n, called.n_parasitized, called.n_patients) == (200, same.n_parasitized, 12)
    assert called.confusion == same.confusion
    assert called.bootstrap == same.bootstrap
    for name in ("sensitivity", "specificity", "roc_auc", "accuracy", "ece"):
        assert called.score(name) == pytest.approx(same.score(name))
        assert called.intervals[name] == pytest.approx(same.intervals[name])


def test_it_does_not_matter_where_parts_end():
    rows = rows_of()
    assert measured(rows) == measured(rows[:1], rows[1:70], rows[:0], rows[70:])


def test_what_is_not_called_is_counted_by_its_label_and_what_has_none_too():
    rows = rows_of()
    rows.loc[:4, "call"] = ""
    rows.loc[:1, "p_parasitized"] = np.nan
    rows.loc[:4, "label"] = ["Parasitized", "Uninfected", "Parasitized", "Parasitized", "Parasitized"]
    rows.loc[190:, "label"] = None
    found = measured(rows)
    one, other = found.labels["Parasitized"], found.labels["Uninfected"]
    assert (one.refused, one.unreadable, other.refused, other.unreadable) == (4, 1, 1, 1)
    assert one.images == one.parasitized + one.uninfected + one.refused
    assert found.unlabelled == 10
    assert found.called.n == one.images + other.images - 5 == 185
    assert found.called.sensitivity == pytest.approx(one.parasitized / (one.images - one.refused))


def test_a_cell_at_the_threshold_is_measured_as_it_was_called():
    rows = rows_of()
    rows["p_parasitized"], rows["call"] = np.float32(0.7), "Parasitized"
    at = dataclasses.replace(ABOUT, threshold=0.7)  # in float32 this is less than 0.7
    assert measured(rows, about=at).called.sensitivity == 1


def test_patients_who_are_not_known_make_the_intervals_too_narrow_and_this_is_said():
    found = measured(rows_of().assign(patient_id=None))
    assert found.called.n_patients is None
    assert found.called.bootstrap.unit == "cell"
    assert any("too narrow" in note for note in found.notes)


def test_of_one_class_what_can_be_measured_is():
    rows = rows_of()
    found = measured(rows[rows["label"] == "Uninfected"])
    assert found.called.sensitivity is None
    assert found.called.roc_auc is None
    assert found.called.specificity == pytest.approx(
        (rows["call"] == "Uninfected")[rows["label"] == "Uninfected"].mean()
    )


def test_where_no_labelled_image_was_called_nothing_is_measured_but_all_is_counted():
    found = measured(rows_of().assign(call=""))
    assert found.called is None
    assert sum(its.refused for its in found.labels.values()) == 200
    assert found.notes


def test_without_a_label_there_is_nothing_to_measure():
    assert measure_new_cells([rows_of().assign(label=None)], ABOUT, DRAWS) is None


def test_of_very_many_cells_fewer_draws_are_made_and_the_number_is_told(monkeypatch):
    monkeypatch.setattr(new_cells, "CELL_DRAWS", 200 * 60)
    monkeypatch.setattr(new_cells, "FEWEST_DRAWS", 10)
    assert measured(rows_of()).called.bootstrap.draws == 60


def test_how_labels_were_read_goes_with_the_metrics():
    found = measured(rows_of())
    assert found.how == ["as told"]
    assert set(ALL_METRICS) <= set(found.model_dump()["called"])


def images(p: list[float], calls: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"p_parasitized": np.array(p, dtype=np.float32), "call": calls})


def test_images_are_counted_in_bins_of_equal_width_on_each_side_of_the_threshold():
    frame = images(
        [0, 0.029, 0.24, 0.95, 1, np.nan], ["Uninfected", "Uninfected", "", "Parasitized", "Parasitized", ""]
    )
    counts = count_probabilities([frame, frame], 0.24)
    assert BINS_OF_A_SIDE == 8
    np.testing.assert_allclose(np.diff(counts["low"]), [0.03] * 8 + [0.095] * 7)
    np.testing.assert_allclose(counts["high"], [*counts["low"][1:], 1])
    assert counts["called"].tolist() == [4, *[0] * 14, 4]
    assert counts["refused"].tolist() == [*[0] * 8, 2, *[0] * 7]


@pytest.mark.parametrize("threshold", [0.0, 0.07, 0.3, 1.0])
def test_a_bin_lies_on_the_side_of_its_calls(threshold):
    p = np.array([0, threshold, np.nextafter(np.float32(threshold), np.float32(0)), 1], dtype=np.float32)
    above = p >= np.float32(threshold)
    counts = count_probabilities([images(p, ["Parasitized"] * 4)], threshold)["called"]
    assert counts[:8].sum() == (~above).sum()
    assert counts[8:].sum() == above.sum()
