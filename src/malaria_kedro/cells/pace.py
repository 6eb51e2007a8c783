"""HTTP with a minimum speed: a server that sends headers or body too slowly is detected.

The timeouts of requests hold for one read from the socket, so a byte a second never runs into them.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter

# A tenth of the slowest modem: whatever is slower is broken, and 353 MB would take it four days and more.
LEAST_RATE = 1000
# What may come before a body: headers, and the pages that come along with redirects.
MOST_BEFORE_BODY = 2_000_000


class PaceError(Exception):
    """An answer is given up; not an OSError, which urllib3 would wrap in an error of its own."""


class TooSlowError(PaceError):
    """Less has come than ``LEAST_RATE`` over a whole window."""


@dataclass
class Pace:
    """How fast the answer to one request comes, over windows of seconds from the first byte on.

    Before it, the timeout of requests counts. ``in_body`` tells whether what comes now is the file.
    """

    window: float
    clock: Callable[[], float]
    in_body: bool = False
    _before_body: int = 0
    _since: float | None = None
    _bytes: int = 0

    def got(self, count: int) -> None:
        """Count bytes that have come.

        Raises:
            TooSlowError: at the end of a window in which too few came.
            PaceError: more than ``MOST_BEFORE_BODY`` came, and no body of the file yet.
        """
        now = self.clock()
        if not self.in_body:
            self._before_body += count
            if self._before_body > MOST_BEFORE_BODY:
                raise PaceError(f"more than {MOST_BEFORE_BODY} bytes came before the file")
        if self._since is None:
            self._since = now
        self._bytes += count
        seconds = now - self._since
        if seconds < self.window:
            return
        if self._bytes < LEAST_RATE * seconds:
            raise TooSlowError(
                f"only {self._bytes} bytes came in {seconds:.1f} s, less than {LEAST_RATE} bytes per second"
            )
        self._since, self._bytes = now, 0


def watched_session(pace: Pace) -> requests.Session:
    """Return a session all of whose answers ``pace`` counts, from their first header on."""

    class Answer(http.client.HTTPResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            raw: Any = self.fp.detach()
            read = raw.readinto

            def count(buffer: memoryview) -> int | None:
                if got := read(buffer):
                    pace.got(got)
                return got

            raw.readinto = count
            self.fp = io.BufferedReader(raw)

    class Adapter(HTTPAdapter):
        def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
            pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
            pool.ConnectionCls = type("Watched", (pool.ConnectionCls,), {"response_class": Answer})
            return pool

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return session
