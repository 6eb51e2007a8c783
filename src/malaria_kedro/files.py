"""Atomic files and folders, JSON, an exclusive lock, and the clean-up after killed writers."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

from filelock import FileLock, Timeout

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.machine import MachineError, why, writing

LOCK = ".lock"
LOCKS = (LOCK, ".listing.lock")  # of this project; what else ends in .lock may be a user's, as uv.lock is
# What is being written has a name of its own, so that two writers never share a half-written file, and what a killed
# writer leaves is known by its name.
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.(part|old)|\.(unpacking|listing)-.+|epoch_\d+(\.state)?\.part")


class LockError(MalariaKedroError, RuntimeError):
    """Another process works in a folder, or the folder cannot be written."""


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a file beside ``path``, flush it to disk and rename it to ``path``.

    Raises:
        MachineError: ``path`` cannot be written, and holds what it held before.
    """
    beside = _beside(path, "part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(beside)
            _flush(beside)
            beside.replace(path)
        finally:
            with suppress(OSError):  # what stopped the writing may stop this, too
                beside.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write JSON, UTF-8, so that ``path`` holds either what it held before or all of ``content``.

    A path in it is written with forward slashes.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, default=lambda value: PurePath(value).as_posix()) + "\n"
    # A byte of a path that is not UTF-8 becomes JSON's own \\udc.., which reading turns back into the byte.
    write_file(path, lambda beside: beside.write_text(text, encoding="utf-8", errors="backslashreplace"))


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, 64 lower-case hexadecimal digits, as ``sha256sum`` gives it.

    ``OSError``: it cannot be read, or is a device.
    """
    refuse_device(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """Return the sha256 of what JSON keeps of a value, whatever the order of its keys."""
    kept = json.loads(json.dumps(value))  # keys become text, and tuples lists, as after a round trip
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside ``path`` to be filled; on success it takes the name and the place of ``path``.

    A folder cannot be renamed onto another, so the old one steps aside first: whoever is killed in between finds
    neither, and makes it again.

    Raises:
        MachineError: ``path`` cannot be written, and holds what it held before.
    """
    beside, old = _beside(path, "part"), _beside(path, "old")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        try:
            yield beside
            for file in beside.rglob("*"):
                if file.is_file():
                    _flush(file)
            # Deleting it in place would leave half of it behind a kill, which may pass for the whole.
            if path.exists():
                path.rename(old)
            try:
                beside.rename(path)
            except OSError:
                if old.exists():
                    old.rename(path)
                raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder for temporary files, which is removed in the end; ``MachineError``: it cannot be written."""
    try:
        made = tempfile.TemporaryDirectory()
    except OSError as error:
        raise MachineError(
            f"no temporary file can be written ({error}); make room, or name a folder in TMPDIR"
        ) from error
    with made as folder, writing(Path(folder)):
        yield Path(folder)


@contextmanager
def exclusive_lock(folder: Path, busy: str, remedy: str) -> Iterator[None]:
    """Hold ``<folder>/.lock`` meanwhile, see ``take_lock``."""
    lock = take_lock(folder, busy, remedy)
    try:
        yield
    finally:
        lock.release()


def take_lock(folder: Path, busy: str, remedy: str) -> FileLock:
    """Take ``<folder>/.lock``, which its holder releases, or the operating system when the process ends.

    Args:
        folder: made where it is missing.
        busy: what another process does there, for the error: "another run is training on".
        remedy: what to do about it.

    Raises:
        LockError: another process, or another holder in this one, has the lock; or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LockError(f"{busy} {folder} (it holds {lock.lock_file}); {remedy}") from error
    except OSError as error:
        raise LockError(f"{folder} cannot be written {why(error, folder / LOCK)}") from error
    return lock


def at_home(path: str) -> str:
    """Return a path in which ``~``, or ``~name``, at the beginning is the home folder of that user.

    Raises:
        ValueError: there is no such user, whose folder would be made here under that name; or no file has such a name.
    """
    if "\0" in path:
        raise ValueError(f"is {path!r}, but no name has the character NUL: remove it")
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        user = re.split(r"[/\\]", path)[0]
        raise ValueError(f"is {path!r}, but there is no user {user[1:]} here: write ./{path} if it is called so")
    return expanded


def look_at(path: Path, *, follow: bool = True) -> os.stat_result | None:
    """Return the status of a path, or of what a link leads to (``follow``); None = nothing is there.

    Raises:
        OSError: the path cannot be examined, as in a folder without permission.
    """
    try:
        return os.stat(path, follow_symlinks=follow)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a NUL in the name
        return None


def refuse_device(path: Path) -> None:
    """Raise ``OSError`` for a pipe, a socket or a device: reading one may never end; one that is missing passes."""
    there = look_at(path)
    if there is not None and not (stat.S_ISREG(there.st_mode) or stat.S_ISDIR(there.st_mode)):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, and no file", str(path))


def look_in(folder: Path) -> list[Path]:
    """Return what lies directly in a folder, in order of names; ``OSError``: it is there and cannot be listed."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return []


def clear_leftovers(folder: Path, *, skip: Collection[str] = ()) -> int:
    """Remove what killed writers left below a folder, and return its size in bytes.

    Only for whoever holds the lock of the folder: a living writer's file has such a name, too. A folder below it whose
    own lock another process holds is not entered, nor one of a name in ``skip``, which holds a file for each cell. A
    folder that held nothing but leftovers, as a version's, goes with them.
    """
    removed = 0
    for place, folders, files in os.walk(folder):
        if Path(place) != folder and any(_is_held(Path(place, name)) for name in files if name in LOCKS):
            folders.clear()
            continue
        leftovers = [name for name in (*folders, *files) if _is_leftover(Path(place), name)]
        folders[:] = [name for name in folders if name not in leftovers and name not in skip]
        removed += sum(_remove(Path(place, name)) for name in leftovers)
        if leftovers and Path(place) != folder:
            with suppress(OSError):  # something else is in it, or it is another user's
                os.rmdir(place)
    return removed


def _is_leftover(place: Path, name: str) -> bool:
    # The second is how a version was written before such names had a token.
    earlier = name in (f".{place.parent.name}.part", f".{place.parent.name}.old")
    return earlier or bool(_LEFTOVER.fullmatch(name))


def _is_held(lock: Path) -> bool:
    try:
        with FileLock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _remove(path: Path) -> int:
    """Remove a file or a folder and return its size in bytes; what cannot be removed, as another user's, stays."""
    if not _is_folder(path):
        return _unlink(path)
    size = 0
    for place, folders, files in os.walk(path, topdown=False):
        size += sum(_unlink(Path(place, name)) for name in (*files, *folders) if not _is_folder(Path(place, name)))
        with suppress(OSError):
            os.rmdir(place)
    return size


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)  # no where that cannot be told


def _unlink(file: Path) -> int:
    try:
        size = file.lstat().st_size
        file.unlink()
    except OSError:
        return 0
    return size


def _beside(path: Path, kind: str) -> Path:
    # A long name is cut: a file system takes no more than 255 bytes.
    return path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex[:12]}.{kind}")


def _flush(file: Path) -> None:
    with file.open("rb+") as opened:  # to write, because Windows flushes nothing else
        os.fsync(opened.fileno())
