"""Every environment runs the main line; each with cells of its own, so that none leans on another."""

import json

import pytest

from malaria_kedro.cells.phantoms import draw_archive
from malaria_kedro.parameters import Phantoms


@pytest.fixture
def project_with_cells(new_project):
    """A project with a small ``cell_images.zip`` in its root, as a user would put one there."""
    draw_archive(Phantoms(patients=8, cells_per_patient=12, size=32), new_project.folder / "cell_images.zip")
    return new_project


def card_of(project, variant: str = "resnet18") -> dict:
    return json.loads(next(project.folder.glob(f"data/06_models/{variant}/classifier/*/*/classifier.json")).read_text())


@pytest.mark.parametrize("env", ["base", "cpu", "patient"])
def test_an_environment_trains_both_variants_on_a_local_zip(project_with_cells, env):
    log = project_with_cells.kedro("run", "--env", env, "--params", "source.path=cell_images.zip")
    summary = card_of(project_with_cells)["data"]
    assert card_of(project_with_cells, "resnet34")["architecture"] == "resnet34"
    assert summary["strategy"] == ("patient" if env == "patient" else "random")
    assert summary["augment"]["transpose"] is (env != "base")
    if env == "patient":
        assert set(summary["shared_patients"].values()) == {0}
        assert "0 of 8 patients shared between train and test" in log


def test_local_settings_count_when_no_environment_is_named(project_with_cells):
    local = project_with_cells.folder / "conf" / "local" / "parameters.yml"
    local.write_text("source: {path: cell_images.zip}\nsplit: {seed: 99}\n")
    project_with_cells.kedro("run", "--pipeline", "data_engineering")
    bunch = next(project_with_cells.folder.glob("data/05_model_input/databunch/databunch.json"))
    assert json.loads(bunch.read_text())["split"]["seed"] == 99


def test_an_unpacked_folder_is_read_in_place(project_with_cells):
    folder = project_with_cells.folder
    project_with_cells.kedro("run", "--pipeline", "data_engineering", "--params", "source.path=cell_images.zip")
    unpacked = folder / "data" / "02_intermediate" / "cell_images" / "train"
    (folder / "mine").mkdir()
    unpacked.rename(folder / "mine" / "train")
    before = sorted(path.name for path in (folder / "mine").rglob("*"))
    log = project_with_cells.kedro("run", "--pipeline", "data_engineering", "--params", "source.path=mine")
    assert "96 cells" in log
    assert sorted(path.name for path in (folder / "mine").rglob("*")) == before


def test_a_third_variant_is_a_name_and_a_few_lines(project_with_cells):
    folder = project_with_cells.folder
    settings = folder / "src" / "malaria_kedro" / "settings.py"
    named = settings.read_text().replace('("resnet34", "resnet18")', '("resnet34", "resnet18", "resnet50")')
    settings.write_text(named)
    (folder / "conf" / "base" / "parameters_resnet50.yml").write_text(
        """
resnet50:
  arch: resnet50
  pretrained: none
  batch_size: 16
  seed: 42
  stage_1: {epochs: 1, lr_max: 3.0e-3}
  stage_2: {epochs: 0, lr_max: [1.0e-5, 1.0e-4]}
"""
    )
    project_with_cells.kedro("run", "--params", "source.path=cell_images.zip")
    assert card_of(project_with_cells, "resnet50")["architecture"] == "resnet50"
    comparison = next(folder.glob("data/08_reporting/model_comparison.csv/*/model_comparison.csv")).read_text()
    assert "resnet50" in comparison


def test_the_learning_rate_pipeline_writes_curve_and_suggestion(project_with_cells):
    project_with_cells.kedro("run", "--pipeline", "data_engineering", "--params", "source.path=cell_images.zip")
    project_with_cells.kedro("run", "--pipeline", "learning_rate", "--params", "source.path=cell_images.zip")
    reporting = project_with_cells.folder / "data" / "08_reporting" / "resnet18"
    suggestion = json.loads(next(reporting.glob("learning_rate_suggestion.json/*/*.json")).read_text())
    assert all(1e-7 <= rate <= 10 for rate in suggestion.values())
    assert next(reporting.glob("learning_rate_curve.png/*/*.png")).read_bytes()[:4] == b"\x89PNG"
    stray = [path.name for path in project_with_cells.folder.iterdir() if path.name == "models"]
    assert stray == []
