"""What identifies a request for images: the source, what it holds, and each file as it is now."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
import time
from pathlib import Path

from malaria_kedro.cells.plain_files import MAX_FILE_BYTES
from malaria_kedro.files import sha256_of

# Two changes of a file within one tick of the clock that a file system dates them by look like one.
TICK_NS, COARSE_TICK_NS = 50_000_000, 2_100_000_000
MOUNTS = Path("/proc/self/mountinfo")
# File systems that keep no time of change, or give the time of modification for it; so may any in user space (FUSE).
WITHOUT_CHANGE_TIMES = ("vfat", "msdos", "exfat", "fuse")


def request_for(kind: str, source: Path, patient_pattern: str | None) -> bytes:
    """Return what is asked of a source, of any kind."""
    return json.dumps([kind, str(source), patient_pattern]).encode()


def fingerprint_of_file(kind: str, source: Path, patient_pattern: str | None) -> str:
    """Return the fingerprint of a request for one file, and of all its bytes."""
    return hashlib.sha256(request_for(kind, source, patient_pattern) + bytes.fromhex(sha256_of(source))).hexdigest()


class Fingerprint:
    """The fingerprint of a request and of the files that it names, added one by one."""

    def __init__(self, request: bytes) -> None:
        self._digest = hashlib.sha256(request)
        self._newest = 0
        self._coarse = False
        self._timeless = _devices_without_change_times()  # now: a stick may have been mounted since the last time

    def add(self, name: str, path: str) -> str:
        """Add a file as it is now, and return that: size, times, and its content where the times do not tell."""
        told = json.dumps([name, *self._look(path)])
        self._digest.update(told.encode())
        return told

    def result(self) -> str:
        """Return it, as soon as no later change can have the same time."""
        tick = COARSE_TICK_NS if self._coarse else TICK_NS
        time.sleep(min(max(0, self._newest + tick - time.time_ns()), tick) / 1e9)
        return self._digest.hexdigest()

    def _look(self, path: str) -> list[int | str | None]:
        try:
            found = os.stat(path)
        except (OSError, ValueError):  # there is no such file, or no file system can have such a name
            return [None]
        changed = found.st_ctime_ns
        state: list[int | str | None] = [stat.S_IFMT(found.st_mode), found.st_size, found.st_mtime_ns, changed]
        if stat.S_ISREG(found.st_mode) and (changed > time.time_ns() or not self._has_change_times(found)):
            state.append(_content(path, found.st_size))
        else:
            self._newest = max(self._newest, changed)
            self._coarse |= changed % 1_000_000_000 == 0
        return state

    def _has_change_times(self, found: os.stat_result) -> bool:
        if sys.platform == "win32" or found.st_ctime_ns <= 0:  # Windows gives the time of creation instead
            return False
        if self._timeless is None:
            return found.st_ctime_ns != found.st_mtime_ns
        return found.st_dev not in self._timeless


def _devices_without_change_times() -> frozenset[int] | None:
    """Return the devices of file systems on which a restored time of modification hides a change; None = unknown."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:  # only Linux tells
        return None
    found = re.findall(r"^\S+ \S+ (\d+):(\d+) .*? - (\S+)", mounts, re.MULTILINE)
    return frozenset(
        os.makedev(int(major), int(minor)) for major, minor, kind in found if kind.startswith(WITHOUT_CHANGE_TIMES)
    )


def _content(path: str, size: int) -> str:
    try:
        return sha256_of(Path(path)) if size <= MAX_FILE_BYTES else ""  # a larger one is not read
    except OSError:
        return ""
