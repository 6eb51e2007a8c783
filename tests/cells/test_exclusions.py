"""Cells that a user leaves out: named in a CSV, kept in the table with the reason, never deleted."""

import os
import unicodedata

import pandas as pd
import pytest

from malaria_kedro.cells.csv_tables import write_csv
from malaria_kedro.cells.exclusions import ExclusionError, exclude_cells, names_of_cells, read_exclusions
from malaria_kedro.cells.index import index_cells
from malaria_kedro.names import NIH_PATIENT_PATTERN, spreadsheet_safe


def write(path, *lines: str):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_first_column_names_cells_whatever_stands_beside(tmp_path):
    path = write(tmp_path / "audit.csv", "cell_id,audit_rank,score", "a,1,0.01", "b,2,0.02", "")
    assert read_exclusions(path) == ["a", "b"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ExclusionError, match=r"source\.exclude names .*nowhere\.csv, which cannot be read"):
        read_exclusions(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("lines", [(), ("cell_id",), ("cell_id", "", " ")])
def test_a_list_without_a_cell_is_an_error(tmp_path, lines):
    with pytest.raises(ExclusionError, match="names no cell; it needs a header"):
        read_exclusions(write(tmp_path / "empty.csv", *lines))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ExclusionError, match=r"pipe, which cannot be read \(it is a pipe, a socket or a device"):
        read_exclusions(tmp_path / "pipe")


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "audit.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(ExclusionError, match="no CSV in UTF-8"):
        read_exclusions(tmp_path / "audit.xlsx")


def test_a_list_that_is_cut_off_inside_a_name_is_an_error(tmp_path):
    (tmp_path / "audit.csv").write_text('cell_id\n"a"\n"b')
    with pytest.raises(ExclusionError, match="no CSV in UTF-8"):
        read_exclusions(tmp_path / "audit.csv")


@pytest.mark.parametrize("column", ["cell_id", "path"])
def test_cells_are_named_by_id_or_path(phantom_index, column):
    names = list(phantom_index[column].iloc[[3, 8]])
    index = exclude_cells(phantom_index, names, "audit.csv")
    assert list(index.index[index["excluded"] != ""]) == [3, 8]
    assert set(index["excluded"].iloc[[3, 8]]) == {"named in audit.csv"}
    assert (phantom_index["excluded"] == "").all()


def test_a_file_name_is_enough(phantom_index):
    name = phantom_index["path"].iloc[5].rpartition("/")[2]
    assert exclude_cells(phantom_index, [name], "audit.csv")["excluded"].iloc[5] == "named in audit.csv"


def test_a_name_that_is_of_no_cell_is_an_error(phantom_index):
    with pytest.raises(ExclusionError, match=r"1 of the 2 names in audit\.csv .*'nobody'"):
        exclude_cells(phantom_index, [phantom_index["cell_id"].iloc[0], "nobody"], "audit.csv")


def test_a_name_of_two_cells_is_an_error():
    index = pd.DataFrame(
        {
            "cell_id": ["Parasitized/1.png", "Uninfected/1.png"],
            "path": ["Parasitized/1.png", "Uninfected/1.png"],
            "excluded": "",
        }
    )
    with pytest.raises(ExclusionError, match="of several cells"):
        exclude_cells(index, ["1.png"], "audit.csv")


def test_what_was_excluded_before_keeps_its_reason(phantom_index):
    index = phantom_index.assign(excluded=["unreadable: broken"] + [""] * (len(phantom_index) - 1))
    found = exclude_cells(index, [index["cell_id"].iloc[0]], "audit.csv")
    assert found["excluded"].iloc[0] == "unreadable: broken"


def test_the_index_of_a_folder_has_them_excluded(phantom_folder, phantom_index, tmp_path):
    unwanted = phantom_index["cell_id"].iloc[7]
    path = write(tmp_path / "audit.csv", "cell_id", unwanted)
    index = index_cells(phantom_folder.root, patient_pattern=NIH_PATIENT_PATTERN, exclude=path)
    assert list(index.loc[index["excluded"] != "", "cell_id"]) == [unwanted]
    assert len(index) == len(phantom_index)


