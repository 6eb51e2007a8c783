"""The parallel map keeps the order, bounds what it holds, and does not swallow errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import count, islice

import pytest

from malaria_kedro.cells.parallel import AHEAD, CHUNK, MOST_THREADS, ordered_parallel_map


def counted(taken: list[int]) -> Iterator[int]:
    for number in count():
        taken.append(number)
        yield number


@pytest.mark.parametrize("n", [0, 1, CHUNK, CHUNK + 1, 20 * CHUNK + 3])
def test_every_result_comes_once_and_in_order(n):
    assert list(ordered_parallel_map(lambda number: number * 2, range(n), threads=4)) == [
        2 * number for number in range(n)
    ]


def test_the_order_is_kept_when_later_items_are_done_first():
    last_is_done = threading.Event()

    def slow_at_first(number: int) -> int:
        if number == 0:
            last_is_done.wait(timeout=10)
        if number == 2 * CHUNK - 1:
            last_is_done.set()
        return number

    assert list(ordered_parallel_map(slow_at_first, range(2 * CHUNK), threads=2)) == list(range(2 * CHUNK))
    assert last_is_done.is_set()


@pytest.mark.parametrize("chunk", [1, CHUNK])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_no_more_than_a_window_is_taken_ahead_of_the_reader(threads, chunk):
    taken: list[int] = []
    results = ordered_parallel_map(lambda number: number, counted(taken), threads=threads, chunk=chunk)
    waiting = [len(taken) - (number + 1) for number in islice(results, 40 * chunk)]
    results.close()
    assert max(waiting) < (threads + AHEAD + 1) * chunk


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (64, MOST_THREADS)])
def test_it_has_one_thread_per_core_and_never_many(monkeypatch, cores, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    # As many tasks as threads wait for each other: with a thread fewer the barrier would break, with one more the
    # numbers of all that took part would be more.
    together, took_part = threading.Barrier(threads), set()

    def work(number: int) -> int:
        took_part.add(threading.get_ident())
        if number % CHUNK == 0:
            together.wait(timeout=10)
        return number

    assert list(ordered_parallel_map(work, range(4 * threads * CHUNK))) == list(range(4 * threads * CHUNK))
    assert len(took_part) == threads


def test_nothing_is_taken_before_the_first_result_is_asked_for():
    taken: list[int] = []
    ordered_parallel_map(lambda number: number, counted(taken))
    assert taken == []


def test_an_exception_comes_in_the_place_of_its_item():
    def fails_at(number: int) -> int:
        if number == 2 * CHUNK:
            raise ValueError("item 32 is broken")
        return number

    results = ordered_parallel_map(fails_at, range(10 * CHUNK), threads=2)
    assert list(islice(results, 2 * CHUNK)) == list(range(2 * CHUNK))
    with pytest.raises(ValueError, match="item 32 is broken"):
        next(results)


def test_an_exception_of_the_source_is_not_swallowed():
    def source() -> Iterator[int]:
        yield 1
        raise OSError("the folder has gone")

    with pytest.raises(OSError, match="the folder has gone"):
        list(ordered_parallel_map(lambda number: number, source()))


def test_a_reader_who_stops_leaves_no_thread_behind():
    before = threading.active_count()
    results = ordered_parallel_map(lambda number: number, count(), threads=4)
    next(results)
    results.close()
    assert threading.active_count() == before
