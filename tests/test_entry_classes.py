"""The class of a catalog entry has to store what the entry is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset
from kedro_datasets.json import JSONDataset as OtherJSONDataset
from kedro_datasets.pandas import CSVDataset

from malaria_kedro.datasets.checkpoints_dataset import CheckpointsDataset
from malaria_kedro.datasets.classifier_dataset import ClassifierDataset
from malaria_kedro.datasets.directory_dataset import DirectoryDataset
from malaria_kedro.datasets.parquet_dataset import ParquetDataset
from malaria_kedro.datasets.table_dataset import TableDataset
from malaria_kedro.datasets.text_dataset import TextDataset
from malaria_kedro.entry_classes import _CLASS_OF, wrong_class
from malaria_kedro.pipeline_registry import register_pipelines
from malaria_kedro.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

CONF = Path(__file__).parents[1] / "conf"


def test_the_projects_own_catalog_has_the_class_that_each_entry_needs() -> None:
    loader = CONFIG_LOADER_CLASS(str(CONF), env="demo", **CONFIG_LOADER_ARGS)
    catalog = DataCatalog.from_config(loader["catalog"])
    used = {name for pipeline in register_pipelines().values() for name in pipeline.datasets()}
    names = {name for name in used if name != "parameters" and not name.startswith("params:")}
    assert {name: found for name in names if (found := wrong_class(name, catalog.get(name)))} == {}
    assert {name.rpartition(".")[2] for name in names} == set(_CLASS_OF)


class OwnCheckpoints(CheckpointsDataset):
    """As a user may derive one."""


FITTING: list[tuple[str, AbstractDataset]] = [
    ("resnet18.checkpoints", OwnCheckpoints(filepath="x")),
    ("cell_index", TableDataset(filepath="x.csv")),
    ("cell_index", CSVDataset(filepath="x.csv")),
    ("resnet18.patients", ParquetDataset(filepath="x.parquet")),
    ("resnet18.learning_rate_suggestion", OtherJSONDataset(filepath="x.json")),
    ("databunch", MemoryDataset()),
    ("a_users.own", TextDataset(filepath="x")),
]
WRONG: list[tuple[str, AbstractDataset, str]] = [
    ("databunch", TextDataset(filepath="x"), "databunch_dataset.DataBunchDataset"),
    ("databunch", CSVDataset(filepath="x.csv"), "databunch_dataset.DataBunchDataset"),
    ("resnet18.checkpoints", DirectoryDataset(filepath="x"), "checkpoints_dataset.CheckpointsDataset"),
    ("resnet18.checkpoints", MemoryDataset(), "checkpoints_dataset.CheckpointsDataset"),
    ("inference_classifier", ClassifierDataset(filepath="x"), "classifier_dataset.InferenceClassifierDataset"),
    ("cell_index", TextDataset(filepath="x"), "parquet_dataset.ParquetDataset"),
    ("roc_curves", TableDataset(filepath="x.csv"), "figure_dataset.FigureDataset"),
]


@pytest.mark.parametrize(("name", "dataset"), FITTING)
def test_a_class_that_stores_it_will_do(name: str, dataset: AbstractDataset) -> None:
    assert wrong_class(name, dataset) is None


@pytest.mark.parametrize(("name", "dataset", "needed"), WRONG)
def test_the_class_that_is_needed_is_named(name: str, dataset: AbstractDataset, needed: str) -> None:
    assert wrong_class(name, dataset) == f"malaria_kedro.datasets.{needed}"
