"""Downloads one file, complete and with the right hash, however often the connection drops."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import requests
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationValueError, NameResolutionError

from malaria_kedro.cells.pace import Pace, TooMuchError, TooSlowError, watched_session
from malaria_kedro.cells.progress import megabytes
from malaria_kedro.cells.progress import progress as show_progress
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import sha256_of
from malaria_kedro.redaction import redact_url, redactor

log = logging.getLogger(__name__)

CHUNK = 256 * 1024
LONGEST_WAIT = 60.0
# An attempt that brings less makes no progress. It is more than the lowest rate gives in a window, so that a server
# that sends a trickle, or drops the connection after a few bytes again and again, does not count as working.
LEAST_PROGRESS = 64 * 1024
# Attempts in a row before anything has answered: a laptop's network may be waking up, but longer waits do not help
# with a misspelt name.
QUICK_ATTEMPTS = {"unknown host": 3, "unreachable": 3, "nobody answers": 3, "proxy": 3}
# Attempts in total: a minute each is enough to recognise a server that sends a trickle, 15 s one that restarts.
FEW_ATTEMPTS = {"slow": 4, "refused": 5}
REMEDY = (
    "Check source.url, source.bytes and source.sha256, or get the file by other means and give its place as "
    "source.path."
)

Report = Callable[[int, int | None], None]


class DownloadError(MalariaKedroError, RuntimeError):
    """The file could not be downloaded; the message names the address, what was wrong and what to do."""


class _PassingError(Exception):
    """A failure that may not happen again.

    Attributes:
        wait: what the server asked for, seconds.
        kind: of ``QUICK_ATTEMPTS`` or ``FEW_ATTEMPTS``; empty = any other.
        remedy: what to do if it does; empty = check the network.
    """

    def __init__(self, trouble: str, wait: float = 0.0, *, kind: str = "", remedy: str = "") -> None:
        super().__init__(trouble)
        self.wait = wait
        self.kind = kind
        self.remedy = remedy


@dataclass
class _Transfer:
    """A file on its way: what is wanted and how much of it lies in the part file."""

    url: str
    part: Path
    sha256: str
    bytes: int | None
    max_bytes: int | None
    remedy: str
    timeout: float
    report: Report | None
    pace: Pace
    session: requests.Session
    etag: str | None = None
    inherited: bool = False
    answered: bool = False

    @property
    def shown(self) -> str:
        """The address, without password and signature."""
        return redact_url(self.url)

    def is_right(self, actual: str) -> bool:
        """Return whether a sha256 is the expected one, as far as that is known."""
        return actual.startswith(self.sha256)

    @property
    def there(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def start_over(self) -> None:
        self.part.unlink(missing_ok=True)
        self.etag = None
        self.inherited = False


def download(
    url: str,
    destination: Path,
    *,
    sha256: str,
    bytes: int | None,
    max_bytes: int | None = None,
    remedy: str = REMEDY,
    attempts: int = 8,
    first_wait: float = 1.0,
    timeout: float = 30.0,
    progress: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Path:
    """Fetch ``url`` into ``destination``, which appears only when size and hash are right.

    What has come lies in ``<destination>.part`` beside it and is continued from, in this process and in a later
    one. Dropped lines, silence, less than 1000 bytes per second, 408, 429 and 5xx are tried again after waits that
    double, up to 60 s; an unknown host and a port where nobody listens a few times, within seconds; other refusals fail
    at once. A destination that is already right costs no network. No message shows user, password, query or
    fragment of the address.

    Args:
        url: http or https address.
        destination: file to write; its folder is made.
        sha256: lower-case hexadecimal digits: all 64, or the first ones (8 at least) where no more are known.
        bytes: size; None = unknown. A body that grows beyond it is stopped.
        max_bytes: a body that grows beyond this is stopped, too; None = no limit.
        remedy: sentences that end a message: what to check, and how to do without the download.
        attempts: how many in a row may bring next to nothing (less than 64 KiB) before it is given up.
        first_wait: seconds before the second attempt.
        timeout: seconds of silence that count as a dropped line, as does the slowest rate over twice as many.
        progress: called with (bytes there, bytes in all or None), in place of the bar and the log lines.
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
    pace = Pace(2 * timeout, clock)
    transfer = _Transfer(url, part, sha256, bytes, max_bytes, remedy, timeout, progress, pace, watched_session(pace))
    transfer.inherited = transfer.there > 0
    _check_room(transfer)
    size = megabytes(bytes) if bytes else "size unknown"
    already = f", {megabytes(transfer.there)} are here already" if transfer.inherited else ""
    log.info("going to the network: downloading %s (%s%s) to %s", transfer.shown, size, already, destination)
    with transfer.session, _without_secrets_in_logs(url):
        # The server must send the file's own bytes: ranges of a body compressed on the fly mean nothing.
        transfer.session.headers["Accept-Encoding"] = "identity"
        _fetch_all(transfer, attempts, first_wait)
        while not _is_right(transfer):
            # Only an inherited part gets here: an earlier process may have left bytes of an older file.
            log.warning("%s was continued from an earlier part and has the wrong sha256: starting over", transfer.part)
            transfer.start_over()
            _fetch_all(transfer, attempts, first_wait)
    with transfer.part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(transfer.part, destination)
    log.info("downloaded %s: %s, sha256 %s", destination, megabytes(destination.stat().st_size), sha256)
    return destination


