"""A folder, a zip and a list give the same kind of rows, in the same order each time, whatever the names are."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from malaria_kedro.cells import patient_pattern, plain_files
from malaria_kedro.cells.patient_pattern import PatternError
from malaria_kedro.inference import sources
from malaria_kedro.inference.sources import ImageRef, SourceError, open_images, read_again
from malaria_kedro.machine import MachineError
from odd_images import png
from source_material import IDS, NIH, lay_out, listed, names, pack

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


def test_a_listing_waits_for_another_and_leaves_its_file_alone(cells: Path, work: Path) -> None:
    lay_out(work, {sources.UNFINISHED: b"half"})
    with ThreadPoolExecutor(1) as pool:
        with FileLock(work / sources.LISTING_LOCK):
            second = pool.submit(open_images, cells, work, patient_pattern=NIH)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
            assert (work / sources.UNFINISHED).read_bytes() == b"half"
        assert len(second.result()) == 4


@pytest.mark.parametrize("files", [{}, {"notes.txt": b"x", "sub/Thumbs.db": b"x"}], ids=["empty", "no image"])
def test_a_folder_without_images_is_refused(tmp_path: Path, work: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "cells").mkdir()
    with pytest.raises(SourceError, match=r"no image in the folder .*cells.* give the folder"):
        open_images(lay_out(tmp_path / "cells", files), work, patient_pattern=NIH)
    assert [path for path in work.iterdir() if path.name != sources.LISTING_LOCK] == []


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


def test_relative_paths_start_at_the_lists_folder_and_absolute_ones_at_the_root(
    tmp_path: Path, work: Path, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work.parent.parent)
    path = listed(tmp_path, f"path\ncells/b.png\n{cells / 'a.PNG'}\n./cells/../cells/b.png\n")
    images = open_images(path, work, patient_pattern=NIH)
    assert [images.read(ref) for ref in images.refs()] == [png(2), png(1), png(2)]


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


def test_patients_in_names_are_text_whatever_they_look_like(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path / "cells", {f"{id_}_cell.png": png() for id_ in IDS})
    images = open_images(tmp_path / "cells", work, patient_pattern=r"^(.+)_cell")
    assert {ref.patient for ref in images.refs()} == set(IDS)


# --- images, and several sources --------------------------------------------------------------------------------


def test_one_image_is_a_source_whatever_it_is_called(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path, {"C1_a.png": png(1), "no suffix": png(2), "damaged.png": b""})
    monkeypatch.chdir(tmp_path)
    for name, patient in (("C1_a.png", "C1"), ("no suffix", None), ("damaged.png", None)):
        images = open_images(name, work, patient_pattern=NIH)
        (ref,) = images.refs()
        assert (ref.name, ref.patient) == (name, patient)
        assert images.read(ref) == Path(name).read_bytes()


def test_several_sources_are_read_one_after_the_other(
    tmp_path: Path, work: Path, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path, {"Parasitized/x.png": png(7), "y.png": png(8), "lists/z.png": png(9)})
    pack(tmp_path / "cells.zip", {"Uninfected/C4_a.png": png(10)})
    lay_out(tmp_path, {"lists/list.csv": f"path,patient_id\nz.png,Z\n,\n{cells / 'b.png'},B\n".encode()})
    sources = ["Parasitized/x.png", "y.png", "cells/slide 2", "cells.zip", "lists/list.csv"]
    with open_images(sources, work, patient_pattern=NIH) as images:
        refs = list(images.refs())
        assert [(ref.name, ref.patient, ref.label) for ref in refs] == [
            ("Parasitized/x.png", None, "Parasitized"),
            ("y.png", None, None),
            ("cells/slide 2/C2thin_IMG_1_cell_1.png", "C2", None),
            ("cells/slide 2/deep/er/C3_cell.tiff", "C3", None),
            ("cells.zip/Uninfected/C4_a.png", "C4", "Uninfected"),
            ("lists/z.png", "Z", None),
            ("", None, None),
            (str(cells / "b.png"), "B", None),
        ]
        assert len(images) == len(refs)
        expected = [png(number) for number in (7, 8, 3, 4, 10, 9, 2)]
        assert [images.read(ref) for ref in refs if ref.name] == expected
        for start in range(len(refs) + 1):
            assert names(images, start) == [ref.name for ref in refs[start:]]
        again = read_again("", work, {ref.name for ref in refs}, patient_pattern=NIH, fingerprint=images.fingerprint)
        assert [data for _, data in again] == expected


def test_the_order_of_sources_and_what_they_hold_is_their_fingerprint(
    tmp_path: Path, work: Path, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cells)
    found = {
        open_images(some, work, patient_pattern=NIH).fingerprint
        for some in (["b.png", "slide 2"], ["slide 2", "b.png"])
    }
    lay_out(cells, {"b.png": png(99)})
    found.add(open_images(["b.png", "slide 2"], work, patient_pattern=NIH).fingerprint)
    assert len(found) == 3


def test_what_is_given_twice_is_read_once_with_a_warning(
    work: Path, cells: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(cells.parent)
    images = open_images(["cells", "cells/b.png", "cells/", cells / "slide 2"], work, patient_pattern=NIH)
    assert len(images) == 4
    assert "read once: 3 of the sources" in caplog.text


def test_a_missing_one_of_several_is_named(work: Path, cells: Path) -> None:
    with pytest.raises(SourceError, match="gone is not there"):
        open_images([cells / "b.png", cells / "gone"], work, patient_pattern=NIH)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"C1_a.png\nslide 2/b.png\n", ["C1_a.png", "slide 2/b.png"]),
        (b"path;label\nC1_a.png;1\n", ["C1_a.png"]),
        (b"C1_a.png\0two\nlines.png\0M\xfcller.png\0", ["C1_a.png", "two\nlines.png", "M\udcfcller.png"]),
        (b"no suffix, not there\0last", ["no suffix, not there", "last"]),
    ],
    ids=["lines", "a CSV", "NULs", "no NUL at the end"],
)
def test_standard_input_is_a_list_and_leaves_no_file(
    tmp_path: Path, work: Path, text: bytes, expected: list[str]
) -> None:
    images = open_images("-", work, patient_pattern=NIH, standard_input=io.BytesIO(text))
    assert names(images) == expected
    assert not list(work.glob(".listing-*"))
    assert (
        images.fingerprint == open_images("-", work, patient_pattern=NIH, standard_input=io.BytesIO(text)).fingerprint
    )


def test_standard_input_without_a_path_is_refused(work: Path) -> None:
    with pytest.raises(SourceError, match="standard input is empty"):
        open_images("-", work, patient_pattern=NIH, standard_input=io.BytesIO())


# --- neither ----------------------------------------------------------------------------------------------------


def test_a_source_that_is_not_there_is_refused(tmp_path: Path, work: Path) -> None:
    with pytest.raises(SourceError, match=r"gone is not there: give images, a folder, a zip"):
        open_images(tmp_path / "gone", work, patient_pattern=NIH)


@pytest.mark.parametrize(("name", "what"), [("cells.ods", r"is a \.ods: give"), ("cells", "without a suffix: give")])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, work: Path, name: str, what: str) -> None:
    lay_out(tmp_path, {name: b"neither image nor list"})
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


@pytest.mark.parametrize("kind", ["folder", "zip", "list"])
def test_a_pattern_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(patient_pattern, "SECONDS", 1.0)
    name = "a" * 40 + "!.png"
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / name).write_bytes(png())
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as bundle:
        bundle.write(tmp_path / "cells" / name, name)
    (tmp_path / "cells.csv").write_text(f"path\ncells/{name}\n")
    source = {"folder": "cells", "zip": "cells.zip", "list": "cells.csv"}[kind]
    with pytest.raises(PatternError, match="too long"):
        open_images(tmp_path / source, tmp_path / "work", patient_pattern="(a+)+$")


@pytest.mark.parametrize("pattern", ["(", "x", "(x{99999999999})"], ids=["broken", "no group", "an endless count"])
def test_a_pattern_that_is_none_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(SourceError, match="patient_pattern"):
        open_images(tmp_path, tmp_path / "work", patient_pattern=pattern)


def test_a_listing_that_cannot_be_written_is_no_fault_of_the_images(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "1.png").write_bytes(png())
    (tmp_path / "work").touch()
    with pytest.raises(MachineError, match="a file lies where a folder is needed") as caught:
        open_images(tmp_path / "cells", tmp_path / "work", patient_pattern=None)
    assert "cells" not in str(caught.value)
