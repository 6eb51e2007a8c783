"""The lines of the log: plain in a file or a pipe, with colours on a terminal, where no progress bar tears them."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

_DIM, _BOLD, _YELLOW, _RED, _PLAIN = "\033[2m", "\033[1m", "\033[33m", "\033[31m", "\033[0m"
logger = logging.getLogger(__name__)


class LogLines(logging.Formatter):
    """``12:30:05 message``, with the level from WARNING on, and the logger's name unless it is this project's."""

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__("%(asctime)s %(source)s%(message)s", datefmt="%H:%M:%S")
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, or its lines."""
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        record.source = level + ("" if record.name.startswith("malaria_kedro") else f"{record.name}: ")
        line = super().format(record)
        if not self._colours:
            return line
        time, _, rest = line.partition(" ")
        colour = _RED if record.levelno >= logging.ERROR else _YELLOW if level else ""
        colour = colour or (_BOLD if record.name == "malaria_kedro.run_lines" else "")
        return f"{_DIM}{time}{_PLAIN} {colour}{rest}{_PLAIN if colour else ''}"


@contextmanager
def log_lines() -> Iterator[None]:
    """Log in these lines meanwhile, and each warning of Python's in one of them.

    A formatter of the user's own stays, and so does a configuration named by ``KEDRO_LOGGING_CONFIG``.
    """
    root = logging.getLogger()
    if "KEDRO_LOGGING_CONFIG" not in os.environ:
        _replace_rich(root)
        for handler in root.handlers:
            if type(handler) is logging.StreamHandler and handler.formatter is None:
                handler.setFormatter(LogLines(colours=_shows_colours(handler.stream)))
    with warnings.catch_warnings():
        warnings.showwarning = _log_warning
        if not sys.stderr or not sys.stderr.isatty():
            yield
            return
        from tqdm.contrib.logging import logging_redirect_tqdm

        with logging_redirect_tqdm():  # lines go above the bar
            yield


def _replace_rich(root: logging.Logger) -> None:
    """Replace the handler that Kedro chooses where there is no conf/logging.yml: it wraps lines at 80 columns."""
    from kedro.logging import RichHandler

    if any(isinstance(handler, RichHandler) for handler in root.handlers):
        root.handlers = [handler for handler in root.handlers if not isinstance(handler, RichHandler)]
        root.addHandler(logging.StreamHandler(sys.stdout))
        logging.getLogger("kedro").setLevel(logging.WARNING)
        logging.getLogger("kedro_viz").setLevel(logging.ERROR)


def _shows_colours(stream: IO[str] | None) -> bool:
    terminal = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    return terminal and not os.environ.get("NO_COLOR") and (os.name != "nt" or "WT_SESSION" in os.environ)


def _log_warning(message: Warning | str, category: type[Warning], *_where: Any, **_how: Any) -> None:
    logger.warning("%s: %s", category.__name__, " ".join(str(message).split()))
