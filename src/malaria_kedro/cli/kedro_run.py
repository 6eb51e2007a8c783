"""``kedro run``, with the project's own errors in one sentence instead of a traceback."""

from __future__ import annotations

import copy
import functools
import os
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS, KedroCliError

from malaria_kedro.cli.arguments import NonEmptyCommand, read_params
from malaria_kedro.cli.errors import reported_in_a_sentence
from malaria_kedro.cli.log_lines import log_lines
from malaria_kedro.cli.selection import check_selection
from malaria_kedro.cli.standard_output import accept_any_name, hold_closed_streams, outlive_readers
from malaria_kedro.configuration import read_run_file
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.parameters import check_variants


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
            from malaria_kedro.settings import VARIANTS

            check_variants(VARIANTS)
            from malaria_kedro.pipeline_registry import register_pipelines  # after the check: it builds on their names

            check_selection(kwargs, register_pipelines())
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
    check_variants(VARIANTS)
    return read_params(value or "", VARIANTS)


def _read_config(ctx: click.Context, _option: click.Parameter, value: Any) -> Any:
    if value:
        options = [option.name for option in kedro_run.params if option.name != "config"]
        ctx.default_map = {**(ctx.default_map or {}), **read_run_file(Path(value), options)}
    return value


class _RunCommand(NonEmptyCommand):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Tell what is wrong with an option's value in one sentence, which Kedro's own error surrounds with others."""
        try:
            return super().parse_args(ctx, args)
        except (KedroCliError, MalariaKedroError) as error:
            raise click.ClickException(str(error)) from error


# Kedro's options, with --params read by the types of this project's parameters, and --config with its mistakes told.
_options = [copy.copy(option) for option in kedro_run.params]
for option in _options:
    option.callback = {"params": _read_params, "config": _read_config}.get(str(option.name), option.callback)

run = _RunCommand(name="run", params=_options, callback=_run, help=kedro_run.help, short_help="Run the pipelines.")
cli.add_command(run)
