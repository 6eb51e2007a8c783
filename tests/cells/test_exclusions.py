"""Cells that a user leaves out: named in a CSV, kept in the table with the reason, never deleted."""

import pandas as pd
import pytest

from malaria_kedro.cells.csv_tables import write_csv
from malaria_kedro.cells.exclusions import ExclusionError, exclude_cells, read_exclusions
from malaria_kedro.cells.index import index_cells
from malaria_kedro.cells.names import NIH_PATIENT_PATTERN


def write(path, *lines: str):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_first_column_names_cells_whatever_stands_beside(tmp_path):
    path = write(tmp_path / "audit.csv", "cell_id,rank,score", "a,1,0.01", "b,2,0.02", "")
    assert read_exclusions(path) == ["a", "b"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ExclusionError, match=r"source\.exclude names .*nowhere\.csv, which cannot be read"):
        read_exclusions(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("lines", [(), ("cell_id",), ("cell_id", "", " ")])
def test_a_list_without_a_cell_is_an_error(tmp_path, lines):
    with pytest.raises(ExclusionError, match="names no cell; it needs a header"):
        read_exclusions(write(tmp_path / "empty.csv", *lines))


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "audit.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(ExclusionError, match="no CSV in UTF-8"):
        read_exclusions(tmp_path / "audit.xlsx")


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
    with pytest.raises(ExclusionError, match=r"1 of the 2 names in audit\.csv are of no cell here .*'nobody'"):
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
    write_csv(index[["cell_id"]].assign(rank=1), tmp_path / "label_audit.csv")
    left_out = exclude_cells(index, read_exclusions(tmp_path / "label_audit.csv"), "label_audit.csv")
    assert set(left_out["excluded"]) == {"named in label_audit.csv"}


def test_spaces_around_a_name_that_someone_has_typed_do_not_matter(tmp_path):
    index = pd.DataFrame({"cell_id": ["a", "b"], "path": ["Parasitized/a.png", "Parasitized/b.png"], "excluded": ""})
    typed = write(tmp_path / "typed.csv", "cell", "  a ", " ", "")
    assert exclude_cells(index, read_exclusions(typed), "typed.csv")["excluded"].tolist() == ["named in typed.csv", ""]
