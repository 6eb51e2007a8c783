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
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from malaria_kedro.errors import MalariaKedroError

# A tenth of the slowest modem: whatever is slower is broken, and 353 MB would take it four days and more.
LEAST_RATE = 1000
# What may come before a body: headers, and the pages that come along with redirects.
MOST_BEFORE_BODY = 2_000_000


class TooSlowError(MalariaKedroError, OSError):
    """Less has come than ``LEAST_RATE`` over a whole window."""


class TooMuchError(MalariaKedroError, OSError):
    """More than ``MOST_BEFORE_BODY`` has come, and no body of the file yet."""


@dataclass
class Pace:
    """How fast an answer comes.

    Attributes:
        window: seconds over which the rate is taken, bytes per second.
        clock: tells seconds; only differences count.
        trouble: the error that ended the last answer, if it was one of this module's.
    """

    window: float
    clock: Callable[[], float]
    trouble: OSError | None = None
    _since: float | None = None
    _bytes: int = 0
    _before_body: int | None = 0

    def begin(self) -> None:
        """Start anew with the next byte: until it is here, the timeout of requests counts."""
        self.trouble, self._since, self._bytes, self._before_body = None, None, 0, 0

    def body(self) -> None:
        """Say that what comes from here on is the file."""
        self._before_body = None

    def got(self, count: int) -> None:
        """Count bytes that have come.

        Raises:
            TooSlowError: at the end of a window in which too few came.
            TooMuchError: this is not the file, and does not end.
        """
        now = self.clock()
        if self._before_body is not None:
            self._before_body += count
            if self._before_body > MOST_BEFORE_BODY:
                self.trouble = TooMuchError(f"more than {MOST_BEFORE_BODY} bytes came before the file")
                raise self.trouble
        if self._since is None:
            self._since = now
        self._bytes += count
        seconds = now - self._since
        if seconds < self.window:
            return
        if self._bytes < LEAST_RATE * seconds:
            self.trouble = TooSlowError(
                f"only {self._bytes} bytes came in {seconds:.1f} s, less than {LEAST_RATE} bytes per second"
            )
            raise self.trouble
        self._since, self._bytes = now, 0


class _Watched(io.RawIOBase):
    """What comes from a socket, counted."""

    def __init__(self, raw: io.RawIOBase, pace: Pace) -> None:
        self._raw, self._pace = raw, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        if count:
            self._pace.got(count)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def watched_session(pace: Pace) -> requests.Session:
    """Return a session all of whose answers ``pace`` counts, from their first header on."""

    class Answer(http.client.HTTPResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.fp = io.BufferedReader(_Watched(self.fp.detach(), pace))

    class Plain(HTTPConnection):
        response_class = Answer

    class Secure(HTTPSConnection):
        response_class = Answer

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            manager = super().proxy_manager_for(*args, **kwargs)
            if not type(manager).__name__.startswith("SOCKS"):  # those have connections of their own
                manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
            return manager

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return session
