"""A folder, a zip and a list give the same kind of rows, in the same order each time, whatever the names are."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from malaria_kedro.cells import plain_files
from malaria_kedro.inference import fingerprints, image_lists, listing, sources
from malaria_kedro.inference.sources import ImageRef, ImageSet, SourceError, is_machine_fault, open_images
from malaria_kedro.names import spreadsheet_safe
from odd_images import png

NIH = r"^(C\d+)"


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            bundle.writestr(zipfile.ZipInfo(name), content)
    return path


def names(images: ImageSet, start: int = 0) -> list[str]:
    return [ref.name for ref in images.refs(start)]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A folder of four cells in three folders, and what is no image."""
    return lay_out(
        tmp_path / "cells",
        {
            "b.png": png(2),
            "a.PNG": png(1),
            "slide 2/C2thin_IMG_1_cell_1.png": png(3),
            "slide 2/deep/er/C3_cell.tiff": png(4),
            "Thumbs.db": b"x",
            "slide 2/._C2thin_IMG_1_cell_1.png": b"x",
            "notes.txt": b"x",
        },
    )


# --- a folder ---------------------------------------------------------------------------------------------------


def test_a_folder_of_any_depth_is_listed_folder_by_folder(cells: Path, work: Path) -> None:
    images = open_images(cells, work, patient_pattern=NIH)
    assert len(images) == 4
    assert list(images.refs(0)) == [
        ImageRef("a.PNG"),
        ImageRef("b.png"),
        ImageRef("slide 2/C2thin_IMG_1_cell_1.png", "C2"),
        ImageRef("slide 2/deep/er/C3_cell.tiff", "C3"),
    ]
    assert images.read(ImageRef("slide 2/deep/er/C3_cell.tiff")) == png(4)


def test_listing_begins_at_any_row(cells: Path, work: Path) -> None:
    images = open_images(cells, work, patient_pattern=None)
    assert names(images, 2) == names(images)[2:]
    assert names(images, 4) == []


def test_without_a_pattern_names_tell_no_patient(cells: Path, work: Path) -> None:
    assert {ref.patient for ref in open_images(cells, work, patient_pattern=None).refs()} == {None}


def test_the_listing_lies_in_the_work_folder_and_nothing_else(cells: Path, work: Path) -> None:
    lay_out(work, {sources.UNFINISHED: b"half a lis"})
    images = open_images(cells, work, patient_pattern=NIH)
    name = f"listing-{images.fingerprint[:12]}.jsonl"
    assert {path.name for path in work.iterdir()} - {sources.LISTING_LOCK} == {name}


def test_a_work_folder_below_the_source_is_left_out(cells: Path) -> None:
    lay_out(cells / "work", {"heat_map.png": png()})
    assert len(open_images(cells, cells / "work", patient_pattern=NIH)) == 4


@pytest.mark.parametrize(
    "name",
    ["a b.png", "Zelle µ 細胞.png", "two\nlines.png", "a;b.png", "a,b.png", '"quoted".png', "\\back.png", "a\rb.png"],
)
def test_odd_names_come_back_as_they_are(tmp_path: Path, work: Path, name: str) -> None:
    images = open_images(lay_out(tmp_path / "odd", {name: png()}), work, patient_pattern=NIH)
    assert names(images) == [name]
    assert images.read(ImageRef(name)) == png()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_name_that_is_no_utf_8_comes_back_as_it_is(tmp_path: Path, work: Path) -> None:
    (tmp_path / "odd").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "odd") + b"/M\xfcller.png")).write_bytes(png())
    images = open_images(tmp_path / "odd", work, patient_pattern=NIH)
    (ref,) = images.refs()
    assert os.fsencode(ref.name) == b"M\xfcller.png"
    assert images.read(ref) == png()


