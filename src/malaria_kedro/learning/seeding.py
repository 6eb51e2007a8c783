"""Random state from (seed, stage, epoch) alone, so that any epoch can be repeated by itself."""

from __future__ import annotations

import numpy as np
from fastai.callback.core import Callback
from fastai.torch_core import set_seed

STAGES = ("initial", "stage_1", "stage_2")


def epoch_seed(seed: int, stage: str, epoch: int) -> int:
    """Mix the three into one 32-bit number; neighbours give unrelated numbers (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, STAGES.index(stage), epoch]).generate_state(1)[0])


class EpochSeeds(Callback):
    """Seeds Python, NumPy, torch and the order of the cells before every epoch."""

    order = -100  # before anything draws

    def __init__(self, seed: int, stage: str) -> None:
        self.seed, self.stage = seed, stage

    def before_epoch(self) -> None:
        number = epoch_seed(self.seed, self.stage, self.epoch + 1)
        set_seed(number)
        self.dls.train.epoch_seed = number
