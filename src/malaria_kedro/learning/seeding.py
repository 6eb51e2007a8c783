"""Random state from (seed, stage, epoch) alone, so that any epoch can be repeated by itself."""

from __future__ import annotations

import numpy as np

STAGES = ("initial", "stage_1", "stage_2")


def epoch_seed(seed: int, stage: str, epoch: int) -> int:
    """Mix the three into one 32-bit number; neighbours give unrelated numbers (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, STAGES.index(stage), epoch]).generate_state(1)[0])
