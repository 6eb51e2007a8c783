"""An answer that comes too slowly, or not at all after its headers, is given up."""

from __future__ import annotations

import pytest

from malaria_kedro.cells.pace import LEAST_RATE, MOST_BEFORE_BODY, Pace, PaceError, TooSlowError, watched_session
from web_server import Server


class Clock:
    """Seconds that pass only when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_least_rate_over_a_whole_window_is_enough(clock: Clock) -> None:
    pace = Pace(10.0, clock, in_body=True)
    pace.got(1)
    clock.now = 10.0
    pace.got(10 * LEAST_RATE - 1)


def test_less_than_the_least_rate_over_a_window_is_too_slow(clock: Clock) -> None:
    pace = Pace(10.0, clock, in_body=True)
    pace.got(1)
    clock.now = 10.0
    with pytest.raises(TooSlowError, match=r"only 9999 bytes came in 10\.0 s"):
        pace.got(10 * LEAST_RATE - 2)


def test_nothing_is_judged_before_a_window_is_over(clock: Clock) -> None:
    pace = Pace(10.0, clock, in_body=True)
    pace.got(1)
    clock.now = 9.9
    pace.got(1)


def test_a_fast_window_does_not_excuse_the_next_one(clock: Clock) -> None:
    pace = Pace(10.0, clock, in_body=True)
    pace.got(1)
    clock.now = 10.0
    pace.got(1_000_000)
    clock.now = 20.0
    with pytest.raises(TooSlowError):
        pace.got(1)


def test_the_wait_for_the_first_byte_is_not_counted(clock: Clock) -> None:
    pace = Pace(10.0, clock, in_body=True)
    clock.now = 1000.0
    pace.got(1)


def test_endless_headers_are_given_up(clock: Clock) -> None:
    pace = Pace(10.0, clock)
    pace.got(MOST_BEFORE_BODY)
    with pytest.raises(PaceError, match="before the file"):
        pace.got(1)


def test_a_session_counts_headers_and_body(server: Server, clock: Clock) -> None:
    server.body = b"x" * 5000
    counted: list[int] = []
    pace = Pace(10.0, clock)
    pace.got = counted.append  # type: ignore[method-assign]
    with watched_session(pace) as session:
        assert session.get(server.url).content == server.body
    assert sum(counted) > len(server.body)
