"""What a backend needs beyond the plain install, and the error that says how to get it."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType


class BackendError(ValueError):
    """A backend cannot be used, or what it was given is not this classifier's; the message says why and what to do."""


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a package that only an extra brings.

    Args:
        module: its name, such as ``onnxruntime``.
        extra: the extra of this project that has it, such as ``onnx``.

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
    sys.modules[reporter] = None  # type: ignore[assignment]  # imports of it fail, and OpenVINO does without
    try:
        return import_extra("openvino", "openvino")
    finally:
        del sys.modules[reporter]
