"""``kedro run``, with the project's own errors told in a few lines instead of a traceback."""

from __future__ import annotations

import copy
import errno
import functools
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS

from malaria_kedro.arguments import SaysSomething, read_params
from malaria_kedro.learning.interruption import UnfinishedError
from malaria_kedro.parameters import ParameterError
from malaria_kedro.redaction import redact
from malaria_kedro.standard_output import accept_any_name, hold_closed_streams, outlive_readers

TRACEBACK = "MALARIA_KEDRO_TRACEBACK"

# What the machine, not the code, is to blame for.
_OF_THE_MACHINE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE}


class FileTroubleError(OSError):
    """A file or a folder cannot be used, for a reason of the machine; the message names both."""


@click.group(context_settings=CONTEXT_SETTINGS, name="malaria-kedro")
def cli() -> None:
    """Commands of this project."""


class _Unfinished(click.ClickException):
    """Not an error: the run has stopped as it was asked to."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def show(self, file: Any = None) -> None:
        """Print the message as it is."""
        click.echo(self.message, file=file, err=file is None)


def own_error(error: BaseException | None) -> BaseException | None:
    """Return the error that speaks to the user, from an error and the ones that it was raised from.

    That is one of this project's own, or Kedro's for an environment that does not exist; where there is none, a file
    that the system denies, in words.
    """
    chain = list(_chain(error))
    for link in chain:
        if type(link).__module__.split(".")[0] == "malaria_kedro" or isinstance(link, MissingConfigException):
            return link
    for link in chain:
        if isinstance(link, OSError) and link.errno in _OF_THE_MACHINE and link.filename is not None:
            return FileTroubleError(
                f"{os.fsdecode(link.filename)} cannot be used ({link.strerror}); check it, its rights and its disk"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class Terminated(KeyboardInterrupt):
    """SIGTERM came while nothing was being trained."""


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM raise, as Ctrl-C does, so that what is half-written is removed on the way out."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@functools.wraps(kedro_run.callback)
def _run(*args: Any, **kwargs: Any) -> Any:
    hold_closed_streams()
    accept_any_name()
    outlive_readers()
    try:
        with terminated_like_interrupted():
            return kedro_run.callback(*args, **kwargs)
    except KeyboardInterrupt as interrupt:
        number = signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT
        raise _Unfinished(
            f"stopped by {number.name}; whatever was finished is kept, and nothing half-written is left: "
            "run the same command again",
            128 + number,
        ) from interrupt
    except Exception as error:
        explained = own_error(error)
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
