"""The fused optimizer is fastai's Adam: the same weights, groups, freezing and memory."""

import copy
from functools import partial

import pytest
import torch
from fastai.optimizer import Adam
from torch import nn

from malaria_kedro.learning.optimizer import FusedAdam


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3), nn.Linear(5, 2))


def groups(network: nn.Module) -> list[list[nn.Parameter]]:
    return [list(network[:2].parameters()), list(network[2:].parameters())]


def optimizer(network: nn.Module, make=FusedAdam) -> FusedAdam:
    made = make(groups(network), lr=0.01, wd=0.1)
    made.set_hyper("lr", slice(0.001, 0.1))
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            made.state[parameter]["do_wd"] = False
    return made


def give_gradients(network: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None


def train(network: nn.Module, made: FusedAdam, seeds: range) -> None:
    for seed in seeds:
        made.set_hyper("mom", 0.95 - seed / 100)
        give_gradients(network, seed)
        made.step()
        made.zero_grad()


def far(one: nn.Module, other: nn.Module) -> float:
    """Return the largest difference of a weight."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def test_weights_are_those_of_fastais_adam_with_its_rates_momentum_and_spared_biases(network):
    other, untrained = copy.deepcopy(network), copy.deepcopy(network)
    train(network, optimizer(network), range(20))
    train(other, optimizer(other, partial(Adam, sqr_mom=0.99)), range(20))
    assert far(network, other) < 1e-6
    assert far(network, untrained) > 0.1


def test_what_decays_and_what_does_not_follows_fastais_mark(network):
    before = copy.deepcopy(network)
    made = optimizer(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    for (name, now), then in zip(network.named_parameters(), before.parameters(), strict=True):
        rate = made.hypers[0 if name[0] in "01" else 1]["lr"]
        kept = 1.0 if name.endswith("bias") else 1 - rate * 0.1
        assert torch.allclose(now, then * kept, rtol=1e-6, atol=0)


def test_a_frozen_group_stays_as_it_is_and_has_no_memory(network):
    before = copy.deepcopy(network)
    made = optimizer(network)
    made.freeze()
    train(network, made, range(3))
    assert far(network[:2], before[:2]) == 0
    assert far(network[2:], before[2:]) > 0
    assert not any("grad_avg" in made.state[parameter] for parameter in network[:2].parameters())


def test_it_goes_on_from_its_state_bit_for_bit(network):
    other = copy.deepcopy(network)
    train(network, optimizer(network), range(6))

    first = optimizer(other)
    train(other, first, range(3))
    memory = copy.deepcopy(first.state_dict())
    second = optimizer(other)
    second.load_state_dict(memory)
    train(other, second, range(3, 6))
    assert far(network, other) == 0


def test_its_state_is_taken_up_in_the_memory_format_of_the_weights(network):
    made = optimizer(network)
    train(network, made, range(1))
    memory = copy.deepcopy(made.state_dict())
    second = optimizer(network.to(memory_format=torch.channels_last))
    second.load_state_dict(memory)
    for parameter, before in zip(network.parameters(), memory["state"], strict=True):
        for name in ("grad_avg", "sqr_avg"):
            assert second.state[parameter][name].stride() == parameter.stride()
            assert torch.equal(second.state[parameter][name], before[name])
    assert not network[0].weight.is_contiguous()


def test_gradients_are_let_go_of(network):
    made = optimizer(network)
    give_gradients(network, 0)
    made.zero_grad()
    assert all(parameter.grad is None for parameter in network.parameters())
