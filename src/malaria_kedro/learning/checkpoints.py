"""Checkpoints: the weights of every epoch, and for the newest ones everything that resumes the training exactly.

``<stage>/<training>/epoch_003.safetensors`` holds the weights after epoch 3, ``epoch_003.state.safetensors`` what else
the training has in memory. Both are safetensors with JSON in the header: reading them executes no code. A training is
named by the first digits of its id, so no training ever writes where another has written.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import write_file
from malaria_kedro.learning.tensors import check_readable, write_tensors

logger = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]

ASIDE = ".aside-"
TRAIN_AGAIN = "train again (kedro run --pipeline modeling) or select another epoch"


class CheckpointError(MalariaKedroError, RuntimeError):
    """A checkpoint is missing, damaged or of another training; the message says which and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What is known after an epoch.

    Attributes:
        epoch: from 1.
        weights: of the network, on the CPU.
        state: other tensors that continue the training, on the CPU.
        description: JSON-able, about the weights: training, history so far, best epochs so far.
        skeleton: JSON-able, about the state.
    """

    epoch: int
    weights: Tensors = field(repr=False)
    state: Tensors = field(repr=False)
    description: dict[str, Any] = field(repr=False)
    skeleton: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Checkpoints:
    """A variant's folder of trainings."""

    folder: Path

    def of(self, stage: str, training_id: str) -> StageCheckpoints:
        """Return the epochs of one training of a stage; its folder need not exist yet."""
        return StageCheckpoints(self.folder / stage / training_id[:12], training_id)

    def others(self, stage: str, training_id: str) -> list[dict[str, Any]]:
        """Return what the newest epoch of each other training of the stage says of itself, the newest first.

        Those that were set aside do not count: nothing continues them.
        """
        newest = []
        for folder in (self.folder / stage).glob("*/"):
            if ASIDE in folder.name:
                continue
            if folder.name != training_id[:12] and (epochs := StageCheckpoints(folder, "").epochs()):
                path = _weights_path(folder, epochs[-1])
                newest.append((path.stat().st_mtime_ns, path))
        descriptions = []
        for _, path in sorted(newest, reverse=True):
            try:
                descriptions.append(_read_description(path) | {"folder": path.parent})
            except CheckpointError as error:
                logger.warning("%s", error)
        return descriptions

    def load(self, stage: str, epoch: int, training_id: str) -> Tensors:
        """Read one epoch's weights.

        Raises:
            CheckpointError: not there, unreadable, or of a training with another id.
        """
        return self.of(stage, training_id).weights(epoch)


