"""How a run ends: which errors are told in one sentence, which keep their traceback, and the exit codes."""

import os
import signal

import click
import pytest
from click.testing import CliRunner

from malaria_kedro.cells.splits import SplitError
from malaria_kedro.cli import kedro_run as cli
from malaria_kedro.learning.interruption import UnfinishedError


def ends_with(monkeypatch, ending) -> click.testing.Result:
    """Run the command with Kedro's run replaced by ``ending``."""
    monkeypatch.setattr(cli.kedro_run, "callback", lambda **_: ending())
    return CliRunner().invoke(click.Command("run", callback=cli._run))


def raising(error: BaseException):
    def ending():
        raise error

    return ending


def test_an_unfinished_training_has_its_own_exit_code_and_is_no_error(monkeypatch):
    result = ends_with(monkeypatch, raising(UnfinishedError("epoch 2 is kept", 75)))
    assert (result.exit_code, result.output) == (75, "epoch 2 is kept\n")


@pytest.mark.parametrize(
    ("ending", "name", "code"),
    [
        (raising(KeyboardInterrupt()), "SIGINT", 130),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "SIGTERM", 143),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_while_nothing_trains_says_how_to_go_on(monkeypatch, ending, name, code):
    result = ends_with(monkeypatch, ending)
    assert result.exit_code == code
    assert f"stopped by {name}" in result.output
    assert "run the same command again" in result.output


def test_a_traceback_that_is_switched_off_is_not_shown(monkeypatch):
    monkeypatch.setenv("MALARIA_KEDRO_TRACEBACK", "0")
    result = ends_with(monkeypatch, raising(SplitError("too few cells")))
    assert isinstance(result.exception, SystemExit)
    assert result.output.startswith("Error: too few cells")


def test_a_panic_in_rust_is_an_error(monkeypatch):
    panic = type("PanicException", (BaseException,), {})
    result = ends_with(monkeypatch, raising(panic("no memory for a thread pool")))
    assert result.exit_code == 1
    assert result.output.startswith("Error: a library has given up (no memory for a thread pool)")


def test_an_error_is_called_one(monkeypatch):
    result = ends_with(monkeypatch, raising(SplitError("too few cells")))
    assert result.exit_code == 1
    assert result.output.startswith("Error: too few cells")


def test_parameters_reach_the_run_as_typed(monkeypatch):
    given = {}
    monkeypatch.setattr(cli.kedro_run, "callback", lambda **options: given.update(options))
    result = CliRunner().invoke(cli.run, ["--env", "demo", "--params", "source.path=2024_01_15,split.seed=3"])
    assert result.exit_code == 0, result.output
    assert given["params"] == {"source": {"path": "2024_01_15"}, "split": {"seed": 3}}


def test_the_parameters_of_a_configuration_file_are_typed_by_it(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(cli.kedro_run, "callback", lambda **options: given.update(options))
    file = tmp_path / "run.yml"
    file.write_text("run:\n  params:\n    source: {path: '0012'}\n")
    result = CliRunner().invoke(cli.run, ["--config", str(file)])
    assert result.exit_code == 0, result.output
    assert given["params"] == {"source": {"path": "0012"}}


def test_an_empty_parameter_is_an_error_and_nothing_is_run(monkeypatch):
    monkeypatch.setattr(cli.kedro_run, "callback", lambda **_: pytest.fail("it was run"))
    result = CliRunner().invoke(cli.run, ["--params", "source.path="])
    assert result.exit_code == 1
    assert "Error: wrong parameters, nothing was run" in result.output
    assert "source.path is empty" in result.output


def test_an_empty_environment_is_not_the_default_one(monkeypatch):
    monkeypatch.setattr(cli.kedro_run, "callback", lambda **_: pytest.fail("it was run"))
    result = CliRunner().invoke(cli.run, ["--env", ""])
    assert result.exit_code == 2
    assert "the value of --env is empty" in result.output


def test_kedros_own_command_is_left_as_it_is():
    theirs = next(option for option in cli.kedro_run.params if option.name == "params")
    assert theirs.callback.__module__.startswith("kedro.")


def test_the_commands_of_an_error_name_the_environment(monkeypatch):
    monkeypatch.setenv("KEDRO_ENV", "demo")
    result = ends_with(monkeypatch, raising(SplitError("kedro run --pipelines modeling trains again")))
    assert "kedro run --env demo --pipelines modeling trains" in result.output
