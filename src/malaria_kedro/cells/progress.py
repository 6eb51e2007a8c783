"""Progress of long work: a bar on a terminal, a log line every ten percent elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

Advance = Callable[[int], None]


@contextmanager
def progress(what: str, total: int | None, unit: str, *, start: int = 0, log: logging.Logger) -> Iterator[Advance]:
    """Show how far ``what`` is while the block runs.

    Args:
        what: what the bar or the lines say, e.g. ``"unpacking cells"``.
        total: how many ``unit`` there are in all; None = unknown.
        unit: the word for one, ``"image"``; ``"B"`` (bytes) is shown in kB, MB and GB.
        start: how many are done already.
        log: where the lines go when stderr is no terminal.

    Yields:
        A function that takes how many more are done.
    """
    if sys.stderr.isatty():
        with tqdm(desc=what, total=total, unit=unit, initial=start, unit_scale=unit == "B") as bar:

            def move(more: int) -> None:
                bar.update(more)

            yield move
        return

    done = start
    # Without a total a line comes whenever the work has doubled: a long one gets few lines, a short one some.
    step = max(1, -(-total // 10)) if total else None
    next_line = (start // step + 1) * step if step else max(2 * start, 10_000_000 if unit == "B" else 1000)

    def advance(more: int) -> None:
        nonlocal done, next_line
        done += more
        if done < next_line:
            return
        if step and total:
            log.info("%s: %d %% of %s", what, 100 * done // total, _said(total, unit))
            next_line = (done // step + 1) * step
        else:
            log.info("%s: %s", what, _said(done, unit))
            next_line = 2 * done

    yield advance


def _said(count: int, unit: str) -> str:
    return megabytes(count) if unit == "B" else f"{count:,} {unit}s"


def megabytes(count: int) -> str:
    """Say a number of bytes as a person would: ``353.5 MB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
