"""Commands other than ``kedro run``: listing, seeing, packaging."""

import json
import re
import zipfile


def test_listing_pipelines_imports_no_heavy_library(new_project):
    done = new_project.run("python", "-X", "importtime", "-m", "kedro", "registry", "list")
    assert done.returncode == 0
    loaded = {line.split("|")[-1].strip() for line in done.stdout.splitlines() if line.startswith("import time:")}
    assert "malaria_kedro.pipelines.modeling.pipeline" in loaded
    assert not loaded & {"torch", "fastai", "torchvision", "sklearn", "matplotlib", "pandas"}
    for name in ("__default__", "data_engineering", "modeling", "reporting", "export", "inference", "learning_rate"):
        assert f"- {name}" in done.stdout


def test_viz_builds_a_site_with_layers_and_previews(demo_copy):
    demo_copy.kedro("viz", "build", "--include-previews", KEDRO_ENV="demo")
    site = demo_copy.folder / "build" / "api"
    graph = json.loads((site / "main").read_text())
    assert set(graph["layers"]) >= {
        "raw",
        "intermediate",
        "primary",
        "model_input",
        "models",
        "model_output",
        "reporting",
    }
    assert {pipeline["id"] for pipeline in graph["pipelines"]} >= {"data_engineering", "modeling", "reporting"}
    details = [json.loads(path.read_text()) for path in (site / "nodes").iterdir()]
    previews = {detail.get("preview_type") for detail in details if detail.get("preview")}
    assert {"ImagePreview", "TablePreview", "JSONPreview"} <= previews


def test_the_package_carries_all_that_a_run_needs(new_project):
    done = new_project.run(
        "python", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "dist", "."
    )
    assert done.returncode == 0, done.stdout[-2000:]
    names = zipfile.ZipFile(next((new_project.folder / "dist").glob("*.whl"))).namelist()
    assert "malaria_kedro/report/templates/report.html.j2" in names
    assert "malaria_kedro/pipelines/modeling/pipeline.py" in names
    assert not [name for name in names if name.startswith(("tests/", "conf/", "data/"))]


def test_make_run_ends_with_the_report_and_the_models(demo):
    found = re.findall(r" (report|resnet\d+\.classifier) .*?(data/demo/\S+)$", demo.log, flags=re.MULTILINE)
    assert [what for what, _ in found] == ["resnet18.classifier", "resnet34.classifier", "report"]
    assert [path for _, path in found if not (demo.folder / path).exists()] == []
