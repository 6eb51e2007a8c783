"""fastai callbacks: the random state of an epoch, its history, its checkpoint, and when to stop."""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.learner import AvgSmoothLoss, Learner, Recorder
from tqdm import tqdm

from malaria_kedro.learning.checkpoints import Checkpoint, StageCheckpoints
from malaria_kedro.learning.history import BATCH_TYPES, HISTORY_COLUMNS, TrainingError
from malaria_kedro.learning.interruption import EXIT_UNFINISHED, RunState, UnfinishedError
from malaria_kedro.learning.network import cpu_state
from malaria_kedro.learning.seeding import epoch_seed, seed_all
from malaria_kedro.learning.training_state import capture
from malaria_kedro.parameters import Training

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0
_BATCH_NUMBERS = list(BATCH_TYPES)[1:]  # all but the stage, which is the same in every row


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


class SmoothLoss(AvgSmoothLoss):
    """fastai's smoothed loss, left on a GPU: read after every batch, as fastai does, it would make it wait.

    On a CPU its value is a plain number: fastai keeps that of every batch, and small tensors that stay while large ones
    come and go cut the memory to pieces.
    """

    val: torch.Tensor

    def accumulate(self, learn: Learner) -> None:
        """Add a batch's loss."""
        loss = learn.loss.detach().mean()
        self.count += 1
        self.val = torch.lerp(loss, self.val.to(loss.device), self.beta)

    @property
    def value(self) -> torch.Tensor | float:
        """The smoothed loss so far."""
        smoothed = self.val / (1 - self.beta**self.count)
        return smoothed if smoothed.is_cuda else smoothed.item()


def make_recorder() -> Recorder:
    """Return fastai's Recorder, with a smoothed loss that makes no GPU wait."""
    recorder = Recorder()
    recorder.smooth_loss = SmoothLoss(beta=recorder.smooth_loss.beta)
    return recorder


class HistoryLogger(Callback):
    """Keeps the loss of every batch and the metrics of every epoch, and logs them."""

    order = 62  # after fastai's Recorder

    def __init__(self, stage: str, lr_max: Any, found: Checkpoint | None = None) -> None:
        """Begin, or go on from a checkpoint's epochs and batches."""
        self.stage, self.lr_max = stage, lr_max
        self.history: list[tuple] = []
        self.batches: list[tuple] = []
        if found is not None:
            self.history = [tuple(row) for row in found.description["history"]]
            columns = (found.state[f"batches.{column}"].tolist() for column in _BATCH_NUMBERS)
            self.batches = [(stage, *row) for row in zip(*columns, strict=True)]
        self.bar: tqdm | None = None

    @property
    def seconds(self) -> float:
        """What all epochs so far took, in whichever run."""
        return sum(row[HISTORY_COLUMNS.index("seconds")] for row in self.history)

    def best(self) -> dict[str, int]:
        """Return the best epoch so far by each rule; the earliest of equals."""
        loss, accuracy = (HISTORY_COLUMNS.index(column) for column in ("valid_loss", "accuracy"))
        return {
            "best_valid_loss": min(self.history, key=lambda row: row[loss])[1],
            "best_accuracy": max(self.history, key=lambda row: row[accuracy])[1],
        }

    def batch_tensors(self) -> dict[str, torch.Tensor]:
        """Return the batches as tensors of a checkpoint."""
        kinds = {"int64": torch.int64, "float64": torch.float64}
        return {
            f"batches.{column}": torch.tensor([row[at] for row in self.batches], dtype=kinds[BATCH_TYPES[column]])
            for at, column in enumerate(_BATCH_NUMBERS, start=1)
        }

    def close(self) -> None:
        """Take the bar off the terminal, whatever ended the epoch."""
        if self.bar is not None:
            self.bar.close()

    def before_epoch(self) -> None:
        """Start the clock and the bar."""
        self.started = self.last_line = time.perf_counter()
        self.losses: torch.Tensor | None = None  # one tensor for all batches, see SmoothLoss
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
        loss = self.loss.detach()
        if self.losses is None:
            self.losses = torch.zeros(len(self.dls.train), dtype=loss.dtype, device=loss.device)
        self.losses[self.iter] = loss
        assert self.bar is not None  # the epoch has begun
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
        """Keep and log the epoch.

        Raises:
            TrainingError: a loss is not a number any more.
        """
        self.close()
        seconds = time.perf_counter() - self.started
        recorder = self.learn.recorder
        assert self.losses is not None  # an epoch has at least one batch
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
        self.batches += [(self.stage, epoch, first + i, raw[i], smooth[i], lrs[i]) for i in range(len(raw))]
        row = (self.stage, epoch, train_loss, valid_loss, right, wrong, lrs[-1], seconds)
        self.history.append(row)
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


