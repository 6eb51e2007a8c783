"""One file from the network, whole and with the right hash, however often the line drops."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError

from malaria_kedro.cells.progress import megabytes
from malaria_kedro.cells.progress import progress as show_progress

log = logging.getLogger(__name__)

CHUNK = 256 * 1024
LONGEST_WAIT = 60.0
REMEDY = "Or get the file by other means and give its place as source.path."

Report = Callable[[int, int | None], None]


class DownloadError(RuntimeError):
    """The file could not be had; the message names the address, what was wrong and what to do."""


class _PassingError(Exception):
    """What went wrong may be over the next time; ``wait`` is what the server asked for, seconds."""

    def __init__(self, trouble: str, wait: float = 0.0) -> None:
        super().__init__(trouble)
        self.wait = wait


@dataclass
class _Transfer:
    """A file on its way: what is wanted and how much of it lies in the part file."""

    url: str
    part: Path
    sha256: str
    bytes: int | None
    timeout: float
    report: Report | None
    session: requests.Session = field(default_factory=requests.Session)
    etag: str | None = None
    inherited: bool = False

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
    attempts: int = 8,
    first_wait: float = 1.0,
    timeout: float = 30.0,
    progress: Report | None = None,
) -> Path:
    """Fetch ``url`` into ``destination``, which appears only when size and hash are right.

    What has come lies in ``<destination>.part`` beside it and is continued from, in this process and in a later
    one. Dropped lines, silence, 408, 429 and 5xx are tried again after waits that double, up to 60 s; other refusals
    fail at once. A destination that is already right costs no network.

    Args:
        url: http or https address.
        destination: file to write; its folder is made.
        sha256: 64 lower-case hexadecimal digits.
        bytes: size; None = unknown. A body that grows beyond it is stopped.
        attempts: how many in a row may bring nothing new before it is given up.
        first_wait: seconds before the second attempt.
        timeout: seconds of silence that count as a dropped line.
        progress: called with (bytes there, bytes in all or None), in place of the bar and the log lines.

    Returns:
        ``destination``.

    Raises:
        DownloadError: refused, given up, or another file than wanted (both values are named).
    """
    if destination.is_file():
        if sha256_of(destination) == sha256:
            log.info("%s is here already: nothing is downloaded", destination)
            return destination
        log.warning(
            "%s is not the file wanted (another sha256); it is replaced once the right one is here", destination
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(url, destination.with_name(destination.name + ".part"), sha256, bytes, timeout, progress)
    transfer.inherited = transfer.there > 0
    _check_room(transfer)
    size = megabytes(bytes) if bytes else "size unknown"
    already = f", {megabytes(transfer.there)} are here already" if transfer.inherited else ""
    log.info("going to the network: downloading %s (%s%s) to %s", url, size, already, destination)
    with transfer.session:
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


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def looks_like_a_web_page(path: Path) -> bool:
    """Tell whether a file begins like HTML: what a login or error page leaves under an archive's name."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))


def _check_room(transfer: _Transfer) -> None:
    free = shutil.disk_usage(transfer.part.parent).free
    missing = (transfer.bytes or 0) - transfer.there
    if missing > free:
        raise DownloadError(
            f"{transfer.url}: {megabytes(missing)} are still to come, but {transfer.part.parent} has only "
            f"{megabytes(free)} free. Make room, or give an archive elsewhere as source.path."
        )


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
            in_vain = 0 if there > most else in_vain + 1
            most = max(most, there)
            if in_vain >= attempts:
                raise DownloadError(
                    f"{transfer.url}: given up after {attempts} attempts in a row that brought nothing new; the last "
                    f"one: {trouble}. {megabytes(there)} are kept in {transfer.part} and continued from next time. "
                    f"Check the network and run again. {REMEDY}"
                ) from trouble
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
    if have and (have == transfer.bytes or (transfer.bytes is None and sha256_of(transfer.part) == transfer.sha256)):
        return
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if transfer.etag:
            headers["If-Range"] = transfer.etag
    try:
        with transfer.session.get(
            transfer.url, headers=headers, stream=True, timeout=(transfer.timeout, transfer.timeout)
        ) as response:
            _take(transfer, response, have)
    except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise DownloadError(
                f"{transfer.url}: the server's certificate is not trusted: {error}. {REMEDY}"
            ) from error
        raise _PassingError(f"{type(error).__name__}: {error}") from error
    except requests.RequestException as error:
        raise DownloadError(f"{transfer.url}: {error}. {REMEDY}") from error


def _take(transfer: _Transfer, response: requests.Response, have: int) -> None:
    status = response.status_code
    if status in (408, 429) or status >= 500:
        asked = response.headers.get("Retry-After", "")
        raise _PassingError(
            f"the server answered {status} {response.reason}", float(asked) if asked.isdecimal() else 0.0
        )
    if status == 416 and have:
        # Nothing lies beyond what is here: it is complete, or it is not the beginning of this file.
        if sha256_of(transfer.part) == transfer.sha256:
            return
        transfer.start_over()
        raise _PassingError(f"the server has nothing after byte {have}, and what is here has the wrong sha256")
    if status not in (200, 206):
        raise DownloadError(
            f"{transfer.url}: the server answered {status} {response.reason}. Check the address. {REMEDY}"
        )
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
        # What is in the part stays: it did not come with this answer.
        page = " It sent a web page." if "text/html" in response.headers.get("Content-Type", "") else ""
        raise DownloadError(
            f"{transfer.url}: expected a file of {transfer.bytes} bytes, the server has one of {total} bytes.{page} "
            f"Check source.url and source.bytes. {REMEDY}"
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
            if transfer.bytes is not None and have > transfer.bytes:
                # Stopped at once: a body without end must not fill the disk.
                file.close()
                transfer.start_over()
                raise DownloadError(
                    f"{transfer.url}: expected a file of {transfer.bytes} bytes, the server sent more (stopped at "
                    f"{have}). Check source.url and source.bytes. {REMEDY}"
                )
            file.write(chunk)
            if transfer.report:
                transfer.report(have, total)
            elif advance:
                advance(len(chunk))
    if total is not None and have < total:
        raise _PassingError(f"the body ended at {have} of {total} bytes")


def _is_right(transfer: _Transfer) -> bool:
    """Tell whether the complete part is the file wanted; False asks for one more try from the start.

    Raises:
        DownloadError: when it is not and every byte of it came in this call; the part is removed.
    """
    actual = sha256_of(transfer.part)
    if actual == transfer.sha256:
        return True
    if transfer.inherited:
        return False
    page = " It begins like a web page, perhaps a login or error page." if looks_like_a_web_page(transfer.part) else ""
    size = transfer.there
    transfer.start_over()
    raise DownloadError(
        f"{transfer.url}: expected sha256 {transfer.sha256}, got {actual} ({size} bytes).{page} Nothing of it was "
        f"kept. Check source.url and source.sha256. {REMEDY}"
    )
