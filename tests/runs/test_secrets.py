"""A password and a signature in ``source.url`` are used for the download, and told to nobody."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from malaria_kedro.cells.archive import acquire
from malaria_kedro.parameters import Phantoms, Source

SECRETS = ("al1ce", "s3cret1", "s3cret2", "s3cret3", "s3cret4")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address, secrets and all, of an archive that a server on this machine has; and the archive."""
    folder = tmp_path_factory.mktemp("served")
    archive = acquire(Source(phantoms=Phantoms(patients=8, cells_per_patient=12, size=32)), folder).path
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    host = f"127.0.0.1:{server.server_port}"
    yield f"http://al1ce:s3cret1@{host}/{archive.name}?X-Amz-Signature=s3cret2&token=s3cret3#s3cret4", archive
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_file_and_no_line_has_a_secret(new_project, served):
    url, archive = served
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    given = f"source.phantoms=null,source.url={url},source.sha256={sha256},source.bytes={archive.stat().st_size}"
    said = new_project.kedro(
        *("run", "--env", "demo", "--pipelines", "data_engineering", "--params", given), NO_PROXY="127.0.0.1"
    )
    files = [path for path in new_project.folder.rglob("*") if path.is_file()]
    shown = f"http://…@{url.partition('@')[2].partition('?')[0]}?…#…"
    assert f"downloading {shown}" in said
    written = [path for path in files if b"/phantom_cells.zip?" in path.read_bytes()]
    assert {path.suffix for path in written} == {".json"}, "the files that name the origin are there to be looked at"
    told = [str(path) for path in files if any(secret.encode() in path.read_bytes() for secret in SECRETS)]
    assert told == []
    assert not [secret for secret in SECRETS if secret in said]
