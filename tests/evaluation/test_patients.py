"""Patients: counts of each one, and the floor of false positives."""

import logging

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.evaluation.measurements import FalsePositiveFloor
from malaria_kedro.evaluation.patients import false_positive_floor, patient_table, percent
from patient_material import many, smear, three_patients


@pytest.fixture
def three() -> pd.DataFrame:
    return three_patients()


def test_each_patient_is_counted_in_each_split(three):
    table = patient_table(three, threshold=0.5)
    assert table.drop(columns="false_positive_rate").to_dict("records") == [
        {
            "split": split,
            "patient_id": patient,
            "cells": cells,
            "parasitized_cells": parasitized,
            "flagged_cells": flagged,
            "labelled_parasitaemia": parasitized / cells,
            "apparent_parasitaemia": flagged / cells,
            "uninfected_cells": cells - parasitized,
            "false_positives": false_positives,
            "healthy": healthy,
        }
        for split, patient, cells, parasitized, flagged, false_positives, healthy in (
            ("valid", "C1", 5, 2, 3, 1, False),
            ("valid", "C2", 4, 0, 1, 1, True),
            ("test", "C9", 2, 2, 1, 0, False),
        )
    ]
    assert table["false_positive_rate"].tolist()[:2] == [1 / 3, 1 / 4]
    assert table["false_positive_rate"].isna().tolist() == [False, False, True]


def test_a_probability_at_the_threshold_is_flagged():
    table = patient_table(smear("C1", "UU", "+-"), threshold=0.9)
    assert table["flagged_cells"].tolist() == [1]


def test_the_column_can_be_another_one(three):
    other = three.assign(p_parasitized=1.0)
    assert patient_table(other, threshold=0.5, column="p_parasitized")["apparent_parasitaemia"].tolist() == [1, 1, 1]


def test_a_missing_column_is_named(three):
    with pytest.raises(ValueError, match="no column 'p_calibrated'"):
        patient_table(three.drop(columns="p_calibrated"), threshold=0.5)


def test_a_patient_in_both_splits_has_a_row_in_each():
    both = pd.concat([smear("C1", "PU", "+-"), smear("C1", "UU", "--", "test")])
    table = patient_table(both, threshold=0.5)
    assert list(zip(table["split"], table["healthy"], strict=True)) == [("valid", False), ("test", True)]


def test_cells_of_unknown_patients_are_left_out_with_a_warning(three, caplog):
    with caplog.at_level(logging.WARNING):
        table = patient_table(pd.concat([three, smear(None, "UUU", "+++")]), threshold=0.5)
    assert list(table["patient_id"]) == ["C1", "C2", "C9"]
    assert "3 of 14 predicted cells have no known patient" in caplog.text


@pytest.mark.parametrize("without", ["values", "column"])
def test_without_a_known_patient_the_table_is_empty_and_has_its_columns(three, without):
    unknown = three.assign(patient_id=None) if without == "values" else three.drop(columns="patient_id")
    table = patient_table(unknown, threshold=0.5)
    known = patient_table(three, threshold=0.5)
    assert table.empty
    assert list(table.dtypes.items()) == list(known.dtypes.items())


def test_the_floor_by_hand():
    # 3 of 16 uninfected cells are flagged; of the healthy patients 1 of 4, none of 5, 2 of 5.
    cells = [smear("C1", "UUUU", "+---"), smear("C2", "U" * 5, "-----"), smear("C3", "U" * 5, "++---")]
    floor = false_positive_floor(patient_table(pd.concat([*cells, smear("C4", "PUU", "+--")]), threshold=0.5))
    assert floor.model_dump(exclude={"sentence"}) == {
        "n_patients": 4,
        "n_healthy": 3,
        "false_positive_rate": 3 / 16,
        "healthy_mean": pytest.approx((0.25 + 0 + 0.4) / 3),
        "healthy_sd": pytest.approx(np.std([0.25, 0, 0.4], ddof=1)),
        "healthy_min": 0,
        "healthy_max": 0.4,
        "flagged_of_5000": 3 / 16 * 5000,
        "notes": ["3 healthy patients say little about how others differ."],
    }
    assert all(number in floor.sentence for number in ("81.25 %", "19 %", "938", "0.02 %", "0 % to 40 %"))


def test_no_false_alarm_is_not_taken_for_none_ever():
    floor = false_positive_floor(patient_table(smear("C1", "U" * 300, "-" * 300), threshold=0.5))
    assert (floor.false_positive_rate, floor.flagged_of_5000) == (0, 0)
    assert "0.99 % (95 % bound)" in floor.sentence  # 1 - 0.05 ** (1 / 300), about 3 in 300
    assert floor.healthy_sd is None
    assert "healthy_sd is undefined" in floor.notes[0]


def test_healthy_patients_who_are_alike_are_said_to_be_alike():
    cells = [smear("C1", "UU", "--"), smear("C2", "UUU", "---"), smear("C3", "PU", "++")]
    floor = false_positive_floor(patient_table(pd.concat(cells), threshold=0.5))
    assert floor.sentence.endswith("2 healthy patients here shows 0 %.")


def test_without_a_healthy_patient_the_floor_rests_on_uninfected_cells():
    floor = false_positive_floor(patient_table(smear("C1", "PUUUU", "++---"), threshold=0.5))
    assert (floor.n_healthy, floor.false_positive_rate) == (0, 0.25)
    assert {getattr(floor, f"healthy_{what}") for what in ("mean", "sd", "min", "max")} == {None}
    assert "every patient has a parasitized cell" in floor.notes[0]


def test_without_an_uninfected_cell_there_is_no_floor():
    floor = false_positive_floor(patient_table(smear("C1", "PP", "+-"), threshold=0.5))
    assert (floor.false_positive_rate, floor.flagged_of_5000) == (None, None)
    assert "no cell is uninfected" in floor.sentence


def test_without_a_known_patient_there_is_no_floor():
    floor = false_positive_floor(patient_table(smear(None, "PU", "+-"), threshold=0.5))
    assert (floor.n_patients, floor.false_positive_rate) == (0, None)
    assert "no patient is known" in floor.sentence
    assert "no patient is known" in floor.notes[0]


def test_enough_healthy_patients_need_no_note():
    assert false_positive_floor(patient_table(many(40, 12), threshold=0.5)).notes == []


def test_a_floor_is_that_of_one_split(three):
    with pytest.raises(ValueError, match=r"splits \['test', 'valid'\]"):
        false_positive_floor(patient_table(three, threshold=0.5))


@pytest.mark.parametrize("labels", ["P", "U", "PU", "PPU", "UUU"])
@pytest.mark.parametrize("flags", ["+++", "---"])
@pytest.mark.parametrize("patient", [None, "C1"])
def test_the_floor_is_strict_json(labels, flags, patient):
    floor = false_positive_floor(patient_table(smear(patient, labels, flags[: len(labels)]), threshold=0.5))
    assert FalsePositiveFloor.model_validate_json(floor.model_dump_json()) == floor


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.0002, "0.02 %"), (0.0216, "2.2 %"), (0.0996, "10 %"), (0.314, "31 %"), (1, "100 %")],
)
def test_shares_are_written_with_two_digits(share, words):
    assert percent(share) == words


def test_patients_come_in_the_order_in_which_people_count():
    cells = pd.concat([smear(patient, "PU", "+-") for patient in ("C10", "C2", "C1")])
    assert patient_table(cells, threshold=0.5)["patient_id"].tolist() == ["C1", "C2", "C10"]
