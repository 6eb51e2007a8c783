"""A download is whole and right, or it is not there; a real server on 127.0.0.1 misbehaves for it."""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import re
import socket
import traceback
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from malaria_kedro.cells.download import DownloadError, download
from web_server import Handler, Server

BODY = bytes(i * 7 % 251 for i in range(300_000))
SHA256 = hashlib.sha256(BODY).hexdigest()
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.fixture
def server(server: Server) -> Server:
    server.body = BODY
    return server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "01_raw" / "cell_images.zip"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept, seconds; nobody sleeps."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def fetch(server: Server, target: Path, **changes: object) -> Path:
    wanted = {"sha256": SHA256, "bytes": len(BODY)} | changes
    return download(server.url, target, **wanted)


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(content)


def assert_nothing_is_left(target: Path) -> None:
    assert list(target.parent.iterdir()) == []


def test_a_good_file_arrives_whole(server: Server, target: Path) -> None:
    assert fetch(server, target) == target
    assert target.read_bytes() == BODY
    assert not part_of(target).exists()


def test_a_file_of_unknown_size_arrives_whole(server: Server, target: Path) -> None:
    assert fetch(server, target, bytes=None).read_bytes() == BODY


def test_going_to_the_network_is_said_before_the_first_request(
    server: Server, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.misbehave = lambda handler, n: handler.answer(404, b"") or True
    with caplog.at_level(logging.INFO), pytest.raises(DownloadError):
        fetch(server, target)
    assert server.url in caplog.messages[0]
    assert "300.0 kB" in caplog.messages[0]


def test_a_file_that_is_there_costs_no_network(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(BODY)
    fetch(server, target)
    assert server.asked == []


def test_another_file_under_the_name_is_replaced(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"an older archive")
    assert fetch(server, target).read_bytes() == BODY


def test_another_file_under_the_name_stays_when_the_download_fails(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"an older archive")
    server.misbehave = lambda handler, n: handler.answer(404, b"") or True
    with pytest.raises(DownloadError):
        fetch(server, target)
    assert target.read_bytes() == b"an older archive"


def test_a_line_that_drops_again_and_again_is_continued(server: Server, target: Path) -> None:
    # More drops than attempts: each brings something new, so none counts as in vain.
    server.misbehave = lambda handler, n: n <= 9 and (handler.serve(sent=30_000) or True)
    assert fetch(server, target).read_bytes() == BODY
    starts = [int(asked["Range"][6:-1]) for asked in server.asked[1:]]
    assert starts == [30_000 * n for n in range(1, 10)]


def test_a_known_etag_goes_along_with_the_range(server: Server, target: Path) -> None:
    server.misbehave = lambda handler, n: n == 1 and (handler.serve(sent=50_000) or True)
    fetch(server, target)
    assert server.asked[1]["If-Range"] == '"v1"'


def test_a_server_that_falls_silent_is_asked_again(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stall(handler: Handler, n: int) -> bool:
        if n == 1:
            handler.serve(sent=200_000)
            server.closing.wait(10)
        return n == 1

    server.misbehave = stall
    monkeypatch.setattr("malaria_kedro.cells.download.TIMEOUT", 0.2)
    assert fetch(server, target).read_bytes() == BODY
    assert "Range" in server.asked[1]


def test_a_download_continues_after_its_process_was_killed(server: Server, target: Path) -> None:
    leave_part(target, BODY[:120_000])
    assert fetch(server, target).read_bytes() == BODY
    assert [asked["Range"] for asked in server.asked] == ["bytes=120000-"]


def test_a_part_of_another_file_is_thrown_away_and_fetched_anew(server: Server, target: Path) -> None:
    leave_part(target, b"x" * 120_000)
    assert fetch(server, target).read_bytes() == BODY


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_complete_part_is_accepted_without_the_network(server: Server, target: Path, size: int | None) -> None:
    leave_part(target, BODY)
    assert fetch(server, target, bytes=size).read_bytes() == BODY
    assert server.asked == []


def test_a_part_longer_than_the_file_is_fetched_anew(server: Server, target: Path) -> None:
    leave_part(target, BODY + b"more")
    assert fetch(server, target).read_bytes() == BODY
    assert "Range" not in server.asked[0]


def test_a_part_beyond_the_servers_end_is_fetched_anew(server: Server, target: Path) -> None:
    leave_part(target, BODY + b"more")
    assert fetch(server, target, bytes=None).read_bytes() == BODY
    assert "Range" in server.asked[0]
    assert "Range" not in server.asked[1]


def test_a_server_without_ranges_sends_everything_again(server: Server, target: Path) -> None:
    server.ranges = False
    leave_part(target, BODY[:120_000])
    assert fetch(server, target).read_bytes() == BODY


def test_a_server_without_ranges_that_always_drops_the_line_is_given_up(server: Server, target: Path) -> None:
    server.ranges = False
    server.misbehave = lambda handler, n: handler.serve(sent=150_000) or True
    with pytest.raises(DownloadError, match="given up after 8 attempts"):
        fetch(server, target)


def test_a_range_that_was_not_asked_for_is_not_appended(server: Server, target: Path) -> None:
    def shift(handler: Handler, n: int) -> bool:
        if n == 1:
            handler.answer(206, BODY[5:], {"Content-Range": f"bytes 5-{len(BODY) - 1}/{len(BODY)}"})
        return n == 1

    server.misbehave = shift
    leave_part(target, BODY[:120_000])
    assert fetch(server, target).read_bytes() == BODY


def test_a_wrong_body_of_the_right_size_names_both_hashes(server: Server, target: Path) -> None:
    server.body = BODY[::-1]
    with pytest.raises(DownloadError) as caught:
        fetch(server, target)
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(server.body).hexdigest() in str(caught.value)
    assert_nothing_is_left(target)


@pytest.mark.parametrize("served", [BODY + b"more", BODY[:-1]], ids=["longer", "shorter"])
def test_a_wrong_size_names_both_sizes(server: Server, target: Path, served: bytes) -> None:
    server.body = served
    with pytest.raises(DownloadError, match=f"{len(BODY)} bytes.*{len(served)} bytes"):
        fetch(server, target)
    assert_nothing_is_left(target)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({}, f"file of {len(BODY)} bytes, .* sent more"),
        ({"bytes": None, "max_bytes": 400_000}, "at most 400000 bytes, .* sent more"),
    ],
)
def test_a_body_without_end_is_stopped(server: Server, target: Path, limits: dict[str, int | None], said: str) -> None:
    def pour(handler: Handler, n: int) -> bool:
        handler.send_response(200)
        handler.end_headers()  # no length: until the connection is closed
        try:
            while not server.closing.is_set():
                handler.wfile.write(BODY)
        except OSError:
            pass
        handler.close_connection = True
        return True

    server.misbehave = pour
    with pytest.raises(DownloadError, match=said):
        fetch(server, target, **limits)
    assert_nothing_is_left(target)


def test_a_web_page_of_another_size_is_refused(server: Server, target: Path) -> None:
    server.misbehave = lambda handler, n: handler.answer(200, PAGE, {"Content-Type": "text/html"}) or True
    with pytest.raises(DownloadError, match="web page"):
        fetch(server, target)
    assert_nothing_is_left(target)


def test_a_web_page_is_refused_where_no_size_is_known(server: Server, target: Path) -> None:
    server.misbehave = lambda handler, n: handler.answer(200, PAGE) or True
    with pytest.raises(DownloadError, match="begins like a web page"):
        fetch(server, target, bytes=None)
    assert_nothing_is_left(target)


def test_a_web_page_does_not_cost_what_is_already_here(server: Server, target: Path) -> None:
    leave_part(target, BODY[:120_000])
    server.misbehave = lambda handler, n: handler.answer(200, PAGE, {"Content-Type": "text/html"}) or True
    with pytest.raises(DownloadError):
        fetch(server, target)
    assert part_of(target).read_bytes() == BODY[:120_000]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_fails_at_once_and_says_what_to_do(server: Server, target: Path, status: int) -> None:
    server.misbehave = lambda handler, n: handler.answer(status, PAGE) or True
    with pytest.raises(DownloadError, match=rf"{re.escape(server.url)}.*{status}.*source\.path"):
        fetch(server, target)
    assert len(server.asked) == 1
    assert_nothing_is_left(target)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_of_the_server_is_tried_again(server: Server, target: Path, status: int) -> None:
    server.misbehave = lambda handler, n: n <= 2 and (handler.answer(status, b"sorry") or True)
    assert fetch(server, target).read_bytes() == BODY


def test_a_server_that_always_fails_is_given_up(server: Server, target: Path) -> None:
    server.misbehave = lambda handler, n: handler.answer(500, b"sorry") or True
    with pytest.raises(DownloadError, match=r"given up after 8 attempts.*500"):
        fetch(server, target)
    assert len(server.asked) == 8
    assert not target.exists()


def test_what_came_before_giving_up_is_continued_from(server: Server, target: Path) -> None:
    server.misbehave = lambda handler, n: (handler.serve(sent=50_000) if n == 1 else handler.answer(500, b"")) or True
    with pytest.raises(DownloadError):
        fetch(server, target)
    server.misbehave = lambda handler, n: False
    assert fetch(server, target).read_bytes() == BODY
    assert server.asked[-1]["Range"] == "bytes=50000-"


def test_waits_double_up_to_a_minute(server: Server, target: Path, waits: list[float]) -> None:
    server.misbehave = lambda handler, n: handler.answer(500, b"") or True
    with pytest.raises(DownloadError):
        fetch(server, target)
    assert waits == [1, 2, 4, 8, 16, 32, 60]


def test_a_wait_that_the_server_asks_for_is_kept(server: Server, target: Path, waits: list[float]) -> None:
    server.misbehave = lambda handler, n: n == 1 and (handler.answer(429, b"", {"Retry-After": "7"}) or True)
    fetch(server, target)
    assert waits == [7]


def test_an_interruption_is_logged_with_its_attempt_and_the_bytes_there(
    server: Server, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.misbehave = lambda handler, n: n == 1 and (handler.serve(sent=50_000) or True)
    with caplog.at_level(logging.WARNING):
        fetch(server, target)
    assert re.search(r"attempt 1 .*50000 bytes", caplog.messages[0])


# Too slow


def drip(handler: Handler, content: bytes) -> bool:
    """Send byte by byte, until the client has had enough."""
    try:
        for byte in content:
            handler.wfile.write(bytes([byte]))
            if handler.server.closing.wait(0.001):
                break
    except OSError:
        pass
    handler.close_connection = True
    return True


def drip_body(handler: Handler, n: int) -> bool:
    start = int((re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", "")) or ["", "0"])[1])
    handler.send_response(206 if start else 200)
    handler.send_header("Content-Length", str(len(BODY) - start))
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
    handler.end_headers()
    return drip(handler, BODY[start:])


def drip_headers(handler: Handler, n: int) -> bool:
    return drip(handler, b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 60_000)


def drip_chunk_sizes(handler: Handler, n: int) -> bool:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    return drip(handler, b"1;" + b"x" * 60_000)


def a_second_a_read() -> Callable[[], float]:
    """Return a clock on which a second passes with every piece that comes."""
    return itertools.count().__next__


@pytest.mark.parametrize("misbehave", [drip_body, drip_headers, drip_chunk_sizes])
def test_a_server_that_drips_is_given_up(
    server: Server, target: Path, misbehave: Callable[[Handler, int], bool], waits: list[float]
) -> None:
    server.misbehave = misbehave
    with pytest.raises(DownloadError, match=r"4 attempts.*1000 bytes per second.*source\.path"):
        fetch(server, target, clock=a_second_a_read(), bytes=None)
    assert len(server.asked) == 4
    assert not target.exists()


def test_a_few_minutes_tell_a_server_that_drips(server: Server, target: Path, waits: list[float]) -> None:
    server.misbehave = drip_body
    with pytest.raises(DownloadError, match="given up after 4 attempts"):
        fetch(server, target, clock=a_second_a_read())
    assert waits == [1, 2, 4]


def test_what_dripped_is_continued_from_when_the_server_is_well_again(
    server: Server, target: Path, waits: list[float]
) -> None:
    server.misbehave = lambda handler, n: n == 1 and drip_body(handler, n)
    assert fetch(server, target, clock=a_second_a_read()).read_bytes() == BODY
    assert "Range" in server.asked[1]


def test_a_server_that_pauses_is_not_too_slow(server: Server, target: Path) -> None:
    ticks = iter([0.0, 9.0, *(9.0 + n / 1000 for n in range(1000))])
    assert fetch(server, target, clock=ticks.__next__).read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_line_that_always_drops_after_a_few_bytes_is_given_up(
    server: Server, target: Path, waits: list[float]
) -> None:
    server.misbehave = lambda handler, n: handler.serve(sent=10) or True
    with pytest.raises(DownloadError, match="8 attempts in a row"):
        fetch(server, target)
    assert part_of(target).read_bytes() == BODY[:80]


def test_redirects_in_a_ring_fail_at_once(server: Server, target: Path) -> None:
    server.misbehave = lambda handler, n: handler.answer(302, b"", {"Location": handler.path}) or True
    with pytest.raises(DownloadError, match=r"redirects.*source\.url"):
        fetch(server, target)


def test_a_redirect_whose_page_does_not_end_fails_soon(server: Server, target: Path) -> None:
    def pour(handler: Handler, n: int) -> bool:
        handler.send_response(302)
        handler.send_header("Location", "/elsewhere")
        handler.end_headers()
        try:
            while not server.closing.is_set():
                handler.wfile.write(BODY)
        except OSError:
            pass
        handler.close_connection = True
        return True

    server.misbehave = pour
    with pytest.raises(DownloadError, match="bytes came before the file"):
        fetch(server, target)
    assert len(server.asked) <= 2


# Nobody there


def fail_to_connect(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def create_connection(*_: object, **__: object) -> socket.socket:
        raise error

    monkeypatch.setattr("urllib3.util.connection.create_connection", create_connection)
    monkeypatch.setenv("NO_PROXY", "*")


def test_an_unknown_host_is_named_after_a_few_seconds(
    target: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    fail_to_connect(monkeypatch, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    with pytest.raises(DownloadError, match=r"data\.example is unknown.*spelling.*source\.url"):
        download("https://data.example/x.zip", target, sha256=SHA256, bytes=None)
    assert waits == [1, 2]


@pytest.mark.parametrize(
    ("error", "said", "longest"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), r"nobody listens there: data\.example:443: ", 15),
        (OSError(errno.ENETUNREACH, "unreachable"), "there is no way to the server", 3),
        (OSError(errno.EHOSTUNREACH, "no route"), "there is no way to the server", 3),
        (TimeoutError("timed out"), "timed out", 3),
    ],
)
def test_a_server_that_is_not_there_is_given_up_soon(
    target: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float], error: OSError, said: str, longest: float
) -> None:
    fail_to_connect(monkeypatch, error)
    with pytest.raises(DownloadError, match=f"given up after.*{said}"):
        download("https://data.example/x.zip", target, sha256=SHA256, bytes=None)
    assert sum(waits) == longest


def test_a_host_that_has_answered_is_waited_for(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    def drop_and_vanish(handler: Handler, n: int) -> bool:
        fail_to_connect(monkeypatch, socket.gaierror(socket.EAI_AGAIN, "try again"))
        handler.serve(sent=100_000)
        return True

    server.misbehave = drop_and_vanish
    with pytest.raises(DownloadError, match=r"after 8 attempts.*100\.0 kB"):
        fetch(server, target)


def test_no_tls_fails_at_once(server: Server, target: Path, waits: list[float]) -> None:
    with pytest.raises(DownloadError, match="no TLS connection"):
        download(server.url.replace("http:", "https:"), target, sha256=SHA256, bytes=None)
    assert waits == []


@pytest.mark.parametrize("url", ["http://host:99999/x.zip", f"http://{'a' * 64}.example/x.zip", "http://[::1/x.zip"])
def test_an_address_that_cannot_be_read_fails_at_once(target: Path, waits: list[float], url: str) -> None:
    with pytest.raises(DownloadError, match=r"Check source\.url"):
        download(url, target, sha256=SHA256, bytes=None)
    assert waits == []


# Secrets

SECRETS = ("alice", "s3cret1", "s3cret2", "s3cret3", "s3cret4")


def with_secrets(url: str) -> str:
    return url.replace("http://", "http://alice:s3cret1@") + "?X-Amz-Signature=s3cret2&token=s3cret3#s3cret4"


def end_at_once(handler: Handler, n: int) -> bool:
    handler.close_connection = True
    return True


def say_nonsense(handler: Handler, n: int) -> bool:
    handler.wfile.write(f"nonsense {handler.path}\r\n\r\n".encode())
    handler.close_connection = True
    return True


def send_broken_headers(handler: Handler, n: int) -> bool:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n")
    handler.close_connection = True
    return True


def redirect(to: str) -> Callable[[Handler, int], bool]:
    return lambda handler, n: handler.answer(302, b"", {"Location": to}) or True


@pytest.mark.parametrize(
    "misbehave",
    [
        lambda handler, n: handler.answer(404, b"") or True,
        lambda handler, n: handler.answer(503, b"") or True,
        lambda handler, n: handler.answer(200, PAGE, {"Content-Type": "text/html"}) or True,
        lambda handler, n: handler.answer(200, BODY[::-1]) or True,
        lambda handler, n: handler.answer(200, BODY + b"more", {"Content-Length": ""}) or True,
        lambda handler, n: handler.serve(sent=10) or True,
        end_at_once,
        say_nonsense,
        send_broken_headers,
        redirect("?token=s3cret3"),
        redirect("ftp://alice:s3cret1@host/x?s=s3cret2"),
        redirect("http://alice:s3cret1@127.0.0.1:1/x?s=s3cret2"),
        redirect("http://alice:s3cret1@host:99999/x?s=s3cret2"),
    ],
)
def test_no_failure_tells_a_secret(
    server: Server,
    target: Path,
    caplog: pytest.LogCaptureFixture,
    waits: list[float],
    misbehave: Callable[[Handler, int], bool],
) -> None:
    server.misbehave = misbehave
    caplog.set_level(logging.DEBUG, logger="")
    with pytest.raises(DownloadError) as caught:
        download(with_secrets(server.url), target, sha256=SHA256, bytes=len(BODY))
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "http://…@127.0.0.1" in str(caught.value)
    assert not [secret for secret in SECRETS if secret in told]
    assert server.asked[0]["Authorization"].startswith("Basic ")


def test_no_success_tells_a_secret(server: Server, target: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="")
    paths: list[str] = []
    server.misbehave = lambda handler, n: paths.append(handler.path)
    download(with_secrets(server.url), target, sha256=SHA256, bytes=len(BODY))
    assert paths == ["/public/cell_images.zip?X-Amz-Signature=s3cret2&token=s3cret3"]
    assert not [secret for secret in SECRETS if secret in caplog.text]


@pytest.mark.parametrize(
    "error", [socket.gaierror(socket.EAI_NONAME, "unknown"), ConnectionRefusedError(111, "refused")]
)
def test_nobody_there_tells_no_secret(
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    waits: list[float],
    error: OSError,
) -> None:
    fail_to_connect(monkeypatch, error)
    with pytest.raises(DownloadError) as caught:
        download(with_secrets("http://data.example/x.zip"), target, sha256=SHA256, bytes=None)
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "http://…@data.example/x.zip?…#…" in told
    assert not [secret for secret in SECRETS if secret in told]


def test_nobody_listening_is_given_up(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/cell_images.zip"
    with pytest.raises(DownloadError, match="given up after 5 attempts"):
        download(url, target, sha256=SHA256, bytes=None)


def test_an_address_that_is_none_fails_at_once(target: Path) -> None:
    with pytest.raises(DownloadError, match=r"cell_images\.zip"):
        download("cell_images.zip", target, sha256=SHA256, bytes=None)


def test_without_a_terminal_progress_is_a_line_every_tenth(
    server: Server, target: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malaria_kedro.cells.progress.SECONDS_BETWEEN_LINES", 0)
    server.body = BODY * 10  # what is read at once is less than a tenth of it
    with caplog.at_level(logging.INFO):
        fetch(server, target, sha256=hashlib.sha256(server.body).hexdigest(), bytes=len(server.body))
    assert sum("%" in message for message in caplog.messages) == 10
