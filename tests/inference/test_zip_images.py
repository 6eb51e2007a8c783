"""The images of a zip are read in place, whatever their names and members are."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.image_sets import ImageRef
from malaria_kedro.inference.sources import open_images
from odd_images import png
from source_material import NIH, names, pack


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
