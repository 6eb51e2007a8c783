"""The project as an installed package: ``kedro run`` outside a project folder."""

from __future__ import annotations

import os
import sys
from typing import Any

from yaml import MarkedYAMLError

from malaria_kedro.cli.errors import wants_traceback


def main(*args: Any, **kwargs: Any) -> Any:
    """Run as ``kedro run`` does; exit with a sentence where the configuration of logging cannot be used."""
    _set_up_logging()
    from kedro.framework.cli.utils import find_run_command
    from kedro.framework.project import configure_project

    package_name = __name__.split(".")[0]
    configure_project(package_name)
    # An interactive interpreter wants the result, a command line an exit code.
    kwargs.setdefault("standalone_mode", not hasattr(sys, "ps1"))
    return find_run_command(package_name)(*args, **kwargs)


def _set_up_logging() -> None:
    """Import Kedro's project, which reads the configuration of logging, whatever YAML or logging make of it."""
    try:
        import kedro.framework.project  # noqa: F401
    except ImportError:
        raise
    except Exception as error:
        if wants_traceback():
            raise
        named = os.environ.get("KEDRO_LOGGING_CONFIG")
        file = f"{named} (KEDRO_LOGGING_CONFIG)" if named else "conf/logging.yml"
        sys.exit(
            f"Error: {file} is no configuration of logging ({_told(error)}): mend it, or name another file in "
            "KEDRO_LOGGING_CONFIG"
        )


def _told(error: Exception) -> str:
    if isinstance(error, AttributeError):  # Kedro takes whatever YAML holds for a mapping
        return "it does not hold keys, as version: 1"
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    why = error.__cause__ or error  # logging says what it could not configure, and its cause why
    return " ".join(str(why).split()).rstrip(".")