ODD_IDS = [
    "001",
    "1e5",
    "NA",
    "null",
    "nan",
    "-1",
    "=1+1",
    "'=1",
    "@x",
    "  x",
    " ",
    'a"b',
    "a,b",
    "a\nb",
    "患者",
    "$x^{",
]


def test_odd_ids_come_back_from_a_csv_for_people(tmp_path):
    index = pd.DataFrame({"cell_id": ODD_IDS, "path": [f"Parasitized/{n}.png" for n in ODD_IDS], "excluded": ""})
    write_csv(index[["cell_id"]].assign(audit_rank=1), tmp_path / "label_audit.csv")
    names = read_exclusions(tmp_path / "label_audit.csv", names_of_cells(index["cell_id"], index["path"]))
    left_out = exclude_cells(index, names, "label_audit.csv")
    assert set(left_out["excluded"]) == {"named in label_audit.csv"}


def test_spaces_around_a_name_that_someone_has_typed_do_not_matter(tmp_path):
    index = pd.DataFrame({"cell_id": ["a", "b"], "path": ["Parasitized/a.png", "Parasitized/b.png"], "excluded": ""})
    typed = write(tmp_path / "typed.csv", "cell", "  a ", " ", "")
    assert exclude_cells(index, read_exclusions(typed), "typed.csv")["excluded"].tolist() == ["named in typed.csv", ""]


# --- the first column ---


def numbered(count: int = 40) -> pd.DataFrame:
    cell_ids = [str(number) for number in range(count)]
    return pd.DataFrame({"cell_id": cell_ids, "path": [f"Uninfected/{name}.png" for name in cell_ids], "excluded": ""})


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (None, r"line 1 .* 'cell_id' in another: put cell_id or path"),
        (
            "row",
            r"\(row\) .*'0' on line 2.* '17': put .* cell_id first",
        ),
    ],
)
def test_an_index_before_the_names_is_refused_though_cells_are_called_like_it(tmp_path, label, told):
    index = numbered()
    index.iloc[[17, 23, 31]].reset_index(drop=True).to_csv(tmp_path / "a.csv", index_label=label)
    with pytest.raises(ExclusionError, match=told):
        read_exclusions(tmp_path / "a.csv", names_of_cells(index["cell_id"], index["path"]))


@pytest.mark.parametrize("row", ["17,Uninfected/17.png", "17.png,17", "Uninfected/17.png,17", "17,"])
@pytest.mark.parametrize("other", ["cell_id", "path"])
def test_a_first_column_of_another_title_counts_where_it_names_the_same_cells(tmp_path, row, other):
    assert read_exclusions(write(tmp_path / "a.csv", f"cell,{other}", row)) == [row.split(",")[0]]


@pytest.mark.parametrize("first", ["", " ", '""'])
def test_a_line_without_a_name_but_with_something_beside_it_is_an_error(tmp_path, first):
    index = numbered()
    path = write(tmp_path / "a.csv", "cell_id,path", '"17","a', 'b"', "", ",", " , ", f"{first},Uninfected/30.png")
    with pytest.raises(ExclusionError, match=r"line 7 .* 'Uninfected/30\.png' in another"):
        read_exclusions(path, names_of_cells(index["cell_id"], index["path"]))


def test_lines_without_anything_are_passed_over(tmp_path):
    index = numbered()
    path = write(tmp_path / "a.csv", ",", "cell_id,path", "17,Uninfected/17.png", ",", " , ", "", "23,")
    names = read_exclusions(path, names_of_cells(index["cell_id"], index["path"]))
    excluded = exclude_cells(index, names, "a.csv")["excluded"]
    assert list(excluded.index[excluded != ""]) == [17, 23]


