"""The project as an installed package: ``kedro run`` outside a project folder."""

from __future__ import annotations

import sys
from typing import Any

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main(*args: Any, **kwargs: Any) -> Any:
    """Run as ``kedro run`` does."""
    package_name = __name__.split(".")[0]
    configure_project(package_name)
    # An interactive interpreter wants the result, a command line an exit code.
    kwargs.setdefault("standalone_mode", not hasattr(sys, "ps1"))
    return find_run_command(package_name)(*args, **kwargs)
