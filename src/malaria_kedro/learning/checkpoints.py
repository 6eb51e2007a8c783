"""Checkpoints: the weights of every epoch and, for the newest ones, all that an exact resume needs.

``<stage>/<training>/epoch_003.safetensors`` holds the weights after epoch 3, ``epoch_003.state.safetensors`` the rest
of what the training has in memory; both have JSON in the header, and reading them executes no code. The folder of a
training is named by the first digits of its id, so no training writes where another has written.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import JsonValue, ValidationError
from safetensors import SafetensorError, safe_open

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import write_file
from malaria_kedro.learning.description import CheckpointDescription
from malaria_kedro.learning.tensors import check_readable, write_tensors
from malaria_kedro.machine import MachineError, why

logger = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]

ASIDE = ".aside-"


class CheckpointError(MalariaKedroError, RuntimeError):
    """A checkpoint is missing, damaged or of another training; the message says which and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """A training after an epoch; all tensors are on the CPU."""

    description: CheckpointDescription = field(repr=False)
    weights: Tensors = field(repr=False)  # of the network
    state: Tensors = field(repr=False)  # the other tensors that the training resumes with
    skeleton: JsonValue = field(repr=False)  # refers to them, see ``malaria_kedro.learning.training_state``

    @property
    def epoch(self) -> int:
        """The epoch's number within the stage, from 1."""
        return self.description.epoch


