"""A list names its images and their patients, whatever wrote it."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from malaria_kedro.inference import image_lists
from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.image_sets import ImageRef
from malaria_kedro.inference.sources import open_images
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
        ("path;patient_id\na.png;C1\nb,c.png;C2\n", ["a.png", "b,c.png"]),
        ('label\tImage\nx\t"a.png"\n', ["a.png"]),
        ("sep=;\r\nid;file name\r\n1;a.png\r\n", ["a.png"]),
        ("path,label\na.png,1\n".encode("utf-16"), ["a.png"]),
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
        *("header", "BOM", "other header", "none", "none, a file"),
        *("semicolons", "tabs", "told to Excel", "UTF-16", "none, not read", "none, below", "none, Windows"),
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
        ("id,label\na.png,x\n", "needs one column 'path'.*'id', 'label'"),
        ("file,image\na.png,x\n", "needs one column 'path'.*'file', 'image'"),
        ("path,path\na.png,b.png\n", "needs one column 'path'"),
        ("today/cell_0001;C1\ntoday/cell_0002;C2\n", "write a header above it, such as path,patient_id,label"),
        ("path\n", "names no image"),
        ("\n\n", "names no image"),
        ("", "is empty"),
        ('path\n"a.png\nb.png\n', "not a readable CSV.*line"),
        ("path\na.png\n".encode("utf-16")[:-1], "not a readable CSV.*utf-16"),
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
        pd.DataFrame({"path": ["a.png", "C9_b.png", None], "patient_id": ["1", None, "3"], "size": 0}),
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
    pd.DataFrame({"name": ["a"], "label": [1]}).to_parquet(path)
    with pytest.raises(SourceError, match="needs one column 'path'"):
        open_images(path, work, patient_pattern=NIH)


def test_a_long_list_is_listed_in_little_memory(tmp_path: Path, work: Path) -> None:
    path = listed(tmp_path, "path\n" + "".join(f"cells/{row:040d}.png\n" for row in range(100_000)))
    tracemalloc.start()
    try:
        assert len(open_images(path, work, patient_pattern=NIH)) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
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


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("path,label\na.png,Parasitized\nb.png,Uninfected\n", ["Parasitized", "Uninfected"]),
        ("path,label\na.png,Parasitised\nb.png,healthy\n", ["Parasitized", "Uninfected"]),
        ("path,class\na.png,infected\nb.png,Uninfected\n", ["Parasitized", "Uninfected"]),
        ("path,label\na.png,POSITIVE\nb.png, negative\n", ["Parasitized", "Uninfected"]),
        ("path;Label\na.png;1\nb.png;0.0\n", ["Parasitized", "Uninfected"]),
        ("file,patient,label\na.png,C1,infected\nb.png,C2,\n", ["Parasitized", None]),
        ("path,label\nParasitized/a.png,ring\nb.png\n", [None, None]),
        ("path\nx/Parasitized/a.png\nUNINFECTED\\a.png\nUninfected.png\n", ["Parasitized", "Uninfected", None]),
    ],
)
def test_labels_are_read_from_a_column_or_else_from_class_folders(
    tmp_path: Path, work: Path, text: str, labels: list[str | None]
) -> None:
    images = open_images(listed(tmp_path, text), work, patient_pattern=NIH)
    assert [ref.label for ref in images.refs()] == labels
    assert [ref.label for ref in images.refs(1)] == labels[1:]


def test_what_is_assumed_about_labels_is_said_with_counts(tmp_path: Path, work: Path) -> None:
    rows = "Uninfected/a.png,1\nb.png,1\nc.png,0\nd.png,ring\ne.png,\nf.png,Parasitized\n"
    said = " | ".join(open_images(listed(tmp_path, f"path,label\n{rows}"), work, patient_pattern=NIH).remarks)
    for words in ("4 images with the label", "'1' is taken for Parasitized (2", "'0' is taken for Uninfected (1"):
        assert words in said
    assert "'ring'" in said
    assert "1 image in the folder of the other class" in said
    assert "2 images without a label" in said


def test_a_list_without_labels_says_nothing_of_them(tmp_path: Path, work: Path) -> None:
    assert not open_images(listed(tmp_path, "path\na.png\n"), work, patient_pattern=NIH).remarks


def test_separators_of_windows_lead_to_the_file_unless_one_has_such_a_name(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path, {"cells/a.png": png(1), "cells\\b.png": png(2), "cells/b.png": png(3)})
    images = open_images(
        listed(tmp_path, "path\ncells\\a.png\ncells\\b.png\nC:\\x\\c.png\n"), work, patient_pattern=NIH
    )
    first, second, third = images.refs()
    assert [images.read(first), images.read(second)] == [png(1), png(2)]
    with pytest.raises(FileNotFoundError, match="C: is a drive of Windows"):
        images.read(third)


def test_excel_without_openpyxl_is_told_how_to_be_read(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path, {"list.xlsx": b"PK\3\4"})
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(SourceError, match=r"list\.xlsx is an Excel workbook.*pip install openpyxl, or save it as CSV"):
        open_images(tmp_path / "list.xlsx", work, patient_pattern=NIH)


def test_an_excel_list_is_read_where_openpyxl_is_installed(tmp_path: Path, work: Path) -> None:
    pytest.importorskip("openpyxl")
    rows = pd.DataFrame({"path": ["a.png", "b.png"], "patient_id": [7, None], "label": [1, 0]})
    rows.to_excel(tmp_path / "list.xlsx", index=False)
    images = open_images(tmp_path / "list.xlsx", work, patient_pattern=NIH)
    assert list(images.refs()) == [ImageRef("a.png", "7", "Parasitized"), ImageRef("b.png", None, "Uninfected")]
    lay_out(tmp_path, {"list.xlsx": b"PK\3\4 and no more"})
    with pytest.raises(SourceError, match="not a readable Excel workbook"):
        open_images(tmp_path / "list.xlsx", work, patient_pattern=NIH)


# --- parquet files that hold images -----------------------------------------------------------------------------


def hugging_face(path: Path, rows: list[dict], classes: list[str] | None = None, group: int = 2) -> Path:
    """Write rows as Hugging Face's data sets do: images as {bytes, path}, labels as numbers with their names noted."""
    table = pa.Table.from_pylist(rows)
    features = {"label": {"names": classes, "_type": "ClassLabel"}} if classes else {}
    noted = {b"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(noted), path, row_group_size=group)
    return path


ROWS = [
    {"image": {"bytes": png(0), "path": "C1_a.png"}, "label": 0, "patient": "Anna"},
    {"image": {"bytes": png(1), "path": None}, "label": 1, "patient": None},
    {"image": {"bytes": None, "path": "C3_c.png"}, "label": None, "patient": " "},
    {"image": None, "label": 1, "patient": "7"},
]


def test_images_in_a_parquet_file_are_read_from_any_row_on(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path, {"C3_c.png": png(3)})
    path = hugging_face(tmp_path / "cells.parquet", ROWS, ["Parasitized", "Uninfected"])
    with open_images(path, work, patient_pattern=NIH) as images:
        refs = list(images.refs())
        assert [(ref.name, ref.patient, ref.label) for ref in refs] == [
            ("C1_a.png", "Anna", "Parasitized"),
            ("row 1", None, "Uninfected"),
            ("C3_c.png", "C3", None),
            ("row 3", "7", "Uninfected"),
        ]
        assert [images.read(ref) for ref in refs[:3]] == [png(0), png(1), png(3)]
        with pytest.raises(ValueError, match="no image in this row"):
            images.read(refs[3])
        for start in range(len(refs) + 1):
            assert names(images, start) == [ref.name for ref in refs[start:]]


def test_without_names_of_classes_the_number_1_is_parasitized_and_this_is_said(tmp_path: Path, work: Path) -> None:
    images = open_images(hugging_face(tmp_path / "cells.parquet", ROWS), work, patient_pattern=NIH)
    assert [ref.label for ref in images.refs()] == ["Uninfected", "Parasitized", None, "Parasitized"]
    assert any("'1' is taken for Parasitized (2 images)" in remark for remark in images.remarks)


def test_images_in_a_parquet_file_may_be_bytes_alone(tmp_path: Path, work: Path) -> None:
    path = hugging_face(tmp_path / "cells.parquet", [{"image": png(5)}])
    images = open_images(path, work, patient_pattern=NIH)
    assert [images.read(ref) for ref in images.refs()] == [png(5)]
