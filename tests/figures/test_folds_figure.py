"""The figure of the folds: what it shows, read back from its axes and texts."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from drawn_figures import png_size, texts
from malaria_kedro.evaluation.measurements import ProtocolMetrics
from malaria_kedro.figures.folds import draw_folds
from malaria_kedro.figures.style import PHANTOM_NOTE, Look

METRICS = ("accuracy", "sensitivity", "specificity", "roc_auc")


def protocol(
    values: dict[str, list[float | None]], shared: int | None = 0, patients: int | None = 200
) -> ProtocolMetrics:
    """Make the metrics of a protocol from the values of each fold."""
    count = len(next(iter(values.values()), []))
    known = {name: [value for value in of if value is not None] for name, of in values.items()}
    size = {"n": 1000, "n_parasitized": 500, "n_patients": patients}
    confusion = {"tp": 0, "fn": 0, "fp": 0, "tn": 0}
    return ProtocolMetrics.model_validate(
        {
            "n": 1000 * count,
            "n_patients": patients,
            "shared_patients": shared,
            "folds": [
                {"seed": 42, "fold": i + 1, **size, **{name: of[i] for name, of in values.items()}}
                for i in range(count)
            ],
            "mean": {name: float(np.mean(of)) if of else None for name, of in known.items()},
            "sd": {name: float(np.std(of, ddof=1)) if len(of) > 1 else None for name, of in known.items()},
            "pooled": {**size, "confusion": confusion},
        }
    )


def draw(*, phantom: bool = False, **protocols: ProtocolMetrics) -> Figure:
    return draw_folds(protocols, Look(title="net: folds", phantom=phantom))


def scattered(figure: Figure) -> list[list[float]]:
    """Return the heights of each set of points."""
    return [np.asarray(points.get_offsets())[:, 1].tolist() for points in figure.axes[0].collections]


@pytest.fixture
def patient() -> ProtocolMetrics:
    return protocol(
        {"accuracy": [0.95, 0.96], "sensitivity": [0.9, 0.92], "specificity": [0.99, 1.0], "roc_auc": [0.98, 0.99]}
    )


def test_each_fold_is_a_point_of_each_metric(patient):
    figure = draw(patient=patient)
    assert [points for points in scattered(figure) if len(points) == 2] == [
        [0.95, 0.96],
        [0.9, 0.92],
        [0.99, 1.0],
        [0.98, 0.99],
    ]
    labels = [label.get_text().replace("\n", " ") for label in figure.axes[0].get_xticklabels()]
    assert labels == ["accuracy", "sensitivity", "specificity", "area under the ROC curve"]


def test_mean_and_standard_deviation_are_written(patient):
    shown = texts(draw(patient=patient))
    assert {"95.5\n± 0.7", "91.0\n± 1.4", "99.5\n± 0.7", "98.5\n± 0.7"} <= set(shown)


def test_both_protocols_stand_side_by_side_with_the_patients_they_share(patient):
    random = protocol({name: [0.97, 0.99] for name in METRICS}, shared=187)
    figure = draw(patient=patient, random=random)
    assert len([points for points in scattered(figure) if len(points) == 2]) == 8
    legend = [text.get_text().replace("\n", " ") for text in figure.axes[0].get_legend().get_texts()]
    assert legend == [
        "held-out patients: 2 folds, 2,000 cells, 0 of 200 patients in both splits",
        "held-out cells, as in the tutorial: 2 folds, 2,000 cells, 187 of 200 patients in both splits",
    ]


def test_unknown_patients_are_said_to_be_unknown():
    of_unknown = protocol({name: [0.9, 0.8] for name in METRICS}, shared=None, patients=None)
    shown = texts(draw(random=of_unknown))
    assert any(text.endswith("patients not known") for text in shown)


def test_what_a_fold_does_not_define_is_left_out_and_said():
    values = {name: [0.9, 0.8, 0.7] for name in METRICS}
    patient = protocol(values | {"roc_auc": [None, 0.9, None], "sensitivity": [0.9, None, 0.7]})
    figure = draw(patient=patient)
    foot = "\n".join(texts(figure))
    assert "patient: roc_auc is undefined in 2 of 3 folds" in foot
    assert "patient: sensitivity is undefined in 1 of 3 folds" in foot
    assert "90.0" in texts(figure)  # a single fold has a mean and no deviation


@pytest.mark.parametrize(
    "empty",
    [
        {},
        {"patient": protocol({})},
        {"patient": protocol({name: [None, None] for name in METRICS})},
    ],
)
def test_without_a_figure_of_a_fold_that_is_said(empty):
    figure = draw(**empty)
    assert any("No fold has a metric that can be drawn" in text for text in texts(figure))
    assert png_size(figure) == (600, 480)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_folds_without_any_spread_are_drawn(value):
    figure = draw(patient=protocol({name: [value] * 5 for name in METRICS}))
    low, high = figure.axes[0].get_ylim()
    assert low < value < high
    assert png_size(figure) == (600, 480)


@pytest.mark.parametrize("phantom", [True, False])
def test_a_figure_of_phantoms_says_so(phantom, patient):
    shown = texts(draw(patient=patient, phantom=phantom))
    assert any(PHANTOM_NOTE in text for text in shown) == phantom
    assert "net: folds" in shown
