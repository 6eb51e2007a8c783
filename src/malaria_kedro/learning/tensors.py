"""Tensor files with the usual rights, and a clear error where they may not be read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def write_tensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file with the rights that ``open`` gives a new file here.

    Raises:
        OSError, SafetensorError: it cannot be written; an empty file may be left.
    """
    # safetensors fills a file that its owner alone may read and renames it to this one. What a new file's rights are
    # here (umask, defaults of the folder) only making one tells without changing the umask under other threads.
    with path.open("wb") as made:
        mode = stat.S_IMODE(os.fstat(made.fileno()).st_mode)
    save_file(tensors, path, metadata=metadata)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        OSError: it is not there or may not be read, each by its own name.
        SafetensorError: it is damaged.
    """
    check_readable(path)
    return load_file(path)


def check_readable(path: Path) -> None:
    """Open a file and close it: of one that may not be read, safetensors says that there is none.

    Raises:
        OSError: it is not there, or may not be read.
    """
    path.open("rb").close()
