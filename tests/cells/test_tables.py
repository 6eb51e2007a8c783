"""Tables of labels and patients: how they are read, which image a row is of, and what is counted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from malaria_kedro.cells import tables
from malaria_kedro.cells.index import index_cells
from malaria_kedro.cells.tables import (
    GivenTable,
    Row,
    TableError,
    attribute_patients,
    identify,
    match_rows,
    read_patients,
    read_tables,
    refuse_other_source,
)
from malaria_kedro.names import NIH_PATIENT_PATTERN
from malaria_kedro.parameters import Source
from source_material import lay_out

ROWS = [Row("a.png", "Parasitized", "P1"), Row("b.png", "Uninfected", "P2")]


def read(path: Path | str, needed: str = "label") -> GivenTable:
    return read_tables(f"source.{needed}s", str(path), needed, NIH_PATIENT_PATTERN)


def table(*rows: Row, parameter: str = "source.labels") -> GivenTable:
    return GivenTable(parameter, "table.csv", [], list(rows))


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "file,label,patient\na.png,Parasitized,P1\nb.png,Uninfected,P2\n",
        "\ufeffFile;Label;Patient\r\na.png;Parasitized;P1\r\n\r\nb.png;Uninfected;P2\r\n",
        "patient_id\tclass\timage_path\nP1\tParasitized\ta.png\nP2\tUninfected\tb.png\n",
        'cell_id,path,label,patient\nx,"a.png", Parasitized ,P1\ny,"b.png",Uninfected, P2\n',
    ],
    ids=[
        "commas",
        "semicolons and a byte order mark",
        "tabs and other names",
        "quotes, spaces and two names of a file",
    ],
)
def test_a_csv_is_read_whatever_separates_and_heads_its_columns(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text(text, encoding="utf-8", newline="")
    assert read(tmp_path / "table.csv").rows == ROWS


@pytest.mark.parametrize("ending", ["parquet", "xlsx"])
def test_numbers_of_a_typed_table_are_text(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"file": ["a.png", "b.png"], "label": [1, 0], "patient": [12.0, None]})
    path = tmp_path / f"table.{ending}"
    if ending == "xlsx":
        pytest.importorskip("openpyxl")
        frame.to_excel(path, index=False)
    else:
        frame.to_parquet(path)
    assert read(path).rows == [Row("a.png", "1", "12"), Row("b.png", "0", "")]


def test_excel_says_which_package_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "find_spec", lambda _name: None)
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(TableError, match="pip install openpyxl"):
        read(tmp_path / "table.xlsx")


def test_ids_of_a_csv_stay_as_they_are_written(tmp_path: Path) -> None:
    ids = ["001", "NA", "null", "1e5", "True", "1.0"]
    (tmp_path / "t.csv").write_text("file,label,patient\n" + "".join(f"{i},1.0,{i}\n" for i in ids), encoding="utf-8")
    assert [(row.patient, row.label) for row in read(tmp_path / "t.csv").rows] == [(i, "1") for i in ids]


def test_the_lists_of_the_nih_are_read_as_they_are(tmp_path: Path) -> None:
    lines = "C47P8thin_Motic,['C47P8thin_Motic_IMG_1_cell_1.png', 'C47P8thin_Motic_IMG_1_cell_2.png'],,,\r\n"
    lines += "healthy_7,['healthy_7_IMG_3_cell_9.png']\r\n"
    (tmp_path / "mapping_a.csv").write_text(lines, newline="")
    (tmp_path / "mapping_b.csv").write_text("C3thin,['C3thin_IMG_1_cell_1.png'],\r\n", newline="")
    found = read(tmp_path / "mapping_*.csv", "patient")
    assert [row.patient for row in found.rows] == ["C47", "C47", "healthy_7", "C3"]
    assert (found.rows[0].file, len(found.sha256)) == ("C47P8thin_Motic_IMG_1_cell_1.png", 2)
    assert found.name == "mapping_*.csv"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "file and label"),
        ("file,label,Label\na.png,Parasitized,Uninfected\n", "2 columns called 'label'"),
        ("C1,['C1_IMG_1_cell_1.png']\n", "give it as source.patients"),
        ("file,label\n", "no rows"),
        ("a.png,Parasitized\n", "'a.png', 'Parasitized'"),
        ("file,label\na.png,Parasitized,C1\n", "'a.png' has 3 values"),
        ('file,label\n"a.png,Parasitized\n', "file and label"),
        ("file,label\na\xff.png,Parasitized\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_named_with_what_it_needs(tmp_path: Path, text: str | bytes, words: str) -> None:
    (tmp_path / "table.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TableError, match=r"source\.labels: .*table\.csv") as caught:
        read(tmp_path / "table.csv")
    assert words in str(caught.value)


def test_a_damaged_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError, match=r"table\.parquet cannot be read"):
        read(tmp_path / "table.parquet")


@pytest.mark.parametrize("name", ["nowhere.csv", "none_*.csv", "~nobody_here/table.csv", ""])
def test_a_table_that_is_no_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableError, match=r"source\.labels: "):
        read(tmp_path / name if not name.startswith("~") else name)


def test_patients_in_two_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("file,label,patient\na.png,Parasitized,P1\n")
    path = str(tmp_path / "table.csv")
    with pytest.raises(TableError, match="leave one out"):
        read_patients(Source(path="cells", labels=path, patients=path))
    assert read_patients(Source(path="cells", labels=path)).rows[0].patient == "P1"


# --- which image a row is of ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    ["day1/x.png", "x.png", "./day1/x.png", "x", "/home/me/cells/day1/x.png", r"C:\cells\day1\x.png", r"day1\x.png"],
)
def test_a_file_is_named_by_its_path_its_end_or_more(file: str) -> None:
    rows, copies, use = match_rows(table(Row(file)), ["day1/x.png", "day1/y.png"])
    assert (list(rows), copies, use.unmatched) == (["day1/x.png"], [], 0)


@pytest.mark.parametrize("file", ["day2/x.png", "x.jpg", "X.png", "", "/"])
def test_what_names_no_image_is_counted_with_an_example(file: str) -> None:
    rows, _, use = match_rows(table(Row(file), Row("x.png")), ["day1/x.png"])
    assert len(rows["day1/x.png"]) == 1
    assert (use.rows, use.unmatched, use.example) == (2, 1, file)


def test_accents_taken_apart_are_the_same_name() -> None:
    rows, _, _ = match_rows(table(Row("Ko\u0308ln.png")), ["K\u00f6ln.png"])
    assert list(rows) == ["K\u00f6ln.png"]


def test_a_name_of_two_images_is_refused_unless_they_are_equal() -> None:
    paths = ["b/1.png", "a/1.png"]
    with pytest.raises(TableError, match=r"'1\.png' in table\.csv may be a/1\.png or b/1\.png"):
        match_rows(table(Row("1.png")), paths)
    rows, copies, _ = match_rows(table(Row("1.png")), paths, same=lambda _one, _other: True)
    assert (list(rows), copies) == (["a/1.png"], ["b/1.png"])


def test_a_whole_path_is_of_its_image_even_if_another_ends_like_it() -> None:
    rows, copies, _ = match_rows(table(Row("1.png"), Row("a/1.png")), ["1.png", "a/1.png"])
    assert {path: len(its) for path, its in rows.items()} == {"1.png": 1, "a/1.png": 1}
    assert copies == []


def test_rows_that_repeat_are_counted() -> None:
    _, _, use = match_rows(table(Row("x.png"), Row("x.png"), Row("x")), ["x.png"])
    assert use.notes() == {
        "rows in table.csv": 3,
        "rows in table.csv for an image that another row is for": 2,
    }


# --- patients ---------------------------------------------------------------------------------------------------

PATHS = ["a.png", "b.png", "c.png", "d.png"]


def patients(*names: str, named: list[str | None] | None = None, missing: float = 0.0):
    rows = (Row(path, patient=name) for path, name in zip(PATHS, names, strict=False))
    given = table(*rows, parameter="source.patients")
    return attribute_patients(given, PATHS, named or [None] * 4, missing)


def test_the_table_counts_and_not_the_name() -> None:
    found, notes = patients("P1", "P1", "P2", "P2", named=["C1", "C1", "C2", "C2"])
    assert found == ["P1", "P1", "P2", "P2"]
    assert notes == {"rows in table.csv": 4, "cells whose patient is in table.csv": 4}


@pytest.mark.parametrize(
    ("names", "differ"),
    [(["P1", "P2", "P3", "P3"], 2), (["P1", "P1", "P1", "P1"], 4), (["P1", "P2", "P2", "P2"], 4)],
    ids=["one person in two", "two persons in one", "a cell moved"],
)
def test_cells_of_other_people_than_by_their_names_are_counted(names, differ, caplog) -> None:
    _, notes = patients(*names, named=["C1", "C1", "C2", "C2"])
    assert notes["cells of other patients in table.csv than by their file names"] == differ
    assert f"{differ} cells are of other patients" in caplog.text


def test_a_cell_that_is_not_in_the_table_has_no_patient_though_its_name_has_one() -> None:
    found, notes = patients("P1", "", "P2", named=["C1"] * 4, missing=50.0)
    assert found == ["P1", None, "P2", None]
    assert notes["cells without one patient in table.csv"] == 2
    with pytest.raises(TableError, match=r"2 of the 4 cells \(the first is b\.png\).*max_ignored_pct"):
        patients("P1", "", "P2", missing=49.9)


def test_a_cell_of_two_patients_has_none() -> None:
    given = table(Row("a.png", patient="P1"), Row("a.png", patient="P2"))
    found, notes = attribute_patients(given, ["a.png"], [None], 100.0)
    assert found == [None]
    assert notes["cells of several patients in table.csv"] == 1


# --- what was made with other tables ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("patients", None),
        ("limit", 3),
        ("patient_pattern", "(.)"),
        ("exclude", "left_out.csv"),
        ("class_names", {"1": "Parasitized"}),
    ],
)
def test_an_index_of_another_source_is_refused(tmp_path: Path, monkeypatch, key: str, other: object) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path, {"patients.csv": b"file,patient\na.png,P1\n", "left_out.csv": b"path\na.png\n"})
    source = Source(path="cells", patients="patients.csv")
    index = pd.DataFrame({"cell_id": ["a"]})
    index.attrs["source"] = identify(source)
    refuse_other_source(index, source)
    with pytest.raises(TableError, match=rf"source\.{key} "):
        refuse_other_source(index, source.model_copy(update={key: other}))


def test_an_index_is_refused_once_its_table_has_changed(tmp_path: Path, phantom_folder) -> None:
    rows = [f"{path},P{number % 4}" for number, path in enumerate(phantom_folder.cells())]
    path = tmp_path / "patients.csv"
    path.write_text("\n".join(["file,patient", *rows]))
    source = Source(path="cells", patients=str(path))
    index = index_cells(phantom_folder.root, patient_pattern="(x)", patients=read_patients(source))
    assert set(index["patient_id"]) == {"P0", "P1", "P2", "P3"}
    assert index.attrs["tables"]["cells whose patient is in patients.csv"] == len(index)
    index.attrs["source"] = identify(source)
    index.to_parquet(tmp_path / "index.parquet")
    stored = pd.read_parquet(tmp_path / "index.parquet")
    refuse_other_source(stored, source)
    path.write_text("\n".join(["file,patient", *rows[1:]]))
    with pytest.raises(TableError, match=r"source\.patients"):
        refuse_other_source(stored, source)
