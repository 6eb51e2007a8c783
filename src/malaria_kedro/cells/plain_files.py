"""Reads one file of unknown content with a size limit, and never blocks on a pipe or a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

# Beyond an uncompressed image of as many pixels as are taken for one cell (25 million, three bytes each), and little
# enough that one such file for each thread does no harm.
MAX_FILE_BYTES = 100_000_000


def read_file(path: str | Path, max_bytes: int | None = None) -> bytes:
    """Read a plain file of a bounded size.

    Args:
        path: the file; a link to one counts.
        max_bytes: what is larger is refused before it is read; None = ``MAX_FILE_BYTES``.

    Raises:
        OSError: not there, not readable, too large, or a folder, pipe or device.
    """
    limit = MAX_FILE_BYTES if max_bytes is None else max_bytes
    # Not blocking: a pipe that nobody writes to would be waited for without end.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        if found.st_size > limit:
            raise OSError(errno.EFBIG, too_large(found.st_size))
        with open(descriptor, "rb", closefd=False) as file:
            # So much and no more: of a number far beyond, the reader would first make room for all.
            return file.read(found.st_size)
    finally:
        os.close(descriptor)


def too_large(size: int) -> str:
    """Say that a file of ``size`` bytes is refused."""
    return f"{size:,} bytes are too many for one cell"
