"""What the machine refuses (room, rights, memory, open files), in one sentence; sizes in units that say something."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from malaria_kedro.errors import MalariaKedroError

_IN_THE_WAY = "remove or rename it, or name another place"
# What to do, by the names of the error's number; Windows does not know all of them.
_ADVICE = {
    "ENOSPC": "make room on its disk",
    "EDQUOT": "make room, or ask for a larger quota",
    "EFBIG": "raise the largest size of a file (ulimit -f), or take a disk that holds larger ones",
    "EROFS": "make its disk writable, or name a place on another one",
    "EACCES EPERM": "give rights on it",
    "EMFILE": "raise the number of files that a process may open (ulimit -n 4096)",
    "ENFILE": "close other programs, or raise the number of files that the machine may open",
    "ENOMEM": "close other programs, or take smaller batches (batch_size), a smaller image.size or fewer threads",
    "ENAMETOOLONG": "give a shorter path",
    "ENOTDIR EEXIST": f"a file lies where a folder is needed: {_IN_THE_WAY}",
    "EISDIR ENOTEMPTY": f"a folder lies where a file is needed: {_IN_THE_WAY}",
    "EIO ESTALE ENXIO ENODEV": "check the disk, and its cable or network",
    "ELOOP": "its links lead in a circle: mend them",
    "EBUSY ETXTBSY": "close the program that uses it",
}
REMEDIES = {
    getattr(errno, name): advice for names, advice in _ADVICE.items() for name in names.split() if hasattr(errno, name)
}
# The machine has too little of something, whatever the file is, and whosever words say so.
_SCARCE = [
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EMFILE", "ENFILE", "ENOMEM")
    if hasattr(errno, name)
]
# Lack of memory in words that are not the system's: Python's and Rust's of a thread's stack, C++'s, the loader's.
_NO_MEMORY = re.compile(
    r"can't start new thread|failed to spawn thread|ThreadPoolBuildError|bad_alloc|failed to map segment"
    r"|cannot allocate memory|[Mm]emory allocation of \d+ bytes failed"
)
# What torch says of a file that it cannot write, whatever the cause.
_UNEXPLAINED = re.compile(r"iostream error|PytorchStreamWriter failed writing")
_ALLOCATED = re.compile(r"allocate (?:(?P<bytes>\d+) bytes|(?P<size>[\d.]+ [KMGT]iB))")


class MachineError(MalariaKedroError, OSError):
    """The machine refuses a file, a folder or memory; the message names it, the reason and the remedy."""


def trouble(error: BaseException) -> int | None:
    """Return the number of what the machine refuses (``errno.ENOSPC``, …), whichever library says it; None = nothing.

    Libraries in Rust name it ``(os error 28)``; others quote the system's words; ``MemoryError`` is ``ENOMEM``.
    """
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in REMEDIES else None
    said = str(error)
    if rust := re.search(r"\(os error (\d+)\)", said):
        return int(rust[1]) if int(rust[1]) in REMEDIES else None
    if _NO_MEMORY.search(said):
        return errno.ENOMEM
    return next((number for number in _SCARCE if os.strerror(number) in said), None)


def is_panic(error: BaseException) -> bool:
    """Return whether a library in Rust has given up, which Python does not count among its ``Exception``."""
    return type(error).__name__ == "PanicException"


def is_scarce(error: BaseException) -> bool:
    """Return whether memory or open files ran out: no fault of the file that could not be read."""
    return trouble(error) in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def why(error: BaseException, path: str | os.PathLike | None = None) -> str:
    """Return reason and remedy of a ``trouble``: ``(Permission denied); give rights on it``.

    Of an error that is none, what it says, and what to look at.
    """
    number = trouble(error)
    if number is None:
        return f"({error}); check it, its rights and its disk"
    room = f", {_room(Path(path))}" if number == errno.ENOSPC and path is not None else ""
    return f"({os.strerror(number)}{room}); {REMEDIES[number]}"


def refusal(error: BaseException) -> MachineError | None:
    """Return in a sentence what the machine refused, or None where the error is another one, perhaps of the code.

    An error that names no file counts where the machine has too little of something: rights are a file's.
    """
    number = trouble(error)
    named = getattr(error, "filename", None)
    if number == errno.ENOMEM:
        return MachineError(f"{lack_of_memory(error)}; {REMEDIES[number]}")
    if is_panic(error):
        said = " ".join(str(error).split())
        return MachineError(f"a library has given up ({said}), as for want of memory; {REMEDIES[errno.ENOMEM]}")
    if _UNEXPLAINED.search(str(error)):
        first = str(error).splitlines()[0]
        return MachineError(
            f"a library could not write a file, and does not say why ({first}); make room on the disk and in the "
            f"folder of temporary files ({tempfile.gettempdir()}), or {REMEDIES[errno.EFBIG]}"
        )
    if number is not None and isinstance(named, str | bytes | os.PathLike):
        return MachineError(f"{os.fsdecode(named)} cannot be used {why(error, os.fsdecode(named))}")
    return MachineError(f"the machine refuses a file {why(error)}") if number in _SCARCE else None


def lack_of_memory(error: BaseException) -> str:
    """Say that there is not enough memory, and how much was asked for where the error tells."""
    found = _ALLOCATED.search(str(error))
    asked = found and (found["size"] or megabytes(int(found["bytes"])))
    return "there is not enough memory" + (f" for another {asked}" if asked else "")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name ``path`` in what the machine refuses meanwhile: an error of ``write()`` itself names no file.

    Raises:
        MachineError: ``path``, or the part of it that is in the way, cannot be written.
    """
    try:
        yield
    except MalariaKedroError:
        raise
    except Exception as error:
        place = _place(error, path)
        if trouble(error) in (None, errno.ENOMEM) or place is None:
            raise
        raise MachineError(f"{place} cannot be written {why(error, path)}") from error


def megabytes(count: int) -> str:
    """Return a number of bytes in the unit that suits it: ``353.5 MB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _place(error: Exception, path: Path) -> Path | None:
    """Return what an error of writing ``path`` is about; None = a file elsewhere, as one that was read meanwhile."""
    named = getattr(error, "filename", None)
    if not isinstance(named, str | bytes | os.PathLike):
        return path
    named, whole = Path(os.path.abspath(os.fsdecode(named))), Path(os.path.abspath(path))
    if whole.is_relative_to(named):
        return Path(os.fsdecode(error.filename))  # type: ignore[attr-defined] # it has one: see above
    # It is written beside its place, perhaps as a folder of files.
    beside = named.relative_to(whole.parent).parts[0] if named.is_relative_to(whole.parent) else ""
    return path if beside.startswith(".") or beside == whole.name else None


def _room(path: Path) -> str:
    place = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
    with suppress(OSError, AttributeError):  # the latter on Windows
        disk = os.statvfs(place)
        if disk.f_files and not disk.f_favail:
            return "its number of files is reached"
    with suppress(OSError):
        return f"it needs more than the {megabytes(shutil.disk_usage(place).free)} that are free"
    return "nothing is free"
