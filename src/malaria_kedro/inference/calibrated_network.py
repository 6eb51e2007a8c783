"""The network from pixels to a calibrated probability, in torch: what every backend computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from fastai.layers import AdaptiveConcatPool2d
from torch import nn

from malaria_kedro.inference.extras import BackendError
from malaria_kedro.learning.classifier import Classifier, ClassifierError


def _largest(maps: torch.Tensor) -> torch.Tensor:
    return maps.amax(dim=(2, 3))


def _mean(maps: torch.Tensor) -> torch.Tensor:
    return maps.mean(dim=(2, 3))


def _largest_and_mean(maps: torch.Tensor) -> torch.Tensor:
    return torch.cat([_largest(maps), _mean(maps)], dim=1)


# Without the adaptive layers, whose graphs depend on the exporter.
POOLING: dict[type[nn.Module], Callable[[torch.Tensor], torch.Tensor]] = {
    AdaptiveConcatPool2d: _largest_and_mean,
    nn.AdaptiveMaxPool2d: _largest,
    nn.AdaptiveAvgPool2d: _mean,
}


class CalibratedNetwork(nn.Module):
    """A classifier with its normalisation before it and its temperature after it."""

    factor: torch.Tensor
    offset: torch.Tensor

    def __init__(self, classifier: Classifier) -> None:
        """Take a classifier's weights, and what its metadata say about pixels and calibration.

        Raises:
            BackendError: the weights are not those of the architecture in the metadata.
        """
        super().__init__()
        try:
            network = classifier.network()
        except ClassifierError as error:
            raise BackendError(str(error)) from error
        body, head = network[0], cast("nn.Sequential", network[1])
        if type(head[0]) not in POOLING:
            raise BackendError(
                f"the head of {classifier.metadata.architecture} begins with {type(head[0]).__name__}, not with the "
                "pooling whose output are the features; the installed fastai builds another head"
            )
        self.pooling = POOLING[type(head[0])]
        normalise = classifier.metadata.normalisation
        mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (normalise.mean, normalise.std))
        self.register_buffer("factor", (normalise.scale / std).float())
        self.register_buffer("offset", (mean / std).float())
        self.body, self.head, self.temperature = body, head[2:], classifier.metadata.temperature
        self.eval().requires_grad_(False)

    def forward(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read uint8 B×S×S×3 (RGB); return p_parasitized, float32 B (0-1), and features, float32 B×F.

        The features are what fastai's head sees: each channel's largest value, then each channel's mean (or only
        one of the two).
        """
        features = self.pooling(self.body(cells.permute(0, 3, 1, 2).float() * self.factor - self.offset))
        logits = self.head(features)
        # With two classes softmax is the sigmoid of the difference, which is as exact near 1 as near 0.
        return torch.sigmoid((logits[:, 0] - logits[:, 1]) / self.temperature), features
