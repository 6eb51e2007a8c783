"""Training of one variant in two stages: one-cycle with the body frozen, then one-cycle with everything unfrozen."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
import torch
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.callback.schedule import ParamScheduler  # noqa: F401 (patches fit_one_cycle into Learner)
from fastai.learner import CastToTensor, Learner, Recorder
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy, error_rate
from fastai.optimizer import Adam

from malaria_kedro.cells.names import CLASSES
from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.hardware import Hardware, choose_hardware, log_hardware, versions
from malaria_kedro.learning.history import BATCH_TYPES, HISTORY_TYPES, TrainingError, as_table
from malaria_kedro.learning.journal import EpochSeeds, Journal
from malaria_kedro.learning.network import build_network, cpu_state, load_pretrained, splitter
from malaria_kedro.learning.seeding import epoch_seed, seed_all
from malaria_kedro.parameters import Stage, Training, Variant

logger = logging.getLogger(__name__)

# The packages whose version may change the bits of a weight.
DECISIVE_PACKAGES = ("malaria-kedro", "torch", "torchvision", "fastai", "numpy")


@dataclass(frozen=True, eq=False)  # tensors and tables have no single answer to ==
class TrainedStage:
    """What a stage of training leaves.

    Attributes:
        state: the network's weights after the last epoch, on the CPU.
        description: JSON-able: variant, stage, parameters, data, hardware, versions, training_id.
        history: one row an epoch (``HISTORY_TYPES``); epochs count from 1 within the stage. ``train_loss`` is fastai's:
            smoothed over the batches (exponentially, 0.98) up to the epoch's end. ``lr`` is the head's, at that end.
        batches: one row a batch (``BATCH_TYPES``); batches count from 1 within the stage. ``train_loss`` is the
            batch's own, ``smooth_loss`` fastai's, ``lr`` the head's.
    """

    state: dict[str, torch.Tensor] = field(repr=False)
    description: dict[str, Any]
    history: pd.DataFrame
    batches: pd.DataFrame = field(repr=False)


def train_stage(
    bunch: DataBunch,
    name: str,
    variant: Variant,
    stage: str,
    training: Training,
    checkpoints: Checkpoints,
    start: TrainedStage | None = None,
) -> TrainedStage:
    """Train one stage.

    Args:
        bunch: the cells.
        name: the variant's name.
        variant: its recipe.
        stage: ``stage_1`` (body frozen when there are weights to start from) or ``stage_2`` (all unfrozen).
        training: device, precision, threads.
        checkpoints: where each epoch's weights are kept.
        start: the stage before; its weights are continued. None starts from ``variant.pretrained``.

    Raises:
        TrainingError: the loss is no number any more, the GPU's memory is full, the cells are too few, or ``start`` is
            of another architecture or trained on other cells.
        DeviceError: the device or precision asked for is not there.
        WeightsError: the weights asked for are not there or do not fit.
        CheckpointError: an epoch cannot be written.
    """
    recipe: Stage = getattr(variant, stage)
    _check_cells(bunch, name)
    if start is not None:
        _check_start(start, bunch, variant)
    hardware = choose_hardware(training)
    log_hardware(hardware)
    seed_all(epoch_seed(variant.seed, "initial", 0))
    network = build_network(variant.arch, variant.dropout)
    if start is None:
        pretrained = load_pretrained(network, variant.arch, variant.pretrained)
    else:
        network.load_state_dict(start.state)
        pretrained = start.description["pretrained_loaded"]
    freeze = stage == "stage_1" and pretrained
    description = describe_stage(bunch, name, variant, stage, hardware, network, frozen=freeze)
    description["pretrained_loaded"] = pretrained
    if recipe.epochs == 0:
        logger.info("%s: %s has no epochs: skipped", name, stage)
        return TrainedStage(cpu_state(network), description, as_table([], HISTORY_TYPES), as_table([], BATCH_TYPES))
    journal = Journal(stage, checkpoints, description)
    learner = make_learner(
        bunch, network, variant, recipe, hardware, training, [EpochSeeds(variant.seed, stage), journal]
    )
    if freeze:
        learner.freeze()
    elif stage == "stage_1":
        logger.info("%s: no weights to start from, so %s trains the whole network", name, stage)
    if bunch.phantom:
        logger.warning("%s trains on phantom cells drawn by this project: no figure of it says anything of blood", name)
    n_train = len(bunch.rows("train"))
    if variant.batch_size > n_train:
        logger.warning(
            "%s.batch_size is %d, but there are only %d training cells: one batch", name, variant.batch_size, n_train
        )
    logger.info(
        "%s %s: %d epochs of %d batches of %d, top rate %s, %s",
        name,
        stage,
        recipe.epochs,
        len(learner.dls.train),
        learner.dls.train.bs,
        recipe.lr_max,
        "body frozen" if freeze else "all layers trained",
    )
    checkpoints.start(stage)
    started = time.perf_counter()
    with closing(journal):
        fit(learner, recipe, name)
    description["seconds"] = round(time.perf_counter() - started, 1)
    return TrainedStage(
        cpu_state(network),
        description,
        as_table(journal.history, HISTORY_TYPES),
        as_table(journal.batches, BATCH_TYPES),
    )


def make_learner(
    bunch: DataBunch,
    network: torch.nn.Module,
    variant: Variant,
    recipe: Stage,
    hardware: Hardware,
    training: Training,
    callbacks: list[Callback],
) -> Learner:
    """Return a fastai ``Learner`` with cross-entropy, accuracy and error rate, on the given hardware.

    Raises:
        TrainingError: the GPU's memory does not hold the pixel array.
    """
    try:
        dls = bunch.dataloaders(variant.batch_size, hardware.device, pixels_on_device=training.pixels_on_device)
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU's memory does not hold the pixel array ({bunch.pixels.nbytes / 2**30:.1f} GiB); "
            "set training.pixels_on_device=false"
        ) from error
    precision = []
    if hardware.precision in ("bf16", "fp16"):
        precision = [MixedPrecision(amp_mode=AMPMode.BF16 if hardware.precision == "bf16" else AMPMode.FP16)]
    return Learner(
        dls,
        network.to(hardware.device),
        loss_func=CrossEntropyLossFlat(),
        opt_func=partial(Adam, sqr_mom=0.99),
        splitter=splitter(variant.arch),
        metrics=[accuracy, error_rate],
        wd=recipe.weight_decay,
        cbs=[TrainEvalCallback, Recorder, CastToTensor, *precision, *callbacks],
        default_cbs=False,  # fastai's progress bars print to a notebook; Journal has its own
    )


@contextmanager
def memory_is_enough(name: str, batch_size: int) -> Iterator[None]:
    """Turn a full GPU into a :class:`TrainingError` that suggests a batch size."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU's memory is full with batches of {batch_size}; try {name}.batch_size={max(2, batch_size // 2)}"
            " (or training.pixels_on_device=false)"
        ) from error


