"""Which errors are reported in one sentence, and signals that end a run as errors do."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from kedro.config import MissingConfigException

from malaria_kedro.errors import MalariaKedroError

TRACEBACK = "MALARIA_KEDRO_TRACEBACK"
# What the machine, not the code, is to blame for; Windows does not know all of them.
_OF_THE_MACHINE = {
    getattr(errno, name, None) for name in ("EACCES", "EPERM", "EROFS", "EIO", "ENOSPC", "EDQUOT", "ESTALE")
} - {None}


class FileTroubleError(MalariaKedroError, OSError):
    """A file or a folder cannot be used, for a reason of the machine; the message names both."""


def find_user_error(error: BaseException | None) -> BaseException | None:
    """Return the error that speaks to the user, from an error and the ones that it was raised from.

    That is one of this project's own, or Kedro's for an environment that does not exist; where there is none, a file
    that the system denies, in words.
    """
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, MalariaKedroError | MissingConfigException):
            return link
    for link in chain:
        if isinstance(link, OSError) and link.errno in _OF_THE_MACHINE and link.filename is not None:
            return FileTroubleError(
                f"{os.fsdecode(link.filename)} cannot be used ({link.strerror}); check it, its rights and its disk"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class Terminated(KeyboardInterrupt):
    """SIGTERM came while nothing was being trained."""


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM raise, as Ctrl-C does, so that what is half-written is removed on the way out."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
