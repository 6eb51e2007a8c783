"""What a training says about itself, in ``stage.json`` and in the header of every checkpoint. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from pydantic import JsonValue

from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.learning.stored import StoredModel


class EpochRow(NamedTuple):
    """One row of a history, see ``malaria_kedro.learning.history.TrainedStage``."""

    stage: str
    epoch: int
    train_loss: float
    valid_loss: float
    accuracy: float
    error_rate: float
    lr: float
    seconds: float


class BatchRow(NamedTuple):
    """One row of the batches, see ``malaria_kedro.learning.history.TrainedStage``."""

    stage: str
    epoch: int
    batch: int
    train_loss: float
    smooth_loss: float
    lr: float


class Session(StoredModel):
    """A run that trained epochs of a stage: from ``first_epoch`` on, on what hardware, with which versions."""

    first_epoch: int
    hardware: dict[str, JsonValue]
    versions: dict[str, str]


class Identity(StoredModel):
    """All that decides the weights of a stage, and nothing else.

    Attributes:
        recipe: the parameters that decide, under the names that the first checkpoints were written with.
        frozen: whether the body is.
        start_sha256: of the weights that the stage starts from, whatever file or stage they came from.
        optimizer: its name.
        augment: the parameters of the augmentation.
        data_fingerprint: of the databunch.
        hardware: kind of device, precision, and threads (on a CPU) or memory format.
        versions: the first two numbers of each package's.
    """

    stage: str
    recipe: dict[str, JsonValue]
    frozen: bool
    start_sha256: str
    optimizer: str
    augment: dict[str, JsonValue]
    data_fingerprint: str
    hardware: dict[str, JsonValue]
    versions: dict[str, str]

    @property
    def training_id(self) -> str:
        """Sha256 that names the training."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


class StageParameters(StoredModel):
    """The parameter block of a stage; its other keys are kept as they are."""

    epochs: int


class StageDescription(StoredModel):
    """A stage of training.

    Attributes:
        frozen: whether the body is.
        data: the databunch's summary.
        parameters: the variant's, but for ``select``.
        hardware: of the newest session, as ``versions``.
        training_id: that of ``identity``; equal ids are the same training.
        sessions: the runs that trained it.
        seconds: that all its epochs took.
        pretrained_loaded: whether there were weights to start from.
    """

    variant: str
    stage: str
    stage_parameters: StageParameters
    architecture: str
    frozen: bool
    augment: dict[str, JsonValue]
    data_fingerprint: str
    data: DataBunchSummary
    parameters: dict[str, JsonValue]
    hardware: dict[str, JsonValue]
    versions: dict[str, str]
    identity: Identity
    training_id: str
    sessions: list[Session]
    classes: list[str]
    phantom: bool
    seconds: float
    pretrained_loaded: bool


class CheckpointDescription(StageDescription):
    """A stage after an epoch: the history so far, and the best epoch so far by each rule of ``select``."""

    history: list[EpochRow]
    best: dict[str, int]
    epoch: int
