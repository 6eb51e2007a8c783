"""``kedro run``, with the project's own errors in one sentence instead of a traceback."""

from __future__ import annotations

import copy
import functools
import logging
import os
import signal
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS

from malaria_kedro.cli.arguments import SaysSomething, read_params
from malaria_kedro.cli.errors import TRACEBACK, Terminated, find_user_error, terminated_like_interrupted
from malaria_kedro.cli.standard_output import accept_any_name, hold_closed_streams, outlive_readers
from malaria_kedro.learning.interruption import UnfinishedError
from malaria_kedro.parameters import ParameterError
from malaria_kedro.redaction import redact


@click.group(context_settings=CONTEXT_SETTINGS, name="malaria-kedro")
def cli() -> None:
    """Commands of this project."""


class _Unfinished(click.ClickException):
    """Not an error: the run has stopped as it was asked to."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click reads it of the instance

    def show(self, file: Any = None) -> None:
        """Print the message as it is."""
        click.echo(self.message, file=file, err=file is None)


@functools.wraps(kedro_run.callback)  # type: ignore[arg-type] # every command has one
def _run(*args: Any, **kwargs: Any) -> Any:
    hold_closed_streams()
    accept_any_name()
    outlive_readers()
    try:
        with terminated_like_interrupted():
            return kedro_run.callback(*args, **kwargs)  # type: ignore[misc] # as above
    except KeyboardInterrupt as interrupt:
        number = signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT
        raise _Unfinished(
            f"stopped by {number.name}; whatever was finished is kept, and nothing half-written is left: "
            "run the same command again",
            128 + number,
        ) from interrupt
    except Exception as error:
        explained = find_user_error(error)
        if isinstance(explained, UnfinishedError):
            raise _Unfinished(str(explained), explained.exit_code) from error
        if explained is None or os.environ.get(TRACEBACK):
            raise
        logging.getLogger(__name__).debug("the whole story", exc_info=error)
        raise click.ClickException(f"{redact(str(explained))}\n({TRACEBACK}=1 shows where it was raised)") from error


def _read_params(_ctx: click.Context, _option: click.Parameter, value: Any) -> dict[str, Any]:
    from malaria_kedro.settings import VARIANTS

    if isinstance(value, dict):  # from the file of --config, which has types of its own
        return value
    try:
        return read_params(value or "", VARIANTS)
    except ParameterError as error:
        raise click.ClickException(str(error)) from error


def _options() -> list[click.Parameter]:
    """Return Kedro's options, with --params read by the types of this project's parameters."""
    options = [copy.copy(option) for option in kedro_run.params]
    next(option for option in options if option.name == "params").callback = _read_params
    return options


run = SaysSomething(
    name="run",
    params=_options(),
    callback=_run,
    help=kedro_run.help,
    short_help="Run the pipelines.",
)
cli.add_command(run)