def looks_like_a_web_page(path: Path) -> bool:
    """Return whether a file begins like HTML, as a login or error page saved under an archive's name does."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))


def _check_room(transfer: _Transfer) -> None:
    free = shutil.disk_usage(transfer.part.parent).free
    missing = (transfer.bytes or 0) - transfer.there
    if missing > free:
        raise DownloadError(
            f"{transfer.shown}: {megabytes(missing)} are still to come, but {transfer.part.parent} has only "
            f"{megabytes(free)} free. Make room. {transfer.remedy}"
        )


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


def _fetch_all(transfer: _Transfer, attempts: int, first_wait: float) -> None:
    """Try until the body is complete."""
    attempt = in_vain = 0
    # The most there ever was, not what was there before the attempt: a server that ignores ranges and always
    # drops the line half way would otherwise seem to make progress for ever.
    most = transfer.there
    while True:
        attempt += 1
        try:
            _fetch_rest(transfer)
            return
        except _PassingError as trouble:
            there = transfer.there
            if there - most >= LEAST_PROGRESS:
                in_vain, most = 0, there
            else:
                in_vain += 1
                if trouble.kind == "slow":
                    most = max(most, there)  # however many drops there are, they do not add up to a stream
            few = FEW_ATTEMPTS if transfer.answered else FEW_ATTEMPTS | QUICK_ATTEMPTS
            allowed = min(attempts, few.get(trouble.kind, attempts))
            if in_vain >= allowed:
                kept = f" {megabytes(there)} are kept in {transfer.part} and continued from next time." if there else ""
                raise DownloadError(
                    f"{transfer.shown}: given up after {in_vain} attempts in a row that brought next to nothing; the "
                    f"last one: {trouble}.{kept} {trouble.remedy or 'Check the network'} and run again. "
                    + transfer.remedy
                ) from None
            wait = min(max(first_wait * 2 ** max(in_vain - 1, 0), trouble.wait), LONGEST_WAIT)
            log.warning(
                "attempt %d interrupted: %s; %d bytes are here; next attempt in %.1f s",
                attempt,
                trouble,
                there,
                wait,
            )
            time.sleep(wait)


def _fetch_rest(transfer: _Transfer) -> None:
    """Ask once for what is missing and append it to the part; return when the body is complete.

    Raises:
        _PassingError: when another attempt may help.
        DownloadError: when none will.
    """
    have = transfer.there
    if transfer.bytes is not None and have > transfer.bytes:
        log.warning("%s is longer (%d bytes) than the file (%d): starting over", transfer.part, have, transfer.bytes)
        transfer.start_over()
        have = 0
    if have and (have == transfer.bytes or (transfer.bytes is None and transfer.is_right(sha256_of(transfer.part)))):
        return
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if transfer.etag:
            headers["If-Range"] = transfer.etag
    transfer.pace.begin()
    try:
        with transfer.session.get(
            transfer.url, headers=headers, stream=True, timeout=(transfer.timeout, transfer.timeout)
        ) as response:
            transfer.answered = True
            transfer.pace.body()
            _take(transfer, response, have)
    except (requests.RequestException, HTTPError, ValueError) as error:
        # Not chained: the libraries' errors have the whole address in their texts and in their attributes.
        trouble = _explain(transfer, error)
    else:
        return
    raise trouble


def _explain(transfer: _Transfer, error: Exception) -> _PassingError | DownloadError:
    """Turn a library's error into one that says whether another attempt may help."""
    reason = _innermost(error)
    said = re.sub(r" ?\(?with url: \S+", "", redactor(transfer.url)(str(reason) or type(reason).__name__))
    # Host and port as people write them, not as urllib3 does.
    said = re.sub(r"\w+\(host='([^']*)', port=(\w+)\)", r"\1:\2", said).rstrip(". ")
    if isinstance(transfer.pace.trouble, TooSlowError):
        return _PassingError(str(transfer.pace.trouble), kind="slow")
    if isinstance(transfer.pace.trouble, TooMuchError):
        return DownloadError(f"{transfer.shown}: {transfer.pace.trouble}. {transfer.remedy}")
    if isinstance(error, requests.exceptions.SSLError) and (
        not transfer.answered or "CERTIFICATE_VERIFY_FAILED" in str(error)
    ):
        certificate = "the server's certificate is not trusted" if "CERTIFICATE" in str(error) else "no TLS connection"
        return DownloadError(f"{transfer.shown}: {certificate}: {said}. {transfer.remedy}")
    if isinstance(error, requests.exceptions.ProxyError):
        return _PassingError(
            f"the proxy does not help: {said}", kind="proxy", remedy="Check HTTPS_PROXY and HTTP_PROXY"
        )
    if isinstance(reason, NameResolutionError):
        return _PassingError(
            f"the host {_host_of(reason)} is unknown",
            kind="unknown host",
            remedy="Check the spelling of the address, and that this machine is on the network,",
        )
    code = _errno_of(reason)
    if code in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN):
        return _PassingError(f"there is no way to the server: {said}", kind="unreachable")
    if code == errno.ECONNREFUSED:
        return _PassingError(f"nobody listens there: {said}", kind="refused", remedy="Check host and port")
    if isinstance(reason, ConnectTimeoutError):
        return _PassingError(f"{type(error).__name__}: {said}", kind="nobody answers")
    if isinstance(error, requests.ConnectionError | requests.Timeout | HTTPError) and not isinstance(
        reason, LocationValueError
    ):
        return _PassingError(f"{type(error).__name__}: {said}")
    return DownloadError(f"{transfer.shown}: {said}. {transfer.remedy}")


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


