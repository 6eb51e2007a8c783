"""Figures: what they show, read back from their axes and texts."""

from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from drawn_figures import png_size, texts
from malaria_kedro.evaluation.metrics import measure, measure_at
from malaria_kedro.evaluation.thresholds import sweep_thresholds
from malaria_kedro.figures.cells import draw_batch_preview, draw_top_losses
from malaria_kedro.figures.confusion_matrix import draw_confusion_matrix
from malaria_kedro.figures.curves import draw_roc_curves
from malaria_kedro.figures.style import PHANTOM_NOTE, Look, svg_of
from malaria_kedro.figures.training import draw_loss_curves

LOOK = Look()


@pytest.fixture
def predictions() -> pd.DataFrame:
    """Six validation cells (P found, P missed, P found, U false alarm, two U left alone) and two of the test."""
    return pd.DataFrame(
        {
            "cell_id": list("abcdefgh"),
            "patient_id": None,
            "split": ["valid"] * 6 + ["test"] * 2,
            "label": ["Parasitized"] * 3 + ["Uninfected"] * 3 + ["Parasitized", "Uninfected"],
            "p_parasitized": [0.9, 0.1, 0.8, 0.7, 0.2, 0.1, 0.9, 0.1],
            "loss": [0.105, 2.303, 0.223, 1.204, 0.223, 0.105, 0.105, 0.105],
        }
    )


@pytest.fixture
def databunch() -> SimpleNamespace:
    cells = pd.DataFrame({"cell_id": list("hgfedcba")})
    pixels = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.full((1, 4, 4, 3), 10, dtype=np.uint8)
    return SimpleNamespace(pixels=pixels, cells=cells)


@pytest.fixture
def batches() -> pd.DataFrame:
    rows = [("stage_1", 1), ("stage_1", 1), ("stage_1", 2), ("stage_1", 2), ("stage_2", 1), ("stage_2", 1)]
    return pd.DataFrame(rows, columns=["stage", "epoch"]).assign(
        batch=range(1, 7),
        train_loss=[0.9, 0.7, 0.5, 0.6, 0.3, 0.1],
        smooth_loss=[0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
        lr=[1e-3, 2e-3, 1e-3, 1e-6, 1e-4, 1e-8],
    )


@pytest.fixture
def history() -> pd.DataFrame:
    return pd.DataFrame(
        {"stage": ["stage_1", "stage_1", "stage_2"], "epoch": [1, 2, 1], "valid_loss": [0.8, 0.4, 0.45]}
    )


def test_the_confusion_matrix_has_counts_and_shares_of_each_row(predictions):
    figure = draw_confusion_matrix(predictions, Look(title="net: confusion"), threshold=0.5)
    valid, test = figure.axes
    assert [text.get_text() for text in valid.texts] == ["2\n66.7 %", "1\n33.3 %", "1\n33.3 %", "2\n66.7 %"]
    assert [text.get_text() for text in test.texts] == ["1\n100.0 %", "0\n0.0 %", "0\n0.0 %", "1\n100.0 %"]
    assert [label.get_text() for label in valid.get_xticklabels()] == ["Parasitized", "Uninfected"]
    assert "validation, 6 cells" in texts(figure)
    assert "net: confusion" in texts(figure)


def test_the_confusion_matrix_has_a_panel_for_each_split_present(predictions):
    valid = predictions[predictions["split"] == "valid"]
    one = draw_confusion_matrix(valid, LOOK, threshold=0.5)
    two = draw_confusion_matrix(predictions, LOOK, threshold=0.5)
    assert png_size(one) == (500, 500)
    assert png_size(two) == (1000, 500)


def test_a_class_without_cells_is_said_in_the_confusion_matrix(predictions):
    only = predictions[predictions["label"] == "Uninfected"]
    figure = draw_confusion_matrix(only, LOOK, threshold=0.5)
    assert "0\nno such cell" in texts(figure)


def test_loss_curves_show_training_over_batches_and_validation_at_the_epochs_ends(batches, history):
    figure = draw_loss_curves(batches, history, Look(title="net: loss"))
    losses, rates = figure.axes
    raw, smooth, valid = losses.lines[:3]
    assert list(raw.get_ydata()) == list(batches["train_loss"])
    assert list(smooth.get_ydata()) == list(batches["smooth_loss"])
    assert (list(valid.get_xdata()), list(valid.get_ydata())) == ([2, 4, 6], [0.8, 0.4, 0.45])
    assert raw.get_alpha() < 1
    assert list(rates.lines[0].get_ydata()) == list(batches["lr"])
    assert losses.get_shared_x_axes().joined(losses, rates)


def test_loss_curves_mark_the_stages_and_the_lowest_validation_loss(batches, history):
    losses, _ = draw_loss_curves(batches, history, LOOK).axes
    stars = [line for line in losses.lines if line.get_marker() == "*"]
    assert [(list(star.get_xdata()), list(star.get_ydata())) for star in stars] == [([4], [0.4])]
    assert "lowest validation loss: 0.4000, stage 1 epoch 2" in [t.get_text() for t in losses.get_legend().get_texts()]
    assert [line.get_xdata()[0] for line in losses.lines if line.get_linestyle() == "--"] == [4.5]
    assert [text.get_text() for text in losses.texts] == ["stage 1", "stage 2"]


def test_loss_curves_of_a_diverged_training_are_drawn(batches, history):
    nothing = draw_loss_curves(
        batches.assign(train_loss=np.nan, smooth_loss=np.nan),
        history.assign(valid_loss=np.nan),
        LOOK,
    )
    assert png_size(nothing) == (900, 600)


def test_the_worst_cells_come_first_and_ties_go_by_name(predictions, databunch):
    figure = draw_top_losses(predictions, databunch, LOOK, threshold=0.5, count=4)
    assert [axes.get_xlabel() for axes in figure.axes] == ["b", "d", "c", "e"]
    assert [axes.get_title() for axes in figure.axes] == [
        "Uninfected / Parasitized / 2.30 / 0.100",
        "Parasitized / Uninfected / 1.20 / 0.700",
        "Parasitized / Parasitized / 0.22 / 0.800",
        "Uninfected / Uninfected / 0.22 / 0.200",
    ]
    assert any("p(parasitized)" in text for text in texts(figure))


def test_a_worst_cell_is_shown_with_its_own_pixels(predictions, databunch):
    figure = draw_top_losses(predictions, databunch, LOOK, threshold=0.5, count=1)
    # Cell b is row 6 of the databunch, whose pixels are 60.
    assert (figure.axes[0].images[0].get_array() == 60).all()


def test_fewer_cells_than_asked_for_are_drawn(predictions, databunch):
    figure = draw_top_losses(predictions.head(2), databunch, LOOK, threshold=0.5, count=9)
    assert len(figure.axes) == 2
    assert png_size(figure) == (2000, 1100)


def test_a_cell_without_pixels_is_named(predictions, databunch):
    databunch.cells = databunch.cells.replace("b", "x")
    with pytest.raises(ValueError, match=r"cells \['b'\] have no pixels.*predict again"):
        draw_top_losses(predictions, databunch, LOOK, threshold=0.5, count=9)


@pytest.mark.parametrize(("count", "grid"), [(25, (5, 5)), (7, (3, 3)), (1, (1, 1))])
def test_a_batch_is_laid_out_as_square_as_possible(count, grid):
    images = np.zeros((count, 8, 8, 3), dtype=np.uint8)
    figure = draw_batch_preview(images, ["Parasitized"] * count, LOOK)
    assert len(figure.axes) == count
    assert figure.axes[0].get_gridspec().get_geometry() == grid
    assert {axes.get_title() for axes in figure.axes} == {"Parasitized"}


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="0 images"):
        draw_batch_preview(np.zeros((0, 8, 8, 3), dtype=np.uint8), [], LOOK)


