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


class Hardware(StoredModel):
    """What a training or a prediction runs on; None or "" = unknown, or not applicable to a CPU."""

    device: str = "cpu"
    name: str = ""
    precision: str = "fp32"
    threads: int | None = None
    memory_format: str | None = None
    memory_gb: float | None = None
    cuda: str | None = None
    driver: str | None = None
    capability: str | None = None


class Session(StoredModel):
    """A run that trained epochs of a stage: from ``first_epoch`` on, on what hardware, with which versions."""

    first_epoch: int
    hardware: Hardware
    versions: dict[str, str]


class Identity(StoredModel):
    """All that decides the weights of a stage, and nothing else."""

    stage: str
    recipe: dict[str, JsonValue]  # the parameters that decide, under the names of the first checkpoints
    frozen: bool  # whether the body is
    start_sha256: str  # of the weights that the stage starts from, whatever file or stage they came from
    optimizer: str
    augment: dict[str, JsonValue]
    data_fingerprint: str
    hardware: Hardware  # kind of device, precision, and threads (on a CPU) or memory format
    versions: dict[str, str]  # the first two numbers of each package's

    @property
    def training_id(self) -> str:
        """Sha256 that names the training."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


class StageParameters(StoredModel):
    """The parameter block of a stage; its other keys are kept as they are."""

    epochs: int


class StageDescription(StoredModel):
    """A stage of training."""

    variant: str
    stage: str
    stage_parameters: StageParameters
    architecture: str
    frozen: bool  # whether the body is
    augment: dict[str, JsonValue]
    data_fingerprint: str
    data: DataBunchSummary
    parameters: dict[str, JsonValue]  # the variant's, but for ``select``
    hardware: Hardware  # of the newest session, as ``versions``
    versions: dict[str, str]
    identity: Identity
    training_id: str  # that of ``identity``; equal ids are the same training
    sessions: list[Session]  # the runs that trained it
    classes: list[str]
    phantom: bool
    seconds: float  # that all its epochs took
    pretrained_loaded: bool  # whether there were weights to start from


class CheckpointDescription(StageDescription):
    """A stage after an epoch: the history so far, and the best epoch so far by each rule of ``select``."""

    history: list[EpochRow]
    best: dict[str, int]
    epoch: int
