"""Mistakes on the command line of ``kedro run``: one sentence with the value and the remedy, before anything is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from malaria_kedro import settings
from malaria_kedro.cli import kedro_run as cli
from malaria_kedro.pipeline_registry import register_pipelines

# Nodes by their names without a namespace.
NODES = {node.name.rpartition(".")[2]: node.name for node in register_pipelines()["__default__"].nodes}

# name → (arguments, what the sentence has)
MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    "pipelines": (["--pipelines", "modelling"], ["--pipelines", "modelling", "did you mean modeling"]),
    "pipeline": (["--pipeline", "modelling"], ["modelling", "did you mean modeling"]),
    "one of two pipelines": (["--pipelines", "modeling,reports"], ["reports", "reporting?"]),
    "no such pipeline at all": (["--pipelines", "xyz"], ["xyz", "known are", "data_engineering", "inference"]),
    "nodes": (["--nodes", "split_cell"], ["--nodes", "split_cell"]),
    "no such node at all": (["--nodes", "qqq"], ["qqq", "the nearest of"]),
    "a node without its variant": (["--nodes", "train_stage_1"], ["resnet18.train_stage_1 or resnet34.train_stage_1"]),
    "a node of another pipeline": (["--nodes", "resnet18.export_onnx"], ["give --pipelines export"]),
    "from nodes": (["--from-nodes", "unpack_archiv"], ["--from-nodes", f"did you mean {NODES['unpack_archive']}?"]),
    "to nodes": (["--to-nodes", "unpack_archiv"], ["--to-nodes", f"did you mean {NODES['unpack_archive']}?"]),
    "tags": (["--tags", "trainings"], ["--tags", "trainings", "did you mean train"]),
    "from inputs": (["--from-inputs", "cell_indx"], ["--from-inputs", "did you mean cell_index"]),
    "to outputs": (["--to-outputs", "databnch"], ["--to-outputs", "did you mean databunch"]),
    "namespaces": (["--namespaces", "resnet19"], ["--namespaces", "resnet19", "resnet18"]),
    "runner": (["--runner", "ThreadRuner"], ["--runner", "did you mean ThreadRunner"]),
    "a runner of an unknown module": (["--runner", "foo.Bar"], ["foo.Bar", "SequentialRunner"]),
    "a runner that is none": (["--runner", "pathlib.Path"], ["pathlib.Path", "SequentialRunner"]),
    "a runner of no kind": (["--runner", "AbstractRunner"], ["AbstractRunner", "SequentialRunner"]),
    "runner parameters": (["--runner-params", "workers=2"], ["--runner-params", "workers", "is_async"]),
    "no workers": (
        ["--runner", "ParallelRunner", "--runner-params", "max_workers=0"],
        ["max_workers is 0", "from 1 to"],
    ),
    "workers in words": (["--runner", "ParallelRunner", "--runner-params", "max_workers=two"], ["'two'", "from 1 to"]),
    "perhaps asynchronous": (["--runner-params", "is_async=maybe"], ["is_async is 'maybe'", "True or False"]),
    "a list of nothing": (["--pipelines", ","], ["--pipelines is empty"]),
    "load versions": (["--load-versions", "nonsense"], ["nonsense", "YYYY-MM-DD"]),
    "a version of nothing": (["--load-versions", "databnch:1"], ["--load-versions", "did you mean databunch"]),
    "an empty selection": (
        ["--from-nodes", "resnet18.train_stage_1", "--to-nodes", NODES["choose_archive"]],
        ["--from-nodes resnet18.train_stage_1 --to-nodes ", "no node", "registry describe"],
    ),
    "a list": (["--params", "split.seed=[1"], ["split.seed", "'[1'", "--config", "conf/local/parameters.yml"]),
    "a list with commas": (["--params", "resnet18.stage_1.lr_max=[1,2]"], ["resnet18.stage_1.lr_max", "--config"]),
    "values with commas": (["--params", "resnet18.stage_1.lr_max=1,2"], ["resnet18.stage_1.lr_max", "--config"]),
    "an alias": (["--params", "split.seed=*a"], ["split.seed", "'*a'", "--config"]),
    "an @": (["--params", "split.seed=@a"], ["split.seed", "'@a'", "--config"]),
    "an anchor": (["--params", "split.seed=&x"], ["split.seed", "'&x'", "--config"]),
    "a tag": (["--params", "split.seed=!x"], ["split.seed", "'!x'", "--config"]),
    "a place in a list": (["--params", "resnet18.stage_1.lr_max.0=1"], ["resnet18.stage_1.lr_max is one", "--config"]),
    "a key of a number": (["--params", "split.seed.x=1"], ["split.seed is one value"]),
    "a stranger's home": (["--conf-source", "~nobody_x"], ["~nobody_x"]),
}


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.kedro_run, "callback", lambda **_: pytest.fail("it was run"))


def refusal(*arguments: str) -> str:
    result = CliRunner().invoke(cli.run, [*arguments])
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)
    return result.output


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(arguments: list[str], words: list[str]) -> None:
    said = refusal(*arguments)
    assert [word for word in words if word not in said] == [], said
    assert said.count("Error: ") == 1


def test_a_list_with_commas_is_one_mistake() -> None:
    assert len(refusal("--params", "resnet18.stage_1.lr_max=[1,2,3]").splitlines()) == 2


CONFIGS: dict[str, tuple[str | bytes, list[str]]] = {
    "broken": ("run: [\n", ["line 1", "close every bracket"]),
    "a list": ("- 1\n", ["line 1", "a list"]),
    "another section": ("runs:\n  env: demo\n", ["no section run", "env: demo"]),
    "an empty section": ("run:\n", ["line 1", "no section run"]),
    "Latin-1": ("run:\n  env: dé\n".encode("latin-1"), ["line 2", "UTF-8"]),
    "an unknown option": ("run:\n  pipelnes: modeling\n", ["line 2", "pipelnes", "did you mean pipelines"]),
    "a mistyped name": ("run:\n  pipelines: [modelling]\n", ["modelling", "did you mean modeling"]),
}


@pytest.mark.parametrize(("content", "words"), CONFIGS.values(), ids=CONFIGS)
def test_a_mistake_in_a_file_of_options_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yml").write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refusal("--config", "c.yml")
    assert [word for word in words if word not in said] == [], said
    assert "line" not in words[0] or f"c.yml, {words[0]}" in said


@pytest.mark.parametrize(
    ("variants", "wrong"),
    [
        ((), "at least one"),
        ("resnet18", "must be a tuple"),
        (("a.b",), "'a.b'"),
        (("training",), "another block's name"),
        (("resnet18", "resnet18"), "one twice"),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["--params", "split.seed=1"]], ids=["alone", "with parameters"])
def test_wrong_variants_are_told(
    monkeypatch: pytest.MonkeyPatch, variants: object, wrong: str, arguments: list[str]
) -> None:
    monkeypatch.setattr(settings, "VARIANTS", variants)
    said = refusal(*arguments)
    assert "VARIANTS in settings.py" in said
    assert wrong in said
