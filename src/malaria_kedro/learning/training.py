"""Training of one variant in two stages: one-cycle with the body frozen, then one-cycle with everything unfrozen."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.callback.schedule import ParamScheduler  # noqa: F401 (patches fit_one_cycle into Learner)
from fastai.learner import CastToTensor, Learner, Recorder
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy, error_rate
from fastai.torch_core import set_seed
from torch import nn

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.learning.callbacks import HistoryLogger, SaveEpochs, SmoothLoss, StopWhenAsked
from malaria_kedro.learning.checkpoints import Checkpoints, tensors_sha256
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.description import Hardware, Identity, Session, StageDescription, StageParameters
from malaria_kedro.learning.hardware import choose_hardware, log_hardware, versions, warn_of_nondeterminism
from malaria_kedro.learning.history import BATCH_TYPES, HISTORY_TYPES, TrainedStage, TrainingError, as_table
from malaria_kedro.learning.interruption import RunState
from malaria_kedro.learning.loaders import make_dataloaders
from malaria_kedro.learning.lock import training_lock
from malaria_kedro.learning.metadata import name_network
from malaria_kedro.learning.network import build_network, cpu_state, load_pretrained, splitter
from malaria_kedro.learning.optimizer import OPTIMIZER, FusedAdam
from malaria_kedro.learning.progressive_resizing import ProgressiveResizing
from malaria_kedro.learning.resume import find_checkpoint, warn_of_another_machine
from malaria_kedro.learning.seeding import EpochSeeds, epoch_seed
from malaria_kedro.learning.training_state import RestoreState, ResumableLearner
from malaria_kedro.machine import lack_of_memory, megabytes, trouble
from malaria_kedro.names import CLASSES
from malaria_kedro.parameters import SlimResnet, Stage, Training, Variant

logger = logging.getLogger(__name__)

# The packages whose version may change the bits of a weight; a patch release (the third number) is assumed not to.
DECISIVE_PACKAGES = ("malaria-kedro", "torch", "torchvision", "fastai", "numpy")
_WORDS_OF_FASTAI = re.compile(r"Exception occur+ed in `\w+` when calling event `\w+`:\n\t")


def train_stage(
    bunch: DataBunch,
    variant: Variant,
    training: Training,
    checkpoints: Checkpoints,
    start: TrainedStage | None = None,
    *,
    run_state: RunState | None = None,
) -> TrainedStage:
    """Train stage 1 (body frozen if there are weights to start from) or stage 2 (all unfrozen), or what is left of it.

    Args:
        bunch: the cells.
        variant: the recipe.
        training: device, precision, threads, and what happens with the checkpoints of an earlier run.
        checkpoints: where the epochs are kept.
        start: stage 1, whose weights stage 2 continues; None = train stage 1, from ``variant.pretrained``.
        run_state: shared with the other trainings of the run; None = there are none.

    Raises:
        TrainingError: the loss is not a number any more, the GPU's memory is full, the cells are too few, or ``start``
            is of another architecture.
        OtherDataError: ``start`` has seen other cells.
        DeviceError, WeightsError: device, precision or weights asked for are not there, or do not fit.
        CheckpointError, ResumeError: an epoch cannot be written; one has to be continued, and none fits.
        LockError: another process trains on these checkpoints.
        UnfinishedError: stopped by a signal or ``training.epochs_per_run``; the same call continues.
    """
    name, stage = variant.name, "stage_2" if start else "stage_1"
    recipe: Stage = getattr(variant, stage)
    _check_cells(bunch, name)
    if start:
        _check_start(start, bunch, variant)
    hardware = choose_hardware(training)
    log_hardware(hardware)
    network, pretrained = make_network(variant, start)
    description = describe_stage(bunch, variant, stage, hardware, network, pretrained=pretrained)
    if recipe.epochs == 0:
        logger.info("%s: %s has no epochs: skipped", name, stage)
        return _result(description, cpu_state(network), HistoryLogger(stage, recipe.lr_max))
    run_state = run_state or RunState()
    with training_lock(checkpoints.folder):
        found = find_checkpoint(checkpoints, description, training.resume, run_state)
        history_logger = HistoryLogger(stage, recipe.lr_max, found)
        if found and found.epoch >= recipe.epochs:
            logger.info(
                "%s %s: all epochs were trained before (%d, training %s); training.resume=never trains them again",
                *(name, stage, recipe.epochs, description.training_id[:12]),
            )
            description = description.model_copy(update={"sessions": found.description.sessions})
            return _result(description, found.weights, history_logger)
        own = checkpoints.of(stage, description.training_id)
        own.prepare()
        callbacks = [EpochSeeds(variant.seed, stage), history_logger]
        if found:
            session = description.sessions[0].model_copy(update={"first_epoch": found.epoch + 1})
            warn_of_another_machine(name, found.description.sessions[-1], session)
            description = description.model_copy(update={"sessions": [*found.description.sessions, session]})
            network.load_state_dict(found.weights)
            callbacks.append(RestoreState(found))
        save = SaveEpochs(own, history_logger, description, variant.select, training, overlap=hardware.device == "cuda")
        stop = StopWhenAsked(run_state, save)
        learner = make_learner(bunch, network, variant, recipe, hardware, training, [*callbacks, save, stop])
        learner.first_epoch = found.epoch if found else 0
        if description.frozen:
            learner.freeze()
        _announce(bunch, variant, description, learner)
        with released(learner):
            with run_state.listening(), closing(save), closing(history_logger), warn_of_nondeterminism(name):
                fit(learner, recipe, name)
            if run_state.signal:  # which came after the last check
                raise stop.unfinished(recipe.epochs, f"stopped by {run_state.signal.name}")
    return _result(description, cpu_state(network), history_logger)


def make_network(variant: Variant, start: TrainedStage | None = None) -> tuple[nn.Sequential, bool]:
    """Return the network that a stage starts from, or ``start`` has made, and whether pretrained weights are in it."""
    set_seed(epoch_seed(variant.seed, "initial", 0))
    network = build_network(variant.arch, variant.dropout, variant.slim_resnet)
    if start is None:
        return network, load_pretrained(network, variant.arch, variant.pretrained, variant.slim_resnet)
    network.load_state_dict(start.state)
    return network, start.description.pretrained_loaded


def _result(
    description: StageDescription, state: dict[str, torch.Tensor], history_logger: HistoryLogger
) -> TrainedStage:
    seconds = round(sum(row.seconds for row in history_logger.history), 1)
    return TrainedStage(
        state,
        description.model_copy(update={"seconds": seconds}),
        as_table(history_logger.history, HISTORY_TYPES),
        as_table(history_logger.batches, BATCH_TYPES),
    )


def _announce(bunch: DataBunch, variant: Variant, description: StageDescription, learner: ResumableLearner) -> None:
    name, stage, n_train = variant.name, description.stage, len(bunch.rows("train"))
    recipe: Stage = getattr(variant, stage)
    if stage == "stage_1" and not description.frozen:
        logger.info("%s: no weights to start from, so %s trains the whole network", name, stage)
    if variant.batch_size > n_train:
        logger.warning(
            "%s.batch_size is %d, but there are only %d training cells: one batch", name, variant.batch_size, n_train
        )
    logger.info(
        "%s %s: %d epoch%s of %d batches of %d%s, top rate %s, %s%s (training %s)",
        *(name, stage, recipe.epochs, "s" * (recipe.epochs != 1), len(learner.dls.train), learner.dls.train.bs),
        " phantom cells drawn by this project" if bunch.phantom else "",
        recipe.lr_max,
        "body frozen" if description.frozen else "all layers trained",
        f", progressive resizing from {recipe.initial_size} px" if recipe.initial_size else "",
        description.training_id[:12],
    )
    if learner.first_epoch:
        logger.info("%s %s: continues with epoch %d, exactly", name, stage, learner.first_epoch + 1)


def make_learner(
    bunch: DataBunch,
    network: nn.Module,
    variant: Variant,
    recipe: Stage,
    hardware: Hardware,
    training: Training,
    callbacks: list[Callback],
) -> ResumableLearner:
    """Return a fastai ``Learner`` with cross-entropy, accuracy and error rate, on the given hardware.

    Raises:
        TrainingError: the GPU's memory does not hold the pixel array or the network.
    """
    try:
        dls = make_dataloaders(bunch, variant.batch_size, hardware.device, pixels_on_device=training.pixels_on_device)
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU's memory does not hold the pixel array ({megabytes(bunch.pixels.nbytes)}); "
            "set training.pixels_on_device=false"
        ) from error
    if recipe.initial_size is not None:
        callbacks = [*callbacks, ProgressiveResizing(recipe, bunch.image_size)]
    recorder = Recorder()
    recorder.smooth_loss = SmoothLoss()
    precision = [] if hardware.precision == "fp32" else [MixedPrecision(amp_mode=AMPMode(hardware.precision))]
    if hardware.memory_format == "channels_last":
        precision.append(ChannelsLast())
    with explained(variant.name, variant.batch_size):
        return ResumableLearner(
            dls,
            network.to(hardware.device),
            loss_func=CrossEntropyLossFlat(),
            opt_func=FusedAdam,
            splitter=splitter(variant.arch),
            metrics=[accuracy, error_rate],
            wd=recipe.weight_decay,
            cbs=[TrainEvalCallback, recorder, CastToTensor, *precision, *callbacks],
            default_cbs=False,  # fastai's progress bars print to a notebook; HistoryLogger has its own
        )


@contextmanager
def released(learner: Learner) -> Iterator[None]:
    """Empty the learner in the end.

    A learner and its callbacks refer to each other: optimizer and loaders would stay in memory until Python collects
    its oldest objects, which it may not do within many folds.
    """
    try:
        yield
    finally:
        vars(learner).clear()


@contextmanager
def explained(name: str, batch_size: int) -> Iterator[None]:
    """Turn a full memory into a ``TrainingError`` that suggests a batch size, and take fastai's words from any other.

    fastai puts a preamble before the message of whatever a callback raises, asked or not.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU's memory is full with batches of {batch_size}; try {name}.batch_size={max(2, batch_size // 2)}"
            " (or training.pixels_on_device=false)"
        ) from error
    except MalariaKedroError as error:
        error.args = (_WORDS_OF_FASTAI.sub("", str(error.args[0])), *error.args[1:])
        raise
    except Exception as error:
        if trouble(error) != errno.ENOMEM:
            raise
        raise TrainingError(
            f"{lack_of_memory(error)} with batches of {batch_size}; try {name}.batch_size={max(2, batch_size // 2)}"
        ) from error


