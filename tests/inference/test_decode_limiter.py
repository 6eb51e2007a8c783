"""While one thread decodes, the network of another computes; where decoding takes longer, all decode."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from malaria_kedro.inference.decode_limiter import DecodeLimiter

WAIT, SOON = 30, 0.2  # seconds: until a test gives up, and until it believes that nobody comes


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def after(decoding: float, computing: float, threads: int = 2) -> DecodeLimiter:
    """Return the turns of threads that have so far spent these seconds."""
    clock = Clock()
    turns = DecodeLimiter(threads, clock)
    with turns.decoding():
        clock.now += decoding
    with turns.computing():
        clock.now += computing
    return turns


def decode_together(turns: DecodeLimiter, threads: int, patience: float = WAIT) -> bool:
    """Whether so many threads can be within ``decoding`` at the same time, found within some seconds."""
    meeting = threading.Barrier(threads)

    def decode() -> bool:
        with turns.decoding():
            try:
                meeting.wait(patience)
            except threading.BrokenBarrierError:
                return False
            return True

    with ThreadPoolExecutor(threads) as pool:
        return all(future.result() for future in [pool.submit(decode) for _ in range(threads)])


def test_of_two_threads_one_decodes_at_a_time():
    assert not decode_together(after(decoding=1, computing=2), threads=2, patience=SOON)


def test_so_it_is_from_the_start():
    assert not decode_together(DecodeLimiter(2), threads=2, patience=SOON)


def test_half_of_many_threads_decode_at_a_time():
    assert decode_together(after(1, 2, threads=8), threads=4)
    assert not decode_together(after(1, 2, threads=8), threads=5, patience=SOON)


@pytest.mark.parametrize("threads", [1, 3])
def test_one_thread_decodes_whatever_the_half_is(threads):
    assert decode_together(after(1, 2, threads), threads=1)


def test_where_decoding_takes_longer_than_the_network_all_decode():
    assert decode_together(after(decoding=2, computing=1), threads=2)


def test_a_turn_ends_with_an_error():
    turns = after(decoding=1, computing=2)
    for _ in range(3):
        with pytest.raises(OSError, match="disk"), turns.decoding():
            raise OSError("disk")
    assert decode_together(turns, threads=1)


def test_a_network_that_fails_is_counted_as_well():
    clock = Clock()
    turns = DecodeLimiter(2, clock)
    with turns.decoding():
        clock.now += 1
    with suppress(RuntimeError), turns.computing():
        clock.now += 2
        raise RuntimeError
    assert not decode_together(turns, threads=2, patience=SOON)
