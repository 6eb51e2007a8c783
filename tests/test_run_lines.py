"""What a run says of its nodes, and of what it has made."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner

from malaria_kedro.datasets.html_dataset import HTMLDataset
from malaria_kedro.evaluation.measurements import Confusion, Measurement, SplitMetrics
from malaria_kedro.learning.interruption import UnfinishedError
from malaria_kedro.run_lines import RunLines, _describe

CHOSEN = {
    "runner": "SequentialRunner",
    "env": "demo",
    "pipeline_names": ["modeling"],
    "runtime_params": {"a": "secret"},
}


def run(pipeline: Pipeline, catalog: DataCatalog, run_params: dict = CHOSEN) -> None:
    """Run as Kedro does, with these hooks."""
    manager = _create_hook_manager()
    manager.register(RunLines())
    manager.hook.before_pipeline_run(run_params=run_params, pipeline=pipeline, catalog=catalog)
    try:
        SequentialRunner().run(pipeline, catalog, manager)
    except Exception as error:
        manager.hook.on_pipeline_error(error=error, run_params=run_params, pipeline=pipeline, catalog=catalog)
        raise
    manager.hook.after_pipeline_run(run_params=run_params, run_result={}, pipeline=pipeline, catalog=catalog)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="malaria_kedro")
    return caplog


def double(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table])


def write(_: object) -> str:
    return "a page"


def fail(_: object) -> None:
    raise ValueError("bad")


def stop(_: object) -> None:
    raise UnfinishedError("to be continued")


@pytest.fixture
def catalog() -> DataCatalog:
    return DataCatalog({"table": MemoryDataset(pd.DataFrame({"x": range(600)})), "twice": MemoryDataset()})


def test_a_node_has_one_line_with_its_pipeline_its_seconds_and_what_it_made(catalog, said, monkeypatch):
    monkeypatch.setattr(double, "__module__", "malaria_kedro.pipelines.data_engineering.nodes")
    run(Pipeline([node(double, "table", "twice", name="double", namespace="data_engineering")]), catalog)
    (line,) = [message for message in said.messages if "double" in message]
    _, unit, pipeline, name, *made = line.split()
    assert (unit, pipeline, name) == ("s", "data_engineering", "double")
    assert made == ["twice:", "1,200", "rows"]


@pytest.mark.parametrize(("function", "told"), [(fail, 1), (stop, 0)])
def test_a_node_that_fails_is_named_once_and_one_that_stops_as_asked_is_not(catalog, said, function, told):
    with pytest.raises((ValueError, UnfinishedError)):
        run(Pipeline([node(function, "table", "twice", name="work")]), catalog)
    errors = [record for record in said.records if record.levelno >= logging.ERROR]
    assert len(errors) == told
    assert all("work" in record.getMessage() for record in errors)


def test_how_to_go_on_after_a_failure_is_one_line_with_the_environment_and_without_parameters(catalog, said):
    with pytest.raises(ValueError, match="bad"):
        run(Pipeline([node(double, "table", "twice", name="first"), node(fail, "twice", "x", name="second")]), catalog)
    (advice,) = [record.getMessage() for record in said.records if "--from-nodes" in record.getMessage()]
    assert "kedro run --env demo --pipelines modeling --params … --from-nodes " in advice
    assert "secret" not in advice
    assert "\n" not in advice


def test_a_training_that_stops_as_asked_is_given_no_second_advice(catalog, said):
    with pytest.raises(UnfinishedError):
        run(Pipeline([node(double, "table", "twice", name="first"), node(stop, "twice", "x", name="second")]), catalog)
    assert [message for message in said.messages if "--from-nodes" in message] == []


def test_without_a_finished_node_nothing_is_advised(catalog, said):
    with pytest.raises(ValueError, match="bad"):
        run(Pipeline([node(fail, "table", "x", name="first")]), catalog)
    assert [
        record for record in said.records if record.name.startswith("kedro") and record.levelno > logging.INFO
    ] == []


def test_at_the_end_what_was_made_is_named_with_its_place(tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    page = HTMLDataset(filepath=tmp_path / "pages" / "report.html")
    catalog = DataCatalog({"table": MemoryDataset(pd.DataFrame({"x": [1]})), "report": page})
    run(Pipeline([node(write, "table", "report", name="write")]), catalog)
    finished, report = said.messages[-2:]
    assert "1 node" in finished
    assert report.split() == ["report", str(Path("pages", "report.html"))]


def test_nodes_that_were_not_run_are_counted(catalog, said):
    lines = RunLines()
    lines.before_pipeline_run(run_params=CHOSEN)
    lines.after_pipeline_run(pipeline=Pipeline([node(double, "table", "twice", name="work")]), catalog=catalog)
    assert "1 were not run" in said.messages[-1]


CELLS = SplitMetrics(
    **{"n": 3000, "n_parasitized": 1500, "n_patients": 10, "accuracy": 0.951, "sensitivity": 0.9, "specificity": 1.0},
    roc_auc=0.98765,
    confusion=Confusion(tp=1, fn=1, fp=1, tn=1),
)
PATIENTS = {"patient_id": ["C1", None], "cells": [900, 300], "parasitized": [10, 20], "refused": [5, 0]}


@pytest.mark.parametrize(
    ("name", "data", "numbers"),
    [
        ("cell_index", pd.DataFrame({"excluded": ["", "", "unreadable"]}), ["3 cells", "1 excluded"]),
        ("cell_splits", pd.DataFrame({"split": ["train", "valid", "train"]}), ["2 train", "1 valid"]),
        (
            "resnet18.metrics",
            Measurement(positive_class="Parasitized", threshold=0.5, splits={"valid": CELLS}, notes=[]),
            ["valid", "3,000 cells", "95.10 %", "90.00 %", "100.00 %", "0.9877"],
        ),
        (
            "cross_validation.metrics",
            SimpleNamespace(protocols={"patient": SimpleNamespace(pooled=CELLS)}),
            ["patient", "95.10 %"],
        ),
        ("patient_summary", pd.DataFrame(PATIENTS), ["1,200 images", "1 patients", "30 called", "5 not"]),
        ("label_audit", pd.DataFrame({"is_issue": [True, False]}), ["2 cells", "1 label"]),
        ("resnet18.onnx", SimpleNamespace(float32=bytes(45_000_000), int8=None), ["45.0 MB", "no int8"]),
        ("resnet18.onnx", SimpleNamespace(float32=bytes(45_000_000), int8=bytes(11_400_000)), ["45.0 MB", "11.4 MB"]),
        ("resnet18.learning_rate_suggestion", {"steep": 2.51e-5, "valley": 4e-6}, ["steep 2.5e-05", "valley 4.0e-06"]),
        ("predictions", pd.DataFrame({"x": range(1440)}), ["1,440 rows"]),
        ("resnet18.report_section", object(), []),
        ("of_ones_own.metrics", {"accuracy": 1.0}, []),
    ],
)
def test_a_dataset_is_told_with_its_counts(name, data, numbers):
    told = _describe(name, data)
    assert [number for number in numbers if number not in told] == []
    assert bool(told) is bool(numbers)
