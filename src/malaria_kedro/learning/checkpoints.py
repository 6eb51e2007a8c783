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
        """Make room for a stage; the epochs of the training before are set aside as ``<stage>.previous``.

        A training that left no epoch takes no one's place there.
        """
        current, previous = self.folder / stage, self.folder / f"{stage}.previous"
        if any(current.glob("epoch_*.safetensors")):
            shutil.rmtree(previous, ignore_errors=True)
            current.rename(previous)
        shutil.rmtree(current, ignore_errors=True)
        current.mkdir(parents=True)

    def save(self, stage: str, epoch: int, state: dict[str, torch.Tensor], description: dict[str, Any]) -> None:
        """Write one epoch beside, flush it to disk and rename it.

        Args:
            stage: of :meth:`start`.
            epoch: from 1.
            state: the weights, on the CPU.
            description: JSON-able, with the ``training_id`` that :meth:`load` asks for.

        Raises:
            CheckpointError: the disk is full or cannot be written; the epochs before are still there.
        """
        path = self._path(stage, epoch)
        beside = path.with_suffix(".part")
        try:
            save_file(state, beside, metadata={"description": json.dumps(description)})
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            beside.replace(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{path} cannot be written ({error}); make room or give rights on {self.folder}, then train again"
            ) from error
        finally:
            beside.unlink(missing_ok=True)

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
        if not isinstance(description, dict) or description.get("training_id") != training_id:
            raise CheckpointError(f"{path} belongs to another training (other parameters or cells); {again}")
        return state

    def _path(self, stage: str, epoch: int) -> Path:
        return self.folder / stage / f"epoch_{epoch:03d}.safetensors"
