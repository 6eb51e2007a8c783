"""Stopping a training early and safely: on a signal, or after the number of epochs that one run may train."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from signal import Signals
from types import FrameType

from malaria_kedro.errors import MalariaKedroError

EXIT_UNFINISHED = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, try again


class UnfinishedError(MalariaKedroError, RuntimeError):
    """Training stopped early, as asked; the message says what is kept and how to resume.

    ``exit_code`` is that of the process: 75 after ``training.epochs_per_run``, 128 + its number after a signal.
    """

    def __init__(self, message: str, exit_code: int = EXIT_UNFINISHED) -> None:
        super().__init__(message, exit_code)
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.args[0]


@dataclass
class RunState:
    """What all trainings of one run share."""

    signal: Signals | None = None  # that asked the run to stop, if any
    epochs: int = 0  # trained in this run so far, over all stages and variants
    continued: bool = False  # whether a training was resumed from a checkpoint

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note SIGTERM and SIGINT (Ctrl-C) instead of dying of them; a second one acts as usual."""
        # Outside the main thread Python allows no handlers.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        # A signal that the shell ignores stays ignored; None is a handler that Python cannot restore.
        before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def note(number: int, _frame: FrameType | None) -> None:
            self.signal = Signals(number)
            restore()

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            restore()
