"""Resuming: what is continued, what is refused and with which words, and that the end is the same to the last bit."""

import dataclasses
import logging
import os
import signal

import pandas as pd
import pytest
import torch

from malaria_kedro.learning import callbacks
from malaria_kedro.learning.checkpoints import Checkpoints, tensors_sha256
from malaria_kedro.learning.classifier import export_classifier
from malaria_kedro.learning.description import Hardware, Session, StageDescription
from malaria_kedro.learning.history import join_histories
from malaria_kedro.learning.interruption import EXIT_UNFINISHED, RunState, UnfinishedError
from malaria_kedro.learning.resume import ResumeError, differences, warn_of_another_machine
from malaria_kedro.learning.training import train_stage
from malaria_kedro.parameters import Augment, Training
from network_material import RESNET18
from training_material import described


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def settings(training: Training, **changes) -> Training:
    return training.model_copy(update=changes)


def run(bunch, variant, training, checkpoints):
    """One run: both stages, with one count of epochs."""
    shared = {"run_state": RunState()}
    stage_1 = train_stage(bunch, variant, training, checkpoints, **shared)
    stage_2 = train_stage(bunch, variant, training, checkpoints, stage_1, **shared)
    return stage_1, stage_2


def break_off(bunch, variant, training, checkpoints, *, epochs: int = 1) -> None:
    with pytest.raises(UnfinishedError):
        run(bunch, variant, settings(training, epochs_per_run=epochs), checkpoints)


def same_bits(one, other) -> bool:
    pd.testing.assert_frame_equal(
        one.history.drop(columns="seconds"), other.history.drop(columns="seconds"), check_exact=True
    )
    pd.testing.assert_frame_equal(one.batches, other.batches, check_exact=True)
    return tensors_sha256(one.state) == tensors_sha256(other.state)


# Exactly


def test_an_epoch_a_run_ends_as_one_run_does(trained, training, checkpoints):
    """Three epochs in two stages; the fixture trained them in one go."""
    for _ in range(2):
        break_off(trained.bunch, trained.variant, training, checkpoints)
    stages = run(trained.bunch, trained.variant, settings(training, epochs_per_run=1), checkpoints)
    assert all(same_bits(one, other) for one, other in zip(stages, (trained.stage_1, trained.stage_2), strict=True))
    history, _ = join_histories(*stages)
    exported = export_classifier(trained.bunch, trained.variant, stages, history, checkpoints)
    assert tensors_sha256(exported.state) == tensors_sha256(trained.classifier.state)
    assert exported.metadata.selected == trained.classifier.metadata.selected


@pytest.mark.usefixtures("written_while_training")
def test_epochs_that_are_written_while_the_next_one_trains_are_continued_exactly_too(trained, training, checkpoints):
    for _ in range(2):
        break_off(trained.bunch, trained.variant, training, checkpoints)
    stages = run(trained.bunch, trained.variant, settings(training, epochs_per_run=1), checkpoints)
    assert all(same_bits(one, other) for one, other in zip(stages, (trained.stage_1, trained.stage_2), strict=True))


def test_a_frozen_stage_is_continued_exactly_too(phantom_bunch, variant_of, training, torchvision_file, tmp_path):
    variant = variant_of(epochs=(2, 1), pretrained=str(torchvision_file), **RESNET18)
    whole = run(phantom_bunch, variant, training, Checkpoints(tmp_path / "whole"))
    pieces = Checkpoints(tmp_path / "pieces")
    break_off(phantom_bunch, variant, training, pieces)
    assert all(
        same_bits(one, other) for one, other in zip(run(phantom_bunch, variant, training, pieces), whole, strict=True)
    )


def test_a_crash_in_the_middle_of_an_epoch_costs_that_epoch_only(trained, training, checkpoints, monkeypatch):
    after_batch, batches = callbacks.HistoryLogger.after_batch, []

    def crash(self):
        batches.append(self.epoch)
        if len(batches) == 5:  # two batches and a validation an epoch: the second batch of epoch 2
            raise RuntimeError("the plug is pulled")
        after_batch(self)

    with monkeypatch.context() as patched:
        patched.setattr(callbacks.HistoryLogger, "after_batch", crash)
        with pytest.raises(RuntimeError, match="the plug"):
            run(trained.bunch, trained.variant, training, checkpoints)
    stages = run(trained.bunch, trained.variant, training, checkpoints)
    assert same_bits(stages[0], trained.stage_1)
    assert same_bits(stages[1], trained.stage_2)


