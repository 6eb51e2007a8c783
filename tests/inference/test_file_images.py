"""Files of a folder or a list come back as they are, in the same order each time, or are a row each."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from malaria_kedro.cells import plain_files
from malaria_kedro.inference import file_images
from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.image_sets import ImageRef
from malaria_kedro.inference.sources import open_images
from odd_images import png
from source_material import IDS, NIH, lay_out, listed, names

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
    lay_out(work, {file_images.UNFINISHED: b"half a lis"})
    images = open_images(cells, work, patient_pattern=NIH)
    name = f"listing-{images.fingerprint[:12]}.jsonl"
    assert {path.name for path in work.iterdir()} - {file_images.LISTING_LOCK} == {name}


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
    lay_out(work, {file_images.UNFINISHED: b"half"})
    with ThreadPoolExecutor(1) as pool:
        with FileLock(work / file_images.LISTING_LOCK):
            second = pool.submit(open_images, cells, work, patient_pattern=NIH)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
            assert (work / file_images.UNFINISHED).read_bytes() == b"half"
        assert len(second.result()) == 4


@pytest.mark.parametrize("files", [{}, {"notes.txt": b"x", "sub/Thumbs.db": b"x"}], ids=["empty", "no image"])
def test_a_folder_without_images_is_refused(tmp_path: Path, work: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "cells").mkdir()
    with pytest.raises(SourceError, match=r"no image in the folder .*cells.* give the folder"):
        open_images(lay_out(tmp_path / "cells", files), work, patient_pattern=NIH)
    assert [path for path in work.iterdir() if path.name != file_images.LISTING_LOCK] == []


# --- a list -----------------------------------------------------------------------------------------------------


def test_relative_paths_start_at_the_lists_folder_and_absolute_ones_at_the_root(
    tmp_path: Path, work: Path, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work.parent.parent)
    lay_out(tmp_path, {"above.png": png(5)})
    path = listed(tmp_path, f"path\ncells/b.png\n{cells / 'a.PNG'}\n./cells/../above.png\n")
    images = open_images(path, work, patient_pattern=NIH)
    assert [images.read(ref) for ref in images.refs()] == [png(2), png(1), png(5)]


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
