"""Where in a cell the network found what speaks for its call: Grad-CAM, made fine enough for cells of 64 px.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) weighs the channels of a convolutional stage by their gradients. On
the last stage, where the paper has it, a cell of 64 px is 2 × 2 places, too coarse to point at a parasite. So the
stage is the deepest one that still has 16 places a side, the score is the difference of the two logits, which is
what decides between two classes, and the map is summed over the eight symmetries of the square, of which a cell
knows none. ``benchmarks/heatmap_sanity.py`` measures what that is worth where the parasite's place is known.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from captum.attr import LayerGradCam
from fastai.torch_core import TensorImage
from torch import nn
from tqdm import tqdm

from malaria_kedro.learning.loaders import batch_transforms

# How many pixels of the image one place of each residual stage stands for.
STRIDES = {1: 4, 2: 8, 3: 16, 4: 32}
PLACES = 16
# The body's children before its first residual stage: convolution, normalisation, activation, pooling.
_STEM = 4
# px of black on every side, as the cells are cut out on: a parasite at the rim would otherwise lie on the map's edge,
# where a convolution's padding leaves traces of its own.
GROUND = 16


class HeatMapError(ValueError):
    """A heat map cannot be made of these images; the message says why."""


def stage_for(size: int) -> int:
    """Return the residual stage (1-4) to look at: the deepest one with ``PLACES`` places along an image's side."""
    return max((stage for stage, stride in STRIDES.items() if size // stride >= PLACES), default=1)


def heat_maps(
    network: nn.Sequential,
    images: np.ndarray,
    classes: np.ndarray,
    *,
    stage: int | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Map what speaks for a class over each image.

    Args:
        network: of :func:`~malaria_kedro.learning.network.build_network`; a copy of it is used, the network is left
            as it is.
        images: uint8 N×H×W×3, RGB, square.
        classes: int64 N, the class number whose evidence is mapped: 0 parasitized, 1 uninfected.
        stage: residual stage 1-4; None = :func:`stage_for` the images' size.
        batch_size: images a pass; there are eight passes.
        device: where to compute.

    Returns:
        float32 N×H×W, 0-1, each map divided by its peak; all zero where nothing speaks for the class.

    Raises:
        HeatMapError: the images or the classes are not as described.
    """
    _check(images, classes)
    stage = stage or stage_for(images.shape[1])
    network = copy.deepcopy(network).eval().to(device)  # hooks and gradients stay with the copy
    difference = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], device=device)
    grad_cam = LayerGradCam(lambda x: network(x) @ difference, network[0][_STEM + stage - 1])
    transforms = batch_transforms(device)
    maps = np.zeros(images.shape[:3], dtype=np.float32)
    starts = range(0, len(images), batch_size)
    for start in tqdm(starts, desc="heat maps", unit="batch", leave=False, disable=None):
        part = slice(start, start + batch_size)
        maps[part] = _evidence(grad_cam, transforms, images[part], classes[part], device)
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, peaks, out=np.zeros_like(maps), where=peaks > 0)


def hottest_points(maps: np.ndarray) -> np.ndarray:
    """Return the row and column of each map's peak, int64 N×2; of equal peaks the first."""
    return np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(axis=1), maps.shape[1:]), axis=1)


def _check(images: np.ndarray, classes: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2]:
        raise HeatMapError(f"images must be uint8 N×H×H×3; these are {images.dtype} {images.shape}")
    if classes.shape != (len(images),) or not np.isin(classes, (0, 1)).all():
        raise HeatMapError(f"one class, 0 or 1, is needed for each of {len(images)} images; given: {classes!r}")


def _evidence(
    grad_cam: LayerGradCam, transforms, images: np.ndarray, classes: np.ndarray, device: torch.device | str
) -> np.ndarray:
    """Return float32 B×H×W: the positive part of Grad-CAM, summed over the symmetries."""
    size = images.shape[1]
    padded = np.pad(images, ((0, 0), (GROUND, GROUND), (GROUND, GROUND), (0, 0)))
    cells = torch.from_numpy(padded).permute(0, 3, 1, 2).contiguous().to(device)
    targets = torch.from_numpy(classes).to(device)
    inside = slice(GROUND, GROUND + size)
    total = torch.zeros(len(images), size, size, device=device)
    for symmetry in range(8):
        turned = transforms(TensorImage(_turn(cells, symmetry)))
        found = grad_cam.attribute(turned.as_subclass(torch.Tensor), target=targets, relu_attributions=True)
        found = nn.functional.interpolate(found.detach(), size=cells.shape[2:], mode="bilinear", align_corners=False)
        total += _turn_back(found, symmetry)[:, 0, inside, inside]
    return total.cpu().numpy()


def _turn(images: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Return one of the eight symmetries of B×C×H×W: a transpose, then the flips."""
    if symmetry & 4:
        images = images.transpose(-1, -2)
    flips = [axis for bit, axis in ((1, -1), (2, -2)) if symmetry & bit]
    return images.flip(flips).contiguous()


def _turn_back(images: torch.Tensor, symmetry: int) -> torch.Tensor:
    flips = [axis for bit, axis in ((1, -1), (2, -2)) if symmetry & bit]
    images = images.flip(flips)
    return images.transpose(-1, -2) if symmetry & 4 else images
