"""One training at a time on a variant's checkpoints: a lock that its process takes with it when it dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class LockError(RuntimeError):
    """Another process trains on these checkpoints, or their folder cannot be written."""


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold ``<folder>/.lock`` meanwhile.

    The operating system keeps the lock for as long as its process lives: nothing has to be cleared up after a crash.

    Raises:
        LockError: another process, or another training of this one, holds it; or the folder cannot be written.
    """
    path = folder / ".lock"
    lock = FileLock(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LockError(
            f"another run is training on {folder} (it holds {path}); wait until it has ended, or stop it: "
            "then this command continues where it was"
        ) from error
    except OSError as error:
        raise LockError(f"{folder} cannot be written ({error}); give rights on it") from error
    try:
        yield
    finally:
        lock.release()
