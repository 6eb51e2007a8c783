"""The archive is the one asked for, or the message says why not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

from malaria_kedro.cells.archive import (
    ArchiveError,
    CellArchive,
    acquire,
    read_pointer,
    refuse_other_archive,
    write_pointer,
)
from malaria_kedro.cells.download import DownloadError
from malaria_kedro.parameters import Phantoms, Source
from web_server import Server

SHA256 = "ab" * 32
URL = "https://example.org/public/Malaria/cell_images.zip?download=1"
SECRET_URL = "https://me:s3cret1@example.org/cells.zip?token=s3cret2#s3cret3"
RECIPE = Phantoms(patients=4, cells_per_patient=4, size=24)


def make_zip(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("cell_images/Parasitized/C1_cell_1.png", b"not looked into here")
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "data" / "01_raw"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    return make_zip(tmp_path / "downloads" / "cells.zip")


def test_a_path_wins_over_phantoms_and_url(given: Path, raw: Path) -> None:
    source = Source(path=str(given), path_sha256=sha256(given), phantoms=RECIPE, url=URL, sha256=SHA256, bytes=5)
    assert acquire(source, raw).path == given


def test_phantoms_win_over_a_url(raw: Path) -> None:
    assert acquire(Source(phantoms=RECIPE, url=URL, sha256=SHA256), raw).phantom


def test_a_local_zip_is_used_in_place(given: Path, raw: Path) -> None:
    before = given.stat()
    archive = acquire(Source(path=str(given)), raw)
    assert archive == CellArchive(given, "zip", sha256(given), before.st_size, False, "cells.zip")
    assert given.stat().st_mtime_ns == before.st_mtime_ns
    assert not raw.exists()


def test_a_relative_path_becomes_absolute(given: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(given.parent)
    assert acquire(Source(path="cells.zip"), raw).path == given


def test_a_local_zip_with_the_hash_asked_for_is_accepted(given: Path, raw: Path) -> None:
    assert acquire(Source(path=str(given), path_sha256=sha256(given)), raw).path == given


def test_a_local_zip_with_another_hash_names_both(given: Path, raw: Path) -> None:
    with pytest.raises(ArchiveError, match=f"{SHA256}.*{sha256(given)}"):
        acquire(Source(path=str(given), path_sha256=SHA256), raw)


def test_a_folder_is_used_in_place(tmp_path: Path, raw: Path) -> None:
    folder = tmp_path / "cells"
    (folder / "Parasitized").mkdir(parents=True)
    archive = acquire(Source(path=str(folder)), raw)
    assert archive == CellArchive(folder, "folder", None, None, False, "cells")


def test_a_missing_path_is_named(tmp_path: Path, raw: Path) -> None:
    with pytest.raises(ArchiveError, match=r"nowhere\.zip does not exist"):
        acquire(Source(path=str(tmp_path / "nowhere.zip")), raw)


def test_a_pipe_or_a_device_is_refused_before_it_is_read(tmp_path: Path, raw: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ArchiveError, match=f"{path} is a pipe, a socket or a device"):
            acquire(Source(path=str(path)), raw)


def test_an_empty_folder_is_refused(tmp_path: Path, raw: Path) -> None:
    with pytest.raises(ArchiveError, match="is empty"):
        acquire(Source(path=str(tmp_path)), raw)


def test_a_hash_for_a_folder_is_refused(given: Path, raw: Path) -> None:
    with pytest.raises(ArchiveError, match="path_sha256"):
        acquire(Source(path=str(given.parent), path_sha256=SHA256), raw)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>log in</html>", "web page"),
        (b"name,label\n", "not a zip"),
    ],
)
def test_a_file_that_is_no_zip_says_what_it_is(given: Path, raw: Path, content: bytes, reason: str) -> None:
    given.write_bytes(content)
    with pytest.raises(ArchiveError, match=rf"cells\.zip is not a readable zip.*{reason}"):
        acquire(Source(path=str(given)), raw)


def test_a_truncated_zip_is_recognised(given: Path, raw: Path) -> None:
    given.write_bytes(given.read_bytes()[:-30])
    with pytest.raises(ArchiveError, match="cut download"):
        acquire(Source(path=str(given)), raw)


@pytest.fixture
def served(server: Server, given: Path) -> Server:
    """A server that has the archive ``given``."""
    server.body = given.read_bytes()
    return server


def request_from(server: Server, address: str, **changes: object) -> Source:
    return Source(**{"url": address, "sha256": hashlib.sha256(server.body).hexdigest()} | changes)


def test_a_url_is_downloaded_under_its_own_name(served: Server, raw: Path) -> None:
    archive = acquire(request_from(served, f"{served.url}?download=1", bytes=len(served.body)), raw)
    assert archive.path == raw / "cell_images.zip"
    assert archive.path.read_bytes() == served.body
    assert (archive.origin, archive.phantom) == (f"{served.url}?…", False)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [({"sha256": SHA256}, SHA256), ({"bytes": 5}, "5 bytes"), ({"max_unpacked_bytes": 70}, "70 bytes")],
)
def test_a_download_is_what_was_asked_for(served: Server, raw: Path, wanted: dict[str, object], named: str) -> None:
    with pytest.raises(DownloadError, match=named):
        acquire(request_from(served, served.url, **wanted), raw)


def test_an_address_with_secrets_is_kept_without_them(served: Server, raw: Path) -> None:
    host = served.root.removeprefix("http://")
    request = request_from(served, f"http://me:s3cret1@{host}/cells.zip?token=s3cret2#s3cret3")
    archive = acquire(request, raw)
    write_pointer(archive, raw / "pointer.json")
    assert archive.origin == f"http://…@{host}/cells.zip?…#…"
    assert "s3cret" not in (raw / "pointer.json").read_text() + repr(request)


def test_an_address_that_was_written_with_secrets_is_read_without_them(given: Path, raw: Path) -> None:
    archive = acquire(Source(path=str(given)), raw)
    write_pointer(dataclasses.replace(archive, origin=SECRET_URL), raw / "pointer.json")
    assert read_pointer(raw / "pointer.json").origin == "https://…@example.org/cells.zip?…#…"


def test_a_url_without_a_name_still_gets_one(served: Server, raw: Path) -> None:
    assert acquire(request_from(served, f"{served.root}/%2e%2e"), raw).path.parent == raw


def test_a_download_that_is_no_zip_is_refused(served: Server, raw: Path) -> None:
    served.body = b"a table, not an archive"
    with pytest.raises(ArchiveError, match="not a readable zip"):
        acquire(request_from(served, served.url), raw)


def test_phantoms_are_drawn_and_say_that_they_are(raw: Path) -> None:
    archive = acquire(Source(phantoms=RECIPE), raw)
    assert archive.path == raw / "phantom_cells.zip"
    assert (archive.phantom, archive.origin) == (True, "phantom cells drawn by malaria-kedro")
    assert archive.sha256 == sha256(archive.path)


def test_a_pointer_brings_the_archive_back(given: Path, raw: Path) -> None:
    archive = acquire(Source(path=str(given)), raw)
    write_pointer(archive, raw / "cell_archive.json")
    assert read_pointer(raw / "cell_archive.json") == archive


def test_a_pointer_to_an_archive_beside_it_survives_a_move_of_both(tmp_path: Path, raw: Path) -> None:
    archive = acquire(Source(path=str(make_zip(raw / "cells.zip"))), raw)
    write_pointer(archive, raw / "cell_archive.json")
    moved = raw.rename(tmp_path / "moved")
    assert read_pointer(moved / "cell_archive.json").path == moved / "cells.zip"


def test_a_pointer_that_is_not_there_says_what_to_run(raw: Path) -> None:
    with pytest.raises(ArchiveError, match="data_engineering"):
        read_pointer(raw / "cell_archive.json")


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"archive": {"path": "cells.zip"}})])
def test_an_unreadable_pointer_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "cell_archive.json").write_text(content)
    with pytest.raises(ArchiveError, match=r"cell_archive\.json is unreadable"):
        read_pointer(tmp_path / "cell_archive.json")


def test_an_archive_that_has_gone_is_named(given: Path, raw: Path) -> None:
    write_pointer(acquire(Source(path=str(given)), raw), raw / "cell_archive.json")
    given.unlink()
    with pytest.raises(ArchiveError, match=r"cells\.zip has gone"):
        read_pointer(raw / "cell_archive.json")


def test_an_archive_that_changed_its_size_is_named(given: Path, raw: Path) -> None:
    write_pointer(acquire(Source(path=str(given)), raw), raw / "cell_archive.json")
    given.write_bytes(b"shorter")
    with pytest.raises(ArchiveError, match="has 7 now"):
        read_pointer(raw / "cell_archive.json")


def test_a_pointer_that_cannot_be_written_leaves_the_old_one(
    given: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer = raw / "cell_archive.json"
    archive = acquire(Source(path=str(given)), raw)
    write_pointer(archive, pointer)

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="no space"):
        write_pointer(archive, pointer)
    assert read_pointer(pointer) == archive
    assert list(raw.iterdir()) == [pointer]


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("cell_archive.json", "cell_archive.json.zip"),
        ("CELL_ARCHIVE.JSON", "CELL_ARCHIVE.JSON.zip"),
        ("cell_archive.json.part", "cell_archive.json.part.zip"),
        ("phantom_cells.zip", "downloaded_phantom_cells.zip"),
        ("Phantom_Cells.ZIP", "downloaded_Phantom_Cells.ZIP"),
        (".gitkeep", "gitkeep.zip"),
        (".cell_archive.json.123", "cell_archive.json.123.zip"),
        ("cells.zip.part", "cells.zip.part.zip"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd.zip"),
        ("a%00b%0A.zip", "a_b_.zip"),
        ("%E6%84%9F.ZIP", "感.ZIP"),
        ("%20.%20", "cell_images.zip"),
        ("cells.zip;jsessionid=s3cret?x=1", "cells.zip"),
        (";s3cret", "cell_images.zip"),
    ],
)
def test_a_download_takes_no_name_that_the_project_uses(served: Server, raw: Path, name: str, stored: str) -> None:
    archive = acquire(request_from(served, f"{served.root}/x/{name}"), raw)
    assert archive.path == raw / stored
    write_pointer(archive, raw / "cell_archive.json")
    assert read_pointer(raw / "cell_archive.json") == archive


def test_a_name_too_long_for_a_disk_is_shortened(served: Server, raw: Path) -> None:
    archive = acquire(request_from(served, f"{served.root}/{'x' * 400}.zip"), raw)
    assert len(archive.path.name) < 100
    assert archive.path.suffix == ".zip"


@pytest.mark.parametrize("path", ["x" * 300, "loop", "loop/cells"], ids=["a long name", "a loop", "in a loop"])
def test_a_path_that_cannot_be_looked_at_is_an_error_of_one_sentence(tmp_path: Path, raw: Path, path: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ArchiveError, match=r"cannot be looked at \(.*\); check the path"):
        acquire(Source(path=str(tmp_path / path)), raw)


def test_a_folder_that_cannot_be_listed_is_an_error_of_one_sentence(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ArchiveError, match=r"cannot be listed \(Permission denied\)"):
        acquire(Source(path=str(tmp_path)), raw)


def test_a_damaged_list_of_files_is_no_missing_end(given: Path, raw: Path) -> None:
    content = bytearray(given.read_bytes())
    content[content.index(b"PK\x01\x02")] = 0
    given.write_bytes(content)
    with pytest.raises(ArchiveError, match="the list of its files is damaged") as error:
        acquire(Source(path=str(given)), raw)
    assert "end is missing" not in str(error.value)


def test_a_zip_whose_names_are_no_utf_8_is_a_zip(given: Path, raw: Path) -> None:
    content = bytearray(given.read_bytes().replace(b"C1_cell_1", b"C1_\xe9\xff___1"))
    for mark, flags in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        content[content.index(mark) + flags] |= 0x08  # "the name is UTF-8"
    given.write_bytes(content)
    assert acquire(Source(path=str(given)), raw).kind == "zip"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_an_archive_whose_own_name_is_no_utf_8_is_pointed_at(tmp_path: Path, raw: Path) -> None:
    archive = acquire(Source(path=str(make_zip(tmp_path / os.fsdecode(b"caf\xe9.zip")))), raw)
    write_pointer(archive, raw / "cell_archive.json")
    assert read_pointer(raw / "cell_archive.json") == archive
    assert archive.origin == r"caf\xe9.zip"
    (raw / "cell_archive.json").read_text(encoding="utf-8")


def test_an_archive_that_was_acquired_with_another_source_is_refused(given: Path, raw: Path) -> None:
    archive = acquire(Source(path=str(given)), raw)
    refuse_other_archive(archive, Source(path=str(given)))
    with pytest.raises(ArchiveError, match=r"source\.path "):
        refuse_other_archive(archive, Source(path=str(given.parent / "other.zip")))
    with pytest.raises(ArchiveError, match=r"source\.sha256 "):
        refuse_other_archive(archive, Source(url="https://example.org/cells.zip", sha256="0" * 64))


def test_phantoms_of_another_recipe_are_refused(raw: Path) -> None:
    recipe = Phantoms(patients=4, cells_per_patient=4, size=24)
    archive = acquire(Source(phantoms=recipe), raw)
    refuse_other_archive(archive, Source(phantoms=recipe))
    with pytest.raises(ArchiveError, match=r"source\.phantoms "):
        refuse_other_archive(archive, Source(phantoms=recipe.model_copy(update={"seed": 9})))
