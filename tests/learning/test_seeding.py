"""Seeds: a rule, not a state."""

import random

import numpy as np
import torch

from malaria_kedro.learning.seeding import epoch_seed, seed_all


def test_an_epochs_seed_depends_on_seed_stage_and_epoch_only():
    assert epoch_seed(1, "stage_1", 3) == epoch_seed(1, "stage_1", 3)


def test_no_two_epochs_share_a_seed():
    seeds = [epoch_seed(s, stage, e) for s in range(3) for stage in ("stage_1", "stage_2") for e in range(1, 30)]
    assert len(set(seeds)) == len(seeds)


def test_python_numpy_and_torch_draw_the_same_after_the_same_seed():
    def draw():
        seed_all(7)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()
