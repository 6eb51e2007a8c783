"""A parallel map that keeps the order and never holds more than a window of results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 64  # items a task: amortises the hand-over between threads
WINDOW = 8  # tasks under way: bounds the memory


def in_order(pool: Executor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield ``function(item)`` for each item, in order, computed by ``pool``.

    ``Executor.map`` submits everything at once, which for ten million cells is ten million pending results;
    here at most ``WINDOW * CHUNK`` are under way.
    """
    source = iter(items)
    chunks = iter(lambda: tuple(islice(source, CHUNK)), ())  # itertools.batched is Python 3.12

    def run(chunk: tuple[T, ...]) -> list[R]:
        return [function(item) for item in chunk]

    pending: deque[Future[Any]] = deque(pool.submit(run, chunk) for chunk in islice(chunks, WINDOW))
    while pending:
        results = pending.popleft().result()
        for chunk in islice(chunks, 1):
            pending.append(pool.submit(run, chunk))
        yield from results
