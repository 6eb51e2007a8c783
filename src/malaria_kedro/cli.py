"""``kedro run``, with the project's own errors told in a few lines instead of a traceback."""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS

TRACEBACK = "MALARIA_KEDRO_TRACEBACK"


@click.group(context_settings=CONTEXT_SETTINGS, name="malaria-kedro")
def cli() -> None:
    """Commands of this project."""


def own_error(error: BaseException | None) -> BaseException | None:
    """Return the error that speaks to the user, from an error and the ones that it was raised from.

    That is one of this project's own, or Kedro's for an environment that does not exist.
    """
    while error is not None:
        if type(error).__module__.split(".")[0] == "malaria_kedro" or isinstance(error, MissingConfigException):
            return error
        error = error.__cause__ or error.__context__
    return None


@functools.wraps(kedro_run.callback)
def _run(*args: Any, **kwargs: Any) -> Any:
    try:
        return kedro_run.callback(*args, **kwargs)
    except Exception as error:
        explained = own_error(error)
        if explained is None or os.environ.get(TRACEBACK):
            raise
        logging.getLogger(__name__).debug("the whole story", exc_info=error)
        raise click.ClickException(f"{explained}\n({TRACEBACK}=1 shows where it was raised)") from error


run = click.Command(
    name="run",
    params=kedro_run.params,
    callback=_run,
    help=kedro_run.help,
    short_help="Run the pipelines.",
)
cli.add_command(run)