# --- the first line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["cell_id", "path", "file"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_list_without_a_header_loses_no_cell(phantom_folder, phantom_index, tmp_path, column, count):
    table = phantom_index.assign(file=phantom_index["path"].str.rpartition("/")[2])
    unwanted = table.iloc[[5, 9, 20][:count]]
    path = write(tmp_path / "mine.csv", *unwanted[column])
    index = index_cells(phantom_folder.root, patient_pattern=NIH_PATIENT_PATTERN, exclude=path)
    assert list(index.loc[index["excluded"] != "", "cell_id"]) == list(unwanted["cell_id"])


def test_a_first_line_that_is_an_image_of_no_cell_is_no_header(phantom_folder, phantom_index, tmp_path):
    path = write(tmp_path / "mine.csv", "misspelt.png", phantom_index["cell_id"].iloc[0])
    with pytest.raises(ExclusionError, match=r"1 of the 2 names .*'misspelt\.png'"):
        index_cells(phantom_folder.root, patient_pattern=NIH_PATIENT_PATTERN, exclude=path)


def test_a_first_line_that_is_taken_for_a_header_is_said_unless_it_is_a_usual_one(tmp_path, caplog):
    assert read_exclusions(write(tmp_path / "a.csv", "cell_id", "x"), {"x"}) == ["x"]
    assert not caplog.records
    assert read_exclusions(write(tmp_path / "a.csv", "misspelt", "x"), {"x"}) == ["x"]
    assert "a.csv, 'misspelt', is of no cell" in caplog.text


# --- names as they are written --------------------------------------------------------------------------------------


def named(*cell_ids: str) -> pd.DataFrame:
    return pd.DataFrame({"cell_id": cell_ids, "path": [f"Parasitized/{name}.png" for name in cell_ids], "excluded": ""})


@pytest.mark.parametrize("name", ["007", "NA", "null", "1e5", "True", "2024_01_15"])
def test_names_are_text_exactly_as_they_are_written(tmp_path, name):
    index = named("007", "7", "NA", "null", "1e5", "100000", "True", "2024_01_15", "20240115")
    names = read_exclusions(write(tmp_path / "a.csv", name), names_of_cells(index["cell_id"], index["path"]))
    found = exclude_cells(index, names, "a.csv")
    assert list(found.loc[found["excluded"] != "", "cell_id"]) == [name]


@pytest.mark.parametrize(("listed", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_count_the_same_taken_apart_or_not(tmp_path, listed, on_disk):
    index = named(unicodedata.normalize(on_disk, "Präparat_é"), "other")
    path = write(tmp_path / "a.csv", unicodedata.normalize(listed, "Präparat_é"))
    names = read_exclusions(path, names_of_cells(index["cell_id"], index["path"]))
    assert list(exclude_cells(index, names, "a.csv")["excluded"]) == ["named in a.csv", ""]


def test_of_two_cells_that_differ_in_the_form_alone_the_one_as_written_is_meant():
    forms = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
    assert list(exclude_cells(named(*forms), [forms[1]], "a.csv")["excluded"]) == ["", "named in a.csv"]


def test_a_name_with_the_apostrophe_of_a_spreadsheets_table_is_understood(tmp_path):
    index = named("=1+1", "'=1+1", "'x")
    known = names_of_cells(index["cell_id"], index["path"])
    for row, cell_id in enumerate(index["cell_id"]):
        names = read_exclusions(write(tmp_path / "a.csv", spreadsheet_safe(cell_id)), known)
        excluded = exclude_cells(index, names, "a.csv")["excluded"]
        assert list(excluded[excluded != ""].index) == [row]


def test_spaces_around_a_name_count_where_a_cell_has_them_and_not_elsewhere(tmp_path):
    index = named(" a ", "a", "b")
    names = read_exclusions(
        write(tmp_path / "a.csv", " a ", " b ", " "), names_of_cells(index["cell_id"], index["path"])
    )
    assert list(exclude_cells(index, names, "a.csv")["excluded"] != "") == [True, False, True]
