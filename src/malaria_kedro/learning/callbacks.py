"""fastai callbacks: the history of an epoch, its checkpoint, and when to stop."""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.learner import AvgSmoothLoss, Learner
from tqdm import tqdm

from malaria_kedro.learning.checkpoints import Checkpoint, StageCheckpoints
from malaria_kedro.learning.description import BatchRow, CheckpointDescription, EpochRow, StageDescription
from malaria_kedro.learning.history import BATCH_TYPES, TrainingError
from malaria_kedro.learning.interruption import EXIT_UNFINISHED, RunState, UnfinishedError
from malaria_kedro.learning.network import cpu_state
from malaria_kedro.learning.training_state import capture
from malaria_kedro.parameters import Training

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0
# The columns of a checkpoint's batches: all but the stage, which is the same in every row.
BATCH_KINDS = {column: getattr(torch, kind) for column, kind in BATCH_TYPES.items() if column != "stage"}


class SmoothLoss(AvgSmoothLoss):
    """fastai's smoothed loss, kept on the GPU: reading it after every batch, as fastai does, makes the GPU wait.

    On a CPU its value is a plain number: fastai keeps one per batch, and small tensors that stay while large ones come
    and go would fragment the memory.
    """

    val: torch.Tensor

    def accumulate(self, learn: Learner) -> None:
        loss = learn.loss.detach().mean()
        self.count += 1
        self.val = torch.lerp(loss, self.val.to(loss.device), self.beta)

    @property
    def value(self) -> torch.Tensor | float:
        smoothed = self.val / (1 - self.beta**self.count)
        return smoothed if smoothed.is_cuda else smoothed.item()


class HistoryLogger(Callback):
    """Keeps the loss of every batch and the metrics of every epoch, and logs them."""

    order = 62  # after fastai's Recorder

    def __init__(self, stage: str, lr_max: Any, found: Checkpoint | None = None) -> None:
        """Start empty, or with a checkpoint's epochs and batches."""
        self.stage, self.lr_max = stage, lr_max
        self.history: list[EpochRow] = []
        self.batches: list[BatchRow] = []
        if found is not None:
            self.history = list(found.description.history)
            columns = (found.state[f"batches.{column}"].tolist() for column in BATCH_KINDS)
            self.batches = [BatchRow(stage, *row) for row in zip(*columns, strict=True)]
        self.bar: tqdm | None = None

    def batch_tensors(self) -> dict[str, torch.Tensor]:
        """Return the batches as tensors of a checkpoint."""
        return {
            f"batches.{column}": torch.tensor([getattr(row, column) for row in self.batches], dtype=kind)
            for column, kind in BATCH_KINDS.items()
        }

    def close(self) -> None:
        """Remove the progress bar, whatever ended the epoch."""
        if self.bar is not None:
            self.bar.close()

    def before_epoch(self) -> None:
        self.started = self.last_line = time.perf_counter()
        self.losses = torch.zeros(len(self.dls.train), device=self.dls.device)  # one tensor, see SmoothLoss
        desc = f"{self.stage} epoch {self.epoch + 1}/{self.n_epoch}"
        # Drawn on a terminal only; elsewhere a line is logged now and then.
        self.bar = tqdm(total=len(self.dls.train), desc=desc, unit="batch", leave=False, disable=None)

    def after_batch(self) -> None:
        """Record the raw loss; it is read when the epoch ends, because reading it now would make a GPU wait."""
        if not self.training:
            return
        self.losses[self.iter] = self.loss.detach()
        assert self.bar is not None  # the epoch has begun
        self.bar.update()
        if self.bar.disable and time.perf_counter() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.perf_counter()
            logger.info(
                "%s epoch %d: batch %d of %d, loss %.4f",
                *(self.stage, self.epoch + 1, self.iter + 1, self.n_iter, float(self.smooth_loss)),
            )

    def after_epoch(self) -> None:
        """Record and log the epoch.

        Raises:
            TrainingError: a loss is not a number any more.
        """
        self.close()
        seconds = time.perf_counter() - self.started
        recorder = self.learn.recorder
        epoch, raw = self.epoch + 1, self.losses.tolist()
        lrs, smooth = recorder.lrs[-len(raw) :], recorder.losses[-len(raw) :]
        if isinstance(smooth[0], torch.Tensor):
            smooth = torch.stack(smooth).tolist()
        train_loss, valid_loss, right, wrong = (float(value) for value in recorder.final_record)
        if not math.isfinite(train_loss) or not math.isfinite(valid_loss):
            raise TrainingError(
                f"{self.stage} epoch {epoch}: the loss is not a number any more (train {train_loss}, valid "
                f"{valid_loss}); lower {self.stage}.lr_max, now {self.lr_max}"
            )
        first = len(self.batches) + 1
        self.batches += [BatchRow(self.stage, epoch, first + i, raw[i], smooth[i], lrs[i]) for i in range(len(raw))]
        self.history.append(EpochRow(self.stage, epoch, train_loss, valid_loss, right, wrong, lrs[-1], seconds))
        logger.info(
            "%s epoch %d/%d: train_loss %.4f, valid_loss %.4f, accuracy %.4f, error_rate %.4f, %.1f s",
            *(self.stage, epoch, self.n_epoch, train_loss, valid_loss, right, wrong, seconds),
        )