class SaveEpochs(Callback):
    """Saves every epoch once its figures are known, and removes what that makes superfluous.

    Where a GPU trains, an epoch is copied at once and written while the next one trains: it would wait a quarter of its
    time for the disk. At most one is being written, so a crash may cost one more than the epoch it happens in.
    """

    order = HistoryLogger.order + 1

    def __init__(
        self,
        own: StageCheckpoints,
        journal: HistoryLogger,
        description: dict[str, Any],
        keep_last: int,
        keep: set[int] | None,
        *,
        overlap: bool,
    ) -> None:
        """Take where to save, and what is to stay: the newest epochs in full, and the weights of which others.

        Args:
            own: where.
            journal: the epochs so far.
            description: of the training.
            keep_last: so many epochs stay in full.
            keep: of these and the best epochs the weights stay; None = of all.
            overlap: let the next epoch begin before this one is on disk.
        """
        self.own, self.journal, self.description, self.keep_last, self.keep = own, journal, description, keep_last, keep
        self.overlap = overlap
        self.writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self.writing: Future[None] | None = None

    def after_epoch(self) -> None:
        """Copy the epoch and write it, or begin to.

        Raises:
            CheckpointError: it, or the epoch before, cannot be written.
        """
        self.finish()
        tensors, memory = capture(self.learn)
        checkpoint = Checkpoint(
            self.epoch + 1,
            cpu_state(self.learn.model),
            tensors | self.journal.batch_tensors(),
            # A copy, because the next epoch is noted while this one is written.
            self.description | {"history": list(self.journal.history), "best": self.journal.best()},
            {"memory": memory},
        )
        self.writing = self.writer.submit(self._write, checkpoint)
        if not self.overlap:
            self.finish()

    def finish(self) -> None:
        """Wait until all that was saved is on disk.

        Raises:
            CheckpointError: it cannot be written.
        """
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Finish, and save no more.

        Raises:
            CheckpointError: the last epoch cannot be written.
        """
        self.writer.shutdown()
        self.finish()

    def _write(self, checkpoint: Checkpoint) -> None:
        """Write an epoch, then tidy up."""
        self.own.save(checkpoint)
        newest = set(range(checkpoint.epoch - self.keep_last + 1, checkpoint.epoch + 1))
        best = {*checkpoint.description["best"].values()}
        self.own.prune(states=newest, weights=None if self.keep is None else newest | self.keep | best)


class StopWhenAsked(Callback):
    """Ends the run after the batch in which a signal came, or after as many epochs as one run may train."""

    order = SaveEpochs.order + 1

    def __init__(self, run_state: RunState, name: str, stage: str, saved: SaveEpochs, settings: Training) -> None:
        self.run_state, self.variant, self.stage, self.saved, self.settings = run_state, name, stage, saved, settings

    def before_fit(self) -> None:
        """Stop where a signal came meanwhile, or this run has trained all that it may."""
        done = self.learn.first_epoch
        if self.run_state.signal:
            raise self.unfinished(done, f"stopped by {self.run_state.signal.name}")
        if self.used_up():
            raise self.unfinished(
                done, f"this run has trained {self.run_state.epochs} epochs (training.epochs_per_run)"
            )

    def after_batch(self) -> None:
        """Stop for a signal; what the epoch has learnt so far is lost."""
        if self.run_state.signal:
            raise self.unfinished(self.epoch, f"stopped by {self.run_state.signal.name} in epoch {self.epoch + 1}")

    def after_epoch(self) -> None:
        """Count the epoch; stop where there is a reason to."""
        self.run_state.epochs += 1
        done = self.epoch + 1
        if self.run_state.signal:
            raise self.unfinished(done, f"stopped by {self.run_state.signal.name} after epoch {done}")
        if self.used_up() and done < self.n_epoch:
            raise self.unfinished(
                done, f"this run has trained {self.run_state.epochs} epochs (training.epochs_per_run)"
            )

    def used_up(self) -> bool:
        """Return whether this run has trained as many epochs as it may."""
        limit = self.settings.epochs_per_run
        return limit is not None and self.run_state.epochs >= limit

    def unfinished(self, done: int, why: str) -> UnfinishedError:
        """Return the error that ends the run and says how to go on, once all that was trained is on disk.

        Args:
            done: epochs of this stage that are trained.
            why: what ends the run.

        Raises:
            CheckpointError: the last of them cannot be written.
        """
        self.saved.finish()
        total, folder = self.n_epoch, self.saved.own.folder
        kept = f"epochs 1 to {done} of {total} are kept in {folder}" if done else "no epoch of it is kept yet"
        again = "run the same command again"
        if self.settings.resume == "never":
            again = "run it again with training.resume=auto"
        then = f"resume with epoch {done + 1}" if done < total else "continue after it"
        signal = self.run_state.signal
        return UnfinishedError(
            f"{self.variant} {self.stage} is unfinished: {why}; {kept}. To {then}, {again}",
            128 + signal if signal else EXIT_UNFINISHED,
        )
