"""A parallel map that keeps the order and never holds more than a window of results."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 16  # items per task: amortises the hand-over between threads
# A cell needs Python's lock between the calls of Pillow or hashlib: more threads than these wait more than they work.
MOST_THREADS = 4
AHEAD = 2  # tasks that wait beyond one for each thread, so that no thread does


def usable_cores() -> int:
    """Return how many cores this process may use."""
    # A container or a scheduler may grant fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_parallel_map(
    function: Callable[[T], R], items: Iterable[T], *, threads: int | None = None, chunk: int = CHUNK
) -> Generator[R, None, None]:
    """Yield ``function(item)`` for each item, in order, computed by threads (Pillow and hashlib release Python's lock).

    ``Executor.map`` submits everything at once, which for ten million cells is ten million pending results;
    here at most ``(threads + AHEAD + 1) * chunk`` items are taken and not yet yielded, however slow the reader is.
    The first exception ends the map, in the place of its item; items are taken from the calling thread only.

    Args:
        function: called from many threads at once.
        items: may be endless; taken as results are.
        threads: None = one for each core that this process may use, ``MOST_THREADS`` at most.
        chunk: items per task.
    """
    threads = threads or min(usable_cores(), MOST_THREADS)
    source = iter(items)
    chunks = iter(lambda: tuple(islice(source, chunk)), ())  # itertools.batched is Python 3.12
    pool = ThreadPoolExecutor(max_workers=threads)
    tasks = (pool.submit(lambda some: [function(item) for item in some], some) for some in chunks)
    try:
        pending = deque(islice(tasks, threads + AHEAD))
        while pending:
            results = pending.popleft().result()
            pending.extend(islice(tasks, 1))
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)
