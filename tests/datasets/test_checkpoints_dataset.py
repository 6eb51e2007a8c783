"""The catalog's handle on a variant's epochs."""

import pytest
from kedro.io import DatasetError

from malaria_kedro.datasets.checkpoints_dataset import CheckpointsDataset


def test_it_loads_as_a_handle_on_a_folder_that_need_not_exist(tmp_path):
    dataset = CheckpointsDataset(filepath=str(tmp_path / "checkpoints"))
    assert dataset.exists()
    assert dataset.load().folder == tmp_path / "checkpoints"
    assert not (tmp_path / "checkpoints").exists()


def test_a_node_cannot_output_it(tmp_path):
    with pytest.raises(DatasetError, match="written while a stage trains"):
        CheckpointsDataset(filepath=str(tmp_path)).save("weights")
