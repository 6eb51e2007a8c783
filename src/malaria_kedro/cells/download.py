"""Downloads one file, complete and with the right hash, however often the connection drops."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import requests
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationValueError, NameResolutionError

from malaria_kedro.cells.pace import Pace, PaceError, TooSlowError, watched_session
from malaria_kedro.cells.progress import progress
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import sha256_of
from malaria_kedro.machine import megabytes, why, writing
from malaria_kedro.redaction import redact_url, redactor

log = logging.getLogger(__name__)

CHUNK = 256 * 1024
TIMEOUT = 30.0  # seconds of silence that count as a dropped line, as does the slowest rate over twice as many
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
# An attempt that brings less makes no progress. It is more than the lowest rate gives in a window, so that a server
# that sends a trickle, or drops the connection after a few bytes again and again, does not count as working.
LEAST_PROGRESS = 64 * 1024
# Attempts in a row that may bring next to nothing.
ATTEMPTS = 8
# Before anything has answered: a laptop's network may be waking up, but longer waits do not help with a misspelt name.
UNANSWERED_ATTEMPTS = 3
# A minute each is enough to recognise a server that sends a trickle, 15 s in all one that restarts.
SLOW_ATTEMPTS, REFUSED_ATTEMPTS = 4, 5
REMEDY = (
    "Check source.url, source.bytes and source.sha256, or get the file by other means and give its place as "
    "source.path."
)


class DownloadError(MalariaKedroError, RuntimeError):
    """The file could not be downloaded; the message names the address, what was wrong and what to do."""


class _PassingError(Exception):
    """A failure that may not happen again.

    Attributes:
        wait: what the server asked for, seconds.
        attempts: in a row after which it is given up.
        remedy: what to do then.
    """

    def __init__(
        self, trouble: str, *, wait: float = 0.0, attempts: int = ATTEMPTS, remedy: str = "Check the network"
    ) -> None:
        super().__init__(trouble)
        self.wait, self.attempts, self.remedy = wait, attempts, remedy


class _TrickleError(_PassingError):
    """What comes is too slow to count as progress."""


def download(
    url: str,
    destination: Path,
    *,
    sha256: str,
    bytes: int | None,
    max_bytes: int | None = None,
    remedy: str = REMEDY,
    clock: Callable[[], float] = time.monotonic,
) -> Path:
    """Fetch ``url`` into ``destination``, which appears only when size and hash are right.

    What has come lies in ``<destination>.part`` beside it and is continued from, in this process and in a later one.
    Dropped lines, 30 s of silence, less than 1000 bytes per second over a minute, 408, 429 and 5xx are tried again
    after waits that double, up to 60 s, until eight attempts in a row bring less than 64 KiB; an unknown host and a
    port where nobody listens a few times, within seconds; other refusals fail at once. A destination that is already
    right costs no network. No message shows user, password, query or fragment of the address.

    Args:
        url: http or https address.
        destination: file to write; its folder is made.
        sha256: lower-case hexadecimal digits: all 64, or the first ones (8 at least) where no more are known.
        bytes: size; None = unknown. A body that grows beyond it is stopped.
        max_bytes: limit of a body whose size is unknown; None = no limit.
        remedy: sentences that end a message: what to check, and how to do without the download.
        clock: tells seconds, for the rate.

    Returns:
        ``destination``.

    Raises:
        DownloadError: refused, given up, or another file than wanted (both values are named).
        ValueError: ``sha256`` is none.
    """
    if not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
        raise ValueError(f"sha256 is {sha256!r}: 8 to 64 lower-case hexadecimal digits are needed")
    if destination.is_file():
        if sha256_of(destination).startswith(sha256):
            log.info("%s is here already: nothing is downloaded", destination)
            return destination
        log.warning(
            "%s is not the file wanted (another sha256); it is replaced once the right one is here", destination
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    transfer = _Transfer(url, part, sha256, bytes, max_bytes, remedy, clock)
    transfer.inherited = transfer.there > 0
    missing, free = (bytes or 0) - transfer.there, shutil.disk_usage(part.parent).free
    if missing > free:
        raise transfer.failed(
            f"{megabytes(missing)} are still to come, but {part.parent} has only {megabytes(free)} free. Make room."
        )
    size = megabytes(bytes) if bytes else "size unknown"
    already = f", {megabytes(transfer.there)} are here already" if transfer.inherited else ""
    log.info("going to the network: downloading %s (%s%s) to %s", redact_url(url), size, already, destination)
    with _without_secrets_in_logs(url):
        transfer.fetch_all()
        while not transfer.is_right():
            # An earlier process may have left bytes of an older file.
            log.warning("%s was continued from an earlier part and has the wrong sha256: starting over", part)
            transfer.start_over()
            transfer.fetch_all()
    with writing(destination):
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(destination)
    log.info("downloaded %s: %s, sha256 %s", destination, megabytes(destination.stat().st_size), sha256)
    return destination


def looks_like_a_web_page(path: Path) -> bool:
    """Return whether a file begins like HTML, as a login or error page saved under an archive's name does."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))


