"""What the network's input is: pixels normalised per channel, by default with the statistics of ImageNet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from malaria_kedro.learning.metadata import Normalisation

# torchvision's, RGB, for pixels in 0-1: what the pretrained bodies expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(pixels: torch.Tensor, by: Normalisation) -> torch.Tensor:
    """Return the network's input, (pixels · scale - mean) / std, of pixels in 0-255: float32 …×3×H×W both."""
    mean, std = (pixels.new_tensor(values).view(3, 1, 1) for values in (by.mean, by.std))
    return (pixels * by.scale - mean) / std
