"""What a run needs is looked for before its first node: catalog entries, versions, inputs."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.framework.project import configure_project
from kedro.io import DataCatalog

from malaria_kedro.configuration import ConfigurationError
from malaria_kedro.pipeline_registry import register_pipelines
from malaria_kedro.prerequisites import MissingInputError, PrerequisiteHooks
from malaria_kedro.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

ROOT = Path(__file__).parents[1]
OLD, NEW = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone: the project's conf/ and no data."""
    configure_project("malaria_kedro")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf/demo/globals.yml").write_text(f"data_dir: {tmp_path / 'data'}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def look(project: Path, pipeline: str, env: str = "demo", **run_params: Any) -> None:
    """Call the hook as a run of a pipeline would."""
    hooks = PrerequisiteHooks()
    loader = CONFIG_LOADER_CLASS(str(project / "conf"), env=env, **CONFIG_LOADER_ARGS)
    hooks.after_context_created(SimpleNamespace(config_loader=loader, project_path=project))
    versions = run_params.get("load_versions")
    catalog = DataCatalog.from_config(loader["catalog"], save_version=NEW, load_versions=versions)
    hooks.before_pipeline_run(run_params, register_pipelines()[pipeline], catalog)


def refusal(*arguments: Any, **run_params: Any) -> str:
    with pytest.raises(MissingInputError) as caught:
        look(*arguments, **run_params)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    return said


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize("pipeline", ["data_engineering", "__default__"])
def test_what_starts_from_nothing_runs_in_a_fresh_clone(project: Path, pipeline: str) -> None:
    look(project, pipeline)


@pytest.mark.parametrize(
    ("pipeline", "missing", "first"),
    [
        ("modeling", "databunch", "data_engineering"),
        ("learning_rate", "databunch", "data_engineering"),
        ("cross_validation", "databunch", "data_engineering"),
        ("export", "databunch", "data_engineering,modeling"),
        ("reporting", "batch_preview", "data_engineering,modeling"),
        ("inference", "inference_classifier", "data_engineering,modeling"),
    ],
)
def test_a_pipeline_in_a_fresh_clone_says_what_to_run_first(
    project: Path, pipeline: str, missing: str, first: str
) -> None:
    said = refusal(project, pipeline)
    assert said.startswith(f"there is no {missing} (data/")
    assert said.endswith(f"yet: run `kedro run --env demo --pipelines {first}` first")


def test_only_what_is_missing_is_made(project: Path) -> None:
    put(project / "data/05_model_input/databunch/databunch.json")
    look(project, "modeling")
    assert "`kedro run --env demo --pipelines modeling` first" in refusal(project, "export")


def test_without_an_environment_the_command_has_none(project: Path) -> None:
    (project / "conf/local").mkdir(exist_ok=True)
    (project / "conf/base/globals.yml").write_text(f"data_dir: {project / 'data'}\n")
    assert "`kedro run --pipelines data_engineering` first" in refusal(project, "modeling", None)


def test_nodes_that_are_left_need_their_inputs(project: Path) -> None:
    said = refusal(project, "modeling", only_missing_outputs=True)
    assert "`kedro run --env demo --pipelines data_engineering` first" in said


def test_nodes_whose_outputs_are_there_need_nothing(project: Path) -> None:
    folder = project / "data/08_reporting/resnet18"
    for name in ("learning_rate_curve.png", "learning_rate_suggestion.json"):
        for variant in ("resnet18", "resnet34"):
            put(folder.with_name(variant) / name / OLD / name)
    look(project, "learning_rate", only_missing_outputs=True)


@pytest.fixture
def trained(project: Path) -> Path:
    """Versions of both classifiers, of which only the places are looked at."""
    put(project / "data/05_model_input/databunch/databunch.json")
    for variant in ("resnet34", "resnet18"):
        for version in (OLD, NEW):
            put(project / f"data/06_models/{variant}/classifier/{version}/classifier")
    return project


def test_a_version_that_is_there_is_read(trained: Path) -> None:
    look(trained, "export", load_versions={"resnet18.classifier": OLD})


def test_a_version_that_is_not_there_is_told_with_those_that_are(trained: Path) -> None:
    said = refusal(trained, "export", load_versions={"resnet18.classifier": "2020-01-01T00.00.00.000Z"})
    assert f"2020-01-01T00.00.00.000Z of resnet18.classifier: give one of {NEW}, {OLD}" in said


def test_a_version_that_a_parameter_names_is_left_to_its_dataset(trained: Path) -> None:
    (trained / "conf/demo/parameters_x.yml").write_text("inference: {version: '2020-01-01T00.00.00.000Z'}\n")
    look(trained, "inference")


