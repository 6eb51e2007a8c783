"""How fast are cells read? Every backend of ours against ``learn.get_preds``, on arrays and from PNG files.

    python benchmarks/bench.py inference [--cells 1500] [--size 64 128] [--backends torch onnx-int8 ...] [--rounds 3]

Arrays: uint8 cells in memory to probabilities; the peer is get_preds on a fastai DataLoader over the same array.
Files:  a folder of PNG files to rows on disk, with CellPredictor.read and the quality gate; the peer is get_preds on a
        file-based test_dl of the same files, with no workers and with two; the quicker one counts.

The weights are random and the same everywhere: time does not depend on them. The int8 graph is quantised with the same
cells; whether it is accurate enough to be used is decided elsewhere (``accept_int8``).
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torchvision
from fastai.data.core import DataLoaders, TfmdDL
from fastai.data.transforms import IntToFloatTensor, Normalize
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import TensorCategory, TensorImage
from fastai.vision.augment import Resize, ResizeMethod
from fastai.vision.data import ImageDataLoaders
from fastai.vision.learner import vision_learner

from malaria_kedro.cells.parallel import usable_cores
from malaria_kedro.inference.backends import load_predictor
from malaria_kedro.inference.export import export_onnx
from malaria_kedro.inference.extras import BackendError
from malaria_kedro.inference.quantise import quantise
from malaria_kedro.inference.reader import CellPredictor
from malaria_kedro.inference.training_gate import fit_training_gate
from malaria_kedro.learning.classifier import INTENDED_USE, Classifier, write_classifier
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.metadata import Calibration, ClassifierMetadata, InputFormat, Normalisation
from malaria_kedro.learning.network import build_network, cpu_state
from malaria_kedro.learning.normalisation import IMAGENET_MEAN, IMAGENET_STD
from malaria_kedro.names import CLASSES, is_image_name
from measuring import Options, Ratio, Row, Table, alternate, divide, make_archive, prepare_cells, quickest

ROUNDS, SIZES, BATCH_SIZE = 3, (64, 128), 64
CELLS = 1500  # some two dozen batches: with fewer, one thread would finish well before the other
WORKERS = (0, 2)
CALIBRATION_CELLS = 256
UNGATED = ", no quality gate"  # shows what the gate costs; never the row that is judged
ARRAY_TARGET, FILE_TARGET = ">= 5 at 64 and 128 px", ">= 3 at 64 px, >= 6 at 128 px"


def random_classifier(arch: str, bunch: DataBunch) -> Classifier:
    """Return a classifier of random weights, with a quality gate where there are enough cells to fit one."""
    torch.manual_seed(0)
    metadata = ClassifierMetadata(
        name="random",
        architecture=arch,
        classes=list(CLASSES),
        intended_use=INTENDED_USE,
        input=InputFormat(size=bunch.image_size, range=[0, 255]),
        normalisation=Normalisation(scale=1 / 255, mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD)),
        training_id="none: random weights",
        data=bunch.summary,
        calibration=Calibration(temperature=1.0, threshold=0.5),
    )
    gate = fit_training_gate(metadata.name, bunch)
    return Classifier(cpu_state(build_network(arch)), metadata, quality_gate=gate)


def measure(options: Options) -> Iterator[Table]:
    """Measure; two tables for each size."""
    for size in options.sizes or SIZES:
        with tempfile.TemporaryDirectory() as place:
            yield from _measure(options, size, Path(place))


def _measure(options: Options, size: int, folder: Path) -> Iterator[Table]:
    cells, rounds = options.cells or CELLS, options.rounds or ROUNDS
    torch.set_num_threads(usable_cores())
    archive = make_archive(options, cells, folder / "cells.zip")
    files, bunch = prepare_cells(archive, folder / "data", size)
    pixels = np.array(bunch.pixels)
    classifier = random_classifier(options.arch, bunch)
    model = folder / "classifier"
    model.mkdir()
    write_classifier(classifier, model)
    graphs, notes = make_graphs(classifier, pixels, folder, options.backends)
    setting = {"arch": options.arch, "px": size, "cells": cells}

    ours, left_out = on_arrays(classifier, pixels, graphs, options.backends)
    peer = "learn.get_preds"
    found = alternate({**ours, peer: get_preds_on_arrays(classifier, pixels)}, rounds)
    yield _table("inference on arrays", options.origin, setting, found, [peer], ARRAY_TARGET, [*notes, *left_out])

    ours, left_out = on_files(model, files.root, graphs, options.backends, folder / "work", cells)
    peers = {
        f"learn.get_preds, {workers} workers": get_preds_on_files(classifier, files.root, size, workers)
        for workers in WORKERS
    }
    found = alternate({**ours, **peers}, rounds)
    gated = "with the quality gate" if classifier.quality_gate else "no quality gate: too few cells to fit one"
    yield _table("inference from files", options.origin, setting, found, list(peers), FILE_TARGET, [*left_out, gated])


def _table(
    part: str,
    data: str,
    setting: dict[str, str | int | float],
    found: dict[str, list[float]],
    peers: list[str],
    target: str,
    notes: list[str],
) -> Table:
    ours = [name for name in found if name not in peers]
    peer = quickest(found, peers)
    rates = {name: [setting["cells"] / value for value in values] for name, values in found.items()}
    judged = [name for name in ours if not name.endswith(UNGATED)]
    best = quickest(found, judged) if judged else None
    return Table(
        part,
        data,
        setting,
        [Row(name, "cells/s", values) for name, values in rates.items()],
        [Ratio(f"{name} / {peer}", divide(rates[name], rates[peer]), target if name == best else "") for name in ours],
        notes,
        per_machine=True,
    )


def make_graphs(
    classifier: Classifier, pixels: np.ndarray, folder: Path, backends: tuple[str, ...]
) -> tuple[dict[bool, Path], list[str]]:
    """Write the ONNX graphs that the backends need, float32 under False and int8 under True, and what is missing."""
    graphs: dict[bool, Path] = {}
    try:
        if any(backend != "torch" for backend in backends):
            export_onnx(classifier, folder / "model.onnx", pixels[:64])
            graphs[False] = folder / "model.onnx"
        if any(backend.endswith("int8") for backend in backends):
            quantise(graphs[False], pixels[:: max(1, len(pixels) // CALIBRATION_CELLS)], folder / "model.int8.onnx")
            graphs[True] = folder / "model.int8.onnx"
    except BackendError as error:
        return graphs, [str(error)]
    return graphs, []


def on_arrays(
    classifier: Classifier, pixels: np.ndarray, graphs: dict[bool, Path], backends: tuple[str, ...]
) -> tuple[dict[str, Callable[[], float]], list[str]]:
    """Return a measurement for each backend that is installed, and why others are left out."""

    def load(name: str, int8: bool) -> Callable[[], float]:
        predict = load_predictor(
            classifier, name, onnx_path=None if name == "torch" else graphs[int8], int8=int8, threads=usable_cores()
        )

        def run() -> float:
            started = time.perf_counter()
            predict(pixels)
            return time.perf_counter() - started

        return run

    return _load_all(load, graphs, backends)


def on_files(
    model: Path, images: Path, graphs: dict[bool, Path], backends: tuple[str, ...], work: Path, cells: int
) -> tuple[dict[str, Callable[[], float]], list[str]]:
    """Return what ``on_arrays`` returns, with the last backend a second time, without its quality gate."""
    numbers = count()

    def load(name: str, int8: bool, gated: bool = True) -> Callable[[], float]:
        reader = CellPredictor(
            model,
            backend=name,
            precision="int8" if int8 else "float32",
            onnx_path=None if name == "torch" else graphs[int8],
        )
        if not gated:
            reader.gate = None

        def run() -> float:
            place = work / str(next(numbers))  # a new one, or the reading would resume with nothing left to read
            started = time.perf_counter()
            rows = reader.read(images, place)
            took = time.perf_counter() - started
            if (read := sum(len(frame) for frame in rows.frames())) != cells:
                raise RuntimeError(f"{read} of {cells} files were read: the time would mean nothing")
            shutil.rmtree(place)
            return took

        return run

    measures, left_out = _load_all(load, graphs, backends)
    if measures:
        last = list(measures)[-1]
        name = last.removesuffix(" int8")
        measures[f"{last}{UNGATED}"] = load(name, last != name, gated=False)
    return measures, left_out


def _load_all(
    load: Callable[[str, bool], Callable[[], float]], graphs: dict[bool, Path], backends: tuple[str, ...]
) -> tuple[dict[str, Callable[[], float]], list[str]]:
    measures, left_out = {}, []
    for backend in backends:
        name, int8 = backend.removesuffix("-int8"), backend.endswith("-int8")
        if name != "torch" and int8 not in graphs:
            continue
        try:
            measures[backend.replace("-", " ")] = load(name, int8)
        except BackendError as error:
            left_out.append(str(error))
    return measures, left_out


class _Cells:
    """An array of cells as a fastai dataset: one item per cell."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> tuple[TensorImage, TensorCategory]:
        return TensorImage(torch.from_numpy(self.pixels[row]).permute(2, 0, 1)), TensorCategory(0)


