"""fastai callbacks: the random state of every epoch, and the journal of every batch and epoch."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import torch
from fastai.callback.core import Callback
from tqdm import tqdm

from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.history import TrainingError
from malaria_kedro.learning.network import cpu_state
from malaria_kedro.learning.seeding import epoch_seed, seed_all

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0


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
