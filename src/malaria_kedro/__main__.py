"""Runs the packaged project: ``python -m malaria_kedro --conf-source conf``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main(*args: Any, **kwargs: Any) -> Any:
    """Run as ``kedro run`` does, without a project folder around."""
    package_name = Path(__file__).parent.name
    configure_project(package_name)
    # In an interactive interpreter the caller wants the result, on a command line an exit code.
    kwargs.setdefault("standalone_mode", not hasattr(sys, "ps1"))
    return find_run_command(package_name)(*args, **kwargs)


if __name__ == "__main__":
    main()
