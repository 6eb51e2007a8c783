"""The regular expression that finds the patient in a file's name is tried within a bounded time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.names import NIH_PATIENT_PATTERN, last_part

T = TypeVar("T")

NAMES_AT_ONCE = 10_000
SECONDS = 10.0  # for so many names; a usual pattern takes a fiftieth of a second
# Another process, because Python can stop a search neither from another thread nor, outside the main one, by a signal.
_SEARCH = """
import json, re, sys, unicodedata
pattern, names = json.load(sys.stdin)
for number, name in enumerate(names):
    print(number, flush=True)
    re.search(pattern, unicodedata.normalize("NFC", name))
"""


class PatternError(MalariaKedroError, ValueError):
    """A pattern would take minutes or years on a name; the message names both."""


def tried(pattern: str | None, items: Iterable[T], name_of: Callable[[T], str] = str) -> Iterator[T]:
    """Yield the items, ``NAMES_AT_ONCE`` at a time, once the pattern has been searched in their names in time.

    ``(a+)+$`` tries twice as many ways with every further ``a``. The project's own pattern and None are not tried.

    Raises:
        PatternError: it takes longer than ``SECONDS``.
    """
    if pattern is None or pattern == NIH_PATIENT_PATTERN:
        yield from items
        return
    source = iter(items)
    while some := list(islice(source, NAMES_AT_ONCE)):
        names = [last_part(name_of(item).replace("\\", "/")) for item in some]
        try:
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", _SEARCH],
                input=json.dumps([pattern, names]).encode(),
                stdout=subprocess.PIPE,
                timeout=SECONDS,
                check=False,  # whatever else is wrong with it shows where it is used
            )
        except subprocess.TimeoutExpired as error:
            reached = (error.stdout or b"0").split()[-1]
            raise PatternError(
                f"patient_pattern {pattern!r} takes too long: more than {SECONDS:g} s, the last on the name "
                f"{names[int(reached)]!r}; repeat nothing that repeats itself, as (a+)+ does"
            ) from error
        yield from some