@dataclass(frozen=True)
class StageCheckpoints:
    """The epochs of one training of one stage."""

    folder: Path
    training_id: str

    def epochs(self) -> list[int]:
        """Return the epochs whose weights are there, ascending."""
        names = (re.fullmatch(r"epoch_(\d+)\.safetensors", path.name) for path in self.folder.glob("epoch_*"))
        return sorted(int(name.group(1)) for name in names if name)

    def prepare(self) -> None:
        """Make the folder and clear away what a killed writing left half-done.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob("*.part"):
                leftover.unlink()
        except OSError as error:
            raise CheckpointError(
                f"{self.folder} cannot be written ({error}); give rights on it, then run the same command again"
            ) from error

    def save(self, checkpoint: Checkpoint) -> None:
        """Write one epoch beside, flush it to disk and rename it; the weights come last and make it valid.

        Raises:
            CheckpointError: the disk is full or cannot be written; the epochs before are still there.
        """
        identity = {"training_id": self.training_id, "epoch": checkpoint.epoch}
        state_path, path = _state_path(self.folder, checkpoint.epoch), _weights_path(self.folder, checkpoint.epoch)
        _write(state_path, checkpoint.state, checkpoint.skeleton | identity)
        _write(path, checkpoint.weights, checkpoint.description | identity)
        _flush_folder(self.folder)

    def prune(self, *, states: Iterable[int], weights: Iterable[int] | None) -> None:
        """Remove all but the given epochs' states and, where given, all but the given epochs' weights.

        What cannot be removed is only warned of: the training does not need it gone.
        """
        keep_states, keep_weights = set(states), None if weights is None else set(weights)
        for epoch in self.epochs():
            unwanted = [] if epoch in keep_states else [_state_path(self.folder, epoch)]
            if keep_weights is not None and epoch not in keep_weights:
                unwanted.append(_weights_path(self.folder, epoch))
            for path in unwanted:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    logger.warning("%s is not needed any more, but cannot be removed (%s)", path, error)

    def newest(self) -> Checkpoint | None:
        """Return the newest epoch that can be continued, or None.

        A damaged one is warned of, and the one before is tried.
        """
        for epoch in reversed(self.epochs()):
            if not _state_path(self.folder, epoch).is_file():
                continue  # its state has been removed, as that of all before the newest ones
            try:
                weights, description = self._read(_weights_path(self.folder, epoch))
                state, skeleton = self._read(_state_path(self.folder, epoch))
            except CheckpointError as error:
                logger.warning("%s; falling back to the epoch before", error)
                continue
            return Checkpoint(epoch, weights, state, description, skeleton)
        return None

    def weights(self, epoch: int) -> Tensors:
        """Read one epoch's weights.

        Raises:
            CheckpointError: not there, unreadable, or of a training with another id.
        """
        path = _weights_path(self.folder, epoch)
        if not path.is_file():
            there = ", ".join(map(str, self.epochs())) or "none"
            raise CheckpointError(
                f"{path} is not there (kept epochs: {there}; training.keep_epochs says which are); {TRAIN_AGAIN}"
            )
        try:
            return self._read(path)[0]
        except CheckpointError as error:
            raise CheckpointError(f"{error}; {TRAIN_AGAIN}") from error

    def set_aside(self) -> Path | None:
        """Give the folder another name, if there is anything in it, and return that."""
        if not self.epochs():
            return None
        number = 1
        while (aside := self.folder.with_name(f"{self.folder.name}{ASIDE}{number}")).exists():
            number += 1
        try:
            self.folder.rename(aside)
        except OSError as error:
            raise CheckpointError(
                f"{self.folder} cannot be set aside ({error}); give rights on {self.folder.parent}"
            ) from error
        return aside

    def _read(self, path: Path) -> tuple[Tensors, dict[str, Any]]:
        tensors, description = _read(path)
        if description.get("training_id") != self.training_id:
            raise CheckpointError(f"{path} belongs to another training (other parameters or cells)")
        return tensors, description


def _weights_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch_{epoch:03d}.safetensors"


def _state_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch_{epoch:03d}.state.safetensors"


def _write(path: Path, tensors: Tensors, description: dict[str, Any]) -> None:
    text = json.dumps(description, allow_nan=False)
    metadata = {"format": "pt", "description": text, "sha256": _sha256(tensors, text)}
    try:
        write_file(path, lambda beside: write_tensors(tensors, beside, metadata=metadata))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be written ({error}); the epochs before are kept. Make room or give rights on "
            f"{path.parent}, then run the same command again: it continues"
        ) from error


def _read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    _check_rights(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            text, sha256 = metadata["description"], metadata["sha256"]
            # Copied, because a tensor that begins at an odd place of the file may be computed with in another order.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error})") from error
    if _sha256(tensors, text) != sha256:
        raise CheckpointError(f"{path} is damaged (its content does not have the sha256 that it names)")
    return tensors, json.loads(text)


def _read_description(path: Path) -> dict[str, Any]:
    _check_rights(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {})["description"]))
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error})") from error


def _check_rights(path: Path) -> None:
    try:
        check_readable(path)
    except PermissionError as error:
        raise CheckpointError(
            f"{path} may not be read (permission denied); ask its owner for the right to read it (chmod a+r)"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error


def tensors_sha256(tensors: Tensors) -> str:
    """Return a sha256 over names, kinds, shapes and bytes of all tensors, by name."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sha256(tensors: Tensors, text: str) -> str:
    return hashlib.sha256(f"{tensors_sha256(tensors)}\n{text}".encode()).hexdigest()


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # which cannot open a folder, and needs no flush of a name
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
