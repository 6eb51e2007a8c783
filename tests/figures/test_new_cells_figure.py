"""The figure of new cells: the patients against each other, or how sure the calls are."""

import numpy as np
import pandas as pd
import pytest

from drawn_figures import texts
from malaria_kedro.evaluation.new_cells import count_probabilities
from malaria_kedro.figures.new_cells import MOST_PATIENTS, draw_new_cells
from malaria_kedro.figures.style import Look
from malaria_kedro.inference.results import patient_summary

CALLS = {"+": "Parasitized", "-": "Uninfected", "?": ""}


def read(**patients: str) -> pd.DataFrame:
    """Return a row per image; of each patient (``unknown``: none) the calls, ``+``, ``-`` or ``?`` = not called."""
    rows = [(None if name == "unknown" else name, CALLS[call]) for name, calls in patients.items() for call in calls]
    frame = pd.DataFrame(rows, columns=["patient_id", "call"])
    return frame.assign(p_parasitized=np.where(frame["call"] == "Parasitized", 0.9, 0.1).astype("float32"))


def draw(frame: pd.DataFrame, threshold: float = 0.5, trained_on_phantoms: bool = False):
    patients, counts = patient_summary([frame], threshold), count_probabilities([frame], threshold)
    return draw_new_cells(patients, counts, Look(title="net"), trained_on_phantoms=trained_on_phantoms)


def tick_labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def bars(axes) -> list[list[float]]:
    return [[bar.get_height() for bar in drawn] for drawn in axes.containers]


def test_patients_stand_by_their_parasitaemia_each_with_its_bounds_and_the_unknown_come_last():
    axes = draw(read(C1="---+", C2="++-?", C3="?", unknown="++")).axes[0]
    assert tick_labels(axes.yaxis) == ["C2 (3)", "C1 (4)", "C3 (0)", "not known (2)"]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [2 / 3, 1 / 4, np.nan, 1])
    bounds = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    assert bounds == [[0.5, 0.75], [0.25, 0.25], [0, 1], [1, 1]]


def test_more_patients_than_rows_are_told_with_the_highest_that_is_not_shown():
    frame = read(**{f"C{n}": "+" * n + "-" * (40 - n) for n in range(1, 21)}, C21="?")
    figure = draw(frame)
    shown = [f"C{n} (40)" for n in range(20, 20 - MOST_PATIENTS, -1)]
    assert tick_labels(figure.axes[0].yaxis) == shown
    (footnote,) = [text for text in texts(figure) if "highest of" in text]
    assert "the 16 highest of 21 patients; the others are at 10.0 % or below" in footnote
    assert "1 patient not shown has no image that was called" in footnote


def test_the_axis_ends_where_the_bounds_do():
    low, high = draw(read(C1="-" * 99 + "+", C2="-" * 98 + "+?")).axes[0].get_xlim()
    assert (low, high) == (0, pytest.approx(1.05 * 0.02))


@pytest.mark.parametrize("patients", [{"C1": "++-?"}, {"unknown": "++-?"}, {"C1": "++", "unknown": "-?"}])
def test_fewer_patients_than_two_are_shown_by_their_probabilities(patients):
    axes = draw(read(**patients)).axes[0]
    assert bars(axes) == [[1], [2], [1]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        *("called uninfected (1)", "called parasitized (2)", "not called (1)")
    ]


def test_the_threshold_stands_in_the_middle_whatever_it_is():
    axes = draw(read(unknown="+-"), threshold=0.02).axes[0]
    assert tick_labels(axes.xaxis) == ["0", "0.01", "0.02", "0.51", "1"]
    assert np.mean(axes.get_xlim()) == axes.get_xticks()[2] == axes.lines[0].get_xdata()[0]


def test_unreadable_images_are_told():
    frame = pd.concat([read(unknown="+-"), read(unknown="?").assign(p_parasitized=np.float32(np.nan))])
    assert any("1 unreadable image has no p" in text for text in texts(draw(frame)))


def test_no_image_is_said():
    assert "There is no image." in texts(draw(read()))


@pytest.mark.parametrize("patients", [{"C1": "+-", "C2": "-"}, {"unknown": "+-"}])
@pytest.mark.parametrize("phantoms", [True, False])
def test_what_trained_on_phantoms_says_nothing_about_blood(patients, phantoms):
    shown = texts(draw(read(**patients), trained_on_phantoms=phantoms))
    assert any("this says nothing about blood" in text for text in shown) == phantoms
