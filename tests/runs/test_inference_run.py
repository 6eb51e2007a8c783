"""New cells through a trained project: pipelines export and inference, and the console command."""

import json

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
    *("run", "--env", "demo", "--pipeline", "inference"),
    *("--params", "inference.images=new_cells.zip,inference.heat_maps=true,inference.examples=2"),
)


@pytest.fixture(scope="module")
def read(cells, tmp_path_factory):
    """A copy of the project in which the pipeline inference was run."""
    project = cells.copied_to(tmp_path_factory.mktemp("read") / "project")
    project.kedro(*READ)
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
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_same_run_again_reads_nothing_twice(demo_with_cells):
    demo_with_cells.kedro(*READ)
    assert "continuing after 30 of 30 images" in demo_with_cells.kedro(*READ)


def test_without_images_the_run_says_what_to_name(demo_copy):
    said = demo_copy.refused("run", "--env", "demo", "--pipeline", "inference")
    assert "inference.images" in said
    assert "Traceback" not in said


def test_a_version_that_is_not_there_is_named_with_those_that_are(demo_with_cells):
    said = demo_with_cells.refused(
        *("run", "--env", "demo", "--pipeline", "inference"),
        *("--params", "inference.images=new_cells.zip,inference.version=1999-01-01T00.00.00.000Z"),
    )
    assert "1999-01-01" in said
    assert "versions are 20" in said


def test_the_console_command_reads_a_folder_and_tells_scripts_in_json(demo_with_cells):
    model = "data/demo/06_models/resnet18/classifier"
    done = demo_with_cells.run("malaria-kedro", "predict", "new_cells.zip", "--model", model, "--json")
    assert done.returncode in (0, 3), done.stdout
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["images"] == 30
    assert counts["phantom"] is True
    assert (done.returncode == 3) == (counts["refused"] > 0)
    rows = pd.read_csv(demo_with_cells.folder / "predictions" / "cell_predictions.csv")
    assert (rows["call"] == "Parasitized").sum() == counts["parasitized"]


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
    log = demo_copy.kedro("run", "--env", "demo", "--pipeline", "export", "--to-outputs", "resnet18.onnx")
    about = json.loads(next(demo_copy.folder.glob("data/demo/06_models/resnet18/onnx/*/onnx/onnx.json")).read_text())
    assert about["parity"]["p"] <= 1e-4
    assert about["phantom"] is True
    written = bool(list(demo_copy.folder.glob("data/demo/06_models/resnet18/onnx/*/onnx/model.int8.onnx")))
    assert written == about["int8"]["accepted"]
    assert about["int8"]["sentence"] in log
