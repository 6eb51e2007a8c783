"""fastai's learning-rate finder (Smith 2015, arXiv:1506.01186) on one variant."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from fastai.callback.schedule import minimum, steep, valley
from matplotlib.figure import Figure

from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.hardware import choose_hardware, log_hardware
from malaria_kedro.learning.network import build_network, load_pretrained
from malaria_kedro.learning.seeding import epoch_seed, seed_all
from malaria_kedro.learning.training import make_learner
from malaria_kedro.parameters import RateSearch, Training, Variant

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RateCurve:
    """Loss against learning rate, and what fastai's rules suggest from it."""

    rates: np.ndarray
    losses: np.ndarray
    suggestions: dict[str, float]


def search_rate(bunch: DataBunch, name: str, variant: Variant, training: Training, search: RateSearch) -> RateCurve:
    """Let the rate rise over some batches and watch the loss; the network is thrown away afterwards."""
    hardware = choose_hardware(training)
    log_hardware(hardware)
    seed_all(epoch_seed(variant.seed, "initial", 0))
    network = build_network(variant.arch, variant.dropout)
    pretrained = load_pretrained(network, variant.arch, variant.pretrained)
    learner = make_learner(bunch, network, variant, variant.stage_1, hardware, training, [])
    if pretrained:
        learner.freeze()
    with learner.no_logging():
        found = learner.lr_find(
            search.start_lr,
            search.end_lr,
            num_it=search.num_it,
            show_plot=False,
            suggest_funcs=(minimum, steep, valley),
        )
    curve = RateCurve(
        np.asarray(learner.recorder.lrs),
        np.asarray([float(loss) for loss in learner.recorder.losses]),
        {
            rule: float(rate)
            for rule, rate in zip(("minimum", "steep", "valley"), found, strict=True)
            if math.isfinite(rate)
        },
    )
    logger.info("%s: suggested rates %s", name, {rule: f"{rate:.1e}" for rule, rate in curve.suggestions.items()})
    return curve


def draw_rate_curve(curve: RateCurve, *, title: str, size: tuple[float, float], dpi: int) -> Figure:
    """Draw the loss over the rate (logarithmic), with the suggested rates marked."""
    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color="#0072B2")
    for (rule, rate), colour in zip(curve.suggestions.items(), ("#999999", "#E69F00", "#D55E00"), strict=False):
        axes.axvline(rate, color=colour, linestyle="--", label=f"{rule}: {rate:.1e}")
    axes.set(
        xscale="log", xlabel="learning rate", ylabel="smoothed training loss", title=f"{title}: learning-rate search"
    )
    # The loss explodes at the end of the search; what matters lies below twice its start.
    axes.set_ylim(top=2 * curve.losses[: max(1, len(curve.losses) // 4)].max())
    axes.legend()
    return figure
