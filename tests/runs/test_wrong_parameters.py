"""What is wrong in conf/ or on the command line stops a run before any work, with an error that names the key."""

import pytest
from processes import nodes_in


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("split.valid_pctt=0.3", "split.valid_pctt"),
        ("split.valid_pct=lots", "split.valid_pct"),
        ("split.valid_pct=1.5", "split.valid_pct"),
        ("sprit.seed=1", "sprit"),
        ("resnet18.stage_1.epochs=-1", "resnet18.stage_1.epochs"),
        ("training.device=gpu", "training.device"),
        ("source.path=", "source.path is empty"),
    ],
)
def test_a_wrong_parameter_stops_the_run_and_is_named(new_project, wrong, named):
    said = new_project.refused("run", "--env", "demo", "--params", wrong)
    assert named in said
    assert "nothing was run" in said
    assert "Traceback" not in said
    assert not list((new_project.folder / "data").glob("**/*.*[!p]"))


def test_a_wrong_key_in_a_file_is_named_too(new_project):
    file = new_project.folder / "conf" / "demo" / "parameters.yml"
    file.write_text(file.read_text() + "\nbatchsize: 5\n")
    assert "batchsize: unknown block" in new_project.refused("run", "--env", "demo")


def test_a_missing_archive_is_named_with_the_remedy(new_project):
    said = new_project.refused("run", "--env", "cpu", "--params", "source.path=nowhere.zip")
    assert "nowhere.zip" in said
    assert "source.path" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", [("kedro",), ("python", "-m", "malaria_kedro"), ("malaria-kedro",)], ids="-".join)
def test_a_path_is_taken_as_typed(new_project, command):
    words = ("run",) if command[0] != "python" else ()
    done = new_project.run(*command, *words, "--env", "cpu", "--params", "source.path=2024_01_15")
    assert done.returncode == 1
    assert "/2024_01_15 does not exist" in done.stdout
    assert "Traceback" not in done.stdout


def test_an_unknown_environment_is_named(new_project):
    said = new_project.refused("run", "--env", "moon")
    assert "conf/moon" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("file", "content", "arguments", "named"),
    [
        ("parameters", "split:\n\tseed: 1\n", (), "conf/demo/parameters_x.yml, line 2"),
        ("globals", "data_dir: s3://bucket/x\n", (), "conf/demo/globals.yml, line 1: data_dir is 's3://bucket/x'"),
        ("catalog", "cell_index:\n  type: no.Such\n", (), "conf/demo/catalog.yml, line 1"),
        (None, "", ("--pipelines", "modelling"), "did you mean modeling?"),
        (None, "", ("--pipelines", "modeling"), "run `kedro run --env demo --pipelines data_engineering` first"),
    ],
    ids=["parameters", "globals", "catalog", "selection", "fresh clone"],
)
def test_a_mistake_is_told_before_any_work(new_project, file, content, arguments, named):
    if file is not None:
        name = f"{file}_x.yml" if file == "parameters" else f"{file}.yml"
        (new_project.folder / "conf" / "demo" / name).write_text(content)
    said = new_project.refused("run", "--env", "demo", *arguments)
    assert named in said
    assert "Traceback" not in said
    assert "Running node" not in said
    assert "No nodes ran" not in said


def test_the_gpu_environment_stops_without_cuda_before_any_work(new_project):
    said = new_project.run("kedro", "run", "--env", "gpu", CUDA_VISIBLE_DEVICES="").stdout
    assert "no CUDA GPU can be used here" in said
    assert not nodes_in(said)


def test_the_whole_traceback_can_be_had(new_project):
    said = new_project.run(
        "kedro", "run", "--env", "demo", "--params", "sprit.seed=1", MALARIA_KEDRO_TRACEBACK="1"
    ).stdout
    assert "Traceback" in said