def test_what_is_finished_is_not_trained_again(trained, training, checkpoints, caplog):
    run(trained.bunch, trained.variant, training, checkpoints)
    written = {path: path.stat().st_mtime_ns for path in checkpoints.folder.rglob("*.safetensors")}
    caplog.set_level(logging.INFO)
    again = run(trained.bunch, trained.variant, training, checkpoints)
    assert same_bits(again[0], trained.stage_1)
    assert same_bits(again[1], trained.stage_2)
    assert "were trained before" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in checkpoints.folder.rglob("*.safetensors")} == written


def test_a_damaged_newest_epoch_is_trained_again_to_the_same_bits(trained, training, checkpoints, caplog):
    run(trained.bunch, trained.variant, training, checkpoints)
    for newest in checkpoints.folder.glob("stage_1/*/epoch_002.safetensors"):
        newest.write_bytes(newest.read_bytes()[:-1])
    again = run(trained.bunch, trained.variant, training, checkpoints)
    assert "falling back to the epoch before" in caplog.text
    assert same_bits(again[0], trained.stage_1)
    assert same_bits(again[1], trained.stage_2)


def test_where_every_epoch_is_damaged_it_starts_afresh_with_a_warning(trained, training, checkpoints, caplog):
    run(trained.bunch, trained.variant, training, checkpoints)
    for epoch in checkpoints.folder.glob("stage_1/*/epoch_*"):
        epoch.write_bytes(b"")
    again = run(trained.bunch, trained.variant, training, checkpoints)
    assert "can be read; starts afresh" in caplog.text
    assert same_bits(again[0], trained.stage_1)


def test_who_trained_which_epochs_is_told(trained, training, checkpoints):
    break_off(trained.bunch, trained.variant, training, checkpoints)
    stage_1, _ = run(trained.bunch, trained.variant, training, checkpoints)
    assert [session.first_epoch for session in stage_1.description.sessions] == [1, 2]
    assert stage_1.description.seconds == pytest.approx(stage_1.history["seconds"].sum(), abs=0.1)


@pytest.mark.parametrize("keep_last", [1, 2])
def test_so_many_epochs_can_be_continued_from(phantom_bunch, variant_of, training, checkpoints, keep_last):
    variant = variant_of(epochs=(3, 0))
    train_stage(phantom_bunch, variant, settings(training, keep_last=keep_last), checkpoints)
    assert len(list(checkpoints.folder.glob("stage_1/*/*.state.safetensors"))) == keep_last
    assert len(list(checkpoints.folder.glob("stage_1/*/epoch_00?.safetensors"))) == 3


def test_only_the_newest_the_best_and_the_selected_weights_may_be_kept(
    phantom_bunch, variant_of, training, checkpoints
):
    variant = variant_of(epochs=(4, 0), select=1)
    kept = settings(training, keep_last=1, keep_epochs="best")
    stage = train_stage(phantom_bunch, variant, kept, checkpoints)
    best = {int(stage.history["valid_loss"].idxmin()) + 1, int(stage.history["accuracy"].idxmax()) + 1}
    names = {path.name for path in checkpoints.folder.glob("stage_1/*/epoch_00?.safetensors")}
    assert names == {f"epoch_{epoch:03d}.safetensors" for epoch in best | {1, 4}}


# auto, require, never


def test_never_trains_afresh_and_sets_the_old_epochs_aside(trained, training, checkpoints):
    break_off(trained.bunch, trained.variant, training, checkpoints)
    stage_1, _ = run(trained.bunch, trained.variant, settings(training, resume="never"), checkpoints)
    assert same_bits(stage_1, trained.stage_1)
    assert [session.first_epoch for session in stage_1.description.sessions] == [1]
    assert list(checkpoints.folder.glob("stage_1/*.aside-1/epoch_001.safetensors"))


def test_require_without_any_checkpoint_is_an_error(trained, training, checkpoints):
    with pytest.raises(ResumeError, match=r"resume is require.*there is none in .*training\.resume=auto"):
        run(trained.bunch, trained.variant, settings(training, resume="require"), checkpoints)


