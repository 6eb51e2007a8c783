"""The state of a Learner besides its weights, saved and restored so that epochs repeat bit for bit.

An epoch depends on the weights, the optimizer's moments, the smoothed loss, the loss scaler, the place in the schedule
and the random state. The place follows from the epoch's number, and the random state from (seed, stage, epoch), as
``malaria_kedro.learning.callbacks`` sets it; the rest is captured here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback, CancelEpochException
from fastai.learner import Learner
from fastcore.foundation import L
from pydantic import JsonValue

from malaria_kedro.learning.checkpoints import Checkpoint, Tensors


def capture(learner: Learner) -> tuple[Tensors, JsonValue]:
    """Return all of a Learner's memory but its weights: tensors on the CPU, and a skeleton that refers to them."""
    scaler = getattr(learner, "scaler", None)  # of fastai's MixedPrecision; bf16's is switched off and has no state
    smooth = learner.recorder.smooth_loss
    memory = {
        "optimizer": learner.opt.state_dict(),
        "loss_scaler": scaler.state_dict() if scaler is not None else {},
        "smooth_loss": {"count": smooth.count, "value": smooth.val},
        "schedule": {"epoch": learner.epoch + 1, "of": learner.n_epoch},
    }
    tensors: Tensors = {}
    return tensors, _take_apart(memory, "", tensors)


def restore(learner: Learner, tensors: Tensors, skeleton: JsonValue) -> None:
    """Give a Learner whose fit has begun the memory that ``capture`` took."""
    device = next(learner.model.parameters()).device
    memory = _put_together(skeleton, {key: value.to(device) for key, value in tensors.items()})
    optimizer = memory["optimizer"]
    learner.opt.load_state_dict({"state": optimizer["state"], "hypers": L(optimizer["hypers"])})
    if memory["loss_scaler"]:
        learner.scaler.load_state_dict(memory["loss_scaler"])
    smooth = learner.recorder.smooth_loss
    smooth.count, smooth.val = memory["smooth_loss"]["count"], memory["smooth_loss"]["value"]


def _take_apart(value: Any, place: str, tensors: Tensors) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[place] = value.detach().as_subclass(torch.Tensor).cpu().clone().contiguous()
        return {"tensor": place}
    if isinstance(value, dict):
        return {key: _take_apart(item, f"{place}{key}.", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple | L):
        return [_take_apart(item, f"{place}{number}.", tensors) for number, item in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def _put_together(value: Any, tensors: Tensors) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"tensor"}:
            return tensors[value["tensor"]]
        return {key: _put_together(item, tensors) for key, item in value.items()}
    return [_put_together(item, tensors) for item in value] if isinstance(value, list) else value


class ResumableLearner(Learner):
    """A Learner that can begin a fit at a later epoch.

    fastai's own ``start_epoch`` runs the events of the epochs that it skips, which would record them again.
    """

    first_epoch = 0

    def _do_fit(self) -> None:
        for epoch in range(self.first_epoch, self.n_epoch):
            self.epoch = epoch
            self._with_events(self._do_epoch, "epoch", CancelEpochException)


class RestoreState(Callback):
    """Restores the memory of a checkpoint when a fit begins."""

    order = 61  # after fastai's Recorder, MixedPrecision and ParamScheduler have set up theirs

    def __init__(self, found: Checkpoint) -> None:
        self.found = found

    def before_fit(self) -> None:
        """Restore it."""
        restore(self.learn, self.found.state, self.found.skeleton)
