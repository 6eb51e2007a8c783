"""The layers of a network as fastai lists them, as ``learn.summary()`` does."""

from __future__ import annotations

import torch
from fastai.callback.core import TrainEvalCallback
from fastai.callback.hook import module_summary
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat

from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.loaders import make_dataloaders
from malaria_kedro.learning.metadata import name_network
from malaria_kedro.learning.network import build_network
from malaria_kedro.parameters import Variant


def summarise_network(bunch: DataBunch, variant: Variant) -> str:
    """Return a text table of kind, output shape, parameters and whether they are trained; totals below."""
    network = build_network(variant.arch, variant.dropout, variant.slim_resnet)
    dls = make_dataloaders(bunch, variant.batch_size)
    # Without the default callbacks, which print a progress bar.
    learner = Learner(dls, network, loss_func=CrossEntropyLossFlat(), cbs=TrainEvalCallback, default_cbs=False)
    batch = torch.zeros(variant.batch_size, 3, bunch.image_size, bunch.image_size)
    return f"{name_network(variant.arch, variant.slim_resnet)}: {module_summary(learner, batch)}"
