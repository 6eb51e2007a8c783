"""Sheets of heat maps: which cells are on them, and what a tile shows."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from malaria_kedro.figures.heat_maps import draw_heat_maps, true_positives
from malaria_kedro.figures.style import Look

LOOK = Look(title="net: found", phantom=True)


@pytest.fixture
def predictions() -> pd.DataFrame:
    """Six validation cells of three patients and one of the test part."""
    return pd.DataFrame(
        {
            "cell_id": list("abcdefg"),
            "patient_id": ["C1", "C1", "C2", "C2", "C3", None, "C1"],
            "split": ["valid"] * 6 + ["test"],
            "label": ["Parasitized"] * 4 + ["Uninfected", "Parasitized", "Parasitized"],
            "p_parasitized": [0.99, 0.98, 0.7, 0.3, 0.9, 0.6, 1.0],
            "loss": [0.01, 0.02, 0.36, 1.2, 2.3, 0.51, 0.0],
        }
    )


def test_the_surest_of_each_patient_comes_before_anyones_second(predictions):
    assert true_positives(predictions, threshold=0.5, count=9)["cell_id"].tolist() == ["a", "c", "f", "b"]
    assert true_positives(predictions, threshold=0.5, count=2)["cell_id"].tolist() == ["a", "c"]


def test_the_threshold_decides_what_was_found(predictions):
    assert true_positives(predictions, threshold=0.2, count=9)["cell_id"].tolist() == ["a", "c", "f", "b", "d"]
    assert true_positives(predictions, threshold=0.995, count=9).empty


def test_a_tile_shows_the_cell_and_the_same_cell_in_grey_under_its_map(predictions):
    rows = predictions.head(1)
    images = np.full((1, 16, 16, 3), (200, 100, 100), dtype=np.uint8)
    maps = np.zeros((1, 16, 16), dtype=np.float32)
    maps[0, 3, 5] = 1
    figure = draw_heat_maps(rows, images, maps, LOOK, threshold=0.5)
    (axes,) = figure.axes
    shown = axes.images[0].get_array()
    assert shown.shape == (16, 33, 3)
    np.testing.assert_array_equal(shown[:, :16], images[0])
    right = shown[:, 17:].astype(int)
    assert np.ptp(right[0, 0]) <= 1, "grey where nothing speaks for the call"
    assert np.ptp(right[3, 5]) > 20, "coloured where something does"
    assert axes.get_title() == "Parasitized / Parasitized / 0.01 / 0.990"


def test_a_wrong_call_is_coloured_and_phantoms_are_named(predictions):
    images, maps = np.zeros((1, 16, 16, 3), dtype=np.uint8), np.zeros((1, 16, 16), dtype=np.float32)
    figure = draw_heat_maps(predictions.iloc[[4]], images, maps, LOOK, threshold=0.5)
    assert figure.axes[0].title.get_color() != "black"
    assert any("not blood" in text.get_text() for text in figure.findobj(Text))


def test_no_such_cell_is_said(predictions):
    none = predictions.head(0)
    figure = draw_heat_maps(
        none, np.zeros((0, 16, 16, 3), np.uint8), np.zeros((0, 16, 16), np.float32), LOOK, threshold=0.5
    )
    assert any("There is no such cell." in text.get_text() for text in figure.findobj(Text))