@pytest.mark.parametrize("phantom", [True, False])
def test_every_figure_of_phantoms_says_so(phantom, predictions, databunch, batches, history):
    look = Look(phantom=phantom)
    drawn = [
        draw_confusion_matrix(predictions, look, threshold=0.5),
        draw_loss_curves(batches, history, look),
        draw_top_losses(predictions, databunch, look, threshold=0.5, count=9),
        draw_batch_preview(databunch.pixels, ["Uninfected"] * 8, look),
    ]
    assert [any(PHANTOM_NOTE in text for text in texts(figure)) for figure in drawn] == [phantom] * 4


def svg_texts(svg: bytes) -> str:
    return " ".join(text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip())


def test_a_figure_of_lines_is_an_svg_that_knows_the_dark(batches, history):
    svg = svg_of(draw_loss_curves(batches, history, Look(title="net \x07 <b>")))
    assert b"@media screen and (prefers-color-scheme:dark)" in svg
    assert "net \ufffd <b>" in svg_texts(svg)
    assert b"#000000" not in svg


def test_a_figure_with_photographs_is_no_svg(databunch):
    assert svg_of(draw_batch_preview(databunch.pixels, ["Uninfected"] * 8, LOOK)) is None


def test_the_roc_curves_of_variants_stand_over_each_other(predictions):
    predictions = predictions.assign(p_calibrated=predictions["p_parasitized"])
    metrics, point = measure(predictions, threshold=0.5), measure_at(predictions, threshold=0.7)
    names = ("resnet34", "resnet18")
    sweep = sweep_thresholds(predictions, "valid")
    figure = draw_roc_curves(dict.fromkeys(names, sweep), dict.fromkeys(names, metrics), {"resnet18": point}, LOOK)
    curves = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    assert [line.get_label().split(":")[0] for line in curves] == list(names)
    assert curves[0].get_xydata().tolist() == [list(corner) for corner in sweep.roc]
    marks = [line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_marker() == "o"]
    valid = point.splits["valid"]
    assert marks == [[[1 - valid.specificity, valid.sensitivity]]]


def test_without_a_curve_the_figure_says_why(predictions):
    one_class = predictions[predictions["label"] == "Uninfected"]
    sweep = sweep_thresholds(one_class, "valid", "p_parasitized")
    figure = draw_roc_curves({"net": sweep}, {"net": measure(one_class, threshold=0.5)}, {}, LOOK)
    assert "cells of both classes" in " ".join(" ".join(texts(figure)).split())