def test_linked_folders_are_not_followed_and_so_no_loop_is(
    cells: Path, work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (cells / "slide 2" / "again").symlink_to(cells, target_is_directory=True)
    (cells / "folder.png").symlink_to(cells, target_is_directory=True)
    assert len(open_images(cells, work, patient_pattern=NIH)) == 4
    assert "linked folders, which are not followed: 2 in" in caplog.text


def test_a_linked_image_counts_and_a_link_to_nothing_is_a_row(cells: Path, work: Path) -> None:
    (cells / "linked.png").symlink_to(cells / "b.png")
    (cells / "lost.png").symlink_to(cells / "gone.png")
    images = open_images(cells, work, patient_pattern=NIH)
    assert names(images)[2:4] == ["linked.png", "lost.png"]
    assert images.read(ImageRef("linked.png")) == png(2)
    with pytest.raises(FileNotFoundError):
        images.read(ImageRef("lost.png"))


BROKEN = {
    "loop.png": "loop.png",
    "to_a_loop.png": "loop.png/x.png",
    "dangling.png": "gone.png",
    "through_a_file.png": "b.png/x.png",
    "too_long.png": "x" * 300,
    "circle": "circle",  # not even an image by its name: it may be a folder of them
}


def test_a_broken_entry_is_its_own_row_and_no_others(cells: Path, work: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, target in BROKEN.items():
        (cells / "slide 2" / name).symlink_to(target)
        (cells / name).symlink_to(target)
    images = open_images(cells, work, patient_pattern=NIH)
    good = ["a.PNG", "b.png", "slide 2/C2thin_IMG_1_cell_1.png", "slide 2/deep/er/C3_cell.tiff"]
    broken = [*BROKEN, *(f"slide 2/{name}" for name in BROKEN)]
    assert sorted(names(images)) == sorted(good + broken)
    for name in broken:
        with pytest.raises(OSError, match=r"Too many levels|No such file|Not a directory|name too long") as caught:
            images.read(ImageRef(name))
        assert is_machine_fault(caught.value)
    assert [len(images.read(ImageRef(name))) > 0 for name in good] == [True] * 4
    assert f"{cells / 'circle'} cannot be looked at" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_what_is_forbidden_is_its_own_row(tmp_path: Path, cells: Path, work: Path) -> None:
    lay_out(tmp_path / "secret", {"x.png": png()})
    (cells / "link.png").symlink_to(tmp_path / "secret" / "x.png")
    (cells / "link").symlink_to(tmp_path / "secret" / "x")
    lay_out(cells / "locked", {"x.png": png()})
    (tmp_path / "secret").chmod(0)
    (cells / "locked").chmod(0)
    try:
        found = names(open_images(cells, work, patient_pattern=NIH))
    finally:
        (tmp_path / "secret").chmod(0o700)
        (cells / "locked").chmod(0o700)
    assert {"link.png", "link", "locked/", "a.PNG", "b.png"} < set(found)
    assert len(found) == 7


def test_an_entry_that_the_system_tells_nothing_of_is_its_own_row(
    cells: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self._entry, self.name, self.path = entry, entry.name, entry.path

        def is_dir(self, *, follow_symlinks: bool = True) -> bool:
            if self.name == "a.PNG":
                raise OSError(5, "Input/output error", self.path)
            return self._entry.is_dir(follow_symlinks=follow_symlinks)

        def is_symlink(self) -> bool:
            return self._entry.is_symlink()

        def is_file(self) -> bool:
            return self._entry.is_file()

    class Entries(list):
        def __enter__(self) -> Entries:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: Entries(map(Entry, real(path))))
    assert names(open_images(cells, work, patient_pattern=NIH))[:2] == ["a.PNG", "b.png"]


def test_what_was_listed_of_a_folder_before_it_broke_off_is_read(
    cells: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    class BreakingOff:
        def __init__(self, path: str) -> None:
            self._entries = real(path)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            yield from self._entries
            raise OSError(5, "Input/output error")

        def __exit__(self, *_: object) -> None:
            self._entries.close()

    def scandir(path: str) -> object:
        return BreakingOff(path) if str(path).endswith("slide 2/") else real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    images = open_images(cells, work, patient_pattern=NIH)
    assert names(images)[2:] == [
        "slide 2/",
        "slide 2/C2thin_IMG_1_cell_1.png",
        "slide 2/deep/er/C3_cell.tiff",
    ]
    with pytest.raises(OSError, match="could not be listed before"):
        images.read(ImageRef("slide 2/"))


def test_what_is_named_like_an_image_and_is_no_file_is_a_row(cells: Path, work: Path) -> None:
    os.mkfifo(cells / "pipe.png")
    images = open_images(cells, work, patient_pattern=NIH)
    assert "pipe.png" in names(images)
    with pytest.raises(OSError, match="no plain file") as caught:
        images.read(ImageRef("pipe.png"))
    assert not is_machine_fault(caught.value)


def test_images_that_do_not_count_are_told_of(cells: Path, work: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay_out(cells, {"x.webp": b"x", "slide 2/y.GIF": b"x", "._z.webp": b"x"})
    (cells / "notes").symlink_to("gone")
    assert len(open_images(cells, work, patient_pattern=NIH)) == 4
    assert "images with a suffix of another kind, not read (convert them to PNG, or name" in caplog.text
    assert f"list): 2 in {cells}" in caplog.text
    assert f"links that lead nowhere and are not named like images, not read: 1 in {cells}" in caplog.text
    pack(cells / "cells.zip", {"a.png": png(), "b.webp": b"x"})
    assert len(open_images(cells / "cells.zip", work, patient_pattern=NIH)) == 1
    assert f"list): 1 in {cells / 'cells.zip'}" in caplog.text


def test_a_listing_waits_for_another_and_leaves_its_file_alone(cells: Path, work: Path) -> None:
    lay_out(work, {sources.UNFINISHED: b"half"})
    with ThreadPoolExecutor(1) as pool:
        with FileLock(work / sources.LISTING_LOCK):
            second = pool.submit(open_images, cells, work, patient_pattern=NIH)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
            assert (work / sources.UNFINISHED).read_bytes() == b"half"
        assert len(second.result()) == 4


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path, work: Path) -> None:
    images = open_images(lay_out(tmp_path / "odd", {"a.png/b.png": png()}), work, patient_pattern=NIH)
    assert names(images) == ["a.png/b.png"]


def test_a_folder_that_cannot_be_listed_is_one_row(cells: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(call):
        def called(path):
            if str(path).rstrip("/").endswith("deep"):
                raise PermissionError(13, "Permission denied", path)
            return call(path)

        return called

    monkeypatch.setattr(os, "scandir", refuse(os.scandir))
    monkeypatch.setattr(os, "listdir", refuse(os.listdir))
    images = open_images(cells, work, patient_pattern=NIH)
    assert names(images)[-1] == "slide 2/deep/"
    with pytest.raises(PermissionError, match="Permission denied"):
        images.read(ImageRef("slide 2/deep/"))


def test_a_large_folder_is_sorted_in_pieces(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SORTED_AT_ONCE", 4)
    files = [f"{row * 7 % 23}.png" for row in range(23)] + [f"{row}/x.png" for row in range(9)]
    images = open_images(lay_out(tmp_path / "many", dict.fromkeys(files, b"")), work, patient_pattern=NIH)
    assert names(images) == sorted(files[:23]) + sorted(files[23:])
    assert len([path for path in work.iterdir() if path.name != sources.LISTING_LOCK]) == 1


@pytest.mark.parametrize("files", [{}, {"notes.txt": b"x", "sub/Thumbs.db": b"x"}], ids=["empty", "no image"])
def test_a_folder_without_images_is_refused(tmp_path: Path, work: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "cells").mkdir()
    with pytest.raises(SourceError, match=r"no image in the folder .*cells.* give the folder"):
        open_images(lay_out(tmp_path / "cells", files), work, patient_pattern=NIH)
    assert [path for path in work.iterdir() if path.name != sources.LISTING_LOCK] == []


def test_the_fingerprint_of_a_folder_changes_with_what_is_in_it(cells: Path, work: Path) -> None:
    def fingerprint(pattern: str | None = NIH) -> str:
        return open_images(cells, work, patient_pattern=pattern).fingerprint

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    seen.append(fingerprint(None))
    (cells / "notes.txt").write_bytes(b"longer")
    assert fingerprint() == seen[0]
    os.utime(cells / "b.png", (1, 1))
    seen.append(fingerprint())
    (cells / "c.png").write_bytes(png())
    seen.append(fingerprint())
    (cells / "c.png").rename(cells / "d.png")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)


# --- a zip ------------------------------------------------------------------------------------------------------


def test_a_zip_is_listed_in_its_own_order_and_read_in_place(tmp_path: Path, work: Path) -> None:
    members = {"b/C1_cell.png": png(1), "a.jpg": png(2), "b/": b"", "Thumbs.db": b"x", "__MACOSX/b/C1_cell.png": b"x"}
    with open_images(pack(tmp_path / "cells.zip", members), work, patient_pattern=NIH) as images:
        assert list(images.refs()) == [ImageRef("b/C1_cell.png", "C1"), ImageRef("a.jpg")]
        assert names(images, 1) == ["a.jpg"]
        assert images.read(ImageRef("a.jpg")) == png(2)
    assert not work.exists()


def test_backslashes_in_a_zip_are_understood(tmp_path: Path, work: Path) -> None:
    members = {"b\\C1_cell.png": png(1), "b\\.hidden.png": png(2)}
    images = open_images(pack(tmp_path / "cells.zip", members), work, patient_pattern=NIH)
    assert list(images.refs()) == [ImageRef("b\\C1_cell.png", "C1")]


@pytest.mark.parametrize(
    ("raw", "name"),
    [("Präp_1.png".encode(), "Präp_1.png"), ("Präparat.png".encode("cp437"), "Präparat.png")],
    ids=["UTF-8 without the flag, as macOS writes it", "cp437"],
)
@pytest.mark.parametrize("flags", [0, 0x08], ids=["without the flag", "with the flag"])
def test_names_of_a_zip_are_read_as_their_packer_meant_them(
    tmp_path: Path, work: Path, raw: bytes, name: str, flags: int
) -> None:
    path = pack(tmp_path / "cells.zip", {"x" * len(raw): png(1), "y.png": png(2)})
    content = bytearray(path.read_bytes().replace(b"x" * len(raw), raw))
    for mark, at in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        content[content.index(mark) + at] |= flags
    path.write_bytes(content)
    with open_images(path, work, patient_pattern=NIH) as images:
        assert names(images) == [name, "y.png"]
        assert images.read(ImageRef(name)) == png(1)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_equal_members_of_one_name_are_one_image(
    tmp_path: Path, work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as bundle:
        bundle.writestr("a.png", png(1))
        bundle.writestr("a.png", png(1))
    images = open_images(tmp_path / "cells.zip", work, patient_pattern=NIH)
    assert names(images) == ["a.png"]
    assert images.read(ImageRef("a.png")) == png(1)
    assert f"the name and the content of another, read once: 1 in {tmp_path}" in caplog.text


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_different_members_of_one_name_are_refused(tmp_path: Path, work: Path) -> None:
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as bundle:
        bundle.writestr("x/a.png", png(1))
        bundle.writestr("x/a.png", png(2))
    with pytest.raises(SourceError, match=r"cells\.zip has two different images called x/a\.png: pack it again"):
        open_images(tmp_path / "cells.zip", work, patient_pattern=NIH)


SHADOWS = {
    "@eaDir/a.png/SYNOPHOTO_THUMB_M.png": png(5),
    "#recycle/old.png": png(5),
    "slide 2/.Trash-1000/files/gone.png": png(5),
    "__MACOSX/b.png": png(5),
    "slide 2/.ipynb_checkpoints/b.png": png(5),
    "slide 2/@eaDir/c.png/SYNOPHOTO_THUMB_M.png": png(5),
}


@pytest.mark.parametrize("packed", [False, True])
def test_previews_deleted_files_and_shadows_are_no_cells(
    cells: Path, tmp_path: Path, work: Path, caplog: pytest.LogCaptureFixture, packed: bool
) -> None:
    source = lay_out(cells, SHADOWS)
    if packed:
        source = pack(
            tmp_path / "cells.zip", {"a.png": png(1), "b.png": png(2), "c.png": png(3), "d.png": png(4), **SHADOWS}
        )
    with open_images(source, work, patient_pattern=NIH) as images:
        assert len(images) == len(names(images)) == 4
    assert "not read: 6 in" in caplog.text
    assert "(#recycle, .Trash-1000, .ipynb_checkpoints, @eaDir, __MACOSX)" in caplog.text


@pytest.mark.parametrize("packed", [False, True])
def test_images_without_the_name_of_one_are_counted(
    cells: Path, tmp_path: Path, work: Path, caplog: pytest.LogCaptureFixture, packed: bool
) -> None:
    unnamed = {"scan1": png(5), "slide 2/scan2.dat": png(6), ".c.png": png(7), "._d.png": b"\0\5\x16\7" + bytes(40)}
    source = lay_out(cells, unnamed)
    if packed:
        source = pack(tmp_path / "cells.zip", {"a.png": png(1), "list.csv": b"path", **unnamed})
    with open_images(source, work, patient_pattern=NIH) as images:
        assert len(images) == (1 if packed else 4)
    assert "images whose name begins with a dot or lacks an image suffix, not read" in caplog.text
    assert f"list): 3 in {source}" in caplog.text
    assert "suffix of another kind" not in caplog.text


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:\\evil.png", "..\\evil.png"])
def test_a_name_that_leads_out_of_the_zip_is_one_row(tmp_path: Path, work: Path, name: str) -> None:
    images = open_images(pack(tmp_path / "cells.zip", {name: png(), "good.png": png()}), work, patient_pattern=NIH)
    assert names(images) == [name, "good.png"]
    with pytest.raises(ValueError, match="leads out of the zip"):
        images.read(ImageRef(name))
    assert images.read(ImageRef("good.png")) == png()


def patch_directory(path: Path, offset: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + offset] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [(8, 1, "encrypted"), (10, 97, "compression"), (27, 0x40, "too many for one cell"), (16, 1, "Bad CRC")],
)
def test_a_member_that_cannot_be_read_is_one_row(
    tmp_path: Path, work: Path, offset: int, value: int, reason: str
) -> None:
    path = pack(tmp_path / "cells.zip", {"a.png": png(1), "b.png": png(2)})
    patch_directory(path, offset, value)
    images = open_images(path, work, patient_pattern=NIH)
    with pytest.raises((ValueError, NotImplementedError, zipfile.BadZipFile), match=reason):
        images.read(ImageRef("a.png"))
    assert images.read(ImageRef("b.png")) == png(2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"PK\x03\x04 and then the line broke", "not a readable zip"), (b"<html>", "not a readable zip"), (b"", "empty")],
)
def test_a_broken_zip_is_refused(tmp_path: Path, work: Path, content: bytes, reason: str) -> None:
    (tmp_path / "cells.zip").write_bytes(content)
    with pytest.raises(SourceError, match=rf"cells\.zip.*{reason}.*get it again"):
        open_images(tmp_path / "cells.zip", work, patient_pattern=NIH)


def test_a_zip_without_images_is_refused(tmp_path: Path, work: Path) -> None:
    with pytest.raises(SourceError, match="no image in the zip"):
        open_images(pack(tmp_path / "cells.zip", {"readme.txt": b"x"}), work, patient_pattern=NIH)


# --- a list -----------------------------------------------------------------------------------------------------


def listed(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path\na.png\nb.png\n", ["a.png", "b.png"]),
        ("\ufeffpath\r\na.png\r\n", ["a.png"]),
        ("anything\na.png\nno_suffix\n", ["a.png", "no_suffix"]),
        ("a.png\nb.png\n", ["a.png", "b.png"]),
        ("here\na.png\n", ["here", "a.png"]),
        ("gone.webp\na.png\n", ["gone.webp", "a.png"]),
        ("today/cell_0001\na.png\n", ["today/cell_0001", "a.png"]),
        ("today\\cell_0001\na.png\n", ["today\\cell_0001", "a.png"]),
        ('""\na.png\n', ["", "a.png"]),
        ("path\n\na.png\n\n", ["a.png"]),
        ("label,path,size\nx,a.png,1\ny,b.png,2\nz\n", ["a.png", "b.png", ""]),
        ('path\n"a,b.png"\n"two\nlines.png"\n', ["a,b.png", "two\nlines.png"]),
        ("path\na,b.png\na;b.png\na b.png\n細胞.png\n", ["a,b.png", "a;b.png", "a b.png", "細胞.png"]),
        (b"path\nM\xfcller.png\n", ["M\udcfcller.png"]),
    ],
    ids=[
        *("header", "BOM", "other header", "none", "none, a file", "none, not read", "none, below", "none, Windows"),
        *("none, no path", "blank", "columns", "quoted", "odd", "bytes"),
    ],
)
def test_a_csv_names_its_images(tmp_path: Path, work: Path, text: str | bytes, expected: list[str]) -> None:
    lay_out(tmp_path, {"here": png()})
    images = open_images(listed(tmp_path, text), work, patient_pattern=NIH)
    assert len(images) == len(expected)
    for start in range(len(expected) + 1):
        assert names(images, start) == expected[start:]


@pytest.mark.parametrize(
    ("first", "said"), [("cell_0001", True), ("path", False), ("Filename", False), ("images", False), ("a.png", False)]
)
def test_a_first_line_that_is_no_usual_header_is_told_of_once(
    tmp_path: Path, work: Path, caplog: pytest.LogCaptureFixture, first: str, said: bool
) -> None:
    images = open_images(listed(tmp_path, f"{first}\nb.png\n"), work, patient_pattern=NIH)
    assert names(images)[-1] == names(images, len(images) - 1)[0] == "b.png"
    assert caplog.text.count(f"{first!r}, is taken for a header") == said


def test_the_rows_of_a_list_do_not_shift_when_its_first_file_comes_back(tmp_path: Path, work: Path) -> None:
    images = open_images(listed(tmp_path, "cell_0001\nb.png\n"), work, patient_pattern=NIH)
    lay_out(tmp_path, {"cell_0001": png()})
    assert names(images) == ["b.png"]


def test_relative_paths_start_at_the_lists_folder_and_absolute_ones_at_the_root(
    tmp_path: Path, work: Path, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work.parent.parent)
    path = listed(tmp_path, f"path\ncells/b.png\n{cells / 'a.PNG'}\n./cells/../cells/b.png\n")
    images = open_images(path, work, patient_pattern=NIH)
    assert [images.read(ref) for ref in images.refs()] == [png(2), png(1), png(2)]


def test_a_patient_of_the_list_wins_over_the_names(tmp_path: Path, work: Path) -> None:
    path = listed(tmp_path, "path,patient_id\nC1_a.png,Anna\nC2_b.png,\nc.png, \nd.png,7\n")
    images = open_images(path, work, patient_pattern=NIH)
    assert [ref.patient for ref in images.refs()] == ["Anna", "C2", None, "7"]


def test_files_that_are_not_there_are_a_row_each(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path, {"folder/x.png": png()})
    os.mkfifo(tmp_path / "pipe.png")
    path = listed(tmp_path, "path,x\ngone.png,1\n,2\nfolder,3\npipe.png,4\nnull\0.png,5\n")
    images = open_images(path, work, patient_pattern=NIH)
    assert len(images) == 5
    for ref, error in zip(
        images.refs(), [FileNotFoundError, ValueError, IsADirectoryError, OSError, ValueError], strict=True
    ):
        with pytest.raises(error):
            images.read(ref)


def test_a_file_that_is_too_large_for_a_cell_is_not_read(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_files, "MAX_FILE_BYTES", 10)
    images = open_images(lay_out(tmp_path / "cells", {"a.png": png()}), work, patient_pattern=NIH)
    with pytest.raises(OSError, match="too many for one cell"):
        images.read(ImageRef("a.png"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file,label\na.png,x\n", "needs one column 'path'.*'file', 'label'"),
        ("path,path\na.png,b.png\n", "needs one column 'path'"),
        ("path;patient_id\na.png;C1\n", "separated by ';': use commas"),
        ("today/cell_0001;C1\ntoday/cell_0002;C2\n", "separated by ';': use commas"),
        ("path\n", "names no image"),
        ("\n\n", "names no image"),
        ("", "is empty"),
        ('path\n"a.png\nb.png\n', "not a readable CSV.*line"),
        ("path\na.png\n".encode("utf-16"), "UTF-16: save it as UTF-8"),
    ],
)
def test_a_list_that_names_nothing_for_certain_is_refused(
    tmp_path: Path, work: Path, text: str | bytes, reason: str
) -> None:
    with pytest.raises(SourceError, match=rf"list\.csv.*{reason}"):
        open_images(listed(tmp_path, text), work, patient_pattern=NIH)


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"patient_id": [1, None, 3], "path": ["a.png", "C9_b.png", None]}),
        pd.DataFrame({"path": ["a.png", "C9_b.png", None], "patient_id": ["1", None, "3"], "label": 0}),
        pd.DataFrame({"path": pd.Categorical(["a.png", "C9_b.png", None]), "patient_id": ["1", "", "3"]}),
        pd.DataFrame({"path": [b"a.png", b"C9_b.png", None], "patient_id": ["1", " ", "3"]}),
    ],
    ids=["numbers", "text", "categories", "bytes"],
)
def test_a_parquet_list_names_its_images(tmp_path: Path, work: Path, table: pd.DataFrame) -> None:
    table.to_parquet(tmp_path / "list.parquet")
    images = open_images(tmp_path / "list.parquet", work, patient_pattern=NIH)
    assert len(images) == 3
    assert list(images.refs()) == [ImageRef("a.png", "1"), ImageRef("C9_b.png", "C9"), ImageRef("", "3")]
    assert names(images, 1) == ["C9_b.png", ""]


