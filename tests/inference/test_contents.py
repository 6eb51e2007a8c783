"""Every image of a folder or a zip is a row, and what is not read is told of."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from malaria_kedro.inference import contents, file_images
from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.image_sets import ImageRef, is_machine_fault
from malaria_kedro.inference.sources import open_images
from odd_images import png
from source_material import NIH, lay_out, names, pack


def test_linked_folders_are_not_followed_and_so_no_loop_is(
    cells: Path, work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (cells / "slide 2" / "again").symlink_to(cells, target_is_directory=True)
    (cells / "folder.png").symlink_to(cells, target_is_directory=True)
    assert len(open_images(cells, work, patient_pattern=NIH)) == 4
    assert "linked folders, which are not followed: 2 in" in caplog.text


def test_a_linked_image_counts_and_a_link_to_nothing_is_a_row(cells: Path, work: Path) -> None:
    lay_out(cells.parent, {"elsewhere.png": png(9)})
    (cells / "linked.png").symlink_to(cells.parent / "elsewhere.png")
    (cells / "lost.png").symlink_to(cells / "gone.png")
    images = open_images(cells, work, patient_pattern=NIH)
    assert names(images)[2:4] == ["linked.png", "lost.png"]
    assert images.read(ImageRef("linked.png")) == png(9)
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
    monkeypatch.setattr(contents, "SORTED_AT_ONCE", 4)
    files = [f"{row * 7 % 23}.png" for row in range(23)] + [f"{row}/x.png" for row in range(9)]
    images = open_images(lay_out(tmp_path / "many", dict.fromkeys(files, b"")), work, patient_pattern=NIH)
    assert names(images) == sorted(files[:23]) + sorted(files[23:])
    assert len([path for path in work.iterdir() if path.name != file_images.LISTING_LOCK]) == 1


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
