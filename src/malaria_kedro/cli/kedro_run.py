"""``kedro run``, with the project's own errors in one sentence instead of a traceback."""

from __future__ import annotations

import copy
import functools
import os
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS

from malaria_kedro.cli.arguments import NonEmptyCommand, read_params
from malaria_kedro.cli.errors import reported_in_a_sentence
from malaria_kedro.cli.log_lines import log_lines
from malaria_kedro.cli.standard_output import accept_any_name, hold_closed_streams, outlive_readers
from malaria_kedro.parameters import ParameterError


@click.group(context_settings=CONTEXT_SETTINGS, name="malaria-kedro")
def cli() -> None:
    """Commands of this project."""


@functools.wraps(kedro_run.callback)  # type: ignore[arg-type] # every command has one
def _run(*args: Any, **kwargs: Any) -> Any:
    hold_closed_streams()
    accept_any_name()
    outlive_readers()
    try:
        with (
            log_lines(),
            reported_in_a_sentence(
                "whatever was finished is kept, and nothing half-written is left: run the same command again"
            ),
        ):
            return kedro_run.callback(*args, **kwargs)  # type: ignore[misc] # as above
    except click.ClickException as error:
        from malaria_kedro.report.formats import with_environment  # pandas, only where there is something to say

        environment = kwargs.get("env") or os.environ.get("KEDRO_ENV", "")
        error.message = with_environment(error.message, environment)  # type: ignore[misc] # click prints it
        raise


def _read_params(_ctx: click.Context, _option: click.Parameter, value: Any) -> dict[str, Any]:
    from malaria_kedro.settings import VARIANTS

    if isinstance(value, dict):  # from the file given by --config, where YAML has typed the values
        return value
    try:
        return read_params(value or "", VARIANTS)
    except ParameterError as error:
        raise click.ClickException(str(error)) from error


# Kedro's options, with --params read by the types of this project's parameters.
_options = [copy.copy(option) for option in kedro_run.params]
next(option for option in _options if option.name == "params").callback = _read_params

run = NonEmptyCommand(name="run", params=_options, callback=_run, help=kedro_run.help, short_help="Run the pipelines.")
cli.add_command(run)