def test_require_continues_and_lets_the_next_stage_begin(trained, training, checkpoints):
    break_off(trained.bunch, trained.variant, training, checkpoints)
    stages = run(trained.bunch, trained.variant, settings(training, resume="require"), checkpoints)
    assert same_bits(stages[1], trained.stage_2)


def test_require_spells_out_what_differs(trained, variant_of, training, checkpoints):
    break_off(trained.bunch, trained.variant, training, checkpoints)
    other = variant_of(batch_size=8, stage_1={"epochs": 2, "lr_max": 2e-3})
    with pytest.raises(ResumeError) as refused:
        run(trained.bunch, other, settings(training, resume="require"), checkpoints)
    for words in (
        "small.batch_size was 16, is 8",
        "small.stage_1.lr_max was 0.001, is 0.002",
        "epoch 1 of 2",
        "put the parameters back",
    ):
        assert words in str(refused.value)
    assert "small.seed" not in str(refused.value)


def test_auto_mixes_nothing_says_what_differs_and_keeps_the_other(trained, variant_of, training, checkpoints, caplog):
    break_off(trained.bunch, trained.variant, training, checkpoints)
    run(trained.bunch, variant_of(seed=6), training, checkpoints)
    assert "small.seed was 5, is 6" in caplog.text
    assert "continues when the parameters are put back" in caplog.text
    stage_1, _ = run(trained.bunch, trained.variant, training, checkpoints)
    assert [session.first_epoch for session in stage_1.description.sessions] == [1, 2]
    assert same_bits(stage_1, trained.stage_1)


def test_another_finished_training_is_told_apart_without_a_warning(trained, variant_of, training, checkpoints, caplog):
    caplog.set_level(logging.INFO)
    run(trained.bunch, trained.variant, training, checkpoints)
    run(trained.bunch, variant_of(seed=6), training, checkpoints)
    told = [record for record in caplog.records if "small.seed was 5, is 6" in record.getMessage()]
    assert {record.levelname for record in told} == {"INFO"}


def test_other_cells_are_never_continued(trained, training, checkpoints, caplog):
    break_off(trained.bunch, trained.variant, training, checkpoints)
    summary = trained.bunch.summary.model_copy(update={"fingerprint": "f" * 64, "n_cells": 63})
    other = dataclasses.replace(trained.bunch, summary=summary)
    stage_1, _ = run(other, trained.variant, training, checkpoints)
    assert "data fingerprint was" in caplog.text
    assert stage_1.description.sessions[0].first_epoch == 1


@pytest.mark.parametrize(
    "change",
    [{"select": "best_accuracy"}, {"stage_2": {"epochs": 5, "lr_max": 1e-3}}],
    ids=["select", "the stage after"],
)
def test_what_does_not_touch_the_stage_does_not_invalidate_it(trained, variant_of, training, checkpoints, change):
    break_off(trained.bunch, trained.variant, training, checkpoints)
    stage_1 = train_stage(trained.bunch, variant_of(**change), training, checkpoints)
    assert [session.first_epoch for session in stage_1.description.sessions] == [1, 2]
    assert same_bits(stage_1, trained.stage_1)


CPU = Hardware(device="cpu", precision="fp32", threads=2)
THEN = {
    "data_fingerprint": "1" * 64,
    "start_sha256": "2" * 64,
    "hardware": CPU,
    "versions": {"torch": "2.15", "fastai": "2.8"},
}


def of(**changes) -> StageDescription:
    """Describe the recorded training, with another identity."""
    about = described()
    return described(identity=about.identity.model_copy(update=THEN | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"versions": {"torch": "2.16", "fastai": "2.8"}}, "version of torch was 2.15, is 2.16"),
        ({"hardware": CPU.model_copy(update={"threads": 4})}, "threads (training) was 2, is 4"),
        ({"hardware": Hardware(device="cuda", precision="bf16")}, "device (training) was cpu, is cuda"),
        ({"augment": Augment(max_rotate=10.0).model_dump()}, "augment.max_rotate was 0.0, is 10.0"),
        ({"start_sha256": "3" * 64}, "weights to start from were 222222222222, are 333333333333 (small.pretrained"),
        ({"data_fingerprint": "4" * 64}, "data fingerprint was 111111111111, is 444444444444"),
    ],
)
def test_each_difference_has_its_words(changes, words):
    (found,) = [text for text in differences(of(), of(**changes)) if words in text]
    assert found.startswith(words)


