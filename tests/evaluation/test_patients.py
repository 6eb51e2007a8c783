"""Patients: counts of each one, the floor of false positives, and their figure."""

import io
import json
import logging

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from malaria_kedro.evaluation.patients import false_positive_floor, patient_table, percent
from malaria_kedro.figures.patients import draw_patients
from malaria_kedro.figures.style import PHANTOM_NOTE

LOOK = {"size": (9.0, 5.0), "dpi": 50, "title": "net: patients"}


def smear(patient: str | None, labels: str, flagged: str, split: str = "valid") -> pd.DataFrame:
    """Make a patient's predictions from a word of P and U and a word of + (flagged at 0.5) and -."""
    return pd.DataFrame(
        {
            "split": split,
            "patient_id": patient,
            "label": ["Parasitized" if letter == "P" else "Uninfected" for letter in labels],
            "p_calibrated": [0.9 if sign == "+" else 0.1 for sign in flagged],
        }
    )


def many(patients: int, healthy: int, seed: int = 0, split: str = "valid") -> pd.DataFrame:
    """Make patients of 5 to 120 cells, of whom the first ones are healthy."""
    generator = np.random.default_rng(seed)
    parts = []
    for number in range(patients):
        cells = int(generator.integers(5, 120))
        parasitized = generator.random(cells) < (0 if number < healthy else generator.random() * 0.8 + 0.1)
        p = np.where(parasitized, generator.beta(5, 1, cells), generator.beta(1, 6, cells))
        label = np.where(parasitized, "Parasitized", "Uninfected")
        parts.append(pd.DataFrame({"split": split, "patient_id": f"C{number}", "label": label, "p_calibrated": p}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def three() -> pd.DataFrame:
    """An infected patient, a healthy one with a false alarm, and one of the test part without an uninfected cell."""
    return pd.concat(
        [
            smear("C9", "PP", "+-", "test"),
            smear("C2", "UUUU", "+---"),
            smear("C1", "PPUUU", "++-+-"),
        ],
        ignore_index=True,
    )


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def png_size(figure: Figure) -> tuple[int, int]:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=figure.dpi)
    return Image.open(png).size


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
    sentence = floor.pop("sentence")
    assert floor == {
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
    assert sentence == (
        "At this specificity (81.25 %) a healthy patient with 5,000 cells shows 19 % parasitaemia (938 false alarms); "
        "real parasitaemia below that cannot be told from none, and one parasitized cell among 5,000 would be 0.02 %. "
        "The 3 healthy patients here range from 0 % to 40 %."
    )


def test_no_false_alarm_is_not_taken_for_none_ever():
    floor = false_positive_floor(patient_table(smear("C1", "U" * 300, "-" * 300), threshold=0.5))
    assert (floor["false_positive_rate"], floor["flagged_of_5000"]) == (0, 0)
    assert "None of 300 uninfected cells was flagged" in floor["sentence"]
    assert "do not exclude 0.99 % (95 % bound)" in floor["sentence"]  # 1 - 0.05 ** (1 / 300), about 3 in 300
    assert floor["healthy_sd"] is None
    assert floor["notes"] == ["healthy_sd is undefined, because one patient only is healthy."]


def test_healthy_patients_who_are_alike_are_said_to_be_alike():
    cells = [smear("C1", "UU", "--"), smear("C2", "UUU", "---"), smear("C3", "PU", "++")]
    floor = false_positive_floor(patient_table(pd.concat(cells), threshold=0.5))
    assert floor["sentence"].endswith("Each of the 2 healthy patients here shows 0 %.")


def test_without_a_healthy_patient_the_floor_rests_on_uninfected_cells():
    floor = false_positive_floor(patient_table(smear("C1", "PUUUU", "++---"), threshold=0.5))
    assert (floor["n_healthy"], floor["false_positive_rate"]) == (0, 0.25)
    assert {floor[f"healthy_{what}"] for what in ("mean", "sd", "min", "max")} == {None}
    assert floor["notes"] == ["healthy patients cannot be described, because every patient has a parasitized cell."]


def test_without_an_uninfected_cell_there_is_no_floor():
    floor = false_positive_floor(patient_table(smear("C1", "PP", "+-"), threshold=0.5))
    assert (floor["false_positive_rate"], floor["flagged_of_5000"]) == (None, None)
    assert floor["sentence"].endswith("cannot be told, because no cell is uninfected.")


def test_without_a_known_patient_there_is_no_floor():
    floor = false_positive_floor(patient_table(smear(None, "PU", "+-"), threshold=0.5))
    assert (floor["n_patients"], floor["false_positive_rate"]) == (0, None)
    assert floor["sentence"].endswith("cannot be told, because no patient is known.")
    assert floor["notes"] == ["nothing can be said about patients, because no patient is known."]


def test_enough_healthy_patients_need_no_note():
    assert false_positive_floor(patient_table(many(40, 12), threshold=0.5))["notes"] == []


def test_a_floor_is_that_of_one_split(three):
    with pytest.raises(ValueError, match=r"splits \['test', 'valid'\]"):
        false_positive_floor(patient_table(three, threshold=0.5))


@pytest.mark.parametrize("labels", ["P", "U", "PU", "PPU", "UUU"])
@pytest.mark.parametrize("flags", ["+++", "---"])
@pytest.mark.parametrize("patient", [None, "C1"])
def test_the_floor_is_strict_json(labels, flags, patient):
    floor = false_positive_floor(patient_table(smear(patient, labels, flags[: len(labels)]), threshold=0.5))
    assert json.loads(json.dumps(floor, allow_nan=False)) == floor


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.0002, "0.02 %"), (0.0216, "2.2 %"), (0.0996, "10 %"), (0.314, "31 %"), (1, "100 %")],
)
def test_shares_are_written_with_two_digits(share, words):
    assert percent(share) == words


