"""Probe cells: drawn images whose predictions are stored at export, so that a foreign graph is recognised later.

What the network computes for them is stored in the classifier's seal. A graph that computes something else, whatever
its metadata say, is found when it is loaded. The cells are drawn in whole numbers, with no random generator, so that
they are the same with every version of every library; none of them is a patient's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from malaria_kedro.learning.metadata import ClassifierMetadata, ProbeRecord
from malaria_kedro.learning.normalisation import normalise

if TYPE_CHECKING:
    from torch import nn

CELLS = 16
# Discs in the colours of Giemsa stains on black, as cut-out cells are, with spots of none, one and three sizes: the
# probabilities of a trained network differ between them.
STAINS = ((212, 160, 150), (188, 140, 168), (226, 190, 196), (170, 122, 112), (200, 170, 190), (232, 206, 180))
SPOT = (96, 44, 128)
# Of the features a few sums with fixed weights are kept: exchanged, scaled or foreign features change them.
SUMS = 4


@dataclass(frozen=True)
class Probe:
    """What a network computes for the probe cells."""

    p: np.ndarray  # p_parasitized, float64 N, 0-1, at the classifier's temperature
    features: np.ndarray  # sums over each cell's features, weighted with cosines of four wavelengths, float64 N×4

    def record(self) -> ProbeRecord:
        """Return it as the seal holds it."""
        return ProbeRecord(cells=len(self.p), p_parasitized=self.p.tolist(), features=self.features.tolist())

    @classmethod
    def from_record(cls, stored: ProbeRecord) -> Probe:
        """Read what a seal holds.

        Raises:
            ValueError: it is of other cells, or its lengths differ.
        """
        p, features = (np.asarray(values, np.float64) for values in (stored.p_parasitized, stored.features))
        if stored.cells != CELLS or p.shape != (CELLS,) or features.shape != (CELLS, SUMS):
            raise ValueError(
                f"the seal holds what the network computes for {stored.cells} probe cells, and this version of "
                f"malaria-kedro has {CELLS}; export the classifier again (kedro run --pipelines modeling)"
            )
        return cls(p, features)


def probe_cells(size: int) -> np.ndarray:
    """Draw the probe cells: uint8 16×S×S×3; twelve discs with and without spots, two of noise and two of one colour."""
    rows, columns = np.mgrid[:size, :size].astype(np.int64) * 2 - (size - 1)
    cells = np.zeros((CELLS, size, size, 3), np.uint8)
    for number in range(12):
        # The discs' radius is 35 to 46 hundredths of the side; all in whole numbers, so that no edge moves by a pixel.
        reach = size * (70 + 2 * number) // 100
        cells[number][rows**2 + columns**2 < reach**2] = STAINS[number % len(STAINS)]
        if number % 2:
            for spot in range(1 + number % 3):
                down, right = size * (spot * 23 - 11) // 100, size * (17 - spot * 29) // 100
                wide = max(2, size * (8 + 2 * number) // 100)
                cells[number][(rows - down) ** 2 + (columns - right) ** 2 < wide**2] = SPOT
    noise = _noise(2 * size * size * 3).reshape(2, size, size, 3)
    cells[12] = noise[0]
    cells[13] = 128 + noise[1] // 4
    cells[:12] = np.where(cells[:12] > 0, cells[:12] - noise[1] // 16, 0)
    cells[14], cells[15] = (205, 150, 165), (60, 30, 90)
    return cells


def measure_probe(network: nn.Sequential, metadata: ClassifierMetadata) -> Probe:
    """Return what a classifier's own network, in evaluation mode, computes for the probe cells (float32, on the CPU).

    Raises:
        ValueError: the network gives something that is not a number.
    """
    import torch

    body, head = network[0], cast("nn.Sequential", network[1])

    def read(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p, features = [], []
        for start in range(0, CELLS, 4):
            batch = torch.from_numpy(cells[start : start + 4]).permute(0, 3, 1, 2).float()
            # As the head begins: concat pooling, flattened.
            found = head[:2](body(normalise(batch, metadata.normalisation)))
            features.append(found.numpy())
            p.append((head[2:](found).double() / metadata.temperature).softmax(dim=1)[:, 0].numpy())
        return np.concatenate(p), np.concatenate(features)

    with torch.inference_mode():
        probe = read_probe(read, metadata.input.size)
    if not (np.isfinite(probe.p).all() and np.isfinite(probe.features).all()):
        raise ValueError(
            f"the network of {metadata.name} gives values that are not numbers: it diverged; train again "
            "with a lower lr_max"
        )
    return probe


def read_probe(read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], size: int) -> Probe:
    """Return what a network (uint8 B×S×S×3 → p_parasitized B and features B×F) computes for the probe cells."""
    p, features = read(probe_cells(size))
    width = features.shape[1]
    weights = np.cos(np.outer(np.arange(1, width + 1), (1.0, 2.0, 3.0, 5.0))) / np.sqrt(width)
    with np.errstate(invalid="ignore"):  # what is not a number is found by whoever looks at the sums
        return Probe(np.asarray(p, np.float64), features.astype(np.float64) @ weights)


def _noise(count: int) -> np.ndarray:
    """Return bytes without a pattern: the mixing steps of a counter-based generator, in 32-bit whole numbers."""
    mixed = np.arange(1, count + 1, dtype=np.uint32) * np.uint32(0x9E3779B1)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return (mixed >> np.uint32(24)).astype(np.uint8)
