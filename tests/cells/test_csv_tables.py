"""CSV tables: every value comes back as it was, nothing is guessed, and a spreadsheet runs nothing."""

import csv

import pandas as pd
import pytest

from malaria_kedro.cells.csv_tables import CsvTableError, read_csv, write_csv

# What pandas, spreadsheets and other readers of CSV take for something else.
ODD_NAMES = [
    *("001", "1e5", "1.0", "-1", "inf", "0x10", "1_000", "2024-01-01", "True", "false", "-", "+", "@home"),
    *("NA", "N/A", "#N/A", "<NA>", "nan", "NaN", "null", "NULL", "None", "", " ", "  x", "x  ", "–", "unknown"),
    *("=1+1", "'=1", "''=1", "'", "\t", "\r", "\n", "a\nb", "a\r\nb", "a,b", ";", 'a"b', '"', '""', "#", "\ufeffx"),
    *("é", "e\u0301", "患者", "😀", "\u202ex", "$x^{", "<script>", "a\0b", "\\N", "\\"),
]
TYPES = {"cells": "int64", "epoch": "Int64", "rate": "float64", "healthy": "bool"}


@pytest.fixture
def table() -> pd.DataFrame:
    """One row per odd name, the last row without one."""
    n = len(ODD_NAMES) + 1
    return pd.DataFrame(
        {
            "patient_id": pd.Series([*ODD_NAMES, None], dtype="str"),
            "cells": range(-1, n - 1),
            "epoch": pd.array([None, *[2**60 + 1] * (n - 1)], dtype="Int64"),
            "rate": [None, -0.1, float("inf"), 1e-300, *[1 / 3] * (n - 4)],
            "healthy": [True, False] * (n // 2) + [True] * (n % 2),
        }
    )


def test_every_value_comes_back_as_it_was(table, tmp_path):
    write_csv(table, tmp_path / "table.csv", TYPES)
    pd.testing.assert_frame_equal(read_csv(tmp_path / "table.csv", TYPES), table, check_exact=True)


def test_a_single_column_keeps_its_missing_ids(table, tmp_path):
    ids = table[["patient_id"]].iloc[[0, -1, 3, -1]].reset_index(drop=True)
    write_csv(ids, tmp_path / "table.csv")
    pd.testing.assert_frame_equal(read_csv(tmp_path / "table.csv", {}), ids)


@pytest.mark.parametrize("no_rows", [pd.DataFrame({"patient_id": pd.Series([], dtype="str"), "cells": []})])
def test_no_row_at_all_keeps_the_types(no_rows, tmp_path):
    write_csv(no_rows, tmp_path / "table.csv", TYPES)
    assert read_csv(tmp_path / "table.csv", TYPES).dtypes.astype("str").to_dict() == {
        "patient_id": "str",
        "cells": "int64",
    }


def test_no_text_of_the_file_is_a_formula_and_numbers_stay_numbers(table, tmp_path):
    write_csv(table, tmp_path / "table.csv", TYPES)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient_id"] for row in rows if row["patient_id"][:1] in set("=+-@\t\r\n")] == []
    assert rows[0]["cells"] == "-1"
    assert rows[1]["rate"] == "-0.1"


def test_names_of_columns_are_no_formulas_either(tmp_path):
    write_csv(pd.DataFrame({"=a": ["x"], "'=a": ["y"]}), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text().startswith('"\'=a","\'\'=a"')
    assert list(read_csv(tmp_path / "table.csv", {})) == ["=a", "'=a"]


def test_only_nothing_between_commas_is_missing(tmp_path):
    (tmp_path / "table.csv").write_text('patient_id,cells\n,1\n"",2\nNA,3\nnull,4\nnan,5\n')
    patients = read_csv(tmp_path / "table.csv", TYPES)["patient_id"]
    assert patients.isna().tolist() == [True, False, False, False, False]
    assert patients[1:].tolist() == ["", "NA", "null", "nan"]


def test_what_a_spreadsheet_has_saved_again_is_read(tmp_path):
    (tmp_path / "table.csv").write_bytes(
        "patient_id,cells,healthy\r\n001,1,TRUE\r\n'=x,2,FALSE\r\n".encode("utf-8-sig")
    )
    table = read_csv(tmp_path / "table.csv", TYPES)
    assert table.to_dict("list") == {"patient_id": ["001", "=x"], "cells": [1, 2], "healthy": [True, False]}


def test_what_pandas_has_written_is_read(tmp_path):
    table = pd.DataFrame({"patient_id": ["001", "NA", None], "rate": [0.5, 1.0, None], "healthy": [True, False, True]})
    table.to_csv(tmp_path / "table.csv", index=False)
    pd.testing.assert_frame_equal(read_csv(tmp_path / "table.csv", TYPES), table)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no header"),
        ("patient_id;cells\n1;2\n", "save it as CSV with commas"),
        ("cells\n1.5\n", "invalid value '1.5'"),
        ("patient_id,cells\nx,\n", "1 rows have nothing in column 'cells'"),
        ("patient_id,cells\nx,1,2\n", "Expected 2 columns, got 3"),
        ('"name","cells"\n"a",1\n"b', "ends inside a line: it was cut off"),
        (b'"name","cells"\n' + b'"x",1\n' * 500_000 + b'"', "ends inside a line: it was cut off"),
        ("cells,cells\n1,2\n", "two columns are called 'cells'"),
        ("cells,name\n1,\xe9\n".encode("latin-1"), "no CSV in UTF-8"),
        (b"cells,name\n" + b"1,x\n" * 5000 + b"1,\xe9\n", "invalid UTF8"),
        ("cells".encode("utf-16"), "no CSV in UTF-8"),
    ],
    ids=[
        *("empty", "semicolons", "no integer", "nothing", "too many columns", "cut off", "cut off far behind"),
        *("one name twice", "Latin-1", "Latin-1 far behind", "UTF-16"),
    ],
)
def test_another_file_is_refused_with_the_reason(content, said, tmp_path):
    (tmp_path / "table.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CsvTableError, match=said):
        read_csv(tmp_path / "table.csv", TYPES)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"cells": ["001", "002"]}, "it holds text and is declared int64"),
        ({"cells": [1, None]}, "1 of its values are missing"),
        ({"cells": [1.5]}, "truncated"),
        ({"patient_id": [1, 2]}, "it holds int64 and is declared str"),
        ({"healthy": [0, 1]}, "it holds int64 and is declared bool"),
        ({"patient_id": [1, "x"]}, "Could not convert"),
        ({"patient_id": [["x"]]}, "it holds list"),
        ({"patient_id": pd.Series(["\udc80"], dtype="object")}, "surrogates not allowed"),
    ],
)
def test_a_column_of_another_type_is_refused_before_it_is_written(column, said, tmp_path):
    with pytest.raises(CsvTableError, match=said):
        write_csv(pd.DataFrame(column), tmp_path / "table.csv", TYPES)
    assert not (tmp_path / "table.csv").exists()
