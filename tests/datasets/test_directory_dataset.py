"""A folder that nodes write to themselves."""

import pytest
from kedro.io import DatasetError

from malaria_kedro.datasets.directory_dataset import DirectoryDataset


def test_it_loads_as_the_path_whether_or_not_it_is_there(tmp_path):
    dataset = DirectoryDataset(filepath=str(tmp_path / "later"))
    assert dataset.load() == tmp_path / "later"
    assert dataset.exists()


def test_a_node_cannot_output_it(tmp_path):
    with pytest.raises(DatasetError, match="written to by the nodes"):
        DirectoryDataset(filepath=str(tmp_path)).save(object())
