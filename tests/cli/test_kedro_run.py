"""How a run ends: which errors are told in one sentence, which keep their traceback, and the exit codes."""

import errno
import os
import signal

import click
import pytest
from click.testing import CliRunner
from kedro.config import MissingConfigException
from kedro.io import DatasetError

from malaria_kedro.cells.splits import SplitError
from malaria_kedro.cli import kedro_run as cli
from malaria_kedro.cli.errors import Terminated, find_user_error, terminated_like_interrupted
from malaria_kedro.learning.interruption import UnfinishedError


def raised_from(error: Exception, cause: Exception | None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_an_error_of_this_project_is_found():
    error = SplitError("too few cells")
    assert find_user_error(error) is error


def test_it_is_found_below_what_kedro_wrapped_around_it():
    error = SplitError("too few cells")
    assert find_user_error(raised_from(DatasetError("failed while saving"), error)) is error


def test_a_missing_environment_is_told_too():
    assert find_user_error(MissingConfigException("no conf/moon")) is not None


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), FileNotFoundError(errno.ENOENT, "No such file", "x"), PermissionError(errno.EACCES, "denied")],
    ids=["a key", "a file that should be there", "a file without a name"],
)
def test_a_stranger_keeps_its_traceback(error):
    assert find_user_error(raised_from(RuntimeError("a bug"), error)) is None


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EACCES, "Permission denied"), (errno.EROFS, "Read-only file system"), (errno.EIO, "Input/output error")],
)
@pytest.mark.parametrize("name", ["data/metrics.json", b"data/metrics.json"], ids=["text", "bytes"])
def test_a_file_that_the_machine_denies_is_named(number, said, name):
    found = find_user_error(
        raised_from(DatasetError("failed while saving"), OSError(number, os.strerror(number), name))
    )
    assert str(found) == f"data/metrics.json cannot be used ({said}); check it, its rights and its disk"


def ends_with(monkeypatch, ending) -> click.testing.Result:
    """Run the command with Kedro's run replaced by ``ending``."""
    monkeypatch.setattr(cli.kedro_run, "callback", lambda **_: ending())
    return CliRunner().invoke(click.Command("run", callback=cli._run))


def raising(error: BaseException):
    def ending():
        raise error

    return ending


def test_an_unfinished_training_has_its_own_exit_code_and_is_no_error(monkeypatch):
    result = ends_with(monkeypatch, raising(UnfinishedError("epoch 2 is kept, run the same command again", 75)))
    assert (result.exit_code, result.output) == (75, "epoch 2 is kept, run the same command again\n")


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


def test_an_error_is_called_one(monkeypatch):
    result = ends_with(monkeypatch, raising(SplitError("too few cells")))
    assert result.exit_code == 1
    assert result.output.startswith("Error: too few cells")


def test_what_is_half_written_can_be_removed_when_sigterm_comes():
    before, cleared = signal.getsignal(signal.SIGTERM), []

    def write() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleared.append("part")

    with pytest.raises(Terminated), terminated_like_interrupted():
        write()
    assert cleared == ["part"]
    assert signal.getsignal(signal.SIGTERM) == before


# What is typed


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
    assert "source.path is empty: is a shell variable unset? Give a value, or source.path=null" in result.output


def test_an_empty_environment_is_not_the_default_one(monkeypatch):
    monkeypatch.setattr(cli.kedro_run, "callback", lambda **_: pytest.fail("it was run"))
    result = CliRunner().invoke(cli.run, ["--env", ""])
    assert result.exit_code == 2
    assert "the value of --env is empty" in result.output


def test_kedros_own_command_is_left_as_it_is():
    theirs = next(option for option in cli.kedro_run.params if option.name == "params")
    assert theirs.callback.__module__.startswith("kedro.")