def test_a_parquet_list_of_a_single_column_needs_no_name(tmp_path: Path, work: Path) -> None:
    pd.DataFrame({"file": ["a", "b", "c"]}).iloc[[2, 0]].to_parquet(tmp_path / "list.parquet")
    assert names(open_images(tmp_path / "list.parquet", work, patient_pattern=NIH)) == ["c", "a"]


def test_a_parquet_list_is_streamed_batch_by_batch(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_lists, "ROWS_AT_ONCE", 3)
    pd.DataFrame({"path": [f"{row}.png" for row in range(10)]}).to_parquet(tmp_path / "list.parquet")
    images = open_images(tmp_path / "list.parquet", work, patient_pattern=NIH)
    assert names(images, 4) == [f"{row}.png" for row in range(4, 10)]


def test_a_broken_or_unsuitable_parquet_list_is_refused(tmp_path: Path, work: Path) -> None:
    path = tmp_path / "list.parquet"
    path.write_bytes(b"PAR1 and then the line broke")
    with pytest.raises(SourceError, match="not a readable parquet file"):
        open_images(path, work, patient_pattern=NIH)
    pd.DataFrame({"file": ["a"], "label": [1]}).to_parquet(path)
    with pytest.raises(SourceError, match="needs one column 'path'"):
        open_images(path, work, patient_pattern=NIH)


