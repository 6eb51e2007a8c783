"""What does our loader cost? A training step of ours against a bare PyTorch step, in turns, in one run.

    python benchmarks/bench.py training_step [--arch resnet18] [--size 64] [--batch-size 128] [--rounds 5] [--steps 4]

Ours:   fastai Learner on batches cut out of the memory-mapped array, with flips, lighting and normalisation.
Bare:   the same network and loss in a plain loop with torch's AdamW, on one normalised batch that is already in
        memory; once as AdamW comes, and once fused, which is its fastest form.
Loader: our batches alone, without a network.

On a CUDA GPU both compute with bf16 in channels_last, and our pixel array is in the GPU's memory, as in `--env gpu`.
Pixels are random: time does not depend on what a cell looks like.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback

from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.learning.description import Hardware
from malaria_kedro.learning.hardware import choose_hardware
from malaria_kedro.learning.network import build_network
from malaria_kedro.learning.training import make_learner
from malaria_kedro.parameters import Augment, Training, Variant
from measuring import Options, Ratio, Row, Table, alternate, divide, random_variant

ROUNDS, SIZE, BATCH_SIZE = 5, 64, 128
OURS, BARE, BARE_FUSED, LOADER = "ours", "bare PyTorch", "bare PyTorch, fused AdamW", "our loader alone"


def random_bunch(folder: Path, n_train: int, size: int) -> DataBunch:
    """Return a DataBunch of random pixels in a memory-mapped file: ``n_train`` cells to train on, two to validate."""
    n = n_train + 2
    path = folder / "pixels.npy"
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, size, size, 3))
    generator = np.random.default_rng(0)
    for start in range(0, n, 256):
        pixels[start : start + 256] = generator.integers(0, 256, pixels[start : start + 256].shape, dtype=np.uint8)
    pixels.flush()
    cells = pd.DataFrame(
        {
            "cell_id": [f"cell_{i}" for i in range(n)],
            "label": ["Parasitized" if i % 2 else "Uninfected" for i in range(n)],
            "split": ["train"] * n_train + ["valid"] * 2,
        }
    )
    augment = Augment(flip_vertical=True, transpose=True)
    return DataBunch(
        np.load(path, mmap_mode="r"), cells, augment, DataBunchSummary(fingerprint="none", phantom=True), path
    )


def bare_round(
    arch: str, batch_size: int, size: int, steps: int, hardware: Hardware, *, fused: bool
) -> Callable[[], float]:
    """Return a function that runs ``steps`` plain steps and returns seconds per step."""
    device = hardware.device
    memory_format = getattr(torch, hardware.memory_format or "contiguous_format")
    network = build_network(arch).to(device, memory_format=memory_format).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01, fused=fused)
    images = torch.randn(batch_size, 3, size, size, device=device).to(memory_format=memory_format)
    targets = torch.randint(0, 2, (batch_size,), device=device)
    precision = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(hardware.precision)

    def run() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            with torch.autocast(device, precision) if precision else nullcontext():
                loss = torch.nn.functional.cross_entropy(network(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        _wait(device)
        return (time.perf_counter() - started) / steps

    return run


class EpochClock(Callback):
    """Times an epoch's training batches, from the first one's loading to the last one's step."""

    order = 100

    def before_train(self) -> None:
        """Start."""
        self.started = time.perf_counter()

    def after_train(self) -> None:
        """Stop."""
        _wait(self.learn.dls.device.type)
        self.seconds = time.perf_counter() - self.started


def our_round(bunch: DataBunch, variant: Variant, steps: int, training: Training) -> tuple[Callable[[], float], ...]:
    """Return functions that run ``steps`` of our steps, and of our loader alone, and return seconds per step."""
    hardware = choose_hardware(training)
    network = build_network(variant.arch, slim_resnet=variant.slim_resnet)
    clock = EpochClock()
    learner = make_learner(bunch, network, variant, variant.stage_1, hardware, training, [clock])
    learner.create_opt()
    learner.opt.set_hyper("lr", 1e-3)

    def run() -> float:
        with learner.no_logging():
            learner.fit(1)
        return clock.seconds / steps

    def load() -> float:
        started = time.perf_counter()
        count = sum(1 for _ in learner.dls.train)
        _wait(hardware.device)
        return (time.perf_counter() - started) / count

    return run, load


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(options: Options) -> list[Table]:
    """Measure, a table for each size."""
    return [_measure(options, size) for size in options.sizes or (SIZE,)]


def _measure(options: Options, size: int) -> Table:
    batch_size, rounds = options.batch_size or BATCH_SIZE, options.rounds or ROUNDS
    hardware = choose_hardware(Training())
    training = Training(pixels_on_device=hardware.device == "cuda")
    variant = random_variant(options.arch, batch_size, 1e-3)
    with tempfile.TemporaryDirectory() as folder:
        bunch = random_bunch(Path(folder), batch_size * options.steps, size)
        ours, loader = our_round(bunch, variant, options.steps, training)
        bare = {
            name: bare_round(options.arch, batch_size, size, options.steps, hardware, fused=fused)
            for name, fused in ((BARE, False), (BARE_FUSED, True))
        }
        found = alternate({OURS: ours, **bare, LOADER: loader}, rounds)
    return Table(
        "training_step",
        "random pixels",
        {
            "arch": options.arch,
            "px": size,
            "batch": batch_size,
            "precision": hardware.precision,
            "steps per round": options.steps,
        },
        [Row(name, "ms", [1000 * value for value in values]) for name, values in found.items()],
        [
            Ratio(f"our speed / {BARE}", divide(found[BARE], found[OURS]), ">= 0.97"),
            Ratio(f"our speed / {BARE_FUSED}", divide(found[BARE_FUSED], found[OURS])),
            Ratio("loader's share of a step", divide(found[LOADER], found[OURS])),
        ],
    )
