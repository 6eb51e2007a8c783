"""The history of a training: one row per epoch, one row per batch, and which epoch is exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_type_hints

import numpy as np
import pandas as pd

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.learning.description import BatchRow, EpochRow, StageDescription

if TYPE_CHECKING:
    import torch

_COLUMN_TYPES = {str: "str", int: "int64", float: "float64"}
HISTORY_TYPES, BATCH_TYPES = (
    {column: _COLUMN_TYPES[kind] for column, kind in get_type_hints(row).items()} for row in (EpochRow, BatchRow)
)


class TrainingError(MalariaKedroError, RuntimeError):
    """Training cannot continue; the message says why and what to change."""


@dataclass(frozen=True, eq=False)  # tensors and tables have no single answer to ==
class TrainedStage:
    """The result of a stage of training; epochs and batches count from 1 within it.

    ``train_loss`` of an epoch and ``smooth_loss`` of a batch are fastai's: smoothed over the batches (exponentially,
    0.98) up to there; ``train_loss`` of a batch is its own. ``lr`` is the head's, at the end of the epoch or batch.
    """

    state: dict[str, torch.Tensor] = field(repr=False)  # the weights after the last epoch, on the CPU
    description: StageDescription
    history: pd.DataFrame  # one row per epoch (``HISTORY_TYPES``)
    batches: pd.DataFrame = field(repr=False)  # one row per batch (``BATCH_TYPES``)


def join_histories(stage_1: TrainedStage, stage_2: TrainedStage) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the epochs and the batches of both stages; batches are numbered through both."""
    batches = pd.concat([table for table in (stage_1.batches, stage_2.batches) if len(table)], ignore_index=True)
    batches["batch"] = np.arange(1, len(batches) + 1)
    history = pd.concat([table for table in (stage_1.history, stage_2.history) if len(table)], ignore_index=True)
    return history, batches


def choose_epoch(history: pd.DataFrame, select: str | int) -> tuple[str, int]:
    """Return stage and epoch to export, of the epochs of both stages.

    ``select`` is ``last``; ``best_valid_loss`` or ``best_accuracy``, of equals the earliest; or an epoch of the last
    stage.

    Raises:
        TrainingError: the last stage has no such epoch.
    """
    if isinstance(select, str):
        best = {"best_valid_loss": history["valid_loss"].argmin(), "best_accuracy": history["accuracy"].argmax()}
        row = history.iloc[best.get(select, -1)]
    else:
        last = history[history["stage"] == history["stage"].iloc[-1]]
        found = last[last["epoch"] == select]
        if found.empty:
            raise TrainingError(
                f"select is epoch {select}, but {last['stage'].iloc[0]} has the epochs 1 to {last['epoch'].max()}"
            )
        row = found.iloc[0]
    return str(row["stage"]), int(row["epoch"])


def as_table(rows: Sequence[tuple], types: dict[str, str]) -> pd.DataFrame:
    """Return rows as a table whose columns have their types even where there is no row."""
    return pd.DataFrame(rows, columns=list(types)).astype(types)
