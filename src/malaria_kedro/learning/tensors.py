"""Tensor files with the usual permissions, and a clear error for one that may not be read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def write_tensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file with the permissions that ``open`` gives a new file.

    Raises:
        OSError, SafetensorError: it cannot be written; an empty file may be left.
    """
    # safetensors writes a file that only its owner may read, and renames it to this one. The default permissions here
    # (umask, folder) can only be learnt from a new file, unless the umask is changed under other threads.
    with path.open("wb") as made:
        mode = stat.S_IMODE(os.fstat(made.fileno()).st_mode)
    save_file(tensors, path, metadata=metadata)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        OSError, SafetensorError: it is missing or may not be read; or it is damaged.
    """
    check_readable(path)
    return load_file(path)


def check_readable(path: Path) -> None:
    """Raise the right OSError for a file that may not be read, which safetensors reports as missing."""
    path.open("rb").close()
