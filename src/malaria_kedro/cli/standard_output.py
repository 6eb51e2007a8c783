"""Standard output for programs: results only, and no traceback when the reader has gone."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Iterator
from typing import IO, Any

CLOSED_PIPE = 141  # what a shell says of a command that ended because nobody reads its output (128 + SIGPIPE)
_STDIN, _STDOUT, _STDERR = 0, 1, 2


def hold_closed_streams() -> None:
    """Hold the descriptors of standard streams that are closed (``… >&-``), or the next files to be opened take them.

    Whatever is written to them, as by libraries in C, fails as before, instead of landing in such a file.
    """
    for descriptor in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDONLY)  # nothing can be written to it
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


@contextlib.contextmanager
def only_for_results() -> Iterator[None]:
    """Send to stderr whatever is printed within, by Python and by libraries in C, so that stdout is left for results.

    Log handlers that are made within write to stderr for good.
    """
    hold_closed_streams()
    stdout = sys.stdout
    sys.stdout = sys.stderr
    try:
        with _descriptor_to_stderr():
            yield
    finally:
        sys.stdout = stdout


@contextlib.contextmanager
def _descriptor_to_stderr() -> Iterator[None]:
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # it is closed
        yield
        return
    try:
        os.dup2(_STDERR, _STDOUT)
    except OSError:
        os.close(kept)
        yield
        return
    try:
        yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


def accept_any_name() -> None:
    """Print a byte of a file's name that is not UTF-8 as its escape, where stdout would end in an error."""
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        with contextlib.suppress(AttributeError, ValueError):  # a stream of another kind, as in a notebook; or closed
            stream.reconfigure(errors="backslashreplace")


def outlive_readers() -> None:
    """Let log lines go nowhere once nobody reads them (``… | head -1``), instead of a traceback for each.

    The work goes on: it may be hours of work.
    """
    if getattr(logging.Handler.handleError, "outlives_readers", False):
        return
    before = logging.Handler.handleError

    def handle(self: logging.Handler, record: logging.LogRecord) -> None:
        if is_closed_pipe(sys.exc_info()[1]):
            _stop_writing_to(getattr(self, "stream", None))
        else:
            before(self, record)

    handle.outlives_readers = True  # type: ignore[attr-defined] # found again by the next call
    logging.Handler.handleError = handle  # type: ignore[method-assign] # logging has no other place for it
    with contextlib.suppress(ImportError, AttributeError):
        from rich.console import Console

        # Rich ends the process here; Kedro's own logging, where there is no project around, is Rich's.
        # Rich has no other place for it, either.
        Console.on_broken_pipe = lambda self: _stop_writing_to(self.file)  # type: ignore[method-assign]


def is_closed_pipe(error: BaseException | None) -> bool:
    """Tell whether an error says that nobody reads what is written."""
    # EINVAL is what Windows says.
    return isinstance(error, BrokenPipeError) or (
        sys.platform == "win32" and isinstance(error, OSError) and error.errno == errno.EINVAL
    )


def write_result(text: str) -> None:
    """Print text to stdout; exit with 141 where nobody reads it, with 1 and a sentence where it cannot be written."""
    if sys.stdout is None or sys.stdout.closed:
        sys.exit(_unwritable("it is closed"))
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        if not is_closed_pipe(error):
            _lead_nowhere(sys.stdout)
            sys.exit(_unwritable(error.strerror or error))
        _stop_writing_to(sys.stdout)
        sys.exit(CLOSED_PIPE)


def _unwritable(why: object) -> str:
    return f"Error: the result cannot be written to standard output ({why})"


def _stop_writing_to(stream: IO[str] | None) -> None:
    """Let a stream of which nobody reads go to nowhere, and say so once."""
    _lead_nowhere(stream)
    with contextlib.suppress(OSError):
        if stream is sys.stdout or stream is sys.__stdout__:
            sys.stderr.write("nobody reads the output any more: going on without it\n")
            sys.stderr.flush()


def _lead_nowhere(stream: IO[str] | None) -> None:
    """Let a stream, with what it still holds, go to nowhere."""
    if stream is None:
        return
    with contextlib.suppress(AttributeError, OSError, ValueError):
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
