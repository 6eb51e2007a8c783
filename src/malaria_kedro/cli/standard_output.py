"""Standard output for programs: results only, and no traceback when nobody reads them."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import sys
from collections.abc import Iterator
from typing import IO, Any

CLOSED_PIPE = 141  # a shell's exit code for a command whose output nobody reads (128 + SIGPIPE)
UNWRITABLE = "Error: the result cannot be written to standard output ({})"
_STDOUT, _STDERR = 1, 2


def hold_closed_streams() -> None:
    """Occupy the descriptors of closed standard streams (``… >&-``), which the next opened files would get.

    What is written to them, also by C libraries, still fails instead of ending up in such a file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # the lowest free descriptor is the next that is opened; nothing can be written to this file
            os.open(os.devnull, os.O_RDONLY)


@contextlib.contextmanager
def only_for_results() -> Iterator[None]:
    """Send everything printed within to stderr, by Python and by C libraries, and keep stdout for results.

    Log handlers created within keep writing to stderr.
    """
    hold_closed_streams()
    kept = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


def accept_any_name() -> None:
    """Print bytes of file names that are not UTF-8 as escapes, where stdout would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a stream of another kind, as in a notebook; or closed
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


@functools.cache  # once per process
def outlive_readers() -> None:
    """Discard log lines that nobody reads any more (``… | head -1``) instead of printing a traceback for each.

    The work, which may take hours, goes on.
    """
    before = logging.Handler.handleError

    def handle(self: logging.Handler, record: logging.LogRecord) -> None:
        if is_closed_pipe(sys.exc_info()[1]):
            _stop_writing_to(getattr(self, "stream", None))
        else:
            before(self, record)

    logging.Handler.handleError = handle  # type: ignore[method-assign] # logging offers no other hook
    from rich.console import Console

    # Rich ends the process here, and Kedro logs with Rich outside a project. Rich offers no other hook either.
    Console.on_broken_pipe = lambda self: _stop_writing_to(self.file)  # type: ignore[method-assign]


def is_closed_pipe(error: BaseException | None) -> bool:
    """Return whether an error means that nobody reads the output."""
    # Windows raises EINVAL.
    return isinstance(error, BrokenPipeError) or (
        sys.platform == "win32" and isinstance(error, OSError) and error.errno == errno.EINVAL
    )


def write_result(text: str) -> None:
    """Print text to stdout; exit with 141 if nobody reads it, with 1 and a sentence if it cannot be written."""
    if sys.stdout is None or sys.stdout.closed:
        sys.exit(UNWRITABLE.format("it is closed"))
    try:
        print(text, flush=True)
    except OSError as error:
        if is_closed_pipe(error):
            _stop_writing_to(sys.stdout)
            sys.exit(CLOSED_PIPE)
        _redirect_to_null(sys.stdout)
        sys.exit(UNWRITABLE.format(error.strerror or error))


def _stop_writing_to(stream: IO[str] | None) -> None:
    """Discard what is written to a stream that nobody reads, and say so once."""
    _redirect_to_null(stream)
    with contextlib.suppress(OSError):
        if stream is sys.stdout or stream is sys.__stdout__:
            sys.stderr.write("nobody reads the output any more: continuing without it\n")
            sys.stderr.flush()


def _redirect_to_null(stream: Any) -> None:
    """Redirect a stream, with what it still holds, to the null device, if it has a descriptor."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