class SaveEpochs(Callback):
    """Saves every epoch once its metrics are known, and removes what is no longer needed then.

    On a GPU an epoch is copied at once and written while the next one trains: otherwise the GPU would wait for the disk
    a quarter of the time. At most one epoch is being written, so a crash may cost one more than the current one.
    """

    order = HistoryLogger.order + 1

    def __init__(
        self,
        own: StageCheckpoints,
        history_logger: HistoryLogger,
        description: StageDescription,
        select: str | int,
        settings: Training,
        *,
        overlap: bool,
    ) -> None:
        """``select`` is the epoch to keep or a rule; ``overlap`` lets the next epoch begin before one is on disk."""
        self.own, self.history_logger, self.description = own, history_logger, description
        self.select, self.settings, self.overlap = select, settings, overlap
        self.writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self.writing: Future[None] | None = None

    def after_epoch(self) -> None:
        """Copy the epoch and write it, or start writing it.

        Raises:
            CheckpointError: it, or the epoch before, cannot be written.
        """
        self.finish()
        tensors, skeleton = capture(self.learn)
        history = list(self.history_logger.history)  # a copy: the next epoch is recorded while this one is written
        description = CheckpointDescription(
            **dict(self.description),
            history=history,
            best={  # of equal ones, the earliest
                "best_valid_loss": min(history, key=lambda row: row.valid_loss).epoch,
                "best_accuracy": max(history, key=lambda row: row.accuracy).epoch,
            },
            epoch=self.epoch + 1,
        )
        tensors |= self.history_logger.batch_tensors()
        checkpoint = Checkpoint(description, cpu_state(self.learn.model), tensors, skeleton)
        self.writing = self.writer.submit(self._write, checkpoint)
        if not self.overlap:
            self.finish()

    def finish(self) -> None:
        """Wait until all that was saved is on disk."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Finish, and save no more."""
        self.writer.shutdown()
        self.finish()

    def _write(self, checkpoint: Checkpoint) -> None:
        self.own.save(checkpoint)
        newest = set(range(checkpoint.epoch - self.settings.keep_last + 1, checkpoint.epoch + 1))
        wanted = newest | set(checkpoint.description.best.values())
        if isinstance(self.select, int):
            wanted.add(self.select)
        self.own.prune(states=newest, weights=None if self.settings.keep_epochs == "all" else wanted)


class StopWhenAsked(Callback):
    """Ends the run after the batch in which a signal came, or after as many epochs as one run may train."""

    order = SaveEpochs.order + 1

    def __init__(self, run_state: RunState, saved: SaveEpochs) -> None:
        self.run_state, self.saved = run_state, saved

    def before_fit(self) -> None:
        """Stop where a signal came meanwhile, or this run has trained all the epochs that it may."""
        self._stop_if_asked(self.learn.first_epoch, "")

    def after_batch(self) -> None:
        """Stop for a signal; what the epoch has learnt so far is lost."""
        if self.run_state.signal:
            raise self.unfinished(self.epoch, f"stopped by {self.run_state.signal.name} in epoch {self.epoch + 1}")

    def after_epoch(self) -> None:
        """Count the epoch; stop where there is a reason to."""
        self.run_state.epochs += 1
        self._stop_if_asked(self.epoch + 1, f" after epoch {self.epoch + 1}")

    def _stop_if_asked(self, done: int, when: str) -> None:
        state, limit = self.run_state, self.saved.settings.epochs_per_run
        if state.signal:
            raise self.unfinished(done, f"stopped by {state.signal.name}{when}")
        if limit is not None and state.epochs >= limit and done < self.n_epoch:
            trained = f"{state.epochs} epoch{'s' * (state.epochs != 1)}"
            raise self.unfinished(done, f"this run has trained {trained} (training.epochs_per_run)")

    def unfinished(self, done: int, why: str) -> UnfinishedError:
        """Return the error that says how to resume after ``done`` epochs, once all of them are on disk."""
        self.saved.finish()
        total, trained, signal = self.n_epoch, self.saved.description, self.run_state.signal
        epochs = f"epochs 1 to {done} of {total} are" if done > 1 else f"epoch 1 of {total} is"
        kept = f"{epochs} kept in {self.saved.own.folder}"
        then = f"resume with epoch {done + 1}" if done < total else "continue after it"
        afresh = self.saved.settings.resume == "never"
        again = "run it again with training.resume=auto" if afresh else "run the same command again"
        return UnfinishedError(
            f"{trained.variant} {trained.stage} is unfinished: {why}; "
            f"{kept if done else 'no epoch of it is kept yet'}. To {then}, {again}",
            128 + signal if signal else EXIT_UNFINISHED,
        )