def test_a_version_of_what_has_none_is_refused(trained: Path) -> None:
    assert "databunch, which has no versions" in refusal(trained, "export", load_versions={"databunch": OLD})


def test_a_version_of_what_is_not_loaded_is_refused(trained: Path) -> None:
    assert "does not load" in refusal(trained, "inference", load_versions={"resnet18.classifier": OLD})


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("type: pandas.CSVDatasett\n  filepath: x.csv", ["CSVDatasett"]),
        ("type: malaria_kedro.datasets.table_dataset.TableDataset\n  filepth: x.csv", ["filepth"]),
        ("type: malaria_kedro.datasets.table_dataset.TableDataset\n  filepath: s3://b/x.csv", ["'s3://b/x.csv'"]),
        ("type: malaria_kedro.files.write_file\n  filepath: x.csv", ["of type malaria_kedro.files.write_file"]),
        ("type: malaria_kedro.datasets.table_dataset.TableDataset\n  filepath: x.csv\n  columns: [a]", ["['a']"]),
    ],
    ids=["class", "argument", "address", "function", "columns"],
)
def test_an_entry_that_makes_no_dataset_is_told_with_its_line(project: Path, entry: str, words: list[str]) -> None:
    (project / "conf/demo/catalog.yml").write_text(f"\ncell_index:\n  {entry}\n")
    with pytest.raises(ConfigurationError) as caught:
        look(project, "data_engineering")
    said = str(caught.value)
    assert said.startswith("conf/demo/catalog.yml, line 2: the entry of cell_index makes no dataset")
    assert [word for word in words if word not in said] == []
    assert len(said.splitlines()) == 1


def test_a_pattern_is_told_with_its_line(project: Path) -> None:
    (project / "conf/demo/catalog.yml").write_text('\n\n"{variant}.stage_1":\n  type: no.Such\n')
    with pytest.raises(ConfigurationError, match=r"conf/demo/catalog\.yml, line 3: the entry of resnet18\.stage_1 "):
        look(project, "modeling")


def test_an_entry_of_a_class_that_cannot_store_it_is_told_with_its_line(project: Path) -> None:
    entry = "type: malaria_kedro.datasets.text_dataset.TextDataset\n  filepath: x.txt"
    (project / "conf/demo/catalog.yml").write_text(f"\nresnet18.classifier:\n  {entry}\n")
    with pytest.raises(ConfigurationError) as caught:
        look(project, "modeling")
    assert str(caught.value) == (
        "conf/demo/catalog.yml, line 2: the type of resnet18.classifier is malaria_kedro.datasets.text_dataset."
        "TextDataset, which cannot store it: give malaria_kedro.datasets.classifier_dataset.ClassifierDataset"
    )


@pytest.mark.parametrize("model", ["malaria_kedro.evaluation.measurements.Metrix", "no.where", "pathlib.Path", 5])
def test_an_unknown_model_of_a_record_is_told_with_its_line(project: Path, model: object) -> None:
    entry = f"type: malaria_kedro.datasets.pydantic_dataset.PydanticDataset\n  filepath: x.json\n  model: {model}"
    (project / "conf/demo/catalog.yml").write_text(f"\nresnet18.metrics:\n  {entry}\n")
    with pytest.raises(ConfigurationError) as caught:
        look(project, "__default__")
    said = str(caught.value)
    assert said.startswith("conf/demo/catalog.yml, line 2: the entry of resnet18.metrics makes no dataset of type ")
    assert f"(model is {model!r}, which is no pydantic model: give its class with its module" in said


def test_an_unknown_validator_is_told_with_its_line(project: Path) -> None:
    entry = "type: malaria_kedro.datasets.parquet_dataset.ParquetDataset\n  filepath: x\n  validator: a.Schem"
    (project / "conf/demo/catalog.yml").write_text(f"\ncell_index:\n  {entry}\n")
    with pytest.raises(ConfigurationError, match=r"conf/demo/catalog\.yml, line 2: the entry of cell_index .*a\.Schem"):
        look(project, "data_engineering")


def test_two_outputs_in_one_place_are_told_with_the_line_of_one(project: Path) -> None:
    entry = "type: malaria_kedro.datasets.parquet_dataset.ParquetDataset\n  filepath: data/x/cell_index.parquet"
    (project / "conf/demo/catalog.yml").write_text(f"\ncell_index:\n  {entry}\n\ncell_splits:\n  {entry}\n")
    with pytest.raises(ConfigurationError) as caught:
        look(project, "data_engineering")
    said = "conf/demo/catalog.yml, line 6: cell_splits lies where cell_index does (data/x/cell_index.parquet): give"
    assert str(caught.value).startswith(said)