def swap(path: Path, content: bytes, *, touch: bool = False) -> None:
    """Give a file other content of the same size and, unless touched, of the same time of modification."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    if not touch:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder", "zip"])
@pytest.mark.parametrize("touch", [False, True])
def test_the_fingerprint_changes_with_a_file_behind_it(tmp_path: Path, work: Path, kind: str, touch: bool) -> None:
    lay_out(tmp_path / "cells", {"a.png": png(1), "b.png": png(2)})
    rows = {"path": ["cells/a.png", "cells/b.png", "cells/gone.png"]}
    source = {
        "csv": lambda: listed(tmp_path, "path\n" + "\n".join(rows["path"])),
        "parquet": lambda: pd.DataFrame(rows).to_parquet(tmp_path / "list.parquet") or tmp_path / "list.parquet",
        "folder": lambda: tmp_path / "cells",
        "zip": lambda: pack(tmp_path / "a.zip", {"a.png": png(1)}),
    }[kind]()

    def fingerprint() -> str:
        return open_images(source, work, patient_pattern=NIH).fingerprint

    seen = [fingerprint(), fingerprint()]
    assert seen[0] == seen[1]
    swapped = source if kind == "zip" else tmp_path / "cells" / "a.png"
    # At once: the clock of the file system has hardly moved since the file was listed.
    swap(swapped, swapped.read_bytes()[:-1] + b"x", touch=touch)
    seen.append(fingerprint())
    assert seen[2] != seen[0]
    if kind in ("csv", "parquet"):
        lay_out(tmp_path, {"cells/gone.png": png(3)})
        assert fingerprint() != seen[2]


def test_a_link_that_leads_elsewhere_now_is_another_file(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path, {"a.png": png(1), "b.png": png(22)})
    (tmp_path / "link.png").symlink_to("a.png")
    path = listed(tmp_path, "path\nlink.png\n")
    before = open_images(path, work, patient_pattern=NIH).fingerprint
    (tmp_path / "link.png").unlink()
    (tmp_path / "link.png").symlink_to("b.png")
    assert open_images(path, work, patient_pattern=NIH).fingerprint != before


@pytest.mark.parametrize("times", ["none", "future"])
def test_where_times_do_not_tell_the_content_does(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, times: str
) -> None:
    lay_out(tmp_path, {"a.png": png(1)})
    path = listed(tmp_path, "path\na.png\n")
    real = os.stat
    changed = 0 if times == "none" else 2**62

    class Told:
        st_mode, st_mtime_ns, st_ctime_ns, st_dev = stat.S_IFREG, 1, changed, 0

        def __init__(self, found: os.stat_result) -> None:
            self.st_size = found.st_size

    seen = []
    for content in (png(1), png(1), png(2)):
        (tmp_path / "a.png").write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", lambda path, **options: Told(real(path)) if "a.png" in str(path) else real(path))
            seen.append(open_images(path, work, patient_pattern=NIH).fingerprint)
    assert seen[0] == seen[1] != seen[2]


def test_a_long_list_is_listed_in_little_memory(tmp_path: Path, work: Path) -> None:
    path = listed(tmp_path, "path\n" + "".join(f"cells/{row:040d}.png\n" for row in range(100_000)))
    tracemalloc.start()
    try:
        assert len(open_images(path, work, patient_pattern=NIH)) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["=a.png", "+a.png", "-a.png", "@a.png"])
def test_a_list_made_of_this_projects_csv_finds_its_files(tmp_path: Path, work: Path, name: str) -> None:
    lay_out(tmp_path, {name: png(1), "'=b.png": png(2)})
    path = listed(tmp_path, f"path,patient_id\n{spreadsheet_safe(name)},'=1\n'=b.png,1\n")
    images = open_images(path, work, patient_pattern=NIH)
    assert list(images.refs()) == [ImageRef(name, "=1"), ImageRef("'=b.png", "1")]
    assert [images.read(ref) for ref in images.refs()] == [png(1), png(2)]


IDS = ["001", "NA", "null", "1e5", "True", "nan", "1.0"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_patients_of_a_list_are_text_whatever_they_look_like(tmp_path: Path, work: Path, kind: str) -> None:
    rows = pd.DataFrame({"path": [f"{row}.png" for row in range(len(IDS))], "patient_id": IDS})
    path = tmp_path / f"list.{kind}"
    rows.to_csv(path, index=False) if kind == "csv" else rows.to_parquet(path)
    assert [ref.patient for ref in open_images(path, work, patient_pattern=NIH).refs()] == IDS


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_patient_is_one_however_its_accents_are_written(tmp_path: Path, work: Path, kind: str) -> None:
    rows = pd.DataFrame({"path": ["a.png", "b.png"], "patient_id": ["K\u00f6ln", "Ko\u0308ln"]})
    path = tmp_path / f"list.{kind}"
    rows.to_csv(path, index=False) if kind == "csv" else rows.to_parquet(path)
    assert {ref.patient for ref in open_images(path, work, patient_pattern=NIH).refs()} == {"K\u00f6ln"}


MOUNT = "36 25 {device} / /media/stick rw,relatime shared:1 - {kind} /dev/sdb1 rw\n"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("exfat", False),
        ("fuseblk", False),
        ("fuse", False),
        ("fuse.ntfs", False),
        ("vfat", False),
        ("ext4", True),
        (None, False),
    ],
)
def test_content_counts_where_a_mount_dates_no_change_even_one_that_is_new(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None, told: bool
) -> None:
    """A file is replaced by one of equal size and times, where the time of change is that of modification."""
    real, table = os.stat, tmp_path / "mountinfo"
    now = time.time_ns() - 10**10

    class Told:
        def __init__(self, found: os.stat_result) -> None:
            self.st_size, self.st_mode = 100, found.st_mode
            self.st_mtime_ns = self.st_ctime_ns = now
            self.st_dev = os.makedev(8, 17)

    def fingerprint(content: bytes) -> str:
        (tmp_path / "a.png").write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(fingerprints, "MOUNTS", table)
            patch.setattr(os, "stat", lambda path, **_: Told(real(path)) if "a.png" in str(path) else real(path))
            return open_images(path, work, patient_pattern=NIH).fingerprint

    path = listed(tmp_path, "path\na.png\n")
    table.write_text("")
    fingerprint(png(1))  # before the stick is there
    if kind:
        table.write_text(MOUNT.format(device="8:17", kind=kind))
    else:
        table.unlink()  # no Linux
    assert (fingerprint(png(1)) == fingerprint(png(2))) is told


def test_patients_in_names_are_text_whatever_they_look_like(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path / "cells", {f"{id_}_cell.png": png() for id_ in IDS})
    images = open_images(tmp_path / "cells", work, patient_pattern=r"^(.+)_cell")
    assert {ref.patient for ref in images.refs()} == set(IDS)


def test_the_fingerprint_of_a_list_or_zip_is_of_its_bytes_and_place(tmp_path: Path, work: Path) -> None:
    def fingerprint(path: Path) -> str:
        return open_images(path, work, patient_pattern=NIH).fingerprint

    path = listed(tmp_path, "path\na.png\n")
    seen = [fingerprint(path), fingerprint(listed(tmp_path, "path\nb.png\n"))]
    assert fingerprint(listed(tmp_path, "path\na.png\n")) == seen[0]
    seen.append(fingerprint(path.rename(tmp_path / "other.csv")))
    seen.append(fingerprint(pack(tmp_path / "a.zip", {"a.png": png(1)})))
    seen.append(fingerprint(pack(tmp_path / "a.zip", {"a.png": png(2)})))
    assert len(set(seen)) == len(seen)


# --- neither ----------------------------------------------------------------------------------------------------


def test_a_source_that_is_not_there_is_refused(tmp_path: Path, work: Path) -> None:
    with pytest.raises(SourceError, match=r"gone is not there: give a folder, a zip"):
        open_images(tmp_path / "gone", work, patient_pattern=NIH)


@pytest.mark.parametrize(("name", "what"), [("cell.png", "is one image: give"), ("cells.xlsx", r"is a \.xlsx: give")])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, work: Path, name: str, what: str) -> None:
    lay_out(tmp_path, {name: png()})
    with pytest.raises(SourceError, match=what):
        open_images(tmp_path / name, work, patient_pattern=NIH)


@pytest.mark.parametrize(("pattern", "reason"), [("(", "not a regular expression"), ("C1", "no group")])
def test_a_pattern_that_finds_no_patient_is_refused(cells: Path, work: Path, pattern: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        open_images(cells, work, patient_pattern=pattern)


def test_importing_costs_nothing() -> None:
    code = (
        "import malaria_kedro.inference.sources, sys;"
        "sys.exit(', '.join({'torch', 'kedro', 'pandas', 'numpy', 'pyarrow', 'PIL'} & sys.modules.keys()) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr.strip()) == (0, "")
