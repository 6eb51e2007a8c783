"""New cells through a trained project: pipelines export and inference, and the console command."""

import json
import shutil

import pandas as pd
import pytest

from malaria_kedro.cells.phantoms import draw_archive
from malaria_kedro.parameters import Phantoms


@pytest.fixture(scope="module")
def cells(demo, tmp_path_factory):
    """A copy of the demo's project with a zip of new phantom cells and a folder with odd files, to be looked at."""
    project = demo.copied_to(tmp_path_factory.mktemp("cells") / "project")
    draw_archive(Phantoms(patients=5, cells_per_patient=6, size=40, seed=99), project.folder / "new_cells.zip")
    odd = project.folder / "odd"
    odd.mkdir()
    (odd / "text.png").write_text("no image")
    return project


@pytest.fixture
def demo_with_cells(cells, tmp_path):
    """A copy of it that belongs to one test."""
    return cells.copied_to(tmp_path / "project")


def table_of(project, name: str) -> pd.DataFrame:
    found = sorted(project.folder.glob(f"data/demo/07_model_output/{name}"))
    return pd.read_parquet(found[-1]) if name.endswith("parquet") else pd.read_csv(found[-1])


READ = (
    *("run", "--env", "demo", "--pipelines", "inference"),
    *("--params", "inference.images=new_cells.zip,inference.heat_maps=true,inference.examples=2"),
)


@pytest.fixture(scope="module")
def read(cells, tmp_path_factory):
    """A copy of the project in which the pipeline inference was run twice; ``read.log`` is what it printed then."""
    project = cells.copied_to(tmp_path_factory.mktemp("read") / "project")
    project.kedro(*READ)
    project.log = project.kedro(*READ)
    return project


def test_the_pipeline_writes_a_row_an_image_as_parquet_and_csv(read):
    rows = table_of(read, "cell_predictions/*/cell_predictions/cell_predictions.parquet")
    assert len(rows) == 30
    assert set(rows["call"]) <= {"Parasitized", "Uninfected", ""}
    same = table_of(read, "cell_predictions/*/cell_predictions/cell_predictions.csv")
    assert same["path"].tolist() == rows["path"].tolist()


def test_patients_are_summed_up(read):
    patients = table_of(read, "patient_summary.csv/*/patient_summary.csv")
    assert len(patients) == 5
    assert patients["cells"].sum() == 30
    assert (patients["called"] + patients["refused"] == patients["cells"]).all()


def test_the_page_shows_cells_and_says_what_it_is_not(read):
    page = next(read.folder.glob("data/demo/08_reporting/inference_report.html/*/*.html")).read_text()
    assert "never a diagnosis" in page
    assert "Trained on phantom cells" in page
    assert "data:image/" in page
    assert "http" not in page.replace("http-equiv", "")


def test_images_in_class_folders_are_labelled_and_measured_on_the_page(read):
    rows = table_of(read, "cell_predictions/*/cell_predictions/cell_predictions.parquet")
    assert set(rows["label"]) == {"Parasitized", "Uninfected"}
    page = next(read.folder.glob("data/demo/08_reporting/inference_report.html/*/*.html")).read_text()
    assert 'id="metrics"' in page


def test_the_same_run_again_reads_nothing_twice(read):
    assert "continuing after 30 of 30 images" in read.log


def test_without_images_the_run_says_what_to_name(demo_copy):
    said = demo_copy.refused("run", "--env", "demo", "--pipelines", "inference")
    assert "inference.images" in said
    assert "Traceback" not in said


def test_a_version_that_is_not_there_is_named_with_those_that_are(demo_with_cells):
    said = demo_with_cells.refused(
        *("run", "--env", "demo", "--pipelines", "inference"),
        *("--params", "inference.images=new_cells.zip,inference.version=1999-01-01T00.00.00.000Z"),
    )
    assert "1999-01-01" in said
    assert "versions are 20" in said


@pytest.mark.parametrize("inside", [True, False], ids=["in the project", "in an empty folder"])
@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
def test_json_is_all_that_stands_on_stdout(demo_with_cells, tmp_path, inside, backend):
    pytest.importorskip({"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino"}[backend])
    project, folder = demo_with_cells.folder, demo_with_cells.folder if inside else tmp_path
    arguments = [str(project / "new_cells.zip"), "--json", "--backend", backend, "--out", str(tmp_path / "out")]
    arguments += ["--model", str(project / "data/demo/06_models/resnet18/classifier")]
    if backend == "torch":  # what is imported on the way prints, too
        done = demo_with_cells.run_apart("malaria-kedro", "predict", *arguments, folder=folder)
    else:
        done = demo_with_cells.predict_apart(*arguments, folder=folder)
    assert done.returncode in (0, 3), done.stderr
    counts = json.loads(done.stdout)
    assert counts["images"] == counts["called"] + counts["refused"] == 30
    assert counts["phantom"] is True
    assert (done.returncode == 3) == (counts["refused"] > 0)
    assert "trained on phantom cells" in done.stderr
    rows = pd.read_csv(tmp_path / "out" / "cell_predictions.csv")
    assert (rows["call"] == "Parasitized").sum() == counts["parasitized"]
    patients = pd.read_csv(tmp_path / "out" / "patient_summary.csv")
    assert patients["cells"].sum() == 30
    assert {"apparent_low", "apparent_high", "unreadable", "refused_at_threshold"} < set(patients.columns)


