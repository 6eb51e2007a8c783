"""Real processes, killed from outside at every bad moment: the same command again ends in the same bits."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from processes import KedroProcess, Place, nodes_in
from project import Project

from malaria_kedro.learning.interruption import EXIT_UNFINISHED
from network_material import SMALL_NETWORK

VARIANTS = ("resnet34", "resnet18")
MODELS = Path("data") / "demo" / "06_models"
TRAIN = ("run", "--env", "demo", "--pipelines", "modeling", "--namespaces", "resnet18")
TRAIN_BOTH = ("run", "--env", "demo", "--pipelines", "modeling")
WRITE = "malaria_kedro.learning.checkpoints"
# Two epochs a stage; an epoch has three batches of training and three of validation, and writes two files.
PLACES = {
    "in an epoch": Place("malaria_kedro.learning.callbacks", "HistoryLogger.after_batch", 8),
    "in a validation": Place("malaria_kedro.learning.callbacks", "HistoryLogger.after_batch", 11),
    "before the first epoch is kept": Place(WRITE, "write_tensors", 1),
    "writing the state of an epoch": Place(WRITE, "write_tensors", 3, half_a_file=True),
    "writing the weights of an epoch": Place(WRITE, "write_tensors", 4, half_a_file=True),
    "before old states are removed": Place(WRITE, "StageCheckpoints.prune", 2),
    "writing stage 1": Place("pandas", "DataFrame.to_parquet", 1),
    "between the stages": Place("malaria_kedro.learning.training", "train_stage", 2),
    "in stage 2": Place("malaria_kedro.learning.callbacks", "HistoryLogger.after_batch", 20),
    "writing the last epoch": Place(WRITE, "write_tensors", 8, half_a_file=True),
}


def prepare(folder: Path, *, epochs: int, networks: dict | None = SMALL_NETWORK) -> Path:
    """Make a project with a databunch of phantoms, both variants with so many epochs in each stage."""
    project = Project(folder, networks=networks)
    file = folder / "conf" / "demo" / "parameters.yml"
    parameters = yaml.safe_load(file.read_text())
    for variant in VARIANTS:
        parameters[variant] |= {"select": "best_valid_loss"}
        parameters[variant]["stage_1"] = {"epochs": epochs, "lr_max": 1e-3}
        parameters[variant]["stage_2"] = {"epochs": epochs, "lr_max": [1e-4, 1e-3]}
    file.write_text(yaml.safe_dump(parameters))
    project.kedro("run", "--env", "demo", "--to-outputs", "databunch")
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A project in which nothing has been trained."""
    return prepare(tmp_path_factory.mktemp("prepared"), epochs=2)


@pytest.fixture
def folder(prepared, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(prepared, tmp_path / "project")


@dataclass(frozen=True)
class Outcome:
    """What a training leaves: a sha256 of each file of weights, and its tables without wall seconds."""

    sha256: dict[str, str]
    history: pd.DataFrame
    batches: pd.DataFrame


def outcome(folder: Path, variant: str = "resnet18") -> Outcome:
    """Read the newest version of everything."""
    root = folder / MODELS / variant

    def newest(pattern: str) -> Path:
        return max(root.glob(pattern))

    weights = [newest(f"{name}/*/{name}/model.safetensors") for name in ("stage_1", "stage_2", "classifier")]
    return Outcome(
        {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights},
        pd.read_csv(newest("history.csv/*/history.csv")).drop(columns="seconds"),
        pd.read_parquet(newest("batch_history.parquet/*/batch_history.parquet")),
    )


def assert_same(one: Outcome, other: Outcome) -> None:
    assert one.sha256 == other.sha256
    pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)
    pd.testing.assert_frame_equal(one.batches, other.batches, check_exact=True)


