"""Imports of optional packages, with an error that says how to install them."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from malaria_kedro.errors import MalariaKedroError

if TYPE_CHECKING:
    from openvino import Core


class BackendError(MalariaKedroError, ValueError):
    """A backend cannot be used, or its file is not this classifier's; the message says why and what to do."""


class ParityError(BackendError):
    """A graph does not compute what the classifier computes that it claims to be made from."""


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a package that only an extra of this project installs.

    Raises:
        BackendError: it is not installed, or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendError(
            f'{module} cannot be imported ({error}); install it with pip install "malaria-kedro[{extra}]"'
        ) from error


def import_openvino() -> ModuleType:
    """Import OpenVINO without the package that reports to Google Analytics as soon as OpenVINO is imported.

    Raises:
        BackendError: it is not installed, or cannot be imported.
    """
    reporter = "openvino_telemetry"
    if "openvino" in sys.modules or reporter in sys.modules:
        return import_extra("openvino", "openvino")
    sys.modules[reporter] = None  # type: ignore[assignment]  # importing it fails, and OpenVINO does without
    try:
        return import_extra("openvino", "openvino")
    finally:
        del sys.modules[reporter]


@cache
def openvino_core() -> Core:
    """Return the one OpenVINO core of this process, which is never released.

    Its CPU plugin gives the thread that loads it a stack for signal handlers. If the last reference is dropped in
    another thread, the plugin is unloaded there, and the first thread keeps a stack that is no longer mapped: the next
    signal for a handler on that stack (SIGCHLD, for one, once a DataLoader has had workers) ends the process in a
    segmentation fault. A plugin that stays loaded avoids this.
    """
    return import_openvino().Core()
