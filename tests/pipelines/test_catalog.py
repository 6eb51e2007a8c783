"""The catalog: whatever a node takes lies on disk, so that a run may begin at any node."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset

from malaria_kedro.inference.results import patient_summary
from malaria_kedro.pipeline_registry import register_pipelines
from malaria_kedro.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted({name for pipeline in register_pipelines().values() for name in pipeline.datasets()})
DATASETS = [name for name in NAMES if name != "parameters" and not name.startswith("params:")]


@pytest.fixture(scope="module")
def catalog() -> DataCatalog:
    """The catalog of conf/base, which reads and writes nothing here."""
    loader = CONFIG_LOADER_CLASS(str(CONF), base_env="base", default_run_env="base")
    return DataCatalog.from_config(loader["catalog"])


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_of_every_pipeline_is_kept_on_disk(catalog: DataCatalog, name: str) -> None:
    dataset = catalog.get(name)
    assert dataset is not None, f"{name} has no entry in conf/base/catalog.yml: a run cannot begin behind it"
    assert not isinstance(dataset, MemoryDataset)


@pytest.mark.parametrize(
    ("given", "variant", "version"),
    [({}, "resnet18", None), ({"model": "resnet34", "version": "2026-01"}, "resnet34", "2026-01")],
    ids=["of conf/base", "of --params"],
)
def test_new_cells_are_read_by_the_classifier_that_the_parameters_name(given, variant, version) -> None:
    loader = CONFIG_LOADER_CLASS(str(CONF), runtime_params={"inference": given}, **CONFIG_LOADER_ARGS)
    entry = loader["catalog"]["inference_classifier"]
    assert entry["filepath"] == f"data/06_models/{variant}/classifier"
    assert entry["load_version"] == version


def test_patients_are_text_when_their_summary_is_read_from_disk(tmp_path: Path) -> None:
    ids = ["001", "1", "NA", "null", "1e5", "True", "nan", None]
    loader = CONFIG_LOADER_CLASS(str(CONF), base_env="base", default_run_env="base")
    entry = loader["catalog"]["patient_summary"] | {"filepath": str(tmp_path / "patient_summary.csv")}
    dataset = AbstractDataset.from_config("patient_summary", entry, save_version="1999-01-01T00.00.00.000Z")
    rows = [
        {"patient_id": id_, "p_parasitized": 0.9, "call": call}
        for id_, call in zip(ids, ["Parasitized"] * 7 + [""], strict=True)
    ]
    summary = patient_summary([pd.DataFrame(rows)], 0.5)
    dataset.save(summary)
    loaded = AbstractDataset.from_config("patient_summary", entry).load()
    assert loaded["patient_id"].tolist()[:-1] == sorted(ids[:-1])
    assert pd.isna(loaded["patient_id"].iloc[-1])
    pd.testing.assert_frame_equal(loaded, summary, check_dtype=False)


def test_every_node_can_be_chosen_by_what_it_is_for() -> None:
    untagged = {
        name
        for name, pipeline in register_pipelines().items()
        for node in pipeline.nodes
        if not node.tags & {"data", "train", "evaluate", "figures"}
    }
    assert untagged == {"export", "inference"}


def test_a_node_has_one_tag_and_what_draws_is_a_figure() -> None:
    nodes = {node.name: node for pipeline in register_pipelines().values() for node in pipeline.nodes}.values()
    assert [node.name for node in nodes if len(node.tags) > 1] == []
    drawing = {node.name for node in nodes if node.name.rpartition(".")[2].startswith(("draw_", "preview_"))}
    assert {node.name for node in nodes if "figures" in node.tags} == drawing
