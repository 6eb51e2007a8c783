"""Checkpoints: every epoch is there whole, or not at all, and nothing takes another training's place."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from malaria_kedro.learning import checkpoints as module
from malaria_kedro.learning.checkpoints import Checkpoint, CheckpointError, Checkpoints, StageCheckpoints
from malaria_kedro.learning.description import EpochRow
from training_material import RECORDED, described

THIS, OTHER = "a" * 64, "b" * 64


def checkpoint(epoch: int, training_id: str = THIS, **description) -> Checkpoint:
    """An epoch whose weights and state are its number."""
    weights = {"weight": torch.full((300,), float(epoch)), "steps": torch.tensor(epoch)}
    about = described(epoch=epoch, training_id=training_id, **description)
    return Checkpoint(about, weights, {"moment": torch.full((7,), -float(epoch))}, {"count": epoch})


def kept_epochs(folder, training_id: str = THIS, epochs: int = 2) -> StageCheckpoints:
    own = Checkpoints(folder).of("stage_1", training_id)
    own.prepare()
    for epoch in range(1, epochs + 1):
        own.save(checkpoint(epoch, training_id))
    return own


@pytest.fixture
def own(tmp_path) -> StageCheckpoints:
    """Two epochs of a training."""
    return kept_epochs(tmp_path / "checkpoints")


def names(own: StageCheckpoints) -> list[str]:
    return sorted(path.name for path in own.folder.iterdir())


# Whole or not at all


def test_an_epoch_comes_back_as_it_was_saved(own):
    found = own.newest()
    assert (found.epoch, found.skeleton) == (2, {"count": 2})
    assert torch.equal(found.weights["weight"], torch.full((300,), 2.0))
    assert torch.equal(found.weights["steps"], torch.tensor(2))
    assert torch.equal(found.state["moment"], torch.full((7,), -2.0))


def test_what_is_described_comes_back(own):
    row = EpochRow("stage_1", 1, 0.5, 0.25, 0.9, 0.1, 1e-3, 2.5)
    own.save(checkpoint(3, history=[row], best={"best_accuracy": 1}))
    assert own.newest().description == described(epoch=3, training_id=THIS, history=[row], best={"best_accuracy": 1})


def test_a_checkpoint_that_version_0_1_0_wrote_is_read_and_written_again_as_it_was(tmp_path):
    about = json.loads(RECORDED)
    state, memory = {"moment": torch.ones(2)}, {"optimizer": {"state": [{"grad_avg": {"tensor": "moment"}}]}}
    own = Checkpoints(tmp_path).of("stage_1", about["training_id"])
    own.prepare()
    write_as_0_1_0(own.folder / "epoch_001.safetensors", {"weight": torch.ones(3)}, about)
    about_state = {"memory": memory, "training_id": about["training_id"], "epoch": 1}
    write_as_0_1_0(own.folder / "epoch_001.state.safetensors", state, about_state)
    written = headers(own)
    found = own.newest()
    assert (found.epoch, found.skeleton, found.description.identity.training_id) == (1, memory, about["training_id"])
    own.save(found)
    assert headers(own) == written


def headers(own: StageCheckpoints) -> dict[str, dict[str, str]]:
    found = {}
    for path in own.folder.iterdir():
        with safe_open(path, framework="pt") as file:
            found[path.name] = file.metadata()
    return found


def write_as_0_1_0(path, tensors, about) -> None:
    text, digest = json.dumps(about), hashlib.sha256()
    for key, value in tensors.items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode() + value.numpy().tobytes())
    sha256 = hashlib.sha256(f"{digest.hexdigest()}\n{text}".encode()).hexdigest()
    save_file(tensors, path, metadata={"format": "pt", "description": text, "sha256": sha256})


def test_what_another_version_wrote_otherwise_is_passed_over_with_a_warning(own, caplog):
    about = checkpoint(2).description.as_dict() | {"sessions": "two"}
    write_as_0_1_0(own.folder / "epoch_002.safetensors", {"weight": torch.ones(3)}, about)
    assert own.newest().epoch == 1
    assert "epoch_002.safetensors was written by a version of malaria-kedro that this one cannot read" in caplog.text


def test_nothing_is_executed_while_reading(own):
    """The files are safetensors through and through: a length, a JSON header, raw numbers."""
    for path in own.folder.iterdir():
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        assert header.keys() - {"__metadata__"}
        ends = [value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"]
        assert 8 + length + max(ends) == len(content)


@pytest.mark.parametrize("kind", ["epoch_002.safetensors", "epoch_002.state.safetensors"])
@pytest.mark.parametrize("share", [0, 0.001, 0.2, 0.5, 0.9, 0.999])
def test_of_a_truncated_newest_epoch_the_one_before_is_taken_with_a_warning(own, kind, share, caplog):
    path = own.folder / kind
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert own.newest().epoch == 1
    assert f"{kind} is damaged" in caplog.text
    assert "falling back to the epoch before" in caplog.text


@pytest.mark.parametrize("kind", ["epoch_002.safetensors", "epoch_002.state.safetensors"])
@pytest.mark.parametrize("place", [8, 40, -1, -100], ids=lambda place: f"at {place}")
def test_a_single_wrong_bit_is_found(own, kind, place, caplog):
    path = own.folder / kind
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)
    assert own.newest().epoch == 1
    assert "is damaged" in caplog.text


def test_where_every_epoch_is_damaged_there_is_none(own):
    for path in own.folder.iterdir():
        path.write_bytes(b"")
    assert own.newest() is None


def test_weights_without_their_state_cannot_be_continued(own):
    (own.folder / "epoch_002.state.safetensors").unlink()
    assert own.newest().epoch == 1


@pytest.mark.parametrize("metadata", [None, {"description": "{}"}, {"description": "no json", "sha256": "0"}])
def test_weights_that_are_no_checkpoint_are_refused(own, metadata):
    save_file({"weight": torch.zeros(1)}, own.folder / "epoch_002.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match="damaged"):
        own.weights(2)


@pytest.mark.parametrize("written", [0, 1], ids=["while the state is written", "while the weights are"])
def test_a_killed_writing_leaves_nothing_that_looks_like_an_epoch(own, written, monkeypatch):
    calls = []

    def killed(tensors, path, **more):
        calls.append(path)
        if len(calls) > written:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        save_file(tensors, path, **more)

    monkeypatch.setattr(module, "write_tensors", killed)
    with pytest.raises(KeyboardInterrupt):
        own.save(checkpoint(3))
    assert own.epochs() == [1, 2]
    assert own.newest().epoch == 2


def test_what_a_kill_left_half_written_is_cleared_away(own):
    (own.folder / "epoch_003.part").write_bytes(b"half")
    own.prepare()
    assert "epoch_003.part" not in names(own)
    assert own.newest().epoch == 2


def test_a_full_disk_is_said_and_the_epochs_before_stay(own, monkeypatch):
    def full(_, path, **__):
        path.write_bytes(b"as much as there was room for")
        raise OSError(28, "No space left on device")

    before = names(own)
    monkeypatch.setattr(module, "write_tensors", full)
    with pytest.raises(CheckpointError, match=r"epoch_003\.state\.safetensors cannot be written.*No space left.*same"):
        own.save(checkpoint(3))
    assert names(own) == before
    assert own.newest().epoch == 2


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    with pytest.raises(CheckpointError, match=r"checkpoints.stage_1.* cannot be written .*where a folder is needed"):
        Checkpoints(tmp_path / "checkpoints").of("stage_1", THIS).prepare()


# What is kept


def test_the_state_of_old_epochs_goes_and_their_weights_stay(own):
    own.save(checkpoint(3))
    own.prune(states={2, 3}, weights=None)
    assert names(own) == [
        "epoch_001.safetensors",
        "epoch_002.safetensors",
        "epoch_002.state.safetensors",
        "epoch_003.safetensors",
        "epoch_003.state.safetensors",
    ]


def test_where_only_some_weights_are_wanted_the_others_go(own):
    own.save(checkpoint(3))
    own.prune(states={3}, weights={1, 3})
    assert own.epochs() == [1, 3]


def test_what_cannot_be_removed_is_only_warned_about(own, without_rights, caplog):
    with without_rights(own.folder, 0o555):
        own.prune(states={2}, weights={2})
    assert "not needed any more, but cannot be removed" in caplog.text
    assert own.newest().epoch == 2


def test_a_missing_epoch_is_named_with_those_that_are_there(own):
    with pytest.raises(CheckpointError, match=r"epoch_005\.safetensors is not there \(kept epochs: 1, 2;.*train again"):
        own.weights(5)


# One folder per training


def test_trainings_and_stages_are_kept_apart(own):
    root = Checkpoints(own.folder.parents[1])
    kept_epochs(root.folder, OTHER, epochs=1)
    assert root.of("stage_1", THIS).epochs() == [1, 2]
    assert root.of("stage_1", OTHER).epochs() == [1]
    assert root.of("stage_2", THIS).newest() is None


def test_an_epoch_of_another_training_in_this_ones_folder_is_refused(own, tmp_path):
    other = kept_epochs(tmp_path / "others", OTHER)
    shutil.copy(other.folder / "epoch_002.safetensors", own.folder)
    with pytest.raises(CheckpointError, match="belongs to another training"):
        own.weights(2)
    assert own.newest().epoch == 1


def test_others_tell_what_they_are_by_their_newest_epoch(own):
    root = Checkpoints(own.folder.parents[1])
    ((folder, told),) = root.others("stage_1", OTHER)
    assert (told.training_id, told.epoch, folder) == (THIS, 2, own.folder)
    assert root.others("stage_1", THIS) == []


def test_what_is_set_aside_is_neither_continued_nor_lost(own):
    aside = own.set_aside()
    assert own.newest() is None
    assert sorted(path.name for path in aside.glob("epoch_*"))[0] == "epoch_001.safetensors"
    assert Checkpoints(own.folder.parents[1]).others("stage_1", OTHER) == []


def test_each_set_aside_has_a_place_of_its_own(own):
    first = own.set_aside()
    second = kept_epochs(own.folder.parents[1]).set_aside()
    assert first != second
    assert first.is_dir()
    assert second.is_dir()


def test_nothing_is_set_aside_where_there_is_nothing(tmp_path):
    assert Checkpoints(tmp_path).of("stage_1", THIS).set_aside() is None


# Rights


def test_others_may_read_what_is_written(own):
    assert {path.stat().st_mode & 0o044 for path in own.folder.iterdir()} == {0o044}


def test_a_checkpoint_that_may_not_be_read_is_said_to_be_forbidden(own, without_rights):
    path = own.folder / "epoch_001.safetensors"
    with (
        without_rights(path),
        pytest.raises(CheckpointError, match=r"epoch_001\.safetensors may not be read \(permission"),
    ):
        own.weights(1)
