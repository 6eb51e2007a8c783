"""What is noted of every batch and epoch, where it is said, and what ends an epoch."""

import logging
import math
import threading
from types import SimpleNamespace

import pytest
import torch
from fastai.callback.schedule import combined_cos
from fastai.learner import AvgSmoothLoss

from malaria_kedro.learning import callbacks
from malaria_kedro.learning import checkpoints as checkpoints_module
from malaria_kedro.learning.callbacks import SmoothLoss
from malaria_kedro.learning.checkpoints import CheckpointError, Checkpoints, StageCheckpoints
from malaria_kedro.learning.history import TrainingError
from malaria_kedro.learning.training import train_stage
from network_material import RESNET18


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def test_rates_follow_one_cycle_and_an_epochs_is_its_last_batchs(trained):
    schedule = combined_cos(0.25, 1e-3 / 25, 1e-3, 1e-3 / 1e5)
    rates = trained.stage_1.batches["lr"]
    assert rates.tolist() == pytest.approx([schedule(n / 4) for n in range(4)])
    assert trained.stage_1.history["lr"].tolist() == rates.iloc[[1, 3]].tolist()


def test_the_rate_is_the_heads_where_groups_differ(trained):
    assert trained.stage_2.batches["lr"].iloc[0] == pytest.approx(1e-3 / 25)


def test_training_loss_is_fastais_smoothed_one(trained):
    batches, smooth, expected = trained.stage_1.batches, 0.0, []
    for n, loss in enumerate(batches["train_loss"], start=1):
        smooth = 0.98 * smooth + 0.02 * loss
        expected.append(smooth / (1 - 0.98**n))
    assert batches["smooth_loss"].tolist() == pytest.approx(expected, rel=1e-5)
    assert trained.stage_1.history["train_loss"].tolist() == batches["smooth_loss"].iloc[[1, 3]].tolist()


def test_each_epoch_is_a_line_of_the_log_and_nothing_is_printed(
    phantom_bunch, variant_of, training, checkpoints, caplog, capfd
):
    with caplog.at_level(logging.INFO):
        train_stage(phantom_bunch, variant_of(epochs=(1, 0)), training, checkpoints)
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("stage_1 epoch 1/1: train_loss ") for line in lines)
    assert any("phantom cells drawn by this project" in line for line in lines)
    assert capfd.readouterr().out == ""


def test_a_loss_that_is_not_a_number_stops_and_names_the_rate(
    phantom_bunch, variant_of, training, checkpoints, torchvision_state, tmp_path
):
    torch.save(torchvision_state | {"bn1.weight": torch.full((64,), math.nan)}, tmp_path / "diverged.pth")
    variant = variant_of(pretrained=str(tmp_path / "diverged.pth"), **RESNET18)
    with pytest.raises(TrainingError, match=r"stage_1 epoch 1: the loss is not a number.*stage_1\.lr_max, now 0\.001"):
        train_stage(phantom_bunch, variant, training, checkpoints)
    assert not list(checkpoints.folder.rglob("*.safetensors"))


def test_a_broken_epoch_leaves_no_bar_behind(phantom_bunch, variant_of, training, checkpoints, monkeypatch):
    bars = []

    class Bar(callbacks.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs | {"disable": True})
            self.closed = False
            bars.append(self)

        def update(self, n=1):
            raise KeyboardInterrupt

        def close(self):
            self.closed = True

    monkeypatch.setattr(callbacks, "tqdm", Bar)
    with pytest.raises(KeyboardInterrupt):
        train_stage(phantom_bunch, variant_of(), training, checkpoints)
    assert [bar.closed for bar in bars] == [True]


def test_on_a_cpu_an_epoch_is_on_disk_before_the_next_one_trains(
    phantom_bunch, variant_of, training, checkpoints, monkeypatch
):
    after_batch, there = callbacks.HistoryLogger.after_batch, []

    def looks(self):
        there.append((self.epoch, len(list(checkpoints.folder.rglob("epoch_00?.safetensors")))))
        after_batch(self)

    monkeypatch.setattr(callbacks.HistoryLogger, "after_batch", looks)
    train_stage(phantom_bunch, variant_of(epochs=(3, 0)), training, checkpoints)
    assert set(there) == {(0, 0), (1, 1), (2, 2)}


@pytest.mark.usefixtures("written_while_training")
def test_on_a_gpu_an_epoch_is_written_while_the_next_one_trains(
    phantom_bunch, variant_of, training, checkpoints, monkeypatch
):
    save, after_batch, next_one = StageCheckpoints.save, callbacks.HistoryLogger.after_batch, threading.Event()

    def slow_save(self, checkpoint):
        assert next_one.wait(60), "the next epoch does not begin"
        save(self, checkpoint)

    def seen(self):
        if self.epoch == 1:
            next_one.set()
        after_batch(self)

    monkeypatch.setattr(StageCheckpoints, "save", slow_save)
    monkeypatch.setattr(callbacks.HistoryLogger, "after_batch", seen)
    variant = variant_of(epochs=(2, 0))
    stage = train_stage(phantom_bunch, variant, training, checkpoints)
    own = checkpoints.of("stage_1", stage.description.training_id)
    assert own.epochs() == [1, 2]
    assert len(own.newest().description.history) == 2


@pytest.mark.usefixtures("written_while_training")
def test_an_epoch_that_cannot_be_written_is_said_though_another_error_ends_the_training(
    phantom_bunch, variant_of, training, checkpoints, monkeypatch
):
    after_batch = callbacks.HistoryLogger.after_batch

    def crash(self):
        if self.epoch == 1:
            raise RuntimeError("the plug is pulled")
        after_batch(self)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(callbacks.HistoryLogger, "after_batch", crash)
    monkeypatch.setattr(checkpoints_module, "write_tensors", full)
    with pytest.raises(CheckpointError, match="No space left on device") as failed:
        train_stage(phantom_bunch, variant_of(), training, checkpoints)
    assert "the plug is pulled" in str(failed.value.__context__)


def test_the_smoothed_loss_is_fastais_to_the_last_bit():
    mine, fastais = SmoothLoss(), AvgSmoothLoss()
    for loss in torch.rand(50, generator=torch.Generator().manual_seed(0)):
        for metric in (mine, fastais):
            metric.accumulate(SimpleNamespace(loss=loss))
        assert mine.value == fastais.value.item()
        assert isinstance(mine.value, float)  # a tensor of every batch would cut the memory to pieces