def fit(learner: Learner, recipe: Stage, name: str) -> None:
    """Run the one-cycle schedule; where the GPU's memory is full, a TrainingError suggests a batch size."""
    lr_max = slice(*recipe.lr_max) if isinstance(recipe.lr_max, tuple) else recipe.lr_max
    # HistoryLogger writes the lines instead.
    with learner.no_logging(), explained(name, learner.dls.train.bs):
        learner.fit_one_cycle(recipe.epochs, lr_max=lr_max, pct_start=recipe.pct_start)


def describe_stage(
    bunch: DataBunch, variant: Variant, stage: str, hardware: Hardware, network: nn.Module, *, pretrained: bool
) -> StageDescription:
    """Describe a stage before it trains.

    ``network`` has the weights that it starts from; where these were ``pretrained``, stage 1 freezes the body.
    """
    recipe = variant.model_dump(mode="json", exclude={"select"})
    installed = versions()
    decisive = {"device", "precision", "threads" if hardware.device == "cpu" else "memory_format"}
    identity = Identity(
        stage=stage,
        recipe=variant.model_dump(
            mode="json", include={"arch", "slim_resnet", "batch_size", "dropout", "seed", stage}, by_alias=True
        ),
        frozen=stage == "stage_1" and pretrained,
        start_sha256=tensors_sha256(network.state_dict()),
        optimizer=OPTIMIZER,
        augment=bunch.augment.model_dump(mode="json"),
        data_fingerprint=bunch.fingerprint,
        hardware=Hardware.model_validate(hardware.model_dump(include=decisive)),
        versions={package: ".".join(installed[package].split(".")[:2]) for package in DECISIVE_PACKAGES},
    )
    return StageDescription(
        variant=variant.name,
        stage=stage,
        stage_parameters=StageParameters.model_validate(recipe[stage]),
        architecture=variant.arch,
        frozen=identity.frozen,
        augment=identity.augment,
        data_fingerprint=bunch.fingerprint,
        data=bunch.summary,
        parameters=recipe,
        hardware=hardware,
        versions=installed,
        identity=identity,
        training_id=identity.training_id,
        sessions=[Session(first_epoch=1, hardware=hardware, versions=installed)],
        classes=list(CLASSES),
        phantom=bunch.phantom,
        seconds=0.0,
        pretrained_loaded=pretrained,
    )


def _check_cells(bunch: DataBunch, name: str) -> None:
    for split, least in (("train", 2), ("valid", 1)):  # batch normalisation needs two cells
        if (found := len(bunch.rows(split))) < least:
            raise TrainingError(
                f"{name} has {found} cells in {split}, and needs at least {least}; give it more cells (source.limit) "
                "or other shares (split.valid_pct, split.test_pct)"
            )


def _check_start(start: TrainedStage, bunch: DataBunch, variant: Variant) -> None:
    before = start.description
    bunch.require(
        before.data_fingerprint,
        f"{before.stage} of {before.variant}",
        "cells that it has seen may be in validation now",
    )
    shape = before.parameters.get("slim_resnet")
    trained = name_network(before.architecture, SlimResnet.model_validate(shape) if shape else None)
    if trained != (asked := name_network(variant.arch, variant.slim_resnet)):
        raise TrainingError(
            f"{before.stage} trained a {trained}, but {variant.name} is a {asked} now; train it again "
            "(kedro run --pipelines modeling)"
        )
