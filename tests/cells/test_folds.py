"""Folds: every cell once, a patient in one fold, whatever the order of the table."""

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.cells.folds import FoldError, fold_cells
from malaria_kedro.names import PARASITIZED


def cells(patients: int = 12, each: int = 10) -> pd.DataFrame:
    rows = patients * each
    return pd.DataFrame(
        {
            "cell_id": [f"cell{number:04}" for number in range(rows)],
            "patient_id": [f"C{number // each}" for number in range(rows)],
            "label": ["Parasitized" if number % 3 else "Uninfected" for number in range(rows)],
        }
    )


@pytest.mark.parametrize("strategy", ["patient", "random"])
def test_every_cell_has_a_fold_and_each_fold_both_classes(strategy):
    table = cells()
    table["fold"] = fold_cells(table, strategy=strategy, folds=4, seed=1)
    assert set(table["fold"]) == {1, 2, 3, 4}
    assert (table.groupby("fold")["label"].nunique() == 2).all()


def test_a_patient_is_in_one_fold_only():
    table = cells()
    table["fold"] = fold_cells(table, strategy="patient", folds=4, seed=1)
    assert (table.groupby("patient_id")["fold"].nunique() == 1).all()


def test_at_random_a_patient_is_on_both_sides():
    table = cells()
    table["fold"] = fold_cells(table, strategy="random", folds=4, seed=1)
    assert (table.groupby("patient_id")["fold"].nunique() > 1).all()


@pytest.mark.parametrize("strategy", ["patient", "random"])
def test_the_order_of_the_table_plays_no_part(strategy):
    table = cells()
    shuffled = table.sample(frac=1, random_state=3)
    found = pd.Series(fold_cells(shuffled, strategy=strategy, folds=3, seed=1), index=shuffled.index).sort_index()
    assert found.tolist() == fold_cells(table, strategy=strategy, folds=3, seed=1).tolist()


def test_another_seed_makes_other_folds():
    one, other = (fold_cells(cells(), strategy="patient", folds=3, seed=seed) for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_healthy_patients_are_spread():
    table = cells(patients=20)
    table.loc[table["patient_id"].isin([f"C{number}" for number in range(8)]), "label"] = "Uninfected"
    table["fold"] = fold_cells(table, strategy="patient", folds=4, seed=1)
    share = table.groupby("fold")["label"].apply(lambda labels: (labels == PARASITIZED).mean())
    assert share.max() - share.min() < 0.15


@pytest.mark.parametrize(
    ("table", "strategy", "words"),
    [
        (cells(patients=2), "patient", r"2 patients .* 3 folds.*cross_validation\.folds"),
        (cells().assign(patient_id=None), "patient", "name no patient; set source.patient_pattern"),
        (cells().assign(label="Uninfected"), "random", "3 folds need 3 cells .* has 0"),
        (cells().head(3), "random", "3 folds need 3 cells"),
    ],
    ids=["few patients", "no patient", "one class", "three cells"],
)
def test_what_cannot_be_folded_is_said(table, strategy, words):
    with pytest.raises(FoldError, match=words):
        fold_cells(table, strategy=strategy, folds=3, seed=1)


def test_all_cells_of_a_class_in_one_patient_cannot_be_folded():
    table = cells().assign(label="Uninfected")
    table.loc[table["patient_id"] == "C1", "label"] = "Parasitized"
    with pytest.raises(FoldError, match="one class only to train on"):
        fold_cells(table, strategy="patient", folds=3, seed=1)


# --- equal pictures -------------------------------------------------------------------------------------------------


def with_pictures(table: pd.DataFrame, *equal: list[int]) -> pd.DataFrame:
    picture = table["cell_id"].to_numpy(dtype=object).copy()
    for rows in equal:
        picture[rows] = picture[rows[0]]
    return table.assign(pixels_sha256=picture)


@pytest.mark.parametrize("strategy", ["patient", "random"])
def test_without_equal_pictures_folds_are_as_they_were(strategy):
    expected = fold_cells(cells(), strategy=strategy, folds=4, seed=1)
    assert fold_cells(with_pictures(cells()), strategy=strategy, folds=4, seed=1).tolist() == expected.tolist()


@pytest.mark.parametrize("strategy", ["patient", "random"])
@pytest.mark.parametrize("seed", range(5))
def test_equal_pictures_are_in_one_fold(strategy, seed):
    table = with_pictures(cells(patients=24), [1, 2, 4, 14], [0, 3, 33], [100, 101], [55, 155])
    table["fold"] = fold_cells(table, strategy=strategy, folds=4, seed=seed)
    assert (table.groupby("pixels_sha256")["fold"].nunique() == 1).all()
    assert set(table["fold"]) == {1, 2, 3, 4}


def test_patients_who_share_a_picture_are_in_one_fold():
    table = with_pictures(cells(), [1, 31, 61])
    table["fold"] = fold_cells(table, strategy="patient", folds=4, seed=1)
    assert table.loc[table["patient_id"].isin(["C0", "C3", "C6"]), "fold"].nunique() == 1


def test_with_equal_pictures_random_folds_stay_even_in_size_and_classes():
    table = with_pictures(cells(patients=40), [1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17], [0, 3, 6])
    table["fold"] = fold_cells(table, strategy="random", folds=5, seed=1)
    assert table["fold"].value_counts().between(79, 81).all()
    share = table.groupby("fold")["label"].apply(lambda labels: (labels == PARASITIZED).mean())
    assert share.max() - share.min() < 0.02


@pytest.mark.parametrize("strategy", ["patient", "random"])
def test_with_equal_pictures_the_order_of_the_table_plays_no_part(strategy):
    table = with_pictures(cells(), [1, 2, 4, 14], [0, 3, 33])
    shuffled = table.sample(frac=1, random_state=3)
    found = pd.Series(fold_cells(shuffled, strategy=strategy, folds=3, seed=1), index=shuffled.index).sort_index()
    assert found.tolist() == fold_cells(table, strategy=strategy, folds=3, seed=1).tolist()


def test_copies_do_not_count_as_cells_to_fold():
    table = with_pictures(cells(), [n for n in range(120) if n % 3 == 0])
    with pytest.raises(FoldError, match=r"3 folds need 3 pictures .* has 1"):
        fold_cells(table, strategy="random", folds=3, seed=1)


def test_patients_joined_by_equal_pictures_count_as_one():
    table = with_pictures(cells(patients=4), [1, 11, 22])
    with pytest.raises(FoldError, match=r"2 patients \(of 4: .* 3 folds"):
        fold_cells(table, strategy="patient", folds=3, seed=1)