@contextmanager
def _without_secrets_in_logs(url: str) -> Iterator[None]:
    """Remove passwords and signatures from what the libraries log."""
    hide = redactor(url)

    def clean(record: logging.LogRecord) -> bool:
        record.msg, record.args = re.sub(r"\?[^\s\"')]*", "?…", hide(record.getMessage())), ()
        record.exc_info = None  # its text has the address, too
        return True

    names = ("connectionpool", "connection", "response", "poolmanager", "util.retry")
    loggers = [logging.getLogger(f"urllib3.{name}") for name in names]
    for logger in loggers:
        logger.addFilter(clean)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(clean)


@dataclass
class _Transfer:
    """A file on its way: what is wanted and how much of it lies in the part file."""

    url: str
    part: Path
    sha256: str
    bytes: int | None
    max_bytes: int | None
    remedy: str
    clock: Callable[[], float]
    etag: str | None = None
    inherited: bool = False
    answered: bool = False

    @property
    def there(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def start_over(self) -> None:
        self.part.unlink(missing_ok=True)
        self.etag, self.inherited = None, False

    def failed(self, reason: str) -> DownloadError:
        return DownloadError(f"{redact_url(self.url)}: {reason} {self.remedy}")

    def fetch_all(self) -> None:
        """Try until the body is complete."""
        in_vain = 0
        # The most there ever was, not what was there before the attempt: a server that ignores ranges and always
        # drops the line half way would otherwise seem to make progress for ever.
        most = self.there
        for attempt in count(1):
            try:
                return self.fetch_rest()
            except _PassingError as error:
                trouble = error
            there = self.there
            if there - most >= LEAST_PROGRESS:
                in_vain, most = 0, there
            else:
                in_vain += 1
                if isinstance(trouble, _TrickleError):
                    most = max(most, there)  # however many drops there are, they do not add up to a stream
            if in_vain >= trouble.attempts:
                kept = f" {megabytes(there)} are kept in {self.part} and continued from next time." if there else ""
                raise self.failed(
                    f"given up after {in_vain} attempts in a row that brought next to nothing; the last one: "
                    f"{trouble}.{kept} {trouble.remedy} and run again."
                )
            wait = min(max(FIRST_WAIT * 2 ** max(in_vain - 1, 0), trouble.wait), LONGEST_WAIT)
            log.warning("attempt %d failed: %s; %d bytes are here; next in %.1f s", attempt, trouble, there, wait)
            time.sleep(wait)

    def fetch_rest(self) -> None:
        """Ask once for what is missing and append it to the part; return when the body is complete.

        Raises:
            _PassingError: when another attempt may help.
            DownloadError: when none will.
        """
        have = self.there
        if self.bytes is not None and have > self.bytes:
            log.warning("%s is longer (%d bytes) than the file (%d): starting over", self.part, have, self.bytes)
            self.start_over()
            have = 0
        if have and (have == self.bytes or (self.bytes is None and self.has_right_hash())):
            return
        # The server must send the file's own bytes: ranges of a body compressed on the fly mean nothing.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.etag:
                headers["If-Range"] = self.etag
        pace = Pace(2 * TIMEOUT, self.clock)
        try:
            with (
                watched_session(pace) as session,
                session.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as response,
            ):
                self.answered = pace.in_body = True
                self.take(response, have)
                return
        except TooSlowError as error:
            trouble: Exception = _TrickleError(str(error), attempts=SLOW_ATTEMPTS)
        except PaceError as error:
            trouble = self.failed(f"{error}.")
        except (requests.RequestException, HTTPError, ValueError) as error:
            trouble = self.explain(error)
        # Not chained: the libraries' errors have the whole address in their texts and in their attributes.
        raise trouble

    def explain(self, error: Exception) -> _PassingError | DownloadError:
        """Turn a library's error into one that says whether another attempt may help."""
        reason = _innermost(error)
        said = re.sub(r" ?\(?with url: \S+", "", redactor(self.url)(str(reason) or type(reason).__name__))
        # Host and port as people write them, not as urllib3 does.
        said = re.sub(r"\w+\(host='([^']*)', port=(\w+)\)", r"\1:\2", said).rstrip(". ")
        if isinstance(error, requests.exceptions.SSLError) and (
            not self.answered or "CERTIFICATE_VERIFY_FAILED" in str(error)
        ):
            trouble = "the server's certificate is not trusted" if "CERTIFICATE" in str(error) else "no TLS connection"
            return self.failed(f"{trouble}: {said}.")
        passing = requests.ConnectionError | requests.Timeout | HTTPError
        code, remedy = _errno_of(reason), "Check the network"
        attempts = ATTEMPTS if self.answered else UNANSWERED_ATTEMPTS
        if isinstance(error, requests.exceptions.ProxyError):
            said, remedy = f"the proxy does not help: {said}", "Check HTTPS_PROXY and HTTP_PROXY"
        elif isinstance(reason, NameResolutionError):
            said = f"the host {reason.conn.host} is unknown"
            remedy = "Check the spelling of the address, and that this machine is on the network,"
        elif code in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN):
            said = f"there is no way to the server: {said}"
        elif code == errno.ECONNREFUSED:
            said, remedy, attempts = f"nobody listens there: {said}", "Check host and port", REFUSED_ATTEMPTS
        elif not isinstance(error, passing) or isinstance(reason, LocationValueError):
            return self.failed(f"{said}.")
        else:
            said = f"{type(error).__name__}: {said}"
            attempts = attempts if isinstance(reason, ConnectTimeoutError) else ATTEMPTS
        return _PassingError(said, attempts=attempts, remedy=remedy)

    def take(self, response: requests.Response, have: int) -> None:
        """Append an answer to the ``have`` bytes of the part, if it is of the file and continues there."""
        status = response.status_code
        said = f"the server answered {status} {response.reason}"
        if status in (408, 429) or status >= 500:
            raise _PassingError(said, wait=_number(response, "Retry-After") or 0)
        if status == 416 and have:
            # Nothing lies beyond what is here: it is complete, or it is not the beginning of this file.
            if self.has_right_hash():
                return
            self.start_over()
            raise _PassingError(f"the server has nothing after byte {have}, and what is here has the wrong sha256")
        if status not in (200, 206):
            raise self.failed(f"{said}.")
        total = _number(response, "Content-Length")
        if status == 206:
            span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
            if not span or int(span[1]) != have:
                self.start_over()
                sent = response.headers.get("Content-Range")
                raise _PassingError(f"asked from byte {have} on, the server sent {sent!r}")
            total = int(span[3]) if span[3] != "*" else None
        if self.bytes is not None and total is not None and total != self.bytes:
            # The part stays as it is: its bytes did not come with this answer.
            page = " It sent a web page." if "text/html" in response.headers.get("Content-Type", "") else ""
            raise self.failed(f"expected a file of {self.bytes} bytes, the server has one of {total} bytes.{page}")
        if status == 200 and have:
            log.info("the server sends the whole file, not what is missing: starting over")
            self.start_over()
            have = 0
        etag = response.headers.get("ETag", "")
        self.etag = etag if etag.startswith('"') else None  # a weak one (W/"…") does not vouch for single bytes
        self.append(response, have, total if total is not None else self.bytes)

    def append(self, response: requests.Response, have: int, total: int | None) -> None:
        limit, at_most = (self.max_bytes, "at most ") if self.bytes is None else (self.bytes, "")
        shown = progress(f"downloading {self.part.stem}", total, "B", start=have, log=log)
        with self.part.open("ab") as file, shown as advance:
            # Not iter_content: it gathers whole chunks, and what it has gathered is lost when the line drops.
            while chunk := response.raw.read1(CHUNK, decode_content=False):
                have += len(chunk)
                if limit is not None and have > limit:
                    # Stopped at once, because an endless body would fill the disk.
                    file.close()
                    self.start_over()
                    raise self.failed(
                        f"expected a file of {at_most}{limit} bytes, the server sent more (stopped at {have})."
                    )
                try:
                    file.write(chunk)
                except OSError as error:
                    raise DownloadError(
                        f"{self.part} cannot be written {why(error, self.part)}. {self.remedy}"
                    ) from error
                advance(len(chunk))
        if total is not None and have < total:
            raise _PassingError(f"the body ended at {have} of {total} bytes")

    def has_right_hash(self) -> bool:
        return sha256_of(self.part).startswith(self.sha256)

    def is_right(self) -> bool:
        """Return whether the complete part is the expected file; False asks for one more attempt from the start.

        Raises:
            DownloadError: when it is not and every byte of it came in this call; the part is removed.
        """
        actual = sha256_of(self.part)
        if actual.startswith(self.sha256):
            return True
        if self.inherited:
            return False
        web_page = looks_like_a_web_page(self.part)
        page = " It begins like a web page, perhaps a login or error page." if web_page else ""
        size = self.there
        self.start_over()
        raise self.failed(f"expected sha256 {self.sha256}, got {actual} ({size} bytes).{page} Nothing of it was kept.")


def _number(response: requests.Response, header: str) -> int | None:
    value = response.headers.get(header, "")
    return int(value) if value.isdecimal() else None


def _innermost(error: BaseException) -> BaseException:
    """Return what an error of requests was made from: urllib3's reason, without the pool and its address."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in error.args if isinstance(part, HTTPError)), None)
        if not isinstance(inner, BaseException) or inner is error:
            return error
        error = inner


def _errno_of(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        error = error.__cause__ or error.__context__
    return None
