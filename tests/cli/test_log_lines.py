"""The lines of the log: plain in files and pipes, coloured on a terminal."""

import io
import logging
import warnings

import pytest
from kedro.logging import RichHandler

from malaria_kedro.cli.log_lines import LogLines, log_lines


def line(name: str, level: int, message: str, *, colours: bool = False) -> str:
    record = logging.LogRecord(name, level, __file__, 1, message, (), None)
    return LogLines(colours=colours).format(record)


@pytest.mark.parametrize(
    ("name", "level", "shown"),
    [
        ("malaria_kedro.cells.index", logging.INFO, "done"),
        ("malaria_kedro.cells.index", logging.WARNING, "WARNING done"),
        ("kedro.io", logging.ERROR, "ERROR kedro.io: done"),
    ],
)
def test_a_line_has_its_time_and_what_is_needed_to_judge_it(name, level, shown):
    time, _, rest = line(name, level, "done").partition(" ")
    assert len(time) == len("12:30:05")
    assert rest == shown


def test_only_a_terminal_gets_colours():
    assert "\033" not in line("malaria_kedro", logging.WARNING, "done")
    assert "\033" in line("malaria_kedro", logging.WARNING, "done", colours=True)


@pytest.fixture
def root():
    """The root logger, as it was afterwards."""
    root, kedro = logging.getLogger(), logging.getLogger("kedro")
    handlers, level = root.handlers, kedro.level
    root.handlers = []
    yield root
    root.handlers = handlers
    kedro.setLevel(level)


def test_a_long_line_is_not_wrapped_where_kedro_would_log_with_rich(root, monkeypatch, capsys):
    monkeypatch.delenv("KEDRO_LOGGING_CONFIG", raising=False)
    root.addHandler(RichHandler())
    with log_lines():
        logging.getLogger("malaria_kedro").warning("word " * 60)
        logging.getLogger("kedro.runner").info("bookkeeping")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_formatter_of_ones_own_stays(root, monkeypatch):
    monkeypatch.delenv("KEDRO_LOGGING_CONFIG", raising=False)
    own, ours = logging.StreamHandler(io.StringIO()), logging.StreamHandler(io.StringIO())
    own.setFormatter(logging.Formatter("%(message)s"))
    root.handlers = [own, ours]
    with log_lines():
        pass
    assert type(own.formatter) is logging.Formatter
    assert type(ours.formatter) is LogLines


def test_a_warning_of_python_is_one_line(root, caplog):
    root.addHandler(caplog.handler)
    with log_lines():
        warnings.warn("the option is old,\nuse another", stacklevel=1)
    assert caplog.messages == ["UserWarning: the option is old, use another"]
