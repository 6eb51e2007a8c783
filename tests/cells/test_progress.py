"""Progress without a terminal: few lines, however long the work."""

from __future__ import annotations

import logging

import pytest

from malaria_kedro.cells import progress as progress_module
from malaria_kedro.cells.progress import progress

log = logging.getLogger(__name__)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are not held back because little time has passed."""
    monkeypatch.setattr(progress_module, "SECONDS_BETWEEN_LINES", 0)


def test_a_known_total_gives_a_line_every_tenth(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), progress("unpacking", 613, "image", log=log) as advance:
        for _ in range(613):
            advance(1)
    assert len(caplog.messages) <= 10
    assert caplog.messages[0].startswith("unpacking: 10 %")


def test_an_unknown_total_gives_a_line_whenever_the_work_has_doubled(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), progress("reading", None, "image", log=log) as advance:
        for _ in range(5000):
            advance(1)
    assert caplog.messages == ["reading: 1,000 images", "reading: 2,000 images", "reading: 4,000 images"]


def test_work_continued_half_way_starts_there(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), progress("downloading", 100, "B", start=50, log=log) as advance:
        advance(10)
    assert caplog.messages == ["downloading: 60 % of 100 bytes"]


def test_an_empty_work_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), progress("unpacking", 0, "image", log=log):
        pass
    assert caplog.messages == []