def test_a_point_a_patient_shows_apparent_against_labelled_parasitaemia(three):
    figure = draw_patients(patient_table(three, threshold=0.5), phantom=False, **LOOK)
    valid = figure.axes[0]
    infected, healthy = valid.collections
    assert infected.get_offsets().data.tolist() == [[0.4, 0.6]]
    assert healthy.get_offsets().data.tolist() == [[0, 0.25]]
    assert valid.get_title() == "validation: 2 patients"
    assert [text.get_text() for text in valid.get_legend().get_texts()] == ["infected (1)", "healthy (1)"]
    assert png_size(figure) == (450, 500)


def test_the_false_positives_of_healthy_patients_are_sorted():
    cells = [smear("C1", "UUUU", "++--"), smear("C2", "UUUU", "----"), smear("C3", "UUUU", "+---")]
    healthy = draw_patients(patient_table(pd.concat(cells), threshold=0.5), phantom=False, **LOOK).axes[1]
    points = healthy.collections[-1].get_offsets().data
    assert points.tolist() == [[0, 0], [1, 0.25], [2, 0.5]]
    assert [label.get_text() for label in healthy.get_xticklabels()] == ["C2", "C3", "C1"]
    assert healthy.get_title() == "3 healthy patients, 0 % to 50 %"


def test_a_name_that_would_fill_the_figure_loses_its_middle_on_the_axis():
    cells = [smear("n" * 24, "UU", "--"), smear("left" + "n" * 60 + "right", "UU", "+-")]
    healthy = draw_patients(patient_table(pd.concat(cells), threshold=0.5), phantom=False, **LOOK).axes[1]
    assert [label.get_text() for label in healthy.get_xticklabels()] == ["n" * 24, "leftnnnnnnn…nnnnnnnright"]


def test_the_size_of_a_point_is_that_of_its_own_patient():
    cells = [smear("C1", "U" * 40, "+" * 40), smear("C2", "U" * 4, "----"), smear("C3", "PU" * 20, "+-" * 20)]
    both, healthy = draw_patients(patient_table(pd.concat(cells), threshold=0.5), phantom=False, **LOOK).axes
    few, all_of_them = healthy.collections[-1].get_sizes()
    assert few < all_of_them
    assert both.collections[1].get_sizes().tolist() == [all_of_them, few]


@pytest.mark.parametrize("patients", [34, 200])
def test_many_patients_are_drawn(patients):
    figure = draw_patients(patient_table(many(patients, patients // 4), threshold=0.3), phantom=False, **LOOK)
    assert png_size(figure) == (450, 250)
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == patients


def test_more_healthy_patients_than_names_fit_are_numbered():
    healthy = draw_patients(patient_table(many(60, 50), threshold=0.3), phantom=False, **LOOK).axes[1]
    assert list(healthy.get_xticks()) == []
    assert healthy.get_xlabel() == "50 healthy patients, fewest false alarms first"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (smear(None, "PU", "+-"), "No patient is known"),
        (smear("C1", "PU", "+-"), "No patient is healthy"),
        (smear("C1", "PP", "+-"), "No patient is healthy"),
    ],
)
def test_what_cannot_be_drawn_is_said(cells, words):
    figure = draw_patients(patient_table(cells, threshold=0.5), phantom=False, **LOOK)
    assert any(words in text for text in texts(figure))
    assert png_size(figure) == (450, 250)


def test_a_single_healthy_patient_without_a_false_alarm_is_drawn():
    figure = draw_patients(patient_table(smear("C1", "U", "-"), threshold=0.5), phantom=False, **LOOK)
    assert figure.axes[1].get_title() == "1 healthy patient, 0 %"
    assert png_size(figure) == (450, 250)


@pytest.mark.parametrize("phantom", [True, False])
@pytest.mark.parametrize("patient", [None, "C1"])
def test_every_figure_of_phantoms_says_so(phantom, patient):
    shown = texts(draw_patients(patient_table(smear(patient, "PU", "+-"), threshold=0.5), phantom=phantom, **LOOK))
    assert any(PHANTOM_NOTE in text for text in shown) == phantom
    assert "net: patients" in shown
