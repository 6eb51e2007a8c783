"""Curves and the reliability diagram: what they show, read back from their axes and texts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import expit
from sklearn.metrics import precision_recall_curve, roc_curve

from drawn_figures import png_size, texts
from malaria_kedro.evaluation.bootstrap import Bootstrap
from malaria_kedro.evaluation.measurements import Measurement
from malaria_kedro.evaluation.metrics import measure, measure_at
from malaria_kedro.figures.curves import PRECISION_RECALL, ROC, draw_curve, draw_reliability_diagram
from malaria_kedro.figures.style import PHANTOM_NOTE, Look
from malaria_kedro.learning.calibration import apply_temperature, calibrate

LOOK = Look(title="net: a curve")
PHANTOM_LOOK = Look(title="net: a curve", phantom=True)


def table(labels: str, probabilities: list[float], split: str = "valid") -> pd.DataFrame:
    """Make predictions from a word of P and U."""
    label = ["Parasitized" if letter == "P" else "Uninfected" for letter in labels]
    p = np.asarray(probabilities, dtype=float)
    return pd.DataFrame({"patient_id": None, "split": split, "label": label, "p_parasitized": p, "loss": 0.1})


def cells(n: int, split: str, seed: int, sharpness: float = 3.0) -> pd.DataFrame:
    """Make predictions that are right more often than not, and too sure of it."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, n)
    actual = generator.random(n) < expit(logits)
    made = table("".join("P" if is_so else "U" for is_so in actual), expit(sharpness * logits), split)
    return made.assign(patient_id=[f"C{number % 15}" for number in range(n)])


@dataclass(frozen=True)
class Measured:
    """What is known of predictions once they are calibrated and measured."""

    metrics: Measurement
    operating_point: Measurement | None
    calibration: dict[str, Any]


def calibrated(predictions: pd.DataFrame, target: float = 0.9) -> tuple[pd.DataFrame, Measured]:
    """Calibrate and measure as the report does."""
    found = calibrate(predictions[predictions["split"] == "valid"], target)
    predictions = predictions.assign(p_calibrated=apply_temperature(predictions["p_parasitized"], found.temperature))
    point = None if found.threshold is None else measure_at(predictions, threshold=found.threshold)
    measured = measure(predictions, threshold=0.5, intervals=Bootstrap(draws=40))
    return predictions, Measured(measured, point, found)


def draw_roc(predictions: pd.DataFrame, found: Measured, look: Look) -> Figure:
    return draw_curve(ROC, predictions, found.metrics, look, found.operating_point)


def draw_precision_recall(predictions: pd.DataFrame, found: Measured, look: Look) -> Figure:
    return draw_curve(PRECISION_RECALL, predictions, found.metrics, look, found.operating_point)


def draw_reliability(predictions: pd.DataFrame, found: Measured, look: Look) -> Figure:
    return draw_reliability_diagram(predictions, look, found.calibration)


CURVES = [draw_roc, draw_precision_recall]


@pytest.fixture(scope="module")
def both() -> tuple[pd.DataFrame, Measured]:
    return calibrated(pd.concat([cells(400, "valid", 1), cells(300, "test", 2)], ignore_index=True))


def curves_of(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if len(line.get_xdata()) > 2]


def points_of(axes: Axes, marker: str) -> list[tuple[float, float]]:
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == marker]


def of_split(predictions: pd.DataFrame, split: str) -> tuple[np.ndarray, np.ndarray]:
    rows = predictions[predictions["split"] == split]
    return (rows["label"] == "Parasitized").to_numpy(), rows["p_parasitized"].to_numpy()


def test_the_roc_curve_is_that_of_scikit_learn_for_each_split(both):
    predictions, found = both
    axes = draw_roc(predictions, found, LOOK).axes[0]
    for line, split in zip(curves_of(axes), ("valid", "test"), strict=True):
        false_positive_rate, sensitivity, _ = roc_curve(*of_split(predictions, split))
        assert list(line.get_xdata()) == list(false_positive_rate)
        assert list(line.get_ydata()) == list(sensitivity)


def test_the_precision_recall_curve_has_steps(both):
    predictions, found = both
    axes = draw_precision_recall(predictions, found, LOOK).axes[0]
    for line, split in zip(curves_of(axes), ("valid", "test"), strict=True):
        precision, recall, _ = precision_recall_curve(*of_split(predictions, split))
        assert list(line.get_xdata()) == list(recall)
        assert list(line.get_ydata()) == list(precision)
        assert line.get_drawstyle() == "steps-post"


@pytest.mark.parametrize(("draw", "area"), [(draw_roc, "roc_auc"), (CURVES[1], "average_precision")])
def test_the_legend_has_the_area_of_the_metrics_and_its_interval(draw, area, both):
    predictions, found = both
    shown = texts(draw(predictions, found, LOOK))
    for split, name in (("valid", "validation"), ("test", "test")):
        values = found.metrics.splits[split]
        low, high = values.intervals[area]
        words = f"{values.score(area):.3f} (95 % CI {low:.3f}–{high:.3f})"
        assert [text for text in shown if text.startswith(f"{name}: ") and text.endswith(words)]