@dataclass(frozen=True)
class Checkpoints:
    """A variant's folder of trainings."""

    folder: Path

    def of(self, stage: str, training_id: str) -> StageCheckpoints:
        """Return the epochs of one training of a stage; its folder need not exist yet."""
        return StageCheckpoints(self.folder / stage / training_id[:12], training_id)

    def others(self, stage: str, training_id: str) -> list[tuple[Path, CheckpointDescription]]:
        """Return folder and newest epoch of each other training of the stage that was not set aside, newest first."""
        newest = [
            _weights_path(folder, epochs[-1])
            for folder in (self.folder / stage).glob("*/")
            if ASIDE not in folder.name and folder.name != training_id[:12]
            if (epochs := StageCheckpoints(folder, "").epochs())
        ]
        descriptions = []
        for path in sorted(newest, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            try:
                with _opened(path) as (_, text, _):
                    descriptions.append((path.parent, _described(path, json.loads(text))))
            except CheckpointError as error:
                logger.warning("%s", error)
        return descriptions


@dataclass(frozen=True)
class StageCheckpoints:
    """The epochs of one training of one stage."""

    folder: Path
    training_id: str

    def epochs(self) -> list[int]:
        """Return the epochs whose weights are kept, ascending."""
        names = (re.fullmatch(r"epoch_(\d+)\.safetensors", path.name) for path in self.folder.glob("epoch_*"))
        return sorted(int(name.group(1)) for name in names if name)

    def prepare(self) -> None:
        """Make the folder, and remove what a killed run left half-written.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob("*.part"):
                leftover.unlink()
        except OSError as error:
            raise CheckpointError(
                f"{self.folder} cannot be written {why(error, self.folder)}, then run the same command again"
            ) from error

    def save(self, checkpoint: Checkpoint) -> None:
        """Write one epoch to temporary files, flush and rename them; the weights come last and make it valid.

        Raises:
            CheckpointError: the disk is full or cannot be written; earlier epochs are still there.
        """
        epoch = checkpoint.epoch
        about = {"memory": checkpoint.skeleton, "training_id": self.training_id, "epoch": epoch}
        _write(_state_path(self.folder, epoch), checkpoint.state, about)
        _write(_weights_path(self.folder, epoch), checkpoint.weights, checkpoint.description.as_dict())
        _flush_folder(self.folder)

    def prune(self, *, states: set[int], weights: set[int] | None) -> None:
        """Remove the other epochs' states and, unless None, weights; warn about what cannot be removed."""
        for epoch in self.epochs():
            unwanted = [] if epoch in states else [_state_path(self.folder, epoch)]
            if weights is not None and epoch not in weights:
                unwanted.append(_weights_path(self.folder, epoch))
            for path in unwanted:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    logger.warning("%s is not needed any more, but cannot be removed (%s)", path, error)

    def newest(self) -> Checkpoint | None:
        """Return the newest epoch that can be resumed, or None; damaged ones are warned about and passed over."""
        for epoch in reversed(self.epochs()):
            path, state_path = _weights_path(self.folder, epoch), _state_path(self.folder, epoch)
            if not state_path.is_file():
                continue  # removed, as it is not one of the newest
            try:
                weights, description = self._read(path)
                state, memory = self._read(state_path)
                return Checkpoint(_described(path, description), weights, state, memory["memory"])
            except CheckpointError as error:
                logger.warning("%s; falling back to the epoch before", error)
        return None

    def weights(self, epoch: int) -> Tensors:
        """Read one epoch's weights.

        Raises:
            CheckpointError: not there, unreadable, or of a training with another id.
        """
        path = _weights_path(self.folder, epoch)
        try:
            if not path.is_file():
                there = ", ".join(map(str, self.epochs())) or "none"
                raise CheckpointError(
                    f"{path} is not there (kept epochs: {there}; training.keep_epochs says which are)"
                )
            return self._read(path)[0]
        except CheckpointError as error:
            again = "train again (kedro run --pipelines modeling) or select another epoch"
            raise CheckpointError(f"{error}; {again}") from error

    def set_aside(self) -> Path | None:
        """Rename the folder, if it holds any epoch, and return the new name."""
        if not self.epochs():
            return None
        number = 1
        while (aside := self.folder.with_name(f"{self.folder.name}{ASIDE}{number}")).exists():
            number += 1
        try:
            self.folder.rename(aside)
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be set aside {why(error, self.folder)}") from error
        return aside

    def _read(self, path: Path) -> tuple[Tensors, dict[str, JsonValue]]:
        with _opened(path) as (file, text, sha256):
            # Copied, because an unaligned tensor may be computed with in another order.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a dict)
        if _sha256(tensors, text) != sha256:
            raise CheckpointError(f"{path} is damaged (its content does not have the sha256 that it names)")
        description = json.loads(text)
        if description.get("training_id") != self.training_id:
            raise CheckpointError(f"{path} belongs to another training (other parameters or cells)")
        return tensors, description


def _weights_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch_{epoch:03d}.safetensors"


def _state_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch_{epoch:03d}.state.safetensors"


def _write(path: Path, tensors: Tensors, description: dict[str, JsonValue]) -> None:
    text = json.dumps(description, allow_nan=False)
    metadata = {"format": "pt", "description": text, "sha256": _sha256(tensors, text)}
    try:
        write_file(path, lambda beside: write_tensors(tensors, beside, metadata=metadata))
    except (OSError, SafetensorError) as error:
        said = error if isinstance(error, MachineError) else f"{path} cannot be written {why(error, path)}"
        raise CheckpointError(
            f"{said}, then run the same command again: it continues after the epochs before, which are kept"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[safe_open, str, str]]:
    """Yield a checkpoint's file, its description and the sha256 that it names."""
    try:
        check_readable(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            yield file, metadata["description"], metadata["sha256"]
    except PermissionError as error:
        raise CheckpointError(
            f"{path} may not be read (permission denied); ask its owner for the right to read it (chmod a+r)"
        ) from error
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error})") from error


def _described(path: Path, description: dict[str, JsonValue]) -> CheckpointDescription:
    try:
        return CheckpointDescription.model_validate(description)
    except ValidationError as error:
        raise CheckpointError(f"{path} was written by a version of malaria-kedro that this one cannot read") from error


def tensors_sha256(tensors: Tensors) -> str:
    """Return a sha256 of the names, dtypes, shapes and bytes of all tensors, ordered by name."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sha256(tensors: Tensors, text: str) -> str:
    return hashlib.sha256(f"{tensors_sha256(tensors)}\n{text}".encode()).hexdigest()


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # cannot open a folder, and needs no flush
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
