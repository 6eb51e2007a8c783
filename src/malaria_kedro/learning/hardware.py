"""The hardware: which device and precision a run gets, what it is called, and how it is made deterministic."""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from malaria_kedro.cells.parallel import usable_cores
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.learning.description import Hardware
from malaria_kedro.parameters import Training

logger = logging.getLogger(__name__)

RECORDED_PACKAGES = ("malaria-kedro", "torch", "torchvision", "fastai", "kedro", "numpy", "pandas", "pillow")


class DeviceError(MalariaKedroError, RuntimeError):
    """The device or precision asked for is not there; the message says what is."""


def require_device(device: str) -> None:
    """Raise ``DeviceError`` when ``cuda`` is asked for and not there."""
    if device == "cuda" and not torch.cuda.is_available():
        build = f"torch {torch.__version__} built for CUDA {torch.version.cuda or 'none'}"
        raise DeviceError(
            f"training.device is cuda, but no CUDA GPU can be used here ({build}); check `nvidia-smi` and the driver, "
            "or use training.device=auto or --env cpu"
        )


def choose_hardware(training: Training) -> Hardware:
    """Resolve ``auto``, pin the thread count and return what is used.

    Raises:
        DeviceError: CUDA or a reduced precision is asked for where it is not there.
    """
    require_device(training.device)
    threads = training.num_threads or usable_cores()
    torch.set_num_threads(threads)
    if training.device == "cpu" or not torch.cuda.is_available():
        if training.precision in ("bf16", "fp16"):
            raise DeviceError(
                f"training.precision is {training.precision}, which needs a CUDA GPU, and none is there; "
                "use auto or fp32"
            )
        return Hardware(device="cpu", name=_cpu_name(), precision="fp32", threads=threads)
    gpu = torch.cuda.get_device_properties(0)
    precision = training.precision
    if precision == "auto":  # emulated, bf16 would be slower than fp16
        precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    elif precision == "bf16" and not torch.cuda.is_bf16_supported():
        raise DeviceError(f"training.precision is bf16, which {gpu.name} does not have; use auto, fp16 or fp32")
    _make_deterministic()
    found = {
        "device": "cuda",
        "name": gpu.name,
        "precision": precision,
        "threads": threads,
        "memory_format": "channels_last" if precision != "fp32" else "contiguous_format",  # as tensor cores read it
        "memory_gb": round(gpu.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "driver": _driver_version(),
        "capability": f"{gpu.major}.{gpu.minor}",
    }
    return Hardware.model_validate({key: value for key, value in found.items() if value is not None})


def _make_deterministic() -> None:
    """Make a GPU compute the same bits every time, where it has kernels that do."""
    # No search for the fastest kernel, which may differ from run to run.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False  # fp32 has 23 bits of mantissa, here as on a CPU
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first matrix product runs
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It costs time, and nothing here reads such memory. (A property of a module, which mypy does not know.)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def warn_of_nondeterminism(name: str) -> Iterator[None]:
    """Turn torch's warnings about kernels without a deterministic form into one log line each."""
    warned: set[str] = set()

    def warn_once(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        found = re.match(r"(\S+) does not have a deterministic implementation", str(message))
        if found is None:
            show(message, *args, **kwargs)
        elif found[1] not in warned:
            warned.add(found[1])
            logger.warning(
                "%s: this device has no deterministic %s, so the last bits may differ from run to run", name, found[1]
            )

    with warnings.catch_warnings():
        show, warnings.showwarning = warnings.showwarning, warn_once
        yield


def log_hardware(hardware: Hardware) -> None:
    """Log what the tutorial reads off ``nvidia-smi``: device, memory, versions."""
    logger.info("%s", ", ".join(f"{key} {value}" for key, value in hardware.as_dict().items()))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {package: version(package) for package in RECORDED_PACKAGES}


def _cpu_name() -> str:
    if sys.platform == "linux":
        info = Path("/proc/cpuinfo").read_text()
        if found := re.search(r"^model name\s*:\s*(.*\S)", info, re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def _driver_version() -> str | None:
    try:
        with open("/proc/driver/nvidia/version") as file:
            return next((word for word in file.readline().split() if word[:1].isdigit()), None)
    except OSError:
        return None
