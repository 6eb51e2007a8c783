"""One training at a time on a variant's checkpoints."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from malaria_kedro.files import exclusive_lock


def training_lock(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of a folder of checkpoints, see ``malaria_kedro.files.exclusive_lock``."""
    return exclusive_lock(
        folder,
        "another run is training on",
        "wait until it has ended, or stop it: then this command continues where it was",
    )
