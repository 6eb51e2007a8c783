"""Checkpoints: every epoch is there whole, or not at all."""

import pytest
import torch
from safetensors.torch import save_file

from malaria_kedro.learning import checkpoints as module
from malaria_kedro.learning.checkpoints import CheckpointError, Checkpoints

DESCRIPTION = {"training_id": "this"}


@pytest.fixture
def kept(tmp_path) -> Checkpoints:
    """Checkpoints with one epoch of stage 1, all ones."""
    kept = Checkpoints(tmp_path / "checkpoints")
    kept.start("stage_1")
    kept.save("stage_1", 1, {"weight": torch.ones(3)}, DESCRIPTION)
    return kept


def files(kept: Checkpoints) -> list[str]:
    return sorted(path.relative_to(kept.folder).as_posix() for path in kept.folder.rglob("*") if path.is_file())


def test_an_epoch_comes_back_as_it_was_saved(kept):
    assert torch.equal(kept.load("stage_1", 1, "this")["weight"], torch.ones(3))


def test_a_new_training_sets_the_one_before_aside(kept):
    kept.start("stage_1")
    assert files(kept) == ["stage_1.previous/epoch_001.safetensors"]


def test_a_training_without_an_epoch_takes_no_ones_place_aside(kept):
    kept.start("stage_1")
    kept.start("stage_1")
    assert files(kept) == ["stage_1.previous/epoch_001.safetensors"]


def test_stages_are_kept_apart(kept):
    kept.start("stage_2")
    assert files(kept) == ["stage_1/epoch_001.safetensors"]


def test_a_missing_epoch_is_named(kept):
    with pytest.raises(CheckpointError, match=r"epoch_002\.safetensors is not there; train again"):
        kept.load("stage_1", 2, "this")


def test_an_epoch_of_another_training_is_refused(kept):
    with pytest.raises(CheckpointError, match="belongs to another training"):
        kept.load("stage_1", 1, "other")


@pytest.mark.parametrize("length", [0, 4, 60, -4])
def test_a_truncated_epoch_is_refused(kept, length):
    path = kept.folder / "stage_1" / "epoch_001.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="is damaged"):
        kept.load("stage_1", 1, "this")


@pytest.mark.parametrize("metadata", [None, {"description": "{}"}, {"description": "[]"}, {"description": "no json"}])
def test_weights_that_are_no_checkpoint_are_refused(kept, metadata):
    save_file({"weight": torch.zeros(1)}, kept.folder / "stage_1" / "epoch_001.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match=r"damaged|another training"):
        kept.load("stage_1", 1, "this")


def test_a_killed_writing_leaves_nothing_that_looks_like_an_epoch(kept, monkeypatch):
    def killed(_state, path, **_):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.save("stage_1", 2, {"weight": torch.zeros(3)}, DESCRIPTION)
    assert files(kept) == ["stage_1/epoch_001.safetensors"]


def test_a_full_disk_is_said_and_the_epochs_before_stay(kept, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(CheckpointError, match=r"epoch_001\.safetensors cannot be written.*No space left"):
        kept.save("stage_1", 1, {"weight": torch.zeros(3)}, DESCRIPTION)
    assert torch.equal(kept.load("stage_1", 1, "this")["weight"], torch.ones(3))