@pytest.fixture(scope="module")
def uninterrupted(prepared, tmp_path_factory) -> dict[str, Outcome]:
    """Both variants, trained in one go."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("uninterrupted") / "project")
    run = KedroProcess(folder, *TRAIN_BOTH)
    assert run.wait() == 0, run.said()
    return {variant: outcome(folder, variant) for variant in VARIANTS}


def kill_at(folder: Path, place: Place, *arguments: str) -> None:
    run = KedroProcess(folder, *(arguments or TRAIN), place=place)
    run.wait_until_there()
    run.kill()
    assert run.process.exitcode == -signal.SIGKILL


def finish(folder: Path, *arguments: str) -> str:
    """Run the same command again and return what it printed."""
    run = KedroProcess(folder, *(arguments or TRAIN))
    assert run.wait() == 0, run.said()
    return run.said()


# SIGKILL


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_killed_and_started_again_it_ends_in_the_same_bits(folder, uninterrupted, place):
    kill_at(folder, place)
    said = finish(folder)
    assert_same(outcome(folder), uninterrupted["resnet18"])
    assert not list((folder / MODELS / "resnet18" / "checkpoints").rglob("*.part")), "something half-written is left"
    if place in (PLACES["between the stages"], PLACES["in stage 2"], PLACES["writing the last epoch"]):
        assert "resnet18 stage_1: all epochs were trained before (2," in said


def storm(folder: Path, *, seed: int, longest: float, at_least: int, kills: int = 0) -> int:
    """Kill the training of both variants at random moments until it completes; return how often.

    Args:
        folder: the project.
        seed: of the moments.
        longest: seconds after the first sign of a training, at most.
        at_least: so many times, if it does not complete before.
        kills: how many there were already.
    """
    moments = random.Random(seed)
    while True:
        run = KedroProcess(folder, *TRAIN_BOTH)
        if kills >= at_least:
            assert run.wait() == 0, run.said()
            return kills
        with contextlib.suppress(AssertionError):  # it may have completed
            run.wait_until_said("epochs of 3 batches")
            time.sleep(moments.uniform(0, longest))
        if not run.process.is_alive():
            assert run.wait() == 0, run.said()
            return kills
        run.kill()
        kills += 1


def test_a_storm_of_kills_changes_nothing(folder, uninterrupted):
    assert storm(folder, seed=1, longest=0.4, at_least=6) >= 3
    for variant in VARIANTS:
        assert_same(outcome(folder, variant), uninterrupted[variant])


@pytest.mark.storm
def test_fifty_kills_change_nothing(tmp_path_factory):
    # The tutorial's networks, whose checkpoints are large enough to be hit while they are written.
    project = prepare(tmp_path_factory.mktemp("storm") / "project", epochs=15, networks=None)
    calm = shutil.copytree(project, tmp_path_factory.mktemp("calm") / "project")
    finish(calm, *TRAIN_BOTH)
    kills = storm(project, seed=2, longest=4.0, at_least=50)
    for variant in VARIANTS:
        assert_same(outcome(project, variant), outcome(calm, variant))
    trained = sum(len(outcome(calm, variant).history) for variant in VARIANTS)
    print(f"\n{kills} kills, {trained} epochs of two variants: every sha256 and every row the same")
    assert kills >= 50


# Signals, sittings, a second run


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_with_a_sentence_and_loses_no_epoch(folder, uninterrupted, number, code):
    run = KedroProcess(folder, *TRAIN, place=PLACES["in an epoch"])
    run.wait_until_there()
    assert "stage_1 epoch 1/2" in run.said()
    run.send(number)
    run.go_on()
    assert run.wait() == code, run.said()
    said = run.said()
    assert f"stopped by {signal.Signals(number).name}" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    assert "failed with error" not in said
    assert "stage_1 epoch 1/2" not in finish(folder)
    assert_same(outcome(folder), uninterrupted["resnet18"])


def test_one_cycle_in_several_sittings(folder, uninterrupted):
    sittings = 0
    while (run := KedroProcess(folder, *TRAIN, "--params", "training.epochs_per_run=1")).wait() == EXIT_UNFINISHED:
        sittings += 1
        assert "1 epoch (training.epochs_per_run)" in run.said()
        assert "run the same command again" in run.said()
        assert "Traceback" not in run.said()
    assert run.wait() == 0, run.said()
    assert sittings == 3
    assert_same(outcome(folder), uninterrupted["resnet18"])


def test_a_second_run_beside_the_first_is_stopped_before_any_work(folder, uninterrupted):
    first = KedroProcess(folder, *TRAIN, place=PLACES["in an epoch"])
    first.wait_until_there()
    second = KedroProcess(folder, *TRAIN)
    assert second.wait() == 1
    assert "another run is training on" in second.said()
    assert not nodes_in(second.said())
    assert "Traceback" not in second.said()
    first.kill()  # and its lock is gone with it
    finish(folder)
    assert_same(outcome(folder), uninterrupted["resnet18"])


# What does not match


def test_other_parameters_are_refused_word_by_word_or_trained_afresh(folder, uninterrupted):
    kill_at(folder, PLACES["in stage 2"])
    changed = "resnet18.dropout=0.4,resnet18.stage_1.weight_decay=0.02"
    refused = KedroProcess(folder, *TRAIN, "--params", f"training.resume=require,{changed}")
    assert refused.wait() == 1
    assert "resnet18.dropout was 0.5, is 0.4; resnet18.stage_1.weight_decay was 0.01, is 0.02" in refused.said()
    assert "set training.resume=auto to start afresh" in refused.said()
    finish(folder, *TRAIN, "--params", changed)
    assert outcome(folder).sha256 != uninterrupted["resnet18"].sha256
    assert "resnet18 stage_1: all epochs were trained before (2," in finish(folder)
    assert_same(outcome(folder), uninterrupted["resnet18"])


def test_other_cells_are_not_mixed_in(folder, uninterrupted):
    kill_at(folder, PLACES["in an epoch"])
    finish(folder, "run", "--env", "demo", "--to-outputs", "databunch", "--params", "split.seed=5")
    said = finish(folder, *TRAIN, "--params", "split.seed=5")
    assert "data fingerprint was" in said
    assert "continues when the parameters are put back" in said
    assert outcome(folder).sha256 != uninterrupted["resnet18"].sha256
    finish(folder, "run", "--env", "demo", "--to-outputs", "databunch")
    assert "continues with epoch 2, exactly" in finish(folder)
    assert_same(outcome(folder), uninterrupted["resnet18"])


def test_require_without_anything_to_continue_stops_before_any_work(folder):
    run = KedroProcess(folder, *TRAIN, "--params", "training.resume=require")
    assert run.wait() == 1
    assert "there is no checkpoint to continue" in run.said()
    assert not nodes_in(run.said())


# Damage


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(folder, uninterrupted):
    kill_at(folder, PLACES["in stage 2"])
    (newest,) = (folder / MODELS).glob("resnet18/checkpoints/stage_1/*/epoch_002.safetensors")
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 3])
    said = finish(folder)
    assert "epoch_002.safetensors is damaged" in said
    assert "falling back to the epoch before" in said
    assert_same(outcome(folder), uninterrupted["resnet18"])


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """Put a file system of a given size there; skip where that is not allowed."""
    folder.mkdir(parents=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("a file system can only be mounted by root; a full disk is also injected in test_checkpoints")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_full_disk_stops_with_its_name_and_the_epoch_before_goes_on(folder, uninterrupted):
    disk = folder / MODELS / "resnet18" / "checkpoints"
    with small_disk(disk, 120):  # an epoch has 53 and 30 kB
        run = KedroProcess(folder, *TRAIN)
        assert run.wait() == 1
        assert "epoch_002.state.safetensors cannot be written" in run.said()
        assert "the epochs before, which are kept" in run.said()
        assert [path.name for path in disk.glob("stage_1/*/epoch_00?.safetensors")] == ["epoch_001.safetensors"]
        remount(disk, "size=20m")
        assert "continues with epoch 2, exactly" in finish(folder)
        assert_same(outcome(folder), uninterrupted["resnet18"])


def test_a_read_only_disk_is_said_before_any_work(folder, uninterrupted):
    disk = folder / MODELS / "resnet18" / "checkpoints"
    with small_disk(disk, 20_000):
        kill_at(folder, PLACES["in an epoch"])
        remount(disk, "ro")
        run = KedroProcess(folder, *TRAIN)
        assert run.wait() == 1
        assert "checkpoints cannot be written" in run.said()
        assert not nodes_in(run.said())
        assert "Traceback" not in run.said()
        remount(disk, "rw")
        finish(folder)
        assert_same(outcome(folder), uninterrupted["resnet18"])
