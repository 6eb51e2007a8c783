"""Progress of long work: a bar on a terminal, now and then a log line elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from malaria_kedro.machine import megabytes

SECONDS_BETWEEN_LINES = 5.0  # at least: short work needs none


@contextmanager
def progress(
    what: str, total: int | None, unit: str, *, start: int = 0, log: logging.Logger
) -> Iterator[Callable[[int], object]]:
    """Show how far ``what`` is while the block runs.

    Args:
        what: e.g. ``"unpacking cells"``.
        total: how many ``unit`` there are in all; None = unknown.
        unit: the word for one, ``"image"``; ``"B"`` (bytes) is shown in kB, MB and GB.
        start: how many are done already.
        log: where the lines go when stderr is no terminal.

    Yields:
        A function that takes how many more are done.
    """
    if sys.stderr.isatty():
        with tqdm(desc=what, total=total, unit=unit, initial=start, unit_scale=unit == "B", leave=False) as bar:
            yield bar.update
        return

    def line_after(done: int) -> int:
        if total:
            step = -(-total // 10)
            return (done // step + 1) * step
        # A line whenever the work has doubled: a long one gets few lines, a short one some.
        return max(2 * done, 10_000_000 if unit == "B" else 1000)

    done, next_line, last = start, line_after(start), time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, next_line, last
        done += more
        if done >= next_line and time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            log.info("%s: %s", what, f"{100 * done // total} % of {amount(total)}" if total else amount(done))
            next_line, last = line_after(done), time.monotonic()

    def amount(count: int) -> str:
        return megabytes(count) if unit == "B" else f"{count:,} {unit}s"

    yield advance