@pytest.mark.parametrize("inside", [True, False], ids=["in the project", "in an empty folder"])
def test_json_of_images_that_cannot_be_read_is_all_on_stdout_too(demo_with_cells, tmp_path, inside):
    project = demo_with_cells.folder
    done = demo_with_cells.predict_apart(
        *(str(project / "odd"), "--json", "--out", str(tmp_path / "out")),
        *("--model", str(project / "data/demo/06_models/resnet18/classifier"), "--gate", "off"),
        folder=project if inside else tmp_path,
    )
    assert done.returncode == 3, done.stderr
    counts = json.loads(done.stdout)
    assert (counts["refused"], counts["unreadable"], counts["quality"]) == (1, 1, {"unreadable": 1})


@pytest.mark.parametrize("inside", [True, False], ids=["in the project", "in an empty folder"])
def test_an_error_leaves_stdout_empty(demo_with_cells, tmp_path, inside):
    done = demo_with_cells.run_apart(
        "malaria-kedro", "predict", "not_there", "--json", folder=demo_with_cells.folder if inside else tmp_path
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "not_there is not there" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "malaria-kedro predict odd --out odd_out --model data/demo/06_models/resnet18/classifier",
        "kedro run --env demo --pipelines inference --params inference.images=new_cells.zip",
        "malaria-kedro run --env demo --pipelines inference --params inference.images=new_cells.zip",
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell")
def test_nobody_who_reads_is_no_error(demo_with_cells, command):
    done = demo_with_cells.run_apart("bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}")
    assert done.returncode in (0, 3, 141), done.stderr
    assert len(done.stdout.splitlines()) == 1
    for word in ("Logging error", "BrokenPipe", "Traceback"):
        assert word not in done.stderr


def test_files_behind_a_list_are_read_again_when_they_change(demo_with_cells, tmp_path):
    cells = tmp_path / "cells"
    shutil.unpack_archive(demo_with_cells.folder / "new_cells.zip", cells)
    first, second = sorted(cells.rglob("*.png"))[:2]
    (tmp_path / "today.csv").write_text(f"path\n{first}\n")

    def p() -> float:
        done = demo_with_cells.predict_apart(
            *(str(tmp_path / "today.csv"), "--json", "--out", str(tmp_path / "out")),
            *("--model", "data/demo/06_models/resnet18/classifier"),
        )
        assert json.loads(done.stdout)["images"] == 1, done.stderr
        return pd.read_parquet(tmp_path / "out" / "cell_predictions.parquet")["p_parasitized"].iloc[0]

    before = p()
    assert p() == before
    first.write_bytes(second.read_bytes())
    assert p() != before


def test_the_console_command_says_errors_in_a_sentence(demo_with_cells):
    for arguments, word in (
        (("not_there",), "not_there is not there"),
        (("odd", "--model", "conf"), "holds no classifier"),
        (("conf", "--model", "data/demo/06_models/resnet18/classifier"), "no image"),
    ):
        done = demo_with_cells.run("malaria-kedro", "predict", *arguments)
        assert done.returncode == 1, done.stdout
        assert word in done.stdout
        assert "Traceback" not in done.stdout


def test_what_cannot_be_read_is_exit_code_3(demo_with_cells):
    done = demo_with_cells.run(
        *("malaria-kedro", "predict", "odd", "--out", "odd_out"),
        *("--model", "data/demo/06_models/resnet18/classifier"),
    )
    assert done.returncode == 3, done.stdout
    assert "unreadable: 1" in done.stdout


def test_the_export_is_compared_with_torch_and_judged_on_held_out_cells(demo_copy):
    log = demo_copy.kedro("run", "--env", "demo", "--pipelines", "export", "--to-outputs", "resnet18.onnx")
    about = json.loads(next(demo_copy.folder.glob("data/demo/06_models/resnet18/onnx/*/onnx/onnx.json")).read_text())
    assert about["parity"]["p"] <= 1e-4
    assert about["phantom"] is True
    written = bool(list(demo_copy.folder.glob("data/demo/06_models/resnet18/onnx/*/onnx/model.int8.onnx")))
    assert written == about["int8"]["accepted"]
    assert about["int8"]["sentence"] in log
