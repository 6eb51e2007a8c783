"""One run at a time in a data folder, and what a run has made is what it goes on with."""

import json
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
from processes import KedroProcess, Place, nodes_in
from project import Project

from malaria_kedro.cells.decoding import decode_cell

PREPARE = ("run", "--env", "demo", "--pipelines", "data_engineering")
TRAIN_AND_MEASURE = ("run", "--env", "demo", "--pipelines", "modeling,reporting", "--to-outputs", "resnet18.metrics")
FUTURE = "2999-01-01T00.00.00.000Z"


def assert_each_row_is_its_cell(project: Project) -> None:
    """Compare every row of the pixel array with its image, decoded again."""
    data = project.folder / "data" / "demo"
    index = pd.read_parquet(data / "03_primary" / "cell_index.parquet").set_index("cell_id")
    pixels = np.load(data / "05_model_input" / "cell_pixels" / "pixels.npy")
    ids = pd.read_parquet(data / "05_model_input" / "cell_pixels" / "cells.parquet")["cell_id"]
    assert sorted(ids) == sorted(index.index[index["excluded"] == ""])
    for cell_id, row in zip(ids, pixels, strict=True):
        path = data / "02_intermediate" / "cell_images" / "train" / index.at[cell_id, "path"]
        np.testing.assert_array_equal(row, decode_cell(path, row.shape[0]))


@pytest.mark.parametrize(
    "place",
    [Place("malaria_kedro.cells.index", "index_cells", 1), Place("malaria_kedro.cells.unpack", "_put_in_place", 1)],
    ids=["indexing", "unpacking"],
)
def test_a_second_run_in_the_same_data_folder_is_told_and_harms_nothing(new_project, place):
    first = KedroProcess(new_project.folder, *PREPARE, place=place)
    first.wait_until_there()
    second = KedroProcess(new_project.folder, *PREPARE, "--params", "source.limit=30")
    assert second.wait() == 1
    assert "another run works in" in second.said()
    assert "wait until it has ended" in second.said()
    assert not nodes_in(second.said())
    assert "Traceback" not in second.said()
    first.kill()
    assert first.process.exitcode == -signal.SIGKILL
    third = KedroProcess(new_project.folder, *PREPARE, "--params", "source.limit=30")
    assert third.wait() == 0, third.said()
    assert_each_row_is_its_cell(new_project)


def test_what_killed_runs_left_is_cleared_by_the_next_one(new_project):
    killed = KedroProcess(
        new_project.folder, *PREPARE, place=Place("pandas", "DataFrame.to_parquet", 3, half_a_file=True)
    )
    killed.wait_until_there()
    killed.kill()
    data = new_project.folder / "data" / "demo"
    assert list(data.glob("05_model_input/.*.part"))
    run = KedroProcess(new_project.folder, *PREPARE)
    assert run.wait() == 0, run.said()
    assert "that killed runs have left half-written" in run.said()
    assert not list(data.rglob("*.part"))
    assert_each_row_is_its_cell(new_project)


def test_metrics_are_of_the_model_just_trained_even_beside_one_of_the_future(new_project):
    first = KedroProcess(new_project.folder, "run", "--env", "demo", "--to-outputs", "resnet18.metrics")
    assert first.wait() == 0, first.said()
    models, metrics = (new_project.folder / "data" / "demo" / name for name in ("06_models", "08_reporting"))
    classifiers = models / "resnet18" / "classifier"
    (version,) = classifiers.iterdir()
    shutil.copytree(version, classifiers / FUTURE)
    second = KedroProcess(new_project.folder, *TRAIN_AND_MEASURE, "--params", "resnet18.seed=9")
    assert second.wait() == 0, second.said()
    assert f"{FUTURE} sorts as newer than now" in second.said()
    (made,) = set(classifiers.iterdir()) - {version, classifiers / FUTURE}
    metadata = json.loads((made / "classifier" / "classifier.json").read_text())
    measured = json.loads(max(metrics.glob("resnet18/metrics.json/*/metrics.json")).read_text())
    assert measured["classifier"]["training_id"] == metadata["training_id"]
    assert (
        metadata["training_id"] != json.loads((version / "classifier" / "classifier.json").read_text())["training_id"]
    )
