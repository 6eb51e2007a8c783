"""Errors and signals that end a command with one sentence and an exit code instead of a traceback."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any

import click
from kedro.config import BadConfigException, MissingConfigException
from kedro.io import DatasetError

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.learning.interruption import UnfinishedError
from malaria_kedro.machine import is_panic, refusal
from malaria_kedro.redaction import redact

TRACEBACK = "MALARIA_KEDRO_TRACEBACK"


def wants_traceback() -> bool:
    """Return whether a user wants each error with its traceback."""
    return os.environ.get(TRACEBACK, "") not in ("", "0")


class StoredTableError(MalariaKedroError, ValueError):
    """A table on disk is not what this version of the project reads; the message says what differs."""


class KedroError(MalariaKedroError, RuntimeError):
    """Kedro, OmegaConf or YAML refuse what they were given; the message is theirs, in one line."""


class Stopped(click.ClickException):
    """The command stops before its end as it was asked to, which is not an error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message without ``Error:``."""
        click.echo(self.message, file=file, err=file is None)


def find_user_error(error: BaseException | None) -> BaseException | None:
    """Return the error meant for the user among an error and those it was raised from, or None.

    That is one of this project's own or Kedro's for an environment that does not exist; failing these, one that says
    what the machine refuses, or which stored table is of another version; failing these, what Kedro, OmegaConf or YAML
    say.
    """
    chain: list[BaseException] = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    for link in chain:
        if isinstance(link, MalariaKedroError | MissingConfigException):
            return link
    if refused := next(filter(None, map(refusal, chain)), None):
        return refused
    from kedro.validation.exceptions import DataValidationError  # a tenth of a second, and memory, for few runs

    for link in chain:
        if isinstance(link, DataValidationError) and link.mode == "load":
            found = (f"{one.column}: {one.check}, {', '.join(map(str, one.failure_examples))}" for one in link.failures)
            return StoredTableError(
                f"{link.dataset_name} on disk is not a table of this version of the project ({'; '.join(found)}): run "
                "the pipeline data_engineering from its start, with kedro run --pipelines data_engineering"
            )
    return next((told for link in chain if (told := _of_kedro(link))), None)


def _of_kedro(error: BaseException) -> KedroError | None:
    """Return what Kedro, OmegaConf or YAML say about what they were given, in one sentence, or None."""
    from kedro.framework.cli.utils import KedroCliError
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    said = " ".join(str(error).split())
    # The data are the project's own; what another library's class makes of them is the catalog's.
    if re.match(r"Failed while saving data to dataset malaria_kedro\.", said) or getattr(error, "mode", "") == "save":
        return None
    frames = traceback.walk_tb(error.__traceback__)
    raised_in = [frame.f_globals.get("__name__", "") for frame, _ in frames][-1:]
    of_kedro = isinstance(error, ValueError) and any(name.startswith("kedro.") for name in raised_in)
    told = (DatasetError, KedroCliError, BadConfigException, OmegaConfBaseException, YAMLError)
    return KedroError(said) if of_kedro or isinstance(error, told) else None


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived while nothing was being trained."""


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM, as Ctrl-C raises, so that half-written files are removed on the way out."""

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


@contextmanager
def reported_in_a_sentence(when_interrupted: str) -> Iterator[None]:
    """Turn signals (with what a user should know after one) and errors meant for the user into click's exceptions.

    Raises:
        Stopped: a signal (exit code 128 + its number), or a training that was asked to stop.
        click.ClickException: an error meant for the user; any other keeps its traceback.
    """
    try:
        with terminated_like_interrupted():
            yield
    except KeyboardInterrupt as interrupt:
        number = signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT
        raise Stopped(f"stopped by {number.name}; {when_interrupted}", 128 + number) from interrupt
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        explained = find_user_error(error)
        if isinstance(explained, UnfinishedError):
            raise Stopped(str(explained), explained.exit_code) from error
        if explained is None or wants_traceback():
            raise
        logging.getLogger(__name__).debug("traceback of the error", exc_info=error)
        raise click.ClickException(f"{redact(str(explained))}\n({TRACEBACK}=1 shows where it was raised)") from error
