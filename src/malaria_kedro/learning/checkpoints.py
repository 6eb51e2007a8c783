"""Every epoch's weights on disk, until the next training of the same variant."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or of another training; the message says which and what to do."""


@dataclass(frozen=True)
class Checkpoints:
    """A folder of weights, ``<stage>/epoch_<n>.safetensors``, each with a JSON description in its header."""

    folder: Path

    def start(self, stage: str) -> None:
        """Make room for a stage; the epochs of the training before are set aside as ``<stage>.previous``."""
        current, previous = self.folder / stage, self.folder / f"{stage}.previous"
        if current.is_dir():
            shutil.rmtree(previous, ignore_errors=True)
            current.rename(previous)
        current.mkdir(parents=True)

    def save(self, stage: str, epoch: int, state: dict[str, torch.Tensor], description: dict[str, Any]) -> None:
        """Write one epoch beside, flush it to disk and rename it."""
        path = self._path(stage, epoch)
        beside = path.with_suffix(".part")
        save_file(state, beside, metadata={"description": json.dumps(description)})
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)

    def load(self, stage: str, epoch: int, training_id: str) -> dict[str, torch.Tensor]:
        """Read one epoch's weights.

        Raises:
            CheckpointError: not there, unreadable, or of a training with another id.
        """
        path = self._path(stage, epoch)
        again = "train again (kedro run --pipeline modeling) or select another epoch"
        if not path.is_file():
            raise CheckpointError(f"{path} is not there; {again}")
        try:
            with safe_open(path, framework="pt") as file:
                description = json.loads(file.metadata()["description"])
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); {again}") from error
        if description["training_id"] != training_id:
            raise CheckpointError(f"{path} belongs to another training (other parameters or cells); {again}")
        return state

    def _path(self, stage: str, epoch: int) -> Path:
        return self.folder / stage / f"epoch_{epoch:03d}.safetensors"
