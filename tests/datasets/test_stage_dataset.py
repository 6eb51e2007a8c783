"""A trained stage on disk: whole, versioned, and the same after a round trip."""

import pandas as pd
import pytest
import torch
from kedro.io import DatasetError, Version

from malaria_kedro.datasets.stage_dataset import StageDataset
from malaria_kedro.learning.description import StageDescription
from malaria_kedro.learning.history import BATCH_TYPES, HISTORY_TYPES, TrainedStage, TrainingError
from training_material import RECORDED

EPOCHS = [("stage_1", 1, 0.5, 0.4, 0.9, 0.1, 1e-3, 2.5), ("stage_1", 2, 0.3, 0.2, 0.95, 0.05, 1e-8, 2.4)]
BATCHES = [("stage_1", 1, 1, 0.6, 0.6, 4e-5), ("stage_1", 1, 2, 0.5, 0.55, 1e-3)]


def stage(rows: int = 2) -> TrainedStage:
    """Make a stage with so many epochs and batches."""
    history = pd.DataFrame(EPOCHS[:rows], columns=list(HISTORY_TYPES)).astype(HISTORY_TYPES)
    batches = pd.DataFrame(BATCHES[:rows], columns=list(BATCH_TYPES)).astype(BATCH_TYPES)
    state = {"weight": torch.rand(2, 3), "count": torch.tensor(rows)}
    description = StageDescription.model_validate_json(RECORDED).model_copy(update={"training_id": "é"})
    return TrainedStage(state, description, history, batches)


def dataset(tmp_path, save: str | None = None, load: str | None = None) -> StageDataset:
    return StageDataset(filepath=str(tmp_path / "stage_1"), version=Version(load, save))


@pytest.mark.parametrize("rows", [2, 0], ids=["trained", "without epochs"])
def test_a_stage_comes_back_as_it_was(tmp_path, rows):
    saved = stage(rows)
    dataset(tmp_path, "2026-01").save(saved)
    loaded = dataset(tmp_path).load()
    assert loaded.description == saved.description
    assert all(torch.equal(loaded.state[key], value) for key, value in saved.state.items())
    pd.testing.assert_frame_equal(loaded.history, saved.history)
    pd.testing.assert_frame_equal(loaded.batches, saved.batches)


def test_the_newest_version_is_loaded_and_any_can_be_named(tmp_path):
    for version, rows in (("2026-01", 1), ("2026-02", 2)):
        dataset(tmp_path, version).save(stage(rows))
    assert len(dataset(tmp_path).load().history) == 2
    assert len(dataset(tmp_path, load="2026-01").load().history) == 1


def test_it_exists_once_it_is_saved(tmp_path):
    assert not dataset(tmp_path).exists()
    dataset(tmp_path, "2026-01").save(stage())
    assert dataset(tmp_path).exists()


def test_a_version_is_never_overwritten(tmp_path):
    dataset(tmp_path, "2026-01").save(stage())
    with pytest.raises(DatasetError):
        dataset(tmp_path, "2026-01").save(stage())


def test_a_killed_writing_leaves_nothing_that_passes_for_a_stage(tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", killed)
    with pytest.raises(KeyboardInterrupt):
        dataset(tmp_path, "2026-01").save(stage())
    assert not dataset(tmp_path).exists()


def test_a_damaged_stage_is_refused_with_its_place(tmp_path):
    dataset(tmp_path, "2026-01").save(stage())
    (tmp_path / "stage_1" / "2026-01" / "stage_1" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(DatasetError, match="stage_1"):
        dataset(tmp_path).load()


def edit_the_description(folder):
    path = folder / "stage.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"stage": "stage_1"', '"stage": "stage_2"'), encoding="utf-8"
    )


def swap_two_epochs(folder):
    history = pd.read_parquet(folder / "history.parquet")
    history.iloc[::-1].to_parquet(folder / "history.parquet", index=False)


def flip_a_bit_of_a_weight(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (edit_the_description, "stage.json"),
        (swap_two_epochs, "history.parquet"),
        (flip_a_bit_of_a_weight, "model.safetensors"),
        (lambda folder: pd.DataFrame().to_parquet(folder / "batches.parquet"), "batches.parquet"),
    ],
)
def test_a_changed_part_is_named(tmp_path, change, part):
    dataset(tmp_path, "2026-01").save(stage())
    change(tmp_path / "stage_1" / "2026-01" / "stage_1")
    with pytest.raises(DatasetError, match=f"{part} is not what the training wrote; train again") as caught:
        dataset(tmp_path).load()
    assert isinstance(caught.value.__cause__, TrainingError)  # so the user sees its sentence, and no traceback


@pytest.mark.parametrize("part", ["stage.json", "model.safetensors", "history.parquet"])
def test_a_missing_part_is_an_error_with_a_remedy(tmp_path, part):
    dataset(tmp_path, "2026-01").save(stage())
    (tmp_path / "stage_1" / "2026-01" / "stage_1" / part).unlink()
    with pytest.raises(DatasetError, match=f"not a complete trained stage .*{part}.*; train again"):
        dataset(tmp_path).load()


def test_an_earlier_versions_stage_still_loads(tmp_path):
    saved = stage()
    dataset(tmp_path, "2026-01").save(saved)
    (tmp_path / "stage_1" / "2026-01" / "stage_1" / "stage.json").write_text(saved.description.model_dump_json())
    assert dataset(tmp_path).load().description == saved.description


def test_others_may_read_every_file(tmp_path):
    dataset(tmp_path, "2026-01").save(stage())
    files = list((tmp_path / "stage_1" / "2026-01" / "stage_1").iterdir())
    assert {path.name: path.stat().st_mode & 0o044 for path in files} == dict.fromkeys(
        ("model.safetensors", "stage.json", "history.parquet", "batches.parquet"), 0o044
    )
