"""A run does not use a databunch that was made with other parameters."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.framework.project import configure_project
from kedro.io import DataCatalog

from malaria_kedro.cells.tables import identify
from malaria_kedro.databunch_hooks import DataBunchHooks, OtherParametersError
from malaria_kedro.datasets.databunch_dataset import CELLS, DESCRIPTION, DataBunchDataset
from malaria_kedro.files import hash_json, sha256_of
from malaria_kedro.parameters import Source
from malaria_kedro.pipeline_registry import register_pipelines
from malaria_kedro.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the databunch of its environment ``cpu``, made of a folder with a table of patients."""
    configure_project("malaria_kedro")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "patients.csv").write_text("file,patient\na.png,P1\n")
    parameters = parameters_of(tmp_path, "cpu")
    described = {
        "fingerprint": "0" * 64,
        "image_size": parameters["image"]["size"],
        "split": parameters["split"],
        "augment": parameters["augment"],
        "made_with": {"source": identify(Source.model_validate(parameters["source"])), "image": parameters["image"]},
        "listed": {},
        "pixels": "../cell_pixels",
    }
    write(tmp_path, described)
    return tmp_path


def parameters_of(project: Path, env: str, **source: Any) -> dict[str, Any]:
    loader = CONFIG_LOADER_CLASS(str(ROOT / "conf"), env=env, **CONFIG_LOADER_ARGS)
    parameters = loader["parameters"]
    parameters["source"] |= {"path": "cells", "patients": "patients.csv"} | source
    return parameters


def folder_of(project: Path) -> Path:
    return project / "data" / "05_model_input" / "databunch"


def write(project: Path, described: dict[str, Any]) -> None:
    folder = folder_of(project)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CELLS).write_bytes(b"a table")
    described |= {"cells_sha256": sha256_of(folder / CELLS)}
    (folder / DESCRIPTION).write_text(json.dumps(described | {"sha256": hash_json(described)}))


def look(project: Path, pipeline: str, parameters: dict[str, Any], env: str = "cpu", **run_params: Any) -> None:
    """Call the hook as a run of a pipeline would."""
    hooks = DataBunchHooks()
    hooks.after_context_created(SimpleNamespace(config_loader={"parameters": parameters}, project_path=project))
    catalog = DataCatalog({"databunch": DataBunchDataset(filepath=str(folder_of(project)))})
    hooks.before_pipeline_run({"env": env} | run_params, register_pipelines()[pipeline], catalog)


def refusal(*arguments: Any, **run_params: Any) -> str:
    with pytest.raises(OtherParametersError) as caught:
        look(*arguments, **run_params)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    return said


USING = ["modeling", "reporting", "cross_validation", "learning_rate", "export"]


@pytest.mark.parametrize("pipeline", USING)
def test_the_same_parameters_use_it(project: Path, pipeline: str) -> None:
    look(project, pipeline, parameters_of(project, "cpu"))


@pytest.mark.parametrize("pipeline", USING)
def test_another_image_size_is_refused(project: Path, pipeline: str) -> None:
    parameters = parameters_of(project, "cpu")
    parameters["image"]["size"] = 32
    said = refusal(project, pipeline, parameters)
    assert "image.size=64 (now 32)" in said
    assert "data/05_model_input/databunch" in said
    assert "`kedro run --env cpu --pipelines data_engineering`" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("path", "others"), ("limit", 3), ("class_names", {"sick": "Parasitized"})),
        *(("patients", None), ("patient_pattern", "(P.)")),
    ],
)
def test_another_source_is_refused(project: Path, key: str, value: object) -> None:
    assert f"source.{key}=" in refusal(project, "modeling", parameters_of(project, "cpu", **{key: value}))


@pytest.mark.parametrize("key", ["labels", "patients", "exclude"])
def test_a_table_that_was_changed_or_added_is_refused(project: Path, key: str) -> None:
    (project / "other.csv").write_text("file,patient\na.png,P2\n")
    assert f"source.{key}=" in refusal(project, "modeling", parameters_of(project, "cpu", **{key: "other.csv"}))


def test_a_table_of_the_same_content_may_have_another_name(project: Path) -> None:
    (project / "patients.csv").rename(project / "people.csv")
    look(project, "modeling", parameters_of(project, "cpu", patients="people.csv"))


def test_another_environment_is_refused(project: Path) -> None:
    said = refusal(project, "reporting", parameters_of(project, "patient"), env="patient")
    assert "image.size=64 (now 128)" in said
    assert "split.strategy=random (now patient)" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("url", "https://example.org/cells.zip"), ("sha256", "0" * 64), ("bytes", 1)),
        *(("max_broken_pct", 7.0), ("max_ignored_pct", 9.0), ("max_unpacked_bytes", 1)),
    ],
)
def test_what_changes_no_cell_troubles_nobody(project: Path, key: str, value: object) -> None:
    look(project, "modeling", parameters_of(project, "cpu", **{key: value}))


def test_an_absolute_path_is_the_same_place(project: Path) -> None:
    look(project, "modeling", parameters_of(project, "cpu", path=str(project / "cells")))


@pytest.mark.parametrize(("pipeline", "asked"), [("modeling", True), ("learning_rate", True), ("reporting", False)])
def test_augmentation_counts_where_something_is_trained(project: Path, pipeline: str, asked: bool) -> None:
    parameters = parameters_of(project, "cpu")
    parameters["augment"]["max_rotate"] = 10.0
    if asked:
        assert "augment.max_rotate=0.0 (now 10.0)" in refusal(project, pipeline, parameters)
    else:
        look(project, pipeline, parameters)


def test_a_cross_validation_has_splits_of_its_own(project: Path) -> None:
    parameters = parameters_of(project, "cpu")
    parameters["split"]["seed"] = 7
    look(project, "cross_validation", parameters)


def test_a_run_that_makes_it_anew_is_not_troubled(project: Path) -> None:
    look(project, "__default__", parameters_of(project, "patient"))


def test_a_run_of_missing_outputs_only_keeps_it_and_so_looks(project: Path) -> None:
    assert "split." in refusal(project, "__default__", parameters_of(project, "patient"), only_missing_outputs=True)


def test_an_earlier_versions_is_used_with_a_warning_and_compared_as_far_as_it_tells(project: Path, caplog) -> None:
    described = json.loads((folder_of(project) / DESCRIPTION).read_text())
    write(project, {key: value for key, value in described.items() if key not in ("made_with", "sha256")})
    with caplog.at_level(logging.WARNING):
        look(project, "modeling", parameters_of(project, "cpu", path="others"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "does not tell with which source" in caplog.text
    assert "image.size=64 (now 128)" in refusal(project, "modeling", parameters_of(project, "patient"))


def test_a_damaged_one_is_left_to_whoever_loads_it(project: Path) -> None:
    (folder_of(project) / DESCRIPTION).write_text("{")
    look(project, "modeling", parameters_of(project, "patient"))
