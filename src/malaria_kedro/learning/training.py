"""Training of one variant in two stages: one-cycle with the body frozen, then one-cycle with everything unfrozen."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.callback.schedule import ParamScheduler  # noqa: F401 (patches fit_one_cycle into Learner)
from fastai.learner import CastToTensor, Learner, Recorder
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy, error_rate
from fastai.optimizer import Adam
from tqdm import tqdm

from malaria_kedro.cells.names import CLASSES
from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.hardware import Hardware, choose_hardware, log_hardware, versions
from malaria_kedro.learning.network import build_network, load_pretrained, splitter
from malaria_kedro.learning.seeding import epoch_seed, seed_all
from malaria_kedro.parameters import Stage, Training, Variant

logger = logging.getLogger(__name__)

HISTORY_TYPES = {"stage": "str", "epoch": "int64"} | dict.fromkeys(
    ("train_loss", "valid_loss", "accuracy", "error_rate", "lr", "seconds"), "float64"
)
BATCH_TYPES = {"stage": "str", "epoch": "int64", "batch": "int64"} | dict.fromkeys(
    ("train_loss", "smooth_loss", "lr"), "float64"
)
HISTORY_COLUMNS, BATCH_COLUMNS = list(HISTORY_TYPES), list(BATCH_TYPES)
# The packages whose version may change the bits of a weight.
DECISIVE_PACKAGES = ("malaria-kedro", "torch", "torchvision", "fastai", "numpy")
SECONDS_BETWEEN_LINES = 60.0


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


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


class EpochSeeds(Callback):
    """Sets the random state before every epoch from (seed, stage, epoch) alone."""

    order = -100  # before anything draws

    def __init__(self, seed: int, stage: str) -> None:
        self.seed, self.stage = seed, stage

    def before_epoch(self) -> None:
        """Seed Python, NumPy, torch and the order of the cells."""
        number = epoch_seed(self.seed, self.stage, self.epoch + 1)
        seed_all(number)
        self.dls.train.epoch_seed = number


class Journal(Callback):
    """Keeps the loss of every batch and the figures of every epoch, logs them, and saves each epoch's weights."""

    order = 60  # after fastai's Recorder

    def __init__(self, stage: str, checkpoints: Checkpoints | None, description: dict[str, Any]) -> None:
        self.stage, self.checkpoints, self.description = stage, checkpoints, description
        self.history: list[tuple] = []
        self.batches: list[tuple] = []
        self.bar: tqdm | None = None

    def close(self) -> None:
        """Take the bar off the terminal, whatever ended the epoch."""
        if self.bar is not None:
            self.bar.close()

    def before_epoch(self) -> None:
        """Start the clock and the bar."""
        self.started = self.last_line = time.perf_counter()
        self.losses: list[torch.Tensor] = []
        self.bar = tqdm(
            total=len(self.dls.train),
            desc=f"{self.stage} epoch {self.epoch + 1}/{self.n_epoch}",
            unit="batch",
            leave=False,
            disable=None,  # drawn on a terminal only; elsewhere a line now and then
        )

    def after_batch(self) -> None:
        """Note the raw loss (read at the epoch's end: reading it now would make a GPU wait)."""
        if not self.training:
            return
        self.losses.append(self.loss.detach())
        self.bar.update()
        if self.bar.disable and time.perf_counter() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.perf_counter()
            logger.info(
                "%s epoch %d: batch %d of %d, loss %.4f",
                self.stage,
                self.epoch + 1,
                self.iter + 1,
                self.n_iter,
                float(self.smooth_loss),
            )

    def after_epoch(self) -> None:
        """Keep, log and save the epoch.

        Raises:
            TrainingError: a loss is not a number any more.
        """
        self.close()
        seconds = time.perf_counter() - self.started
        recorder = self.learn.recorder
        epoch, lrs = self.epoch + 1, recorder.lrs[-len(self.losses) :]
        smooth = [float(loss) for loss in recorder.losses[-len(self.losses) :]]
        raw = [float(loss) for loss in self.losses]
        train_loss, valid_loss, right, wrong = (float(value) for value in recorder.final_record)
        if not math.isfinite(train_loss) or not math.isfinite(valid_loss):
            raise TrainingError(
                f"{self.stage} epoch {epoch}: the loss is not a number any more (train {train_loss}, valid "
                f"{valid_loss}); lower {self.stage}.lr_max, now {self.description['stage_parameters']['lr_max']}"
            )
        first = len(self.batches) + 1
        self.batches += [(self.stage, epoch, first + i, raw[i], smooth[i], lrs[i]) for i in range(len(raw))]
        row = (self.stage, epoch, train_loss, valid_loss, right, wrong, lrs[-1], seconds)
        self.history.append(row)
        if self.checkpoints is not None:
            state = cpu_state(self.learn.model)
            self.checkpoints.save(self.stage, epoch, state, self.description | {"epoch": epoch})
        logger.info(
            "%s epoch %d/%d: train_loss %.4f, valid_loss %.4f, accuracy %.4f, error_rate %.4f, %.1f s",
            self.stage,
            epoch,
            self.n_epoch,
            train_loss,
            valid_loss,
            right,
            wrong,
            seconds,
        )


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
        return TrainedStage(cpu_state(network), description, _table([], HISTORY_TYPES), _table([], BATCH_TYPES))
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
        _table(journal.history, HISTORY_TYPES),
        _table(journal.batches, BATCH_TYPES),
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


def join_histories(stage_1: TrainedStage, stage_2: TrainedStage) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put both stages' epochs and batches into one table each; batches then count through both."""
    batches = pd.concat([table for table in (stage_1.batches, stage_2.batches) if len(table)], ignore_index=True)
    batches["batch"] = np.arange(1, len(batches) + 1)
    history = pd.concat([table for table in (stage_1.history, stage_2.history) if len(table)], ignore_index=True)
    return history, batches


def choose_epoch(history: pd.DataFrame, select: str | int) -> tuple[str, int]:
    """Return stage and epoch to export.

    Args:
        history: both stages' epochs.
        select: ``last``; ``best_valid_loss`` or ``best_accuracy`` over all epochs of both stages, the earliest of
            equals; or a number, an epoch of the last stage.

    Raises:
        TrainingError: the last stage has no such epoch.
    """
    if select == "best_valid_loss":
        row = history.loc[history["valid_loss"].idxmin()]
    elif select == "best_accuracy":
        row = history.loc[history["accuracy"].idxmax()]
    elif select == "last":
        row = history.iloc[-1]
    else:
        last = history[history["stage"] == history["stage"].iloc[-1]]
        found = last[last["epoch"] == select]
        if found.empty:
            raise TrainingError(
                f"select is epoch {select}, but {last['stage'].iloc[0]} has the epochs 1 to {last['epoch'].max()}"
            )
        row = found.iloc[0]
    return str(row["stage"]), int(row["epoch"])


def cpu_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of the weights on the CPU, each with memory of its own."""
    return {key: value.detach().cpu().clone().contiguous() for key, value in network.state_dict().items()}


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


def _table(rows: list[tuple], types: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(types)).astype(types)