def test_the_operating_point_and_the_usual_threshold_are_marked_where_the_metrics_have_them(both):
    predictions, found = both
    axes = draw_roc(predictions, found, LOOK).axes[0]
    for marker, measured in (("s", found.metrics), ("o", found.operating_point)):
        expected = [(1 - split.specificity, split.sensitivity) for split in measured.splits.values()]
        assert points_of(axes, marker) == expected
    axes = draw_precision_recall(predictions, found, LOOK).axes[0]
    for marker, measured in (("s", found.metrics), ("o", found.operating_point)):
        expected = [(split.sensitivity, split.precision) for split in measured.splits.values()]
        assert points_of(axes, marker) == expected


@pytest.mark.parametrize("draw", CURVES)
def test_a_marked_point_lies_on_its_curve(draw, both):
    predictions, found = both
    axes = draw(predictions, found, LOOK).axes[0]
    for marker in "so":
        for line, (x, y) in zip(curves_of(axes), points_of(axes, marker), strict=True):
            # Both curves have corners only: the ROC curve leaves out what lies on a straight line.
            step_x, step_y = (np.sort([data[:-1], data[1:]], axis=0) for data in (line.get_xdata(), line.get_ydata()))
            on_x = (step_x[0] <= x + 1e-9) & (x - 1e-9 <= step_x[1])
            on_y = (step_y[0] <= y + 1e-9) & (y - 1e-9 <= step_y[1])
            assert (on_x & on_y & ((np.ptp(step_x, axis=0) == 0) | (np.ptp(step_y, axis=0) == 0))).any()


def test_the_legend_names_both_thresholds(both):
    predictions, found = both
    shown = texts(draw_roc(predictions, found, LOOK))
    assert "called parasitized from p = 0.5" in shown
    assert f"operating point: from calibrated p = {found.operating_point.threshold:.3g}" in shown


def test_without_an_operating_point_only_the_usual_threshold_is_marked(both):
    predictions, found = both
    figure = draw_curve(ROC, predictions, found.metrics, LOOK)
    assert points_of(figure.axes[0], "o") == []
    assert len(points_of(figure.axes[0], "s")) == 2


def test_the_corner_of_a_good_curve_is_shown_larger_too(both):
    weak = draw_roc(*both, LOOK)
    assert [len(axes.child_axes) for axes in weak.axes] == [0]
    good = draw_roc(*calibrated(table("PPPPUUUU", [0.9, 0.8, 0.7, 0.6, 0.65, 0.1, 0.2, 0.3])), LOOK)
    (corner,) = good.axes[0].child_axes
    assert corner.get_xlim() == pytest.approx((0, 0.2), abs=0.01)
    assert corner.get_ylim() == pytest.approx((0.8, 1), abs=0.01)
    assert len(curves_of(corner)) == 1


@pytest.mark.parametrize(
    ("draw", "labels", "reason"),
    [
        (draw_roc, "UUU", "validation: no curve, because every cell is uninfected."),
        (draw_roc, "PPP", "validation: no curve, because every cell is parasitized."),
        (draw_precision_recall, "UUU", "validation: no curve, because no cell is parasitized."),
    ],
)
def test_a_split_without_a_curve_says_why(draw, labels, reason):
    one_class = table(labels, [0.1, 0.2, 0.6])
    alone = draw(*calibrated(one_class), LOOK)
    assert reason in " ".join(" ".join(texts(alone)).split())
    assert len(alone.axes[0].lines) == 0
    with_test = pd.concat([one_class, table("PUPU", [0.9, 0.1, 0.3, 0.6], "test")])
    beside = draw(*calibrated(with_test), LOOK)
    assert reason in texts(beside)
    assert len(curves_of(beside.axes[0])) == 1


@pytest.mark.parametrize("draw", [*CURVES, draw_reliability])
@pytest.mark.parametrize(
    ("labels", "p"),
    [("P", [0.9]), ("U", [0.9]), ("PPP", [0.1, 0.9, 0.5]), ("PPUU", [0.5] * 4), ("PUU", [1.0, 0.0, 0.0])],
)
def test_few_cells_one_class_and_constant_predictions_are_drawn(draw, labels, p):
    figure = draw(*calibrated(table(labels, p)), PHANTOM_LOOK)
    assert png_size(figure) == ((900, 450) if draw is draw_reliability else (500, 500))


@pytest.mark.parametrize("draw", CURVES)
def test_without_an_interval_the_area_says_so(draw, both):
    predictions, _ = both
    shown = texts(draw(predictions, Measured(measure(predictions, threshold=0.5), None, {}), LOOK))
    assert sum(text.endswith("(no interval)") for text in shown) == 2


