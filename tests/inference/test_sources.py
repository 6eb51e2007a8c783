"""Sources of any kind and any number give the same kind of rows, in the same order each time."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from malaria_kedro.cells import patient_pattern
from malaria_kedro.cells.patient_pattern import PatternError
from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.images_again import read_again
from malaria_kedro.inference.sources import open_images
from malaria_kedro.machine import MachineError
from odd_images import png
from source_material import NIH, lay_out, names, pack


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


@pytest.mark.parametrize("given", ["", ["a.png", ""]])
def test_an_empty_path_is_not_the_working_folder(work: Path, given: object) -> None:
    with pytest.raises(SourceError, match="an empty path"):
        open_images(given, work, patient_pattern=NIH)


def test_an_address_is_told_from_a_path(work: Path) -> None:
    with pytest.raises(SourceError, match=r"is an address \(https\).*download it first"):
        open_images("https://example.org/cells.zip", work, patient_pattern=NIH)
