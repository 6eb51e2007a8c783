"""slim_resnet: a residual network of torchvision's blocks, as wide and as deep as small images of cells need it."""

from __future__ import annotations

from typing import cast

from fastai.torch_core import params
from fastai.vision.learner import add_head
from torch import nn
from torchvision.models.resnet import BasicBlock, conv1x1, conv3x3

from malaria_kedro.names import CLASSES
from malaria_kedro.parameters import SlimResnet

ONE_POOLING = {"average": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}


def build_slim_resnet(shape: SlimResnet, dropout: float) -> nn.Sequential:
    """Return an untrained network, float32 B×3×H×W → logits B×2: ``[0]`` the body, ``[1]`` a light head.

    The body is a stem and one module a stage, initialised as torchvision's resnets (He 2015, arXiv:1502.01852). The
    head is fastai's without a hidden layer: pooling, batch norm, dropout, linear.
    """
    body, channels = nn.Sequential(_stem(shape)), shape.width
    for number, blocks in enumerate(shape.stages):
        before, channels = channels, shape.width * 2**number
        body.append(_stage(before, channels, blocks))
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    network = add_head(body, channels, len(CLASSES), concat_pool=shape.pooling == "both", lin_ftrs=[], ps=dropout)
    if shape.pooling != "both":
        network[1][0] = ONE_POOLING[shape.pooling](1)
    return network


def split_slim_resnet(network: nn.Sequential) -> list[list[nn.Parameter]]:
    """Cut the parameters into fastai's three groups: stem and first half of the stages, the other stages, head."""
    body = cast("nn.Sequential", network[0])
    early = 1 + (len(body) - 1) // 2
    return [params(body[:early]), params(body[early:]), params(network[1])]


def _stem(shape: SlimResnet) -> nn.Sequential:
    norm, relu = nn.BatchNorm2d(shape.width), nn.ReLU(inplace=True)
    if shape.stem == "pooled":
        convolution = nn.Conv2d(3, shape.width, 7, stride=2, padding=3, bias=False)
        return nn.Sequential(convolution, norm, relu, nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(conv3x3(3, shape.width, stride=2 if shape.stem == "strided" else 1), norm, relu)


def _stage(before: int, channels: int, blocks: int) -> nn.Sequential:
    if before == channels:  # the first stage
        first = BasicBlock(before, channels)
    else:
        shortcut = nn.Sequential(conv1x1(before, channels, stride=2), nn.BatchNorm2d(channels))
        first = BasicBlock(before, channels, stride=2, downsample=shortcut)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))
