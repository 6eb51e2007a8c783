"""``kedro`` in processes of its own that can be killed at a chosen place.

torch and fastai take many seconds to import. A server (Python's own forkserver) has imported them and forks for each
command, so that dozens of real processes can be started, killed and started again within a test.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from project import NO_NETWORK

PATIENCE = 600  # seconds; a command that takes longer hangs
# A node that was run, whether it failed or not.
_NODE = re.compile(r"^[\d:]{8} (ERROR )? *[\d.]+ (s|min|h)( \d+ (s|min))? {2}[a-z_]+ {2,}\S+ {2}", re.MULTILINE)

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        *("malaria_kedro.learning.training", "malaria_kedro.learning.prediction", "malaria_kedro.inference.reader"),
        *("malaria_kedro.figures.curves", "matplotlib.backends.backend_agg", "sklearn.linear_model"),
        *("captum.attr", "kedro.framework.cli.cli", "pandera.pandas"),
    ]
)


def nodes_in(said: str) -> int:
    """Count the nodes that a command has run, by its log."""
    return len(_NODE.findall(said))


@dataclass(frozen=True)
class Place:
    """Where a process is to wait, for its end or to go on: at the nth call of a function."""

    module: str
    function: str  # with its class
    call: int
    half_a_file: bool = False  # the function writes a file (its second argument): half of it, then wait


class KedroProcess:
    """A running ``kedro`` or ``malaria-kedro`` command.

    Args:
        folder: where it runs.
        arguments: what stands behind the command.
        place: where it is to wait.
        command: ``kedro`` or ``malaria-kedro``.
        errors_apart: keep standard error apart; else both streams are one text.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        place: Place | None = None,
        command: str = "kedro",
        errors_apart: bool = False,
    ) -> None:
        now = time.monotonic_ns()
        self._log, self._mark = folder / f"{now}.log", folder / f"{now}.mark"
        self._errors = folder / f"{now}.errors.log" if errors_apart else self._log
        streams = (self._log, self._errors)
        self.process: BaseProcess = _SERVER.Process(
            target=_run_command, args=(folder, (command, *arguments), streams, place, self._mark)
        )
        self.process.start()

    def kill(self) -> None:
        """SIGKILL, which no process can catch."""
        self.process.kill()
        self.process.join()

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.process.pid, number)

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, f"still running:\n{self.said()}"
        return self.process.exitcode

    def wait_until_there(self) -> None:
        """Wait until it has come to its place."""
        self._wait_until(self._mark.exists)

    def go_on(self) -> None:
        """Let it go on from its place."""
        self._mark.unlink()

    def wait_until_said(self, words: str) -> None:
        """Wait until it has printed something."""
        self._wait_until(lambda: words in self.said())

    def said(self) -> str:
        """Return what it has printed so far."""
        return self._log.read_text() if self._log.exists() else ""

    def said_on_stderr(self) -> str:
        """Return what it has printed to standard error so far."""
        return self._errors.read_text() if self._errors.exists() else ""

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            alive = self.process.is_alive() and time.monotonic() < deadline
            assert alive or condition(), f"it has not come so far:\n{self.said()}"
            time.sleep(0.01)


def _run_command(
    folder: Path, command: tuple[str, ...], streams: tuple[Path, Path], place: Place | None, mark: Path
) -> None:
    """Be the command (in the forked process)."""
    for number, log in enumerate(streams, start=1):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.pop("KEDRO_ENV", None)
    sys.argv = list(command)
    # A shell's "&" makes a command, and all that it starts, deaf to SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    exec(NO_NETWORK, {})
    if place is not None:
        _wait_at(place, mark)
    if command[0] == "kedro":
        from kedro.framework.cli import main
    else:
        from malaria_kedro.cli.console import main

    main()


def _wait_at(place: Place, mark: Path) -> None:
    owner = importlib.import_module(place.module)
    *inside, name = place.function.split(".")
    for part in inside:
        owner = getattr(owner, part)
    function, calls = getattr(owner, name), []

    @functools.wraps(function)
    def waiting(*args, **kwargs):
        calls.append(None)
        if len(calls) == place.call:
            if place.half_a_file:
                function(*args, **kwargs)
                os.truncate(args[1], os.path.getsize(args[1]) // 2)
            mark.touch()
            while mark.exists():
                time.sleep(0.01)
        return function(*args, **kwargs)

    setattr(owner, name, waiting)
