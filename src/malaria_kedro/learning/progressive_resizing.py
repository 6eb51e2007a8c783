"""Progressive resizing: early epochs train on small images, which are cheap and sufficient for coarse features."""

from __future__ import annotations

import torch
from fastai.callback.core import Callback
from torch import nn

from malaria_kedro.parameters import Stage


def size_of_epoch(recipe: Stage, full: int, epoch: int) -> int:
    """Return the side of the training images of an epoch, counted from 0, in px.

    It is ``initial_size`` until the share ``full_size_after`` of the epochs is done, then ``full``, that of all images
    (Howard 2018, fastai's DAWNBench entry).
    """
    if recipe.initial_size is None or epoch >= round(recipe.full_size_after * recipe.epochs):
        return full
    return min(recipe.initial_size, full)


class ProgressiveResizing(Callback):
    """Reduces the training batches of early epochs; validation sees full size.

    The size depends on the number of the epoch alone, so that a training resumes exactly.
    """

    order = -5  # before anything computes with the batch

    def __init__(self, recipe: Stage, full: int) -> None:
        self.recipe, self.full = recipe, full

    def before_batch(self) -> None:
        """Reduce the batch, float32 B×3×S×S, with the average over the pixels that become one."""
        size = size_of_epoch(self.recipe, self.full, self.epoch)
        if not self.training or size == self.full:
            return
        images = self.xb[0].as_subclass(torch.Tensor)
        reduced = nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        self.learn.xb = (reduced, *self.xb[1:])
