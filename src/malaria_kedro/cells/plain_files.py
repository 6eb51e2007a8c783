"""Reads one file of unknown content with a size limit, and never blocks on a pipe or a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from malaria_kedro.machine import is_scarce

# Beyond an uncompressed image of as many pixels as are taken for one cell (25 million, three bytes each), and little
# enough that one such file for each thread does no harm.
MAX_FILE_BYTES = 100_000_000

START = 16  # bytes
# How files of the usual image formats begin: (offset, bytes).
IMAGE_STARTS = (
    *((0, start) for start in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((4, b"ftyp" + brand) for brand in (b"avif", b"avis", b"heic", b"heix", b"mif1")),
    (8, b"WEBP"),
    (0, b"\0\0\0\x0cjP  "),
)


def read_file(path: str | Path) -> bytes:
    """Read a plain file, or what a link to one leads to.

    Raises:
        OSError: not there, not readable, larger than ``MAX_FILE_BYTES``, or a folder, pipe or device.
    """
    # Not blocking: a pipe that nobody writes to would be waited for without end.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        if found.st_size > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, too_large(found.st_size))
        with open(descriptor, "rb", closefd=False) as file:
            # So much and no more: of a number far beyond, the reader would first make room for all.
            return file.read(found.st_size)
    finally:
        os.close(descriptor)


def too_large(size: int) -> str:
    """Say that a file of ``size`` bytes is refused."""
    return f"{size:,} bytes are too many for one cell"


def start_of(path: str) -> bytes:
    """Return the first bytes of a file, as many as ``begins_like_an_image`` looks at; empty if it is unreadable."""
    try:
        with open(path, "rb") as file:
            return file.read(START)
    except OSError as error:
        if is_scarce(error):
            raise
        return b""


def begins_like_an_image(start: bytes) -> bool:
    """Return whether a file begins like an image of a common format, whatever its name is."""
    bitmap = start[:2] == b"BM" and start[6:10] == bytes(4)
    return bitmap or any(start[at : at + len(mark)] == mark for at, mark in IMAGE_STARTS)