def fit(learner: Learner, recipe: Stage, name: str) -> None:
    """Run the one-cycle schedule.

    Raises:
        TrainingError: the GPU's memory is full; the message suggests a batch size.
    """
    lr_max = slice(*recipe.lr_max) if isinstance(recipe.lr_max, tuple) else recipe.lr_max
    # Journal writes the lines instead.
    with learner.no_logging(), memory_is_enough(name, learner.dls.train.bs):
        learner.fit_one_cycle(recipe.epochs, lr_max=lr_max, pct_start=recipe.pct_start)


def describe_stage(
    bunch: DataBunch,
    name: str,
    variant: Variant,
    stage: str,
    hardware: Hardware,
    network: torch.nn.Module,
    *,
    frozen: bool,
) -> dict[str, Any]:
    """Describe a stage before it trains.

    Its ``training_id`` stands for all that decides the weights, and for nothing else: the weights it starts from
    (whatever file or stage they came from), its recipe, the cells and their augmentation, hardware and versions.
    """
    recipe = variant.model_dump(mode="json", exclude={"select"})
    installed = versions()
    decisive = {
        "stage": stage,
        "stage_parameters": recipe[stage],
        "architecture": variant.arch,
        "frozen": frozen,
        "start_sha256": state_sha256(network.state_dict()),
        "augment": bunch.augment.model_dump(),
        "data_fingerprint": bunch.fingerprint,
        "hardware": hardware.as_dict(),
    }
    identity = (
        decisive
        | {key: recipe[key] for key in ("batch_size", "dropout", "seed")}
        | {package: installed[package] for package in DECISIVE_PACKAGES}
    )
    return decisive | {
        "variant": name,
        "parameters": recipe,
        "versions": installed,
        "training_id": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        "classes": list(CLASSES),
        "phantom": bunch.phantom,
        "seconds": 0.0,
    }


def state_sha256(state: dict[str, torch.Tensor]) -> str:
    """Return a sha256 over names, kinds, shapes and bytes of all weights, in their order."""
    digest = hashlib.sha256()
    for key, value in state.items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check_cells(bunch: DataBunch, name: str) -> None:
    for split, least in (("train", 2), ("valid", 1)):  # batch normalisation needs two cells
        if (found := len(bunch.rows(split))) < least:
            raise TrainingError(
                f"{name} has {found} cells in {split}, and needs at least {least}; give it more cells (source.limit) "
                "or other shares (split.valid_pct, split.test_pct)"
            )


def _check_start(start: TrainedStage, bunch: DataBunch, variant: Variant) -> None:
    again = "train it again (kedro run --pipeline modeling)"
    before = start.description
    if before["data_fingerprint"] != bunch.fingerprint:
        raise TrainingError(
            f"{before['stage']} trained on other data ({before['data_fingerprint'][:12]}) than this databunch "
            f"({bunch.fingerprint[:12]}), so cells it has seen may be in validation now; {again}"
        )
    if before["architecture"] != variant.arch:
        raise TrainingError(
            f"{before['stage']} trained a {before['architecture']}, but arch is {variant.arch}; {again}"
        )
