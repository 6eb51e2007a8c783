"""slim_resnet: what its shape decides, and that with the widths of a resnet18 it is one."""

import pytest
import torch
import torchvision
from torch import nn

from malaria_kedro.learning.network import build_network, splitter
from malaria_kedro.parameters import SlimResnet
from network_material import shape


def build(**changes) -> nn.Sequential:
    return build_network("slim_resnet", slim_resnet=shape(**changes)).eval()


def test_it_maps_images_to_two_logits():
    assert build()(torch.zeros(3, 3, 32, 32)).shape == (3, 2)


@pytest.mark.parametrize(("stem", "side"), [("plain", 64), ("strided", 32), ("pooled", 16)])
def test_the_stem_decides_how_large_the_first_stage_sees_an_image(stem, side):
    assert build(stem=stem)[0][0](torch.zeros(1, 3, 64, 64)).shape == (1, 8, side, side)


def test_each_stage_after_the_first_doubles_the_channels_and_halves_the_image():
    body, maps, shapes = build(width=4, stages=[1, 2, 1])[0], torch.zeros(1, 3, 64, 64), []
    for part in body:
        maps = part(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(4, 32, 32), (4, 32, 32), (8, 16, 16), (16, 8, 8)]
    assert [len(stage) for stage in body[1:]] == [1, 2, 1]


@pytest.mark.parametrize("stem", ["plain", "strided", "pooled"])
def test_the_smallest_images_pass_the_deepest_network(stem):
    assert build(stem=stem, stages=[1, 1, 1, 1])(torch.zeros(2, 3, 16, 16)).shape == (2, 2)


@pytest.mark.parametrize(("pooling", "features"), [("average", [5.0]), ("max", [9.0]), ("both", [9.0, 5.0])])
def test_pooling_is_what_the_head_sees_of_each_channel(pooling, features):
    maps = torch.tensor([[[[1.0, 9.0]], [[1.0, 9.0]]]])
    found = build(pooling=pooling)[1][:2](maps)
    assert found.tolist() == [[value for value in features for _ in range(2)]]


def test_the_head_has_no_hidden_layer_and_the_dropout_asked_for():
    head = build_network("slim_resnet", 0.3, shape())[1]
    assert [type(layer) for layer in head[2:]] == [nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert head[3].p == 0.3


def test_in_the_shape_of_a_resnet18_it_computes_what_torchvisions_does():
    torch.manual_seed(1)
    theirs = torchvision.models.resnet18(weights=None)
    of_theirs = nn.Sequential(*list(theirs.children())[:-2]).eval()
    mine = build(width=64, stages=[2, 2, 2, 2], stem="pooled")[0]
    mine.load_state_dict(dict(zip(mine.state_dict(), of_theirs.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(mine(images), of_theirs(images))


def test_its_first_weights_are_drawn_as_torchvisions_are():
    torch.manual_seed(1)
    convolution = build(width=64, stages=[1])[0][1][0].conv1
    assert convolution.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)  # fan out, for a ReLU


@pytest.mark.parametrize(("stages", "early"), [([1], 1), ([1, 1], 2), ([2, 2, 2], 2), ([1, 1, 1, 1], 3)])
def test_its_parameters_fall_into_early_body_late_body_and_head(stages, early):
    network = build(stages=stages)
    groups = splitter("slim_resnet")(network)
    expected = network[0][:early], network[0][early:], network[1]
    assert [[id(p) for p in group] for group in groups] == [[id(p) for p in part.parameters()] for part in expected]
    assert all(groups)


def test_the_shape_in_a_few_words():
    made = SlimResnet(width=16, stages=(2, 2, 2), stem="strided", pooling="both")
    assert str(made) == "width 16, stages [2, 2, 2], stem strided, pooling both"


def test_it_has_as_many_weights_as_the_documentation_says():
    network = build(width=16, stages=[2, 2, 2], stem="strided", pooling="both")
    assert sum(parameter.numel() for parameter in network.parameters()) == 175_120
