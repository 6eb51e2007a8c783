"""What a Learner has in memory beside the weights goes to disk and comes back as it was."""

import json
from types import SimpleNamespace

import torch

from malaria_kedro.learning.training_state import capture, restore


class Scaler:
    """Stands for torch's loss scaler (fp16 on a GPU)."""

    def __init__(self, scale: float) -> None:
        self.state = {"scale": scale, "growth_factor": 2.0, "_growth_tracker": 3}

    def state_dict(self) -> dict:
        return dict(self.state)

    def load_state_dict(self, state: dict) -> None:
        self.state = state


class Optimizer:
    """Stands for fastai's: a state a parameter, and hyperparameters a group."""

    def __init__(self, moment: float) -> None:
        self.state = [{"grad_avg": torch.full((2,), moment), "step": 7}, {}]
        self.hypers = [{"lr": moment / 10, "mom": 0.9}]

    def state_dict(self) -> dict:
        return {"state": self.state, "hypers": self.hypers}

    def load_state_dict(self, memory: dict) -> None:
        self.state, self.hypers = memory["state"], list(memory["hypers"])


def learner(moment: float, scale: float | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        opt=Optimizer(moment),
        model=torch.nn.Linear(1, 1),
        recorder=SimpleNamespace(smooth_loss=SimpleNamespace(count=int(moment * 10), val=torch.tensor(moment))),
        epoch=1,
        n_epoch=4,
        **({} if scale is None else {"scaler": Scaler(scale)}),
    )


def through_a_file(one: SimpleNamespace, other: SimpleNamespace) -> None:
    tensors, skeleton = capture(one)
    restore(other, tensors, json.loads(json.dumps(skeleton, allow_nan=False)))


def test_moments_rates_and_smoothed_loss_come_back():
    other = learner(0.9)
    through_a_file(learner(0.5), other)
    assert torch.equal(other.opt.state[0]["grad_avg"], torch.full((2,), 0.5))
    assert (other.opt.state[0]["step"], other.opt.state[1]) == (7, {})
    assert other.opt.hypers == [{"lr": 0.05, "mom": 0.9}]
    assert other.recorder.smooth_loss.count == 5
    assert torch.equal(other.recorder.smooth_loss.val, torch.tensor(0.5))


def test_the_loss_scaler_comes_back():
    other = learner(0.9, scale=1.0)
    through_a_file(learner(0.5, scale=1024.0), other)
    assert other.scaler.state == {"scale": 1024.0, "growth_factor": 2.0, "_growth_tracker": 3}


def test_without_a_scaler_there_is_none_to_restore():
    assert capture(learner(0.5))[1]["loss_scaler"] == {}


def test_what_is_taken_is_a_copy():
    one = learner(0.5)
    tensors, _ = capture(one)
    one.opt.state[0]["grad_avg"].zero_()
    assert all(bool(value.any()) for value in tensors.values())
