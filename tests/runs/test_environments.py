"""Every environment trains; each with cells of its own, so that none leans on another."""

import json
from pathlib import Path

import pytest
from project import Project

from malaria_kedro.cells.phantoms import draw_archive
from malaria_kedro.parameters import Phantoms
from malaria_kedro.settings import VARIANTS

REAL_CELLS = Path(__file__).parents[2].parent / "shared" / "data" / "cell_images_fullsize.zip"


def with_cells(project: Project) -> Project:
    """Put a small ``cell_images.zip`` into a project's root, as a user would."""
    draw_archive(Phantoms(patients=8, cells_per_patient=12, size=32), project.folder / "cell_images.zip")
    return project


@pytest.fixture
def project_with_cells(new_project):
    """A project with a zip of cells."""
    return with_cells(new_project)


def card_of(project, variant: str = "resnet18") -> dict:
    return json.loads(next(project.folder.glob(f"data/06_models/{variant}/classifier/*/*/classifier.json")).read_text())


@pytest.mark.parametrize("env", ["base", "cpu", "patient"])
def test_an_environment_trains_both_variants_on_a_local_zip(tmp_path, env):
    project = with_cells(Project(tmp_path, **({"networks": None} if env == "base" else {})))
    pipelines = ("--pipelines", "data_engineering,modeling")
    log = project.kedro("run", "--env", env, *pipelines, "--params", "source.path=cell_images.zip")
    summary = card_of(project)["data"]
    if env == "base":
        assert [card_of(project, name)["architecture"] for name in VARIANTS] == ["resnet34", "resnet18"]
    assert summary["strategy"] == ("patient" if env == "patient" else "random")
    assert summary["augment"]["transpose"] is (env != "base")
    if env == "patient":
        assert set(summary["shared_patients"].values()) == {0}
        assert "0 of 8 patients shared" in log


def test_local_settings_count_when_no_environment_is_named(project_with_cells):
    local = project_with_cells.folder / "conf" / "local" / "parameters.yml"
    local.write_text("source: {path: cell_images.zip}\nsplit: {seed: 99}\n")
    project_with_cells.kedro("run", "--to-outputs", "databunch")
    bunch = next(project_with_cells.folder.glob("data/05_model_input/databunch/databunch.json"))
    assert json.loads(bunch.read_text())["split"]["seed"] == 99


def test_an_unpacked_folder_is_read_in_place(project_with_cells):
    folder = project_with_cells.folder
    project_with_cells.kedro("run", "--to-outputs", "databunch", "--params", "source.path=cell_images.zip")
    unpacked = folder / "data" / "02_intermediate" / "cell_images" / "train"
    (folder / "mine").mkdir()
    unpacked.rename(folder / "mine" / "train")
    before = sorted(path.name for path in (folder / "mine").rglob("*"))
    log = project_with_cells.kedro("run", "--to-outputs", "databunch", "--params", "source.path=mine")
    assert "96 cells" in log
    assert sorted(path.name for path in (folder / "mine").rglob("*")) == before


def test_a_third_variant_is_a_name_and_a_few_lines(project_with_cells):
    folder = project_with_cells.folder
    settings = folder / "src" / "malaria_kedro" / "settings.py"
    named = settings.read_text().replace('("resnet34", "resnet18")', '("resnet34", "resnet18", "third")')
    settings.write_text(named)
    project_with_cells.own_code = True
    (folder / "conf" / "base" / "parameters_third.yml").write_text(
        """
third:
  name: third
  arch: slim_resnet
  slim_resnet: {width: 8, stages: [1], stem: strided, pooling: both}
  pretrained: none
  batch_size: 16
  seed: 42
  stage_1: {epochs: 1, lr_max: 3.0e-3}
  stage_2: {epochs: 0, lr_max: [1.0e-5, 1.0e-4]}
"""
    )
    compared = ("--to-outputs", "model_comparison")
    project_with_cells.kedro("run", *compared, "--params", "source.path=cell_images.zip")
    assert card_of(project_with_cells, "third")["slim_resnet"]["stages"] == [1]
    comparison = next(folder.glob("data/08_reporting/model_comparison.csv/*/model_comparison.csv")).read_text()
    assert "third" in comparison


@pytest.mark.skipif(
    not REAL_CELLS.is_file(), reason=f"no real cells at {REAL_CELLS.parent.parent.name}/data beside the project"
)
def test_real_cells_go_all_the_way(new_project):
    new_project.kedro("run", "--env", "patient", "--params", f"source.path={REAL_CELLS}")
    data = card_of(new_project)["data"]
    assert data["phantom"] is False
    assert data["n_patients"] == 153
    assert set(data["shared_patients"].values()) == {0}
    assert sum(sum(counts.values()) for counts in data["counts"].values()) == 613
    metrics = json.loads(next(new_project.folder.glob("data/08_reporting/resnet18/metrics.json/*/*.json")).read_text())
    assert set(metrics["splits"]) == {"valid", "test"}
    page = next(new_project.folder.glob("data/08_reporting/report.html/*/report.html")).read_text()
    assert "Phantom cells." not in page