def _host_of(error: NameResolutionError) -> str:
    return str(getattr(error, "_host", "") or getattr(error.conn, "host", "of the address"))


def _take(transfer: _Transfer, response: requests.Response, have: int) -> None:
    status = response.status_code
    if status in (408, 429) or status >= 500:
        asked = response.headers.get("Retry-After", "")
        raise _PassingError(
            f"the server answered {status} {response.reason}", float(asked) if asked.isdecimal() else 0.0
        )
    if status == 416 and have:
        # Nothing lies beyond what is here: it is complete, or it is not the beginning of this file.
        if transfer.is_right(sha256_of(transfer.part)):
            return
        transfer.start_over()
        raise _PassingError(f"the server has nothing after byte {have}, and what is here has the wrong sha256")
    if status not in (200, 206):
        raise DownloadError(f"{transfer.shown}: the server answered {status} {response.reason}. {transfer.remedy}")
    if status == 206:
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if not span or int(span[1]) != have:
            transfer.start_over()
            raise _PassingError(f"asked from byte {have} on, the server sent {response.headers.get('Content-Range')!r}")
        total = int(span[3]) if span[3] != "*" else None
    else:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
    if transfer.bytes is not None and total is not None and total != transfer.bytes:
        # The part stays as it is: its bytes did not come with this answer.
        page = " It sent a web page." if "text/html" in response.headers.get("Content-Type", "") else ""
        raise DownloadError(
            f"{transfer.shown}: expected a file of {transfer.bytes} bytes, the server has one of {total} bytes.{page} "
            + transfer.remedy
        )
    if status == 200 and have:
        log.info("the server sends the whole file, not what is missing: starting over")
        transfer.start_over()
        have = 0
    etag = response.headers.get("ETag", "")
    transfer.etag = etag if etag.startswith('"') else None  # a weak one (W/"…") does not vouch for single bytes
    _append(transfer, response, have, total if total is not None else transfer.bytes)


def _append(transfer: _Transfer, response: requests.Response, have: int, total: int | None) -> None:
    shown = show_progress(f"downloading {transfer.part.stem}", total, "B", start=have, log=log)
    with transfer.part.open("ab") as file, nullcontext() if transfer.report else shown as advance:
        # Not iter_content: it gathers whole chunks, and what it has gathered is lost when the line drops.
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            have += len(chunk)
            limit = transfer.max_bytes if transfer.bytes is None else transfer.bytes
            if limit is not None and have > limit:
                # Stopped at once, because an endless body would fill the disk.
                file.close()
                transfer.start_over()
                at_most = "at most " if transfer.bytes is None else ""
                raise DownloadError(
                    f"{transfer.shown}: expected a file of {at_most}{limit} bytes, the server sent more (stopped at "
                    f"{have}). {transfer.remedy}"
                )
            try:
                file.write(chunk)
            except OSError as error:
                raise DownloadError(
                    f"{transfer.part} cannot be written: {error.strerror}. Make room. {transfer.remedy}"
                ) from error
            if transfer.report:
                transfer.report(have, total)
            elif advance:
                advance(len(chunk))
    if total is not None and have < total:
        raise _PassingError(f"the body ended at {have} of {total} bytes")


def _is_right(transfer: _Transfer) -> bool:
    """Return whether the complete part is the expected file; False asks for one more attempt from the start.

    Raises:
        DownloadError: when it is not and every byte of it came in this call; the part is removed.
    """
    actual = sha256_of(transfer.part)
    if transfer.is_right(actual):
        return True
    if transfer.inherited:
        return False
    page = " It begins like a web page, perhaps a login or error page." if looks_like_a_web_page(transfer.part) else ""
    size = transfer.there
    transfer.start_over()
    raise DownloadError(
        f"{transfer.shown}: expected sha256 {transfer.sha256}, got {actual} ({size} bytes).{page} Nothing of it was "
        f"kept. {transfer.remedy}"
    )
