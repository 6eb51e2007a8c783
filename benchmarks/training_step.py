"""What does our loader cost? A training step of ours against a bare PyTorch step, in turns, in one run.

    python benchmarks/training_step.py [--arch resnet18] [--size 64] [--batch-size 128] [--rounds 5] [--steps 4]

Ours:   fastai Learner on batches cut out of the memory-mapped array, with flips, lighting and normalisation.
Bare:   the same network, loss and optimizer in a plain loop on one normalised batch that is already in memory.
Loader: our batches alone, without a network.

Pixels are random: what is measured is time, and time does not depend on what a cell looks like.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.optimizer import Adam

from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.hardware import choose_hardware
from malaria_kedro.learning.network import build_network, splitter
from malaria_kedro.learning.training import make_learner
from malaria_kedro.parameters import Augment, Stage, Training, Variant


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
    return DataBunch(np.load(path, mmap_mode="r"), cells, augment, {"phantom": True, "image_size": size}, path)


def bare_round(arch: str, batch_size: int, size: int, steps: int, device: str) -> Callable[[], float]:
    """Return a function that runs ``steps`` plain steps and gives seconds a step."""
    network = build_network(arch).to(device).train()
    optimizer = Adam(splitter(arch)(network), lr=1e-3, wd=0.01, sqr_mom=0.99)
    images = torch.randn(batch_size, 3, size, size, device=device)
    targets = torch.randint(0, 2, (batch_size,), device=device)

    def run() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            torch.nn.functional.cross_entropy(network(images), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        _wait(device)
        return (time.perf_counter() - started) / steps

    return run


def our_round(bunch: DataBunch, variant: Variant, steps: int, training: Training) -> tuple[Callable[[], float], ...]:
    """Return functions that run ``steps`` of our steps, and of our loader alone, and give seconds a step."""
    hardware = choose_hardware(training)
    network = build_network(variant.arch)
    learner = make_learner(bunch, network, variant, variant.stage_1, hardware, training, [])
    learner.create_opt()
    learner.opt.set_hyper("lr", 1e-3)

    def run() -> float:
        started = time.perf_counter()
        with learner.no_logging():
            learner.fit(1)  # one pass over the training cells; the two validation cells do not count
        _wait(hardware.device)
        return (time.perf_counter() - started) / steps

    def load() -> float:
        started = time.perf_counter()
        count = sum(1 for _ in learner.dls.train)
        _wait(hardware.device)
        return (time.perf_counter() - started) / count

    return run, load


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=64, help="px")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each, in turns, after one warm-up")
    parser.add_argument("--steps", type=int, default=4, help="steps a round")
    options = parser.parse_args()
    training = Training()
    hardware = choose_hardware(training)
    stage = Stage(epochs=1, lr_max=1e-3)
    variant = Variant(
        arch=options.arch, pretrained="none", batch_size=options.batch_size, stage_1=stage, stage_2=stage, seed=0
    )
    with tempfile.TemporaryDirectory() as folder:
        bunch = random_bunch(Path(folder), options.batch_size * options.steps, options.size)
        ours, loader = our_round(bunch, variant, options.steps, training)
        bare = bare_round(options.arch, options.batch_size, options.size, options.steps, hardware.device)
        rounds = [(ours(), bare(), loader()) for _ in range(options.rounds + 1)][1:]
    print(f"{hardware.name}, {hardware.threads} threads, torch {torch.__version__}, {hardware.precision}")
    setting = f"{options.arch}, {options.size} px, batch {options.batch_size}"
    print(f"{setting}; {options.rounds} rounds of {options.steps} steps")
    columns = list(zip(*rounds, strict=True))
    for name, seconds in zip(("ours", "bare", "loader alone"), columns, strict=True):
        low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{name:<14}{1000 * middle:9.1f} ms a step   ({1000 * low:.1f}-{1000 * high:.1f})")
    speed = statistics.median(b / o for o, b, _ in rounds)
    share = statistics.median(load / o for o, _, load in rounds)
    print(f"our speed / bare speed   {speed:.3f}   (median of the rounds' ratios)")
    print(f"loader's share of a step {100 * share:.1f} %")


if __name__ == "__main__":
    main()