def test_of_other_data_it_says_what_is_other():
    now = of(data_fingerprint="4" * 64)
    now = now.model_copy(update={"data": now.data.model_copy(update={"fingerprint": "4", "n_patients": 7})})
    (found,) = differences(of(), now)
    assert "(n_patients was 8, is 7)" in found


def test_another_machine_or_patch_release_is_warned_of(caplog):
    (before,) = described().sessions
    now = Session(first_epoch=2, hardware=Hardware(name="another CPU"), versions={"torch": "2.15.9"})
    warn_of_another_machine("small", before, now)
    assert "name was" in caplog.text
    assert "torch was" in caplog.text
    assert "last bits may differ" in caplog.text


# Stopping


def test_a_run_stops_after_so_many_epochs_and_says_how_to_go_on(trained, training, checkpoints):
    with pytest.raises(UnfinishedError) as stopped:
        run(trained.bunch, trained.variant, settings(training, epochs_per_run=1), checkpoints)
    assert stopped.value.exit_code == EXIT_UNFINISHED
    text = str(stopped.value)
    for words in ("small stage_1 is unfinished", "trained 1 epoch (", "epoch 1 of 2 is kept", "epoch 2", "same"):
        assert words in text


def test_the_count_goes_through_both_stages(trained, training, checkpoints):
    with pytest.raises(UnfinishedError, match=r"small stage_2 is unfinished.*no epoch of it is kept yet"):
        run(trained.bunch, trained.variant, settings(training, epochs_per_run=2), checkpoints)


def test_exactly_enough_epochs_are_no_interruption(trained, training, checkpoints):
    stages = run(trained.bunch, trained.variant, settings(training, epochs_per_run=3), checkpoints)
    assert same_bits(stages[1], trained.stage_2)


def test_after_never_it_is_auto_that_goes_on(trained, training, checkpoints):
    with pytest.raises(UnfinishedError, match=r"run it again with training\.resume=auto"):
        run(trained.bunch, trained.variant, settings(training, resume="never", epochs_per_run=1), checkpoints)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("batch", "kept"),
    [(1, "no epoch of it is kept yet"), (4, "epoch 1 of 2 is kept"), (6, "epoch 1 of 2 is kept")],
    ids=["in epoch 1", "in epoch 2", "in the validation of epoch 2"],
)
def test_a_signal_stops_at_a_consistent_point(trained, training, checkpoints, monkeypatch, number, batch, kept):
    after_batch, batches = callbacks.HistoryLogger.after_batch, []

    def signalled(self):
        batches.append(self.epoch)
        if len(batches) == batch:
            os.kill(os.getpid(), number)
        after_batch(self)

    before = signal.getsignal(number)
    with monkeypatch.context() as patched:
        patched.setattr(callbacks.HistoryLogger, "after_batch", signalled)
        with pytest.raises(UnfinishedError, match=f"stopped by {number.name}.*{kept}") as stopped:
            run(trained.bunch, trained.variant, training, checkpoints)
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    assert len(batches) == batch
    stages = run(trained.bunch, trained.variant, training, checkpoints)
    assert same_bits(stages[0], trained.stage_1)
    assert same_bits(stages[1], trained.stage_2)


# What a Learner has in memory


def test_the_first_event_after_resuming_belongs_to_the_first_open_epoch(trained, training, checkpoints, caplog):
    break_off(trained.bunch, trained.variant, training, checkpoints)
    caplog.set_level(logging.INFO)
    caplog.clear()  # where the level was that low before, the first run is in it
    run(trained.bunch, trained.variant, training, checkpoints)
    epochs = [record.getMessage().split(":")[0] for record in caplog.records if " epoch " in record.getMessage()]
    assert "small stage_1" in caplog.text
    assert "continues with epoch 2, exactly" in caplog.text
    assert "stage_1 epoch 1/2" not in epochs


def test_random_numbers_drawn_between_two_runs_change_nothing(trained, training, checkpoints):
    break_off(trained.bunch, trained.variant, training, checkpoints)
    torch.manual_seed(999)
    torch.rand(13)
    stage_1, _ = run(trained.bunch, trained.variant, training, checkpoints)
    assert same_bits(stage_1, trained.stage_1)
