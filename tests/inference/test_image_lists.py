"""A list names its images and their patients, whatever wrote it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pandas as pd
import pytest

from malaria_kedro.inference import image_lists
from malaria_kedro.inference.sources import ImageRef, SourceError, open_images
from malaria_kedro.names import spreadsheet_safe
from odd_images import png
from source_material import IDS, NIH, lay_out, listed, names


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


def test_a_patient_of_the_list_wins_over_the_names(tmp_path: Path, work: Path) -> None:
    path = listed(tmp_path, "path,patient_id\nC1_a.png,Anna\nC2_b.png,\nc.png, \nd.png,7\n")
    images = open_images(path, work, patient_pattern=NIH)
    assert [ref.patient for ref in images.refs()] == ["Anna", "C2", None, "7"]


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