def test_an_area_that_is_nearly_1_is_not_rounded_to_1(both):
    predictions, found = both
    nearly = {"roc_auc": 0.99982, "intervals": {"roc_auc": (0.9991, 0.9999)}}
    splits = {"valid": found.metrics.splits["valid"].model_copy(update=nearly)}
    shown = texts(draw_curve(ROC, predictions, found.metrics.model_copy(update={"splits": splits}), LOOK))
    assert any("0.9998 (95 % CI 0.9991–0.9999)" in text for text in shown)


@pytest.mark.parametrize("draw", CURVES)
def test_metrics_of_other_predictions_are_refused(draw, both):
    predictions, found = both
    with pytest.raises(ValueError, match="split 'test' has no predicted cells"):
        draw(predictions[predictions["split"] == "valid"], found, LOOK)


def test_reliability_is_the_share_parasitized_against_the_mean_probability():
    # Bins 1 (0.1, 0.11: none), 7 (0.5: one of two) and 13 (0.9, three of four).
    labels, p = 20 * "UUPUPPPU", 20 * [0.1, 0.11, 0.5, 0.5, 0.9, 0.9, 0.9, 0.9]
    predictions = table(labels, p).assign(p_calibrated=0.5)
    figure = draw_reliability_diagram(predictions, LOOK)
    panel, after, counts, _ = figure.axes
    line = curves_of(panel)[0]
    assert line.get_xdata() == pytest.approx([0.105, 0.5, 0.9])
    assert line.get_ydata() == pytest.approx([0, 0.5, 0.75])
    heights = [bar.get_height() for bar in counts.patches]
    assert len(heights) == 15
    assert (heights[1], heights[7], heights[13], sum(heights)) == (40, 40, 80, 160)
    # |0.105 - 0| * 2/8 + 0 + |0.9 - 0.75| * 4/8 = 0.10125
    assert panel.get_title().endswith("off by 10.1 percentage points on average (ECE 0.101)")
    assert "calibrated" in after.get_title()


def test_reliability_stands_before_and_after_for_validation_and_test(both):
    predictions, found = both
    figure = draw_reliability(predictions, found, LOOK)
    assert png_size(figure) == (900, 900)
    titles = [axes.get_title().splitlines()[0] for axes in figure.axes if axes.get_title()]
    assert titles == [
        f"{name}, {what}" for name in ("validation", "test") for what in ("as the network says", "calibrated")
    ]
    errors = [float(axes.get_title().split("ECE ")[1].rstrip(")")) for axes in figure.axes if axes.get_title()]
    expected = [(values.ece, values.calibrated.ece) for values in found.metrics.splits.values()]
    assert errors == pytest.approx(np.ravel(expected), abs=0.0006)
    assert errors[1] < errors[0]
    assert errors[3] < errors[2]
    assert any(f"one temperature, {found.calibration.temperature:.3g}, fitted on" in text for text in texts(figure))


def test_bins_of_few_cells_are_hollow():
    predictions = table("P" * 25 + "U", [0.9] * 25 + [0.1]).assign(p_calibrated=0.5)
    panel = draw_reliability_diagram(predictions, LOOK).axes[0]
    enough, few = panel.collections[-2:]
    assert enough.get_offsets().data[:, 0] == pytest.approx([0.9])
    assert few.get_offsets().data[:, 0] == pytest.approx([0.1])
    assert list(few.get_facecolor()[0][:3]) == [1, 1, 1]


def test_an_older_classifier_without_a_temperature_is_said_to_be_uncalibrated():
    older = table("PU", [0.9, 0.2])
    for predictions in (older, older.assign(p_calibrated=older["p_parasitized"])):
        figure = draw_reliability_diagram(predictions, LOOK)
        assert "Nothing was calibrated" in " ".join(texts(figure))
        assert png_size(figure) == (900, 450)


def test_why_a_temperature_stays_1_is_said():
    predictions, found = calibrated(table("UUU", [0.1, 0.2, 0.3]))
    figure = draw_reliability(predictions, found, LOOK)
    assert any("temperature stays 1, because every cell is uninfected." in text for text in texts(figure))


@pytest.mark.parametrize("draw", [*CURVES, draw_reliability])
@pytest.mark.parametrize("phantom", [True, False])
def test_every_figure_of_phantoms_says_so(draw, phantom, both):
    shown = texts(draw(*both, PHANTOM_LOOK if phantom else LOOK))
    assert any(PHANTOM_NOTE in text for text in shown) == phantom
    assert "net: a curve" in shown


@pytest.mark.parametrize("draw", [*CURVES, draw_reliability])
def test_a_probability_that_is_none_is_refused(draw):
    predictions, found = calibrated(table("PU", [0.9, 0.2]))
    with pytest.raises(ValueError, match="1 of 2 cells"):
        draw(predictions.assign(p_parasitized=[0.9, np.nan]), found, LOOK)
