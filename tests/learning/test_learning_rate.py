"""The learning-rate finder: a curve, suggestions within it, and no trace on the disk."""

from pathlib import Path

import numpy as np
import pytest

from malaria_kedro.figures.style import Look
from malaria_kedro.figures.training import draw_learning_rate_curve
from malaria_kedro.learning.history import TrainingError
from malaria_kedro.learning.learning_rate import LearningRateCurve, find_learning_rate, suggest_learning_rates
from malaria_kedro.parameters import LearningRateFinder

SEARCH = LearningRateFinder(start_lr=1e-5, end_lr=1.0, num_it=20)
RATES = np.geomspace(1e-5, 1.0, 20)


@pytest.fixture(scope="module")
def found(phantom_bunch, variant_of, training, tmp_path_factory) -> tuple[LearningRateCurve, Path]:
    """A search over more batches than an epoch has, started from an empty folder."""
    folder = tmp_path_factory.mktemp("started_here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return find_learning_rate(phantom_bunch, variant_of(), training, SEARCH), folder


def test_the_rate_rises_over_the_batches_asked_for(found):
    curve, _ = found
    assert curve.rates[0] == pytest.approx(SEARCH.start_lr)
    assert (np.diff(curve.rates) > 0).all()
    assert len(curve.rates) == len(curve.losses) <= SEARCH.num_it


def test_every_rule_suggests_a_rate_within_those_searched(found):
    curve, _ = found
    assert curve.suggestions.keys() == {"minimum", "steep", "valley"}
    assert all(SEARCH.start_lr <= rate <= SEARCH.end_lr for rate in curve.suggestions.values())


def test_nothing_is_left_in_the_folder_it_was_started_from(found):
    _, folder = found
    assert list(folder.iterdir()) == []


def test_the_same_seed_finds_the_same_curve(found, phantom_bunch, variant_of, training):
    again = find_learning_rate(phantom_bunch, variant_of(), training, SEARCH)
    assert np.array_equal(again.losses, found[0].losses)
    assert again.suggestions == found[0].suggestions


def test_the_curve_is_drawn_with_its_suggestions(found):
    curve, _ = found
    figure = draw_learning_rate_curve(curve.rates, curve.losses, curve.suggestions, Look(title="small"))
    axes = figure.axes[0]
    assert figure.get_suptitle() == "small"
    assert axes.get_xscale() == "log"
    assert np.array_equal(axes.lines[0].get_ydata(), curve.losses)
    assert [line.get_xdata()[0] for line in axes.lines[1:]] == list(curve.suggestions.values())


def test_minimum_is_a_tenth_of_the_rate_where_the_loss_is_lowest():
    losses = np.abs(np.log10(RATES) + 2)
    assert suggest_learning_rates(RATES, losses, SEARCH)["minimum"] == pytest.approx(RATES[losses.argmin()] / 10)


def test_a_suggestion_is_never_below_the_lowest_rate_searched():
    assert suggest_learning_rates(RATES, np.arange(20.0), SEARCH)["minimum"] >= SEARCH.start_lr


def test_losses_that_are_no_numbers_are_left_out():
    losses = np.where(np.arange(20) > 12, np.nan, np.abs(np.log10(RATES) + 3))
    assert all(np.isfinite(rate) for rate in suggest_learning_rates(RATES, losses, SEARCH).values())


@pytest.mark.parametrize("losses", [np.ones(6), np.full(20, np.nan)], ids=["stopped at once", "never a number"])
def test_a_loss_that_explodes_at_once_says_what_to_change(losses):
    with pytest.raises(TrainingError, match=r"lower learning_rate\.start_lr, now 1e-05"):
        suggest_learning_rates(RATES[: len(losses)], losses, SEARCH)
