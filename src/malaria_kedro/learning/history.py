"""The history of a training: one row per epoch, one row per batch, and which epoch is exported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from malaria_kedro.errors import MalariaKedroError

if TYPE_CHECKING:
    import torch

HISTORY_TYPES = {"stage": "str", "epoch": "int64"} | dict.fromkeys(
    ("train_loss", "valid_loss", "accuracy", "error_rate", "lr", "seconds"), "float64"
)
BATCH_TYPES = {"stage": "str", "epoch": "int64", "batch": "int64"} | dict.fromkeys(
    ("train_loss", "smooth_loss", "lr"), "float64"
)
HISTORY_COLUMNS, BATCH_COLUMNS = list(HISTORY_TYPES), list(BATCH_TYPES)


class TrainingError(MalariaKedroError, RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclass(frozen=True, eq=False)  # tensors and tables have no single answer to ==
class TrainedStage:
    """What a stage of training leaves.

    Attributes:
        state: the network's weights after the last epoch, on the CPU.
        description: JSON-able: variant, stage, parameters, data, hardware, versions, training_id.
        history: one row per epoch (``HISTORY_TYPES``); epochs count from 1 within the stage. ``train_loss`` is
            fastai's: smoothed over the batches (exponentially, 0.98) up to the epoch's end. ``lr`` is the head's, at
            that end.
        batches: one row per batch (``BATCH_TYPES``); batches count from 1 within the stage. ``train_loss`` is the
            batch's own, ``smooth_loss`` fastai's, ``lr`` the head's.
    """

    state: dict[str, torch.Tensor] = field(repr=False)
    description: dict[str, Any]
    history: pd.DataFrame
    batches: pd.DataFrame = field(repr=False)


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
        row = history.iloc[history["valid_loss"].argmin()]
    elif select == "best_accuracy":
        row = history.iloc[history["accuracy"].argmax()]
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


def as_table(rows: list[tuple], types: dict[str, str]) -> pd.DataFrame:
    """Return rows as a table whose columns keep their types, without any row too."""
    return pd.DataFrame(rows, columns=list(types)).astype(types)
