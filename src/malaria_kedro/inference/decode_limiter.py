"""Limits how many reading threads decode at the same time, so that the networks of the others compute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext


class DecodeLimiter:
    """Half of the threads decode, while the networks of the others compute.

    Decoding hands over Python's lock several times per file; a network does not need it. Threads that decode at the
    same time wait for each other nearly as long as they work, and would stay in step for ever. Where decoding takes
    longer than the network, as with large images or a slow disk, all decode at once.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._free = threading.Semaphore(max(1, threads // 2))
        self._clock = clock
        # Seconds of all threads so far; if two add at the same time and one is lost, it does no harm.
        self._decoding = self._computing = 0.0

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Decode within, at once or as soon as it is this thread's turn."""
        with self._free if self._decoding <= self._computing else nullcontext():
            started = self._clock()
            try:
                yield
            finally:
                self._decoding += self._clock() - started

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Let the network compute within."""
        started = self._clock()
        try:
            yield
        finally:
            self._computing += self._clock() - started
