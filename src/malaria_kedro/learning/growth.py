"""Images that grow while a network trains: small ones are cheap, and coarse features are learnt first."""

from __future__ import annotations

import torch
from fastai.callback.core import Callback
from torch import nn

from malaria_kedro.parameters import Stage


def size_of_epoch(recipe: Stage, full: int, epoch: int) -> int:
    """Return the side of the training images of an epoch, px.

    It is ``first_size`` until ``full_size_from`` of the epochs are done, then full (progressive resizing; Howard 2018,
    fastai's DAWNBench entry).

    Args:
        recipe: of the stage; with a ``first_size``.
        full: side of the images, px.
        epoch: from 0.
    """
    if recipe.first_size is None or epoch >= round(recipe.full_size_from * recipe.epochs):
        return full
    return min(recipe.first_size, full)


class GrowImages(Callback):
    """Reduces the training batches of early epochs; validation sees full size. It depends on the epoch's number alone,
    so a training that goes on does so exactly.
    """

    order = -5  # before anything computes with the batch

    def __init__(self, recipe: Stage, full: int) -> None:
        """Take the stage's recipe and the full side, px."""
        self.recipe, self.full = recipe, full

    def before_batch(self) -> None:
        """Reduce the batch, float32 B×3×S×S, with the average over the pixels that become one."""
        size = size_of_epoch(self.recipe, self.full, self.epoch)
        if not self.training or size == self.full:
            return
        images = self.xb[0].as_subclass(torch.Tensor)
        reduced = nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        self.learn.xb = (reduced, *self.xb[1:])
