"""The contact sheet of the label audit: what it shows, read back from its axes and texts."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from drawn_figures import png_size, texts
from malaria_kedro.figures.label_audit import draw_label_audit
from malaria_kedro.figures.style import PHANTOM_NOTE, SMALLEST_TILE, VERMILLION, Look

LOOK = Look(title="label audit")


@pytest.fixture
def audit() -> pd.DataFrame:
    """Four audited labels, not in the order of their rank; the first two are taken for wrong."""
    return pd.DataFrame(
        {
            "audit_rank": [3, 1, 2, 4],
            "cell_id": list("cabd"),
            "patient_id": "C1",
            "given_label": ["Parasitized", "Uninfected", "Parasitized", "Uninfected"],
            "suggested_label": ["Parasitized", "Parasitized", "Uninfected", "Uninfected"],
            "score": [0.4, 0.00001, 0.1234, 0.9],
            "p_parasitized": [0.4, 0.99, 0.12, 0.1],
            "is_issue": [False, True, True, False],
        }
    )


@pytest.fixture
def databunch() -> SimpleNamespace:
    cells = pd.DataFrame({"cell_id": list("dcba")})
    pixels = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.full((1, 4, 4, 3), 10, dtype=np.uint8)
    return SimpleNamespace(pixels=pixels, cells=cells)


def test_the_most_suspicious_labels_come_first(audit, databunch):
    figure = draw_label_audit(audit, databunch, LOOK, count=3)
    assert [axes.get_xlabel() for axes in figure.axes] == ["a", "b", "c"]
    assert [axes.get_title() for axes in figure.axes] == [
        "1. Uninfected → Parasitized\nscore below 0.0005",
        "2. Parasitized → Uninfected\nscore 0.123",
        "3. Parasitized → Parasitized\nscore 0.400",
    ]


def test_a_label_is_shown_with_its_own_pixels(audit, databunch):
    figure = draw_label_audit(audit, databunch, LOOK, count=1)
    # Cell a is row 3 of the databunch, whose pixels are 30.
    assert (figure.axes[0].images[0].get_array() == 30).all()


def test_labels_taken_for_wrong_are_coloured_and_counted(audit, databunch):
    figure = draw_label_audit(audit, databunch, LOOK, count=4)
    assert [to_hex(axes.title.get_color()).upper() == VERMILLION for axes in figure.axes] == [True, True, False, False]
    assert any("2 of 4 labels are probably wrong" in text for text in texts(figure))


def test_fewer_labels_than_asked_for_are_drawn(audit, databunch):
    figure = draw_label_audit(audit, databunch, LOOK, count=25)
    assert len(figure.axes) == 4
    assert png_size(figure) == (2000, 2000)


def test_many_labels_get_a_larger_sheet(audit, databunch):
    many = pd.concat([audit] * 9).assign(audit_rank=range(36))
    figure = draw_label_audit(many, databunch, LOOK, count=30)
    assert len(figure.axes) == 30
    assert figure.get_size_inches().tolist() == [6 * SMALLEST_TILE[0], 10]


def test_a_long_name_is_broken_into_lines(audit, databunch):
    name = "C99P60ThinF_IMG_20150918_141520_cell_1234_and_more" * 4
    databunch.cells = databunch.cells.replace("a", name)
    figure = draw_label_audit(audit.replace("a", name), databunch, Look(), count=4)
    words = figure.axes[0].get_xlabel()
    assert "\n" in words
    assert words.replace("\n", "") == name


def test_an_empty_audit_is_said_to_be_empty(audit, databunch):
    figure = draw_label_audit(audit.head(0), databunch, LOOK, count=25)
    assert any("No label was audited" in text for text in texts(figure))
    assert png_size(figure) == (1000, 1000)


def test_a_cell_without_pixels_is_named(audit, databunch):
    databunch.cells = databunch.cells.replace("b", "x")
    with pytest.raises(ValueError, match=r"cells \['b'\] have no pixels.*cross-validate again"):
        draw_label_audit(audit, databunch, LOOK, count=4)


@pytest.mark.parametrize("phantom", [True, False])
@pytest.mark.parametrize("count", [0, 4])
def test_a_sheet_of_phantoms_says_so(phantom, count, audit, databunch):
    look = Look(title="label audit", phantom=phantom)
    shown = texts(draw_label_audit(audit.head(count), databunch, look, count=4))
    assert any(PHANTOM_NOTE in text for text in shown) == phantom
    assert "label audit" in shown
