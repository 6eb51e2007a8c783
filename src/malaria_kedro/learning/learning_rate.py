"""fastai's learning-rate finder (Smith 2015, arXiv:1506.01186) on one variant."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from fastai.callback.schedule import minimum, steep, valley

from malaria_kedro.files import temporary_folder
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.hardware import choose_hardware, log_hardware
from malaria_kedro.learning.history import TrainingError
from malaria_kedro.learning.seeding import EpochSeeds
from malaria_kedro.learning.training import explained, make_learner, make_network, released
from malaria_kedro.parameters import LearningRateFinder, Training, Variant

LEFT_OUT_AT_THE_END = 5  # batches, as fastai does: there the loss explodes
FEWEST_POINTS = 3  # fewer have no slope to compare


@dataclass(frozen=True, eq=False)
class LearningRateCurve:
    """Loss against learning rate, and what fastai's rules suggest from it, within the rates searched.

    The rules are ``minimum`` (a tenth of where the loss is lowest), ``steep`` (where it falls fastest) and ``valley``
    (within its longest fall).
    """

    rates: np.ndarray = field(repr=False)  # of each batch, rising, float64
    losses: np.ndarray = field(repr=False)  # smoothed training loss after each batch, float64, nats
    suggestions: dict[str, float]  # by rule


def find_learning_rate(
    bunch: DataBunch, variant: Variant, training: Training, search: LearningRateFinder
) -> LearningRateCurve:
    """Raise the rate from batch to batch and record the loss; the network is discarded afterwards.

    It trains what stage 1 would: the head if there are weights to start from, else everything.

    Raises:
        TrainingError: the loss exploded before there was a curve, or the GPU's memory is full.
        DeviceError, WeightsError: device or weights asked for are not there.
    """
    hardware = choose_hardware(training)
    log_hardware(hardware)
    network, pretrained = make_network(variant)
    seeds = EpochSeeds(variant.seed, "stage_1")
    learner = make_learner(bunch, network, variant, variant.stage_1, hardware, training, [seeds])
    if pretrained:
        learner.freeze()
    # fastai keeps the weights in a file while it searches, by default in the current folder.
    with (
        released(learner),
        temporary_folder() as folder,
        explained(variant.name, learner.dls.train.bs),
    ):
        learner.path = folder
        learner.lr_find(search.start_lr, search.end_lr, search.num_it, show_plot=False, suggest_funcs=None)
        rates = np.asarray(learner.recorder.lrs, dtype=float)
        losses = np.asarray([float(loss) for loss in learner.recorder.losses])
    suggestions = suggest_learning_rates(rates, losses, search)
    return LearningRateCurve(rates, losses, suggestions)


def suggest_learning_rates(rates: np.ndarray, losses: np.ndarray, search: LearningRateFinder) -> dict[str, float]:
    """Apply fastai's rules to a curve, leaving out its first tenth, its end and whatever is not a number.

    Raises:
        TrainingError: too little is left.
    """
    part = slice(search.num_it // 10, -LEFT_OUT_AT_THE_END)
    kept = np.logical_and.accumulate(np.isfinite(losses[part]))
    rates, losses = rates[part][kept], losses[part][kept]
    if len(rates) < FEWEST_POINTS:
        raise TrainingError(
            f"the loss exploded after {len(losses)} useful batches of {search.num_it}: too few for a suggestion; lower "
            f"learning_rate.start_lr, now {search.start_lr}, or raise learning_rate.num_it"
        )
    points = torch.tensor(rates), torch.tensor(losses), search.num_it
    # valley compares every pair, which is slow on tensors.
    found = {"minimum": minimum(*points), "steep": steep(*points), "valley": valley(list(rates), list(losses), 0)}
    return {rule: float(np.clip(rate, search.start_lr, search.end_lr)) for rule, (rate, _) in found.items()}