def get_preds_on_arrays(classifier: Classifier, pixels: np.ndarray) -> Callable[[], float]:
    """Return a function that predicts the array with fastai and returns the seconds."""
    transforms = [IntToFloatTensor(), Normalize.from_stats(IMAGENET_MEAN, IMAGENET_STD, cuda=False)]
    loader = TfmdDL(_Cells(pixels), bs=BATCH_SIZE, num_workers=0, after_batch=transforms, device=torch.device("cpu"))
    learner = Learner(DataLoaders(loader, loader), classifier.network(), loss_func=CrossEntropyLossFlat())

    def run() -> float:
        started = time.perf_counter()
        with learner.no_bar(), learner.no_logging():
            learner.get_preds(dl=loader)
        return time.perf_counter() - started

    return run


def get_preds_on_files(classifier: Classifier, images: Path, size: int, workers: int) -> Callable[[], float]:
    """Return a function that predicts the files with fastai, as the tutorial would, and returns the seconds."""
    cpu = torch.device("cpu")
    dls = ImageDataLoaders.from_folder(
        images,
        valid_pct=0.5,
        seed=0,
        item_tfms=Resize(size, method=ResizeMethod.Squish),
        batch_tfms=Normalize.from_stats(IMAGENET_MEAN, IMAGENET_STD, cuda=False),
        bs=BATCH_SIZE,
        num_workers=workers,
        device=cpu,
    )
    arch = getattr(torchvision.models, classifier.metadata.architecture)
    learner = vision_learner(dls, arch, pretrained=False)
    learner.model.load_state_dict(classifier.state)
    files = sorted(path for path in images.rglob("*") if is_image_name(path.name))

    def run() -> float:
        started = time.perf_counter()
        with learner.no_bar(), learner.no_logging():
            learner.get_preds(dl=dls.test_dl(files, bs=BATCH_SIZE, num_workers=workers))
        return time.perf_counter() - started

    return run
