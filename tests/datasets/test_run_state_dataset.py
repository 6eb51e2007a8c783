"""The state of a run: one per catalog and process, shared by all nodes that train."""

import pickle

import pytest
from kedro.io import DataCatalog, DatasetError

from malaria_kedro.datasets.run_state_dataset import RunStateDataset
from malaria_kedro.learning.interruption import RunState

ENTRY = {"run_state": {"type": "malaria_kedro.datasets.run_state_dataset.RunStateDataset"}}


def test_all_nodes_of_a_run_get_the_same_state():
    catalog = DataCatalog.from_config(ENTRY)
    catalog.load("run_state").epochs = 7
    assert catalog.load("run_state").epochs == 7


def test_another_run_begins_with_nothing_counted():
    DataCatalog.from_config(ENTRY).load("run_state").continued = True
    assert vars(DataCatalog.from_config(ENTRY).load("run_state")) == vars(RunState())


def test_what_a_process_of_the_parallel_runner_unpickles_is_of_the_same_run():
    dataset = RunStateDataset()
    assert pickle.loads(pickle.dumps(dataset)).load() is dataset.load()


def test_no_node_can_save_it():
    with pytest.raises(DatasetError, match="no node can save it"):
        RunStateDataset().save("stopped")
