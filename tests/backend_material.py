"""A small classifier trained on phantom cells, as torch, as an ONNX file and in int8: made once, shared by tests."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch

from malaria_kedro.inference.export import onnx_bytes
from malaria_kedro.inference.quantise import quantise
from malaria_kedro.learning.classifier import INTENDED_USE, Classifier
from malaria_kedro.learning.network import build_network, cpu_state
from malaria_kedro.learning.normalisation import IMAGENET_MEAN, IMAGENET_STD
from malaria_kedro.names import CLASSES
from metadata_material import metadata
from network_material import shape

SIZE = 32
# Wide enough for the weights to be the bulk of a graph.
SHAPE = shape(width=32)
FEATURES = 2 * 64  # the largest value and the mean of each channel of its last stage
TEMPERATURE = 1.7


@cache
def phantom_like_cells(count: int = 192, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return pale discs, every second one with a dark spot: uint8 N×32×32×3, and bool N, True where there is one."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    cells = np.zeros((count, SIZE, SIZE, 3), np.float64)
    parasitized = np.arange(count) % 2 == 0
    for cell, spotted in zip(cells, parasitized, strict=True):
        cell[np.hypot(rows - 15.5, columns - 15.5) < random.uniform(12, 15)] = random.uniform(170, 220, 3)
        if spotted:
            row, column = random.uniform(10, 21, 2)
            cell[np.hypot(rows - row, columns - column) < random.uniform(2, 4)] = (90, 40, 120)
    return (cells + random.normal(0, 12, cells.shape)).clip(0, 255).astype(np.uint8), parasitized


@cache
def small_classifier() -> Classifier:
    """Return a small network after 24 steps on those cells, with a temperature in its metadata."""
    torch.manual_seed(4)
    torch.set_num_threads(1)
    cells, parasitized = phantom_like_cells()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    images = (torch.from_numpy(cells).permute(0, 3, 1, 2) / 255 - mean) / std
    targets = torch.from_numpy((~parasitized).astype(np.int64))
    network = build_network("slim_resnet", slim_resnet=SHAPE).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for step in range(24):
        batch = slice(step % 6 * 32, step % 6 * 32 + 32)
        loss = torch.nn.functional.cross_entropy(network(images[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # A running mean of 24 steps is still half of what it began with; the cells' own statistics take its place.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        network(images)
    about = metadata(
        architecture="slim_resnet",
        slim_resnet=SHAPE.model_dump(),
        positive_class=CLASSES[0],
        intended_use=INTENDED_USE,
        input={"size": SIZE, "channels": "RGB", "dtype": "uint8", "range": [0, 255]},
        normalisation={"scale": 1 / 255, "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)},
        training_id="a training",
        data={"fingerprint": "phantoms"},
        calibration={"temperature": TEMPERATURE, "threshold": 0.5},
    )
    return Classifier(cpu_state(network), about)


@cache
def float_graph() -> bytes:
    """Return its ONNX file."""
    return onnx_bytes(small_classifier())


@cache
def int8_graph() -> bytes:
    """Return its quantised ONNX file."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        given.write_bytes(float_graph())
        quantise(given, phantom_like_cells(64, seed=1)[0], made)
        return made.read_bytes()
