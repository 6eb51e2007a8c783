"""Folds: every cell once, a patient in one fold, whatever the order of the table."""

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.cells.folds import FoldError, fold_cells
from malaria_kedro.cells.names import PARASITIZED


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
        (cells(patients=2), "patient", r"2 patients cannot make 3 folds; take fewer \(cross_validation\.folds\)"),
        (cells().assign(patient_id=None), "patient", "name no patient; set source.patient_pattern"),
        (cells().assign(label="Uninfected"), "random", "3 folds need 3 cells of each class, and one class has 0"),
        (cells().head(3), "random", "3 folds need 3 cells of each class"),
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
