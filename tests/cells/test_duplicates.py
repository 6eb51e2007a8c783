"""Equal pictures: found by their pixels, counted, listed, and never used under two labels."""

from __future__ import annotations

import pandas as pd

from malaria_kedro.cells.duplicates import (
    BOTH_LABELS,
    LISTED,
    count_equal,
    exclude_contradictions,
    join_patients,
    list_equal,
    pictures_of,
)
from malaria_kedro.names import PARASITIZED, UNINFECTED

COLUMNS = ["cell_id", "patient_id", "label", "pixels_sha256"]


def table(*rows: tuple[str, str | None, str, str | None]) -> pd.DataFrame:
    """Return an index of cells: id, patient, label and picture."""
    return (
        pd.DataFrame(rows, columns=COLUMNS)
        .astype("str")
        .assign(excluded="", sha256=[f"f{n}" for n in range(len(rows))])
    )


# --- what tells pictures apart --------------------------------------------------------------------------------------


def test_a_picture_is_told_by_its_pixels_else_by_its_bytes_else_it_is_its_own():
    cells = pd.DataFrame(
        {
            "cell_id": ["a", "b", "c", "d", "e", "f"],
            "sha256": ["1", "2", "3", "3", None, None],
            "pixels_sha256": ["x", "x", None, None, None, None],
        }
    )
    numbers = pd.factorize(pictures_of(cells))[0].tolist()
    assert numbers == [0, 0, 1, 1, 2, 3]


def test_without_hashes_every_cell_is_a_picture_of_its_own():
    assert pictures_of(pd.DataFrame({"cell_id": ["a", "b"]})).is_unique


# --- both labels ----------------------------------------------------------------------------------------------------


def test_all_cells_of_a_picture_under_both_labels_are_excluded():
    index = table(
        ("a", "C1", PARASITIZED, "x"),
        ("b", "C1", PARASITIZED, "x"),
        ("c", "C2", UNINFECTED, "x"),
        ("d", "C2", UNINFECTED, "y"),
    )
    found = exclude_contradictions(index).set_index("cell_id")["excluded"]
    assert found.to_dict() == {
        "a": f"{BOTH_LABELS}: also c as Uninfected",
        "b": f"{BOTH_LABELS}: also c as Uninfected",
        "c": f"{BOTH_LABELS}: also a as Parasitized",
        "d": "",
    }
    assert (index["excluded"] == "").all()


def test_sixty_copies_of_one_image_half_under_each_label_leave_nothing(caplog):
    rows = [(f"c{n:02}", f"C{n}", PARASITIZED if n % 2 else UNINFECTED, "x") for n in range(60)]
    index = exclude_contradictions(table(*rows))
    assert index["excluded"].str.startswith(BOTH_LABELS).all()
    assert "60 cells (30 Parasitized, 30 Uninfected) show 1 pictures" in caplog.text


def test_an_excluded_cell_contradicts_nothing(caplog):
    index = table(("a", "C1", PARASITIZED, "x"), ("b", "C2", UNINFECTED, "x"))
    index.loc[0, "excluded"] = "named in audit.csv"
    assert exclude_contradictions(index) is index
    assert caplog.text == ""


# --- counts and lists -----------------------------------------------------------------------------------------------

EQUAL = table(
    ("a", "C1", PARASITIZED, "x"),
    ("b", "C1", PARASITIZED, "x"),
    ("c", "C1", UNINFECTED, "y"),
    ("d", "C2", UNINFECTED, "y"),
    ("e", None, UNINFECTED, "y"),
    ("f", "C3", UNINFECTED, "z"),
)


def test_equal_cells_are_counted_with_their_pictures_and_those_across_patients():
    assert count_equal(EQUAL) == {"n_cells": 5, "n_pictures": 2, "n_across_patients": 1}
    assert count_equal(EQUAL.iloc[[0, 2, 5]]) == {"n_cells": 0, "n_pictures": 0, "n_across_patients": 0}


def test_equal_cells_are_listed_those_of_several_patients_first():
    assert list_equal(EQUAL) == [
        {"cell_ids": ["c", "d", "e"], "n_cells": 3, "label": UNINFECTED, "patients": ["C1", "C2"]},
        {"cell_ids": ["a", "b"], "n_cells": 2, "label": PARASITIZED, "patients": ["C1"]},
    ]


def test_lists_have_an_end():
    many = table(*[(f"{n:04}", "C1", PARASITIZED, f"p{n % 30}") for n in range(3000)])
    found = list_equal(many)
    assert (len(found), {len(one["cell_ids"]) for one in found}, {one["n_cells"] for one in found}) == (
        LISTED,
        {LISTED},
        {100},
    )


# --- patients who share a picture -----------------------------------------------------------------------------------


def test_patients_who_share_a_picture_are_joined_also_through_others():
    patients = pd.Series(["C3", "C1", "C1", "C2", "C4", "C5"])
    pictures = pd.Series(["x", "x", "y", "y", "z", "w"])
    assert join_patients(patients, pictures).tolist() == ["C1", "C1", "C1", "C1", "C4", "C5"]


def test_a_picture_twice_of_one_patient_joins_nobody():
    patients = pd.Series(["C1", "C1", "C2"])
    assert join_patients(patients, pd.Series(["x", "x", "y"])).tolist() == ["C1", "C1", "C2"]
