"""How long does an epoch take, data included? Ours against a plain fastai script on files, in turns, in one run.

    python benchmarks/bench.py epoch [--cells 2000] [--size 64] [--batch-size 64] [--rounds 3] [--archive ZIP]

Ours:    batches cut out of the memory-mapped array that is decoded once; the same with its checkpoint.
fastai:  the tutorial's script: ImageDataLoaders.from_folder, Resize(method="squish"), aug_transforms, vision_learner;
         with no workers and with two; the quicker one counts.
Preparing the data (unpack, index, decode) is done once, not in each epoch, and has a row of its own.

Both train the same network from random weights on the same cells for one epoch with its validation: the same batch
size, the eight symmetries of a square, lighting, ImageNet's normalisation, one-cycle, accuracy and error rate.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pandas as pd
import torch
import torchvision
from fastai.data.transforms import Normalize
from fastai.metrics import accuracy, error_rate
from fastai.vision.augment import Resize, ResizeMethod, aug_transforms
from fastai.vision.data import ImageDataLoaders
from fastai.vision.learner import vision_learner

from malaria_kedro.cells.unpack import CellFolder
from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.hardware import choose_hardware
from malaria_kedro.learning.network import build_network
from malaria_kedro.learning.normalisation import IMAGENET_MEAN, IMAGENET_STD
from malaria_kedro.learning.training import fit, make_learner, train_stage
from malaria_kedro.parameters import Augment, Training, Variant
from measuring import (
    Options,
    Ratio,
    Row,
    Table,
    alternate,
    decode_folder,
    divide,
    index_folder,
    make_archive,
    prepare_cells,
    quickest,
    random_variant,
    unpack_cells,
)

ROUNDS, SIZE, BATCH_SIZE, CELLS = 3, 64, 64, 2000
WORKERS = (0, 2)
RATE = 1e-3
OURS, WITH_CHECKPOINT, PREPARING = "ours", "ours, with its checkpoint on disk", "preparing data, once"


def measure(options: Options) -> list[Table]:
    """Measure, a table for each size."""
    return [_measure(options, size) for size in options.sizes or (SIZE,)]


def _measure(options: Options, size: int) -> Table:
    cells, batch_size = options.cells or CELLS, options.batch_size or BATCH_SIZE
    training = Training()
    variant = random_variant(options.arch, batch_size, RATE)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        archive = make_archive(options, cells, folder / "cells.zip")
        files, bunch = prepare_cells(archive, folder / "data", size)
        tree = sort_into_splits(files, bunch, folder / "splits")
        measures: dict[str, Callable[[], float]] = {
            PREPARING: preparing(archive, folder / "again", size),
            OURS: our_epoch(bunch, variant, training),
            WITH_CHECKPOINT: our_stage(bunch, variant, training, folder / "checkpoints"),
        }
        peers = {f"plain fastai, {workers} workers": workers for workers in WORKERS}
        for name, workers in peers.items():
            measures[name] = plain_epoch(tree, variant, size, workers, bunch.augment)
        found = alternate(measures, options.rounds or ROUNDS)
    peer = quickest(found, list(peers))
    return Table(
        "epoch",
        options.origin,
        {"arch": options.arch, "px": size, "batch": batch_size, "cells": cells},
        [Row(name, "s", values) for name, values in found.items()],
        [
            Ratio(f"our time / {peer}", divide(found[OURS], found[peer]), "<= 0.85 at 64 px"),
            Ratio(f"our time with checkpoint / {peer}", divide(found[WITH_CHECKPOINT], found[peer])),
            Ratio("preparing / our epoch", divide(found[PREPARING], found[OURS])),
        ],
    )


def preparing(archive: Path, folder: Path, size: int) -> Callable[[], float]:
    """Return a function that unpacks, indexes and decodes an archive anew and returns the seconds."""

    def run() -> float:
        started = time.perf_counter()
        files = unpack_cells(archive, folder)
        decode_folder(files, index_folder(files), size, folder)
        took = time.perf_counter() - started
        shutil.rmtree(folder)
        return took

    return run


def our_epoch(bunch: DataBunch, variant: Variant, training: Training) -> Callable[[], float]:
    """Return a function that trains one epoch, validation included, and returns its seconds."""
    hardware = choose_hardware(training)

    def run() -> float:
        torch.manual_seed(0)
        network = build_network(variant.arch, slim_resnet=variant.slim_resnet)
        learner = make_learner(bunch, network, variant, variant.stage_1, hardware, training, [])
        started = time.perf_counter()
        fit(learner, variant.stage_1, "benchmark")
        return time.perf_counter() - started

    return run


def our_stage(bunch: DataBunch, variant: Variant, training: Training, folder: Path) -> Callable[[], float]:
    """Return a function that trains one epoch as the pipeline does, up to the checkpoint on disk."""
    numbers = count()

    def run() -> float:
        checkpoints = Checkpoints(folder / str(next(numbers)))
        started = time.perf_counter()
        train_stage(bunch, variant, training, checkpoints)
        took = time.perf_counter() - started
        shutil.rmtree(checkpoints.folder)
        return took

    return run


def plain_epoch(tree: Path, variant: Variant, size: int, workers: int, augment: Augment) -> Callable[[], float]:
    """Return a function that trains one epoch as the tutorial's script does, and returns its seconds."""
    arch = getattr(torchvision.models, variant.arch)

    def run() -> float:
        torch.manual_seed(0)
        dls = ImageDataLoaders.from_folder(
            tree,
            item_tfms=Resize(size, method=ResizeMethod.Squish),
            batch_tfms=[
                *aug_transforms(
                    flip_vert=True, max_rotate=0, max_zoom=1, max_warp=0, max_lighting=augment.max_lighting
                ),
                Normalize.from_stats(IMAGENET_MEAN, IMAGENET_STD, cuda=torch.cuda.is_available()),
            ],
            bs=variant.batch_size,
            num_workers=workers,
        )
        learner = vision_learner(dls, arch, pretrained=False, metrics=[accuracy, error_rate])
        started = time.perf_counter()
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(1, RATE)
        return time.perf_counter() - started

    return run


def sort_into_splits(files: CellFolder, bunch: DataBunch, tree: Path) -> Path:
    """Copy the cells into ``train`` and ``valid``, the splits that they have in the DataBunch."""
    index = index_folder(files)[["cell_id", "path"]]
    for cell in pd.merge(bunch.cells, index, on="cell_id").itertuples():
        to = tree / cell.split / cell.path
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files.root / cell.path, to)
    return tree
