"""Images that grow while a network trains: small ones are cheap, and coarse features are learnt first."""

from __future__ import annotations

import torch
from fastai.callback.core import Callback
from torch import nn

from malaria_kedro.parameters import Stage

# Sizes are multiples of this: a body halves an image five times, and odd sizes gain nothing.
MULTIPLE = 8


def size_of_epoch(recipe: Stage, full: int, epoch: int) -> int:
    """Return the side of the training images of an epoch, px.

    It rises evenly from ``first_size`` and is full once ``full_size_from`` of the epochs are done (progressive
    resizing; Howard 2018, fastai's DAWNBench entry).

    Args:
        recipe: of the stage; with a ``first_size``.
        full: side of the images, px.
        epoch: from 0.
    """
    small = round(recipe.full_size_from * recipe.epochs)
    if recipe.first_size is None or recipe.first_size >= full or epoch >= small:
        return full
    size = recipe.first_size + (full - recipe.first_size) * epoch / small
    return min(full, round(size / MULTIPLE) * MULTIPLE)


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
