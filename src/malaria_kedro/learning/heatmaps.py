"""Heat maps by occlusion: how much covering a place lowers the log-odds of the call.

Occlusion (Zeiler & Fergus 2014, arXiv:1311.2901) asks the network itself: a patch of the cell is painted over in the
cell's own median colour, and the fall of the log-odds is the patch's evidence. Grad-CAM, the usual choice, was
measured too and rejected: on the last stage a cell of 64 px is 2 × 2 places, and on an earlier, finer one its hottest
point lay on the parasite in 90 % of the cells with one training and in 3 % with the next.
``benchmarks/heatmap_sanity.py`` measures what these maps are worth where the parasite's place is known.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from captum.attr import Occlusion
from torch import nn
from tqdm import tqdm

from malaria_kedro.learning.normalisation import IMAGENET_MEAN, IMAGENET_STD

# Shares of the image's side: a patch is about as large as a parasite, and moves by a third of its own side.
PATCH, STEP = 3 / 16, 1 / 16
# Brighter than this in one channel is cell; around it the NIH crops are black.
SURROUND_UP_TO = 20
PATCHES_AT_ONCE = 8


def heat_maps(
    network: nn.Sequential,
    images: np.ndarray,
    classes: np.ndarray,
    *,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Map the evidence for a class over each image.

    Args:
        network: of ``malaria_kedro.learning.network.build_network``; it is copied, and not changed.
        images: uint8 N×H×H×3, RGB.
        classes: int64 N, the class number whose evidence is mapped: 0 parasitized, 1 uninfected.
        batch_size: images at a time, with some 200 patches on each, on ``device``.

    Returns:
        float32 N×H×H, log-odds, 0 or more: by how much those of the class fall when the place is covered, as the mean
        over the patches that cover it. Zero everywhere if nothing supports the class.
    """
    size = images.shape[1]
    step, patch = max(1, round(size * STEP)), max(1, round(size * PATCH))
    network = copy.deepcopy(network).eval().to(device)
    odds = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], device=device)
    occlusion = Occlusion(lambda cells: network(cells) @ odds)
    maps = np.zeros(images.shape[:3], dtype=np.float32)
    starts = range(0, len(images), batch_size)
    with torch.no_grad():
        for start in tqdm(starts, desc="heat maps", unit="batch", leave=False, disable=None):
            part = slice(start, start + batch_size)
            found = occlusion.attribute(
                _normalised(images[part], device),
                sliding_window_shapes=(3, patch, patch),
                strides=(3, step, step),
                baselines=_normalised(paint_over(images[part]), device),
                target=torch.from_numpy(classes[part]).to(device),
                perturbations_per_eval=PATCHES_AT_ONCE,
            )
            maps[part] = _smooth(found[:, :1], step).relu()[:, 0].cpu().numpy()
    return maps


def paint_over(images: np.ndarray) -> np.ndarray:
    """Return each cell in its own median colour, uint8 N×H×W×3; what is black around it stays black."""
    painted = np.zeros_like(images)
    for image, flat in zip(images, painted, strict=True):
        shown = image.max(axis=2) > SURROUND_UP_TO
        if shown.any():
            flat[shown] = np.median(image[shown], axis=0)
    return painted


def _normalised(images: np.ndarray, device: torch.device | str) -> torch.Tensor:
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255 - mean) / std


def _smooth(found: torch.Tensor, step: int) -> torch.Tensor:
    """Smooth the steps of the patches, B×1×H×H, without moving a peak by more than half a step."""
    coarse = nn.functional.avg_pool2d(found, step, ceil_mode=True)
    return nn.functional.interpolate(coarse, size=found.shape[2:], mode="bilinear", align_corners=False)
