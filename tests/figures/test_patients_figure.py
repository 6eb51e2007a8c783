"""The figure of patients: apparent against labelled parasitaemia, and what healthy ones show."""

import pandas as pd
import pytest

from drawn_figures import png_size, texts
from malaria_kedro.evaluation.patients import patient_table
from malaria_kedro.figures.patients import draw_patients
from malaria_kedro.figures.style import PHANTOM_NOTE, Look
from patient_material import many, smear, three_patients

LOOK = Look(title="net: patients")


@pytest.fixture
def three() -> pd.DataFrame:
    return three_patients()


def test_a_point_a_patient_shows_apparent_against_labelled_parasitaemia(three):
    figure = draw_patients(patient_table(three, threshold=0.5), LOOK)
    valid = figure.axes[0]
    infected, healthy = valid.collections
    assert infected.get_offsets().data.tolist() == [[0.4, 0.6]]
    assert healthy.get_offsets().data.tolist() == [[0, 0.25]]
    assert valid.get_title() == "validation: 2 patients"
    assert [text.get_text() for text in valid.get_legend().get_texts()] == ["infected (1)", "healthy (1)"]
    assert png_size(figure) == (900, 1000)


def test_the_false_positives_of_healthy_patients_are_sorted():
    cells = [smear("C1", "UUUU", "++--"), smear("C2", "UUUU", "----"), smear("C3", "UUUU", "+---")]
    healthy = draw_patients(patient_table(pd.concat(cells), threshold=0.5), LOOK).axes[1]
    points = healthy.collections[-1].get_offsets().data
    assert points.tolist() == [[0, 0], [1, 0.25], [2, 0.5]]
    assert [label.get_text() for label in healthy.get_xticklabels()] == ["C2", "C3", "C1"]
    assert healthy.get_title() == "3 healthy patients, 0 % to 50 %"


def test_a_name_that_would_fill_the_figure_loses_its_middle_on_the_axis():
    cells = [smear("n" * 24, "UU", "--"), smear("left" + "n" * 60 + "right", "UU", "+-")]
    healthy = draw_patients(patient_table(pd.concat(cells), threshold=0.5), LOOK).axes[1]
    assert [label.get_text() for label in healthy.get_xticklabels()] == ["n" * 24, "leftnnnnnnn…nnnnnnnright"]


def test_the_size_of_a_point_is_that_of_its_own_patient():
    cells = [smear("C1", "U" * 40, "+" * 40), smear("C2", "U" * 4, "----"), smear("C3", "PU" * 20, "+-" * 20)]
    both, healthy = draw_patients(patient_table(pd.concat(cells), threshold=0.5), LOOK).axes
    few, all_of_them = healthy.collections[-1].get_sizes()
    assert few < all_of_them
    assert both.collections[1].get_sizes().tolist() == [all_of_them, few]


@pytest.mark.parametrize("patients", [34, 200])
def test_many_patients_are_drawn(patients):
    figure = draw_patients(patient_table(many(patients, patients // 4), threshold=0.3), LOOK)
    assert png_size(figure) == (900, 500)
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == patients


def test_more_healthy_patients_than_names_fit_are_numbered():
    healthy = draw_patients(patient_table(many(60, 50), threshold=0.3), LOOK).axes[1]
    assert list(healthy.get_xticks()) == []
    assert healthy.get_xlabel() == "50 healthy patients, fewest false positives first"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (smear(None, "PU", "+-"), "No patient is known"),
        (smear("C1", "PU", "+-"), "No patient is healthy"),
        (smear("C1", "PP", "+-"), "No patient is healthy"),
    ],
)
def test_what_cannot_be_drawn_is_said(cells, words):
    figure = draw_patients(patient_table(cells, threshold=0.5), LOOK)
    assert any(words in text for text in texts(figure))
    assert png_size(figure) == (900, 500)


def test_a_single_healthy_patient_without_a_false_alarm_is_drawn():
    figure = draw_patients(patient_table(smear("C1", "U", "-"), threshold=0.5), LOOK)
    assert figure.axes[1].get_title() == "1 healthy patient, 0 %"
    assert png_size(figure) == (900, 500)


@pytest.mark.parametrize("phantom", [True, False])
@pytest.mark.parametrize("patient", [None, "C1"])
def test_every_figure_of_phantoms_says_so(phantom, patient):
    look = Look(title="net: patients", phantom=phantom)
    shown = texts(draw_patients(patient_table(smear(patient, "PU", "+-"), threshold=0.5), look))
    assert any(PHANTOM_NOTE in text for text in shown) == phantom
    assert "net: patients" in shown
