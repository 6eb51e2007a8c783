"""Splits: the tutorial's sizes at random, and no patient in two splits where patients decide."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.cells.splits import (
    BALANCE_TOLERANCE,
    SplitError,
    refuse_other_split,
    shared_patients,
    shared_pictures,
    split_cells,
)
from malaria_kedro.names import PARASITIZED, UNINFECTED
from malaria_kedro.parameters import Split


def random_split(valid_pct: float = 0.2, test_pct: float = 0.0, seed: int = 42) -> Split:
    return Split(strategy="random", valid_pct=valid_pct, test_pct=test_pct, seed=seed)


def patient_split(valid_pct: float = 0.2, test_pct: float = 0.0, seed: int = 42) -> Split:
    return Split(strategy="patient", valid_pct=valid_pct, test_pct=test_pct, seed=seed)


def table_of(patients: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """Return an index of patients with so many parasitized and uninfected cells."""
    names, counts = list(patients), np.array(list(patients.values()))
    patient = np.concatenate([np.repeat(names, counts[:, column]) for column in (0, 1)])
    label = np.repeat([PARASITIZED, UNINFECTED], counts.sum(axis=0))
    cell_id = [f"{name}_cell_{number}" for number, name in enumerate(patient)]
    return pd.DataFrame({"cell_id": cell_id, "label": label, "patient_id": patient, "excluded": ""}, dtype="str")


def nih_like(seed: int = 0) -> pd.DataFrame:
    """Return 27,558 cells, 13,779 of each class, of 150 infected and 50 healthy patients of unequal sizes."""
    rng = np.random.default_rng(seed)
    weights = rng.gamma(3.0, size=(2, 200))
    weights[0, 150:] = 0
    parasitized, uninfected = (rng.multinomial(13_779, weight / weight.sum()) for weight in weights)
    return table_of({f"C{n + 1}": (parasitized[n], uninfected[n]) for n in range(200)})


def any_patients(seed: int) -> pd.DataFrame:
    """Return some patients with some cells, of both classes."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(12, 80))
    counts = rng.integers(0, 60, size=(n, 2)) * (rng.random((n, 2)) < 0.8)
    counts[:6] = rng.integers(5, 60, size=(6, 2))
    return table_of({f"C{number}": tuple(count) for number, count in enumerate(counts) if count.sum()})


def joined(index: pd.DataFrame, split: Split) -> pd.DataFrame:
    return split_cells(index, split).merge(index, on="cell_id", validate="one_to_one")


def sizes(index: pd.DataFrame, split: Split) -> dict[str, int]:
    return split_cells(index, split)["split"].value_counts().to_dict()


BOTH = pytest.mark.parametrize("make", [random_split, patient_split])


# --- both strategies ------------------------------------------------------------------------------------------------


@BOTH
def test_every_used_cell_has_one_side(make):
    index = nih_like()
    index.loc[:99, "excluded"] = "unreadable: the file is empty"
    splits = split_cells(index, make(test_pct=0.1))
    assert list(splits.columns) == ["cell_id", "split"]
    assert set(splits["cell_id"]) == set(index["cell_id"][100:])
    assert splits["cell_id"].is_unique
    assert splits["cell_id"].is_monotonic_increasing


@BOTH
def test_the_order_of_the_rows_does_not_matter(make):
    index = nih_like()
    shuffled = index.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(split_cells(index, make()), split_cells(shuffled, make()))


@BOTH
def test_the_seed_does(make):
    index = nih_like()
    assert not split_cells(index, make(seed=1)).equals(split_cells(index, make(seed=2)))


@BOTH
def test_the_test_part_is_there_only_when_asked_for(make):
    index = nih_like()
    assert set(sizes(index, make())) == {"train", "valid"}
    assert set(sizes(index, make(test_pct=0.15))) == {"train", "valid", "test"}


@BOTH
@pytest.mark.parametrize("label", [PARASITIZED, UNINFECTED])
def test_cells_of_one_class_are_an_error_that_names_it(make, label):
    index = nih_like()
    index = index[index["label"] == label]
    with pytest.raises(SplitError, match=rf"13779 usable cells .*\({label}\)"):
        split_cells(index, make())


@BOTH
def test_no_usable_cell_is_an_error(make):
    with pytest.raises(SplitError, match="0 usable cells"):
        split_cells(nih_like().assign(excluded="unreadable: the file is empty"), make())


# --- random ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_the_official_set_splits_as_in_the_tutorial(seed):
    assert sizes(nih_like(), random_split(seed=seed)) == {"train": 22_047, "valid": 5_511}


def test_patients_are_not_asked_for_at_random(caplog):
    index = nih_like().assign(patient_id=pd.Series([None] * 27_558, dtype="str"))
    assert sizes(index, random_split()) == {"train": 22_047, "valid": 5_511}
    assert "unknown: no cell names its patient" in caplog.text


@pytest.mark.parametrize(("split", "part"), [(random_split(), "valid"), (random_split(0.5, 0.1), "test")])
def test_an_empty_part_is_an_error_that_names_it_and_the_shares(split, part):
    with pytest.raises(SplitError, match=rf"the {part} part .* 4 cells of 2 patients \(valid_pct 0\.\d"):
        split_cells(table_of({"C1": (1, 1), "C2": (1, 1)}), split)


def test_training_cells_of_one_class_are_an_error():
    with pytest.raises(SplitError, match=f"1 training cells .*({PARASITIZED}|{UNINFECTED}).*another seed"):
        split_cells(table_of({"C1": (1, 1)}), random_split(0.5))


# --- patients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test_pct", [0.0, 0.15])
@pytest.mark.parametrize("seed", range(30))
def test_no_patient_is_on_two_sides(seed, test_pct):
    cells = joined(any_patients(seed), patient_split(test_pct=test_pct, seed=seed))
    assert cells.groupby("patient_id")["split"].nunique().max() == 1
    assert set(cells["split"]) == {"train", "valid"} | ({"test"} if test_pct else set())


@pytest.mark.parametrize("test_pct", [0.0, 0.15])
@pytest.mark.parametrize("seed", range(5))
def test_each_part_is_as_balanced_as_the_whole_and_of_the_size_asked_for(seed, test_pct):
    cells = joined(nih_like(seed), patient_split(0.2, test_pct, seed))
    parasitized = cells["label"] == PARASITIZED
    assert (parasitized.groupby(cells["split"]).mean() - parasitized.mean()).abs().max() <= BALANCE_TOLERANCE
    shares = cells["split"].value_counts(normalize=True)
    assert shares["valid"] == pytest.approx(0.2, rel=0.02)
    if test_pct:
        assert shares["test"] == pytest.approx(test_pct, rel=0.02)


def test_balance_within_two_points_goes_before_a_slightly_better_size():
    # C1 has exactly a fifth of the cells, but 45 % of them parasitized; C2 has 22 %, and half of them.
    index = table_of({"C1": (9, 11), "C2": (11, 11), "C3": (30, 28)})
    cells = joined(index, patient_split())
    assert set(cells.loc[cells["split"] == "valid", "patient_id"]) == {"C2"}


def test_impossible_balance_is_said(caplog):
    split_cells(table_of({f"C{n}": (100, 0) if n % 2 else (0, 100) for n in range(5)}), patient_split())
    assert "valid has" in caplog.text
    assert "too few cells or patients" in caplog.text


def test_possible_balance_is_not_warned_about(caplog):
    split_cells(nih_like(), patient_split(test_pct=0.15))
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize(("patients", "test_pct"), [(1, 0.0), (2, 0.15)])
def test_too_few_patients_for_the_sides_are_an_error(patients, test_pct):
    index = table_of({f"C{n}": (10, 10) for n in range(patients)})
    with pytest.raises(SplitError, match=rf"{patients} patients .* {patients + 1} "):
        split_cells(index, patient_split(test_pct=test_pct))


@pytest.mark.parametrize(("patients", "test_pct"), [(2, 0.0), (3, 0.15)])
def test_one_patient_a_side_is_enough(patients, test_pct):
    cells = joined(table_of({f"C{n}": (10, 10) for n in range(patients)}), patient_split(test_pct=test_pct))
    assert cells.groupby("split")["patient_id"].nunique().to_dict() == dict.fromkeys(set(cells["split"]), 1)
    assert cells["split"].nunique() == patients


def test_cells_of_unknown_patients_are_an_error_with_a_remedy():
    index = table_of({"C1": (10, 10), "C2": (10, 10)})
    index.loc[[3, 5], "patient_id"] = None
    with pytest.raises(SplitError, match=r"2 cells .*C1_cell_3\).*patient_pattern"):
        split_cells(index, patient_split())


def test_an_excluded_cell_needs_no_patient():
    index = table_of({f"C{n}": (10, 10) for n in range(5)})
    index.loc[0, "patient_id"] = None
    index.loc[0, "excluded"] = "unreadable: the file is empty"
    assert len(split_cells(index, patient_split())) == 99


def test_a_patient_with_most_cells_stays_to_train_on():
    index = table_of({"C1": (500, 500)} | {f"C{n}": (10, 10) for n in range(2, 30)})
    cells = joined(index, patient_split())
    assert set(cells.loc[cells["patient_id"] == "C1", "split"]) == {"train"}


# --- shared patients ------------------------------------------------------------------------------------------------


def test_shared_patients_are_counted_by_pair_of_parts():
    sides = {"train": ["C1", "C2", None], "valid": ["C1", "C3", None], "test": ["C1", "C2", "C3"]}
    cells = pd.DataFrame([{"patient_id": patient, "split": side} for side in sides for patient in sides[side]])
    assert shared_patients(cells) == {"train/valid": 1, "train/test": 2, "valid/test": 2}


def test_shared_patients_of_parts_that_are_not_there_are_not_counted():
    assert shared_patients(joined(nih_like(), random_split())).keys() == {"train/valid"}


def test_the_log_says_how_many_patients_are_shared(caplog):
    caplog.set_level(logging.INFO)
    split_cells(nih_like(), patient_split())
    assert "0 of 200 patients shared" in caplog.text


def test_at_random_nearly_all_patients_are_shared(caplog):
    caplog.set_level(logging.INFO)
    split_cells(nih_like(), random_split())
    assert "200 of 200 patients shared" in caplog.text


# --- folders --------------------------------------------------------------------------------------------------------


def folder_split() -> Split:
    return Split(strategy="folder", valid_pct=0.2, test_pct=0.0, seed=42)


def in_folders(*folders: str) -> pd.DataFrame:
    """Return an index of ten cells of each class in each folder, each folder with a patient of its own."""
    tables = []
    for folder in folders:
        table = table_of({f"C{len(tables)}": (10, 10)})
        table["cell_id"] = folder + "/" + table["cell_id"]
        table["path"] = folder + "/" + table["label"] + "/" + table["cell_id"].str.split("/").str[-1] + ".png"
        tables.append(table)
    index = pd.concat(tables, ignore_index=True)
    return index.assign(sha256=[f"{number:064x}" for number in range(len(index))])


@pytest.mark.parametrize(
    "folders", [("train", "valid", "test"), ("train", "val", "test"), ("Training", "VALIDATION", "testing")]
)
def test_each_cell_stays_on_the_side_of_its_folder_whatever_the_shares(folders, caplog):
    caplog.set_level(logging.INFO)
    cells = joined(in_folders(*folders), folder_split())
    sides = dict(zip(folders, ("train", "valid", "test"), strict=True))
    assert (cells["split"] == cells["path"].str.split("/").str[0].map(sides)).all()
    assert "split.valid_pct and split.test_pct are not used" in caplog.text
    assert "0 of 3 patients shared" in caplog.text


def within_classes(index: pd.DataFrame) -> pd.DataFrame:
    """Return the index with the folders of splits inside those of the classes."""
    return index.assign(path=index["path"].str.replace(r"^([^/]+)/([^/]+)/", r"\2/\1/", regex=True))


@pytest.mark.parametrize("folders", [("train", "valid", "test"), ("Training", "VALIDATION", "testing")])
def test_folders_of_splits_inside_the_class_folders_decide_too(folders):
    cells = joined(within_classes(in_folders(*folders)), folder_split())
    assert cells["path"].str.match(r"(Parasitized|Uninfected)/").all()
    sides = dict(zip(folders, ("train", "valid", "test"), strict=True))
    assert (cells["split"] == cells["path"].str.split("/").str[1].map(sides)).all()


def test_equal_images_in_two_folders_inside_a_class_count_to_the_first():
    index = within_classes(in_folders("train", "valid", "test"))
    index.loc[25, "sha256"] = index["sha256"][0]
    cells = joined(index, folder_split()).set_index("cell_id")["split"]
    assert cells[index["cell_id"][25]] == "train"
    assert (cells.value_counts().to_dict()) == {"train": 21, "valid": 19, "test": 20}


def test_cells_beside_the_folders_of_splits_are_named():
    index = within_classes(in_folders("train", "valid"))
    index.loc[[3, 7], "path"] = ["Parasitized/x.png", "Parasitized/slide/y.png"]
    with pytest.raises(SplitError, match=r"2 of 40 cells .*\(the first is Parasitized/"):
        split_cells(index, folder_split())
    assert sizes(index.assign(excluded=index["excluded"].where(~index.index.isin([3, 7]), "no")), folder_split()) == {
        "train": 18,
        "valid": 20,
    }


def test_cells_in_folders_of_two_splits_are_named():
    index = in_folders("train", "valid")
    index.loc[0, "path"] = "train/Parasitized/test/x.png"
    with pytest.raises(SplitError, match=r"1 cells .* two splits \(the first is train/Parasitized/t"):
        split_cells(index, folder_split())


def test_no_folder_to_test_on_is_no_error():
    assert sizes(in_folders("train", "valid"), folder_split()) == {"train": 20, "valid": 20}


@pytest.mark.parametrize(("folders", "missing"), [(("train", "test"), "valid"), (("valid", "test"), "train")])
def test_a_missing_folder_is_named_with_a_remedy(folders, missing):
    with pytest.raises(SplitError, match=rf"40 cells 20 in .*: {missing} is missing\. Make the folder"):
        split_cells(in_folders(*folders), folder_split())


def test_a_source_without_folders_of_splits_says_so():
    index = in_folders("train", "valid")
    index["path"] = index["path"].str.split("/", n=1).str[1]
    with pytest.raises(SplitError, match=r"folders train/ and valid/ "):
        split_cells(index, folder_split())


def test_a_patient_in_two_folders_is_counted(caplog):
    caplog.set_level(logging.INFO)
    split_cells(in_folders("train", "valid", "test").assign(patient_id="C1"), folder_split())
    assert "1 of 1 patients shared" in caplog.text


@pytest.mark.parametrize("column", ["sha256", "pixels_sha256"])
def test_equal_images_in_two_folders_count_to_the_first_and_are_said(column, caplog):
    index = in_folders("train", "valid", "test")
    index["pixels_sha256"] = index["sha256"]
    for row, twin in ((0, 25), (1, 45), (30, 50)):  # train and valid, train and test, valid and test
        index.loc[twin, ["sha256", "pixels_sha256"] if column == "sha256" else ["pixels_sha256"]] = index["sha256"][row]
    cells = joined(index, folder_split()).set_index("cell_id")["split"]
    assert list(cells.loc[index["cell_id"].iloc[[25, 45, 50]]]) == ["train", "train", "valid"]
    assert (cells.value_counts().to_dict()) == {"train": 22, "valid": 20, "test": 18}
    assert "3 cells (such as " in caplog.text


def test_a_folder_to_validate_on_that_is_a_copy_of_the_training_cells_is_an_error():
    index = in_folders("train", "valid")
    index["sha256"] = [f"{number % 20:064x}" for number in range(len(index))]
    with pytest.raises(SplitError, match="valid/ is in train/ too"):
        split_cells(index, folder_split())


@BOTH
@pytest.mark.parametrize("lay_out", [in_folders, lambda *folders: within_classes(in_folders(*folders))])
def test_another_strategy_splits_the_cells_of_all_folders_anew_and_says_so(make, lay_out, caplog):
    index = lay_out("train", "valid", "test", "train")
    index["cell_id"] = [f"{number:03d}" for number in range(len(index))]
    split_cells(index, make())
    assert f"one set, which is split anew (split.strategy={make().strategy})" in caplog.text


@BOTH
def test_a_source_without_folders_of_splits_is_not_warned_about(make, caplog):
    index = nih_like()
    split_cells(index.assign(path=index["label"] + "/" + index["cell_id"] + ".png"), make())
    assert "split anew" not in caplog.text


@BOTH
def test_a_folder_of_one_split_alone_keeps_nothing_apart(make, caplog):
    index = nih_like()
    split_cells(index.assign(path=index["label"] + "/train/" + index["cell_id"] + ".png"), make())
    assert "split anew" not in caplog.text


# --- equal pictures -------------------------------------------------------------------------------------------------


def with_pictures(index: pd.DataFrame, equal: list[list[int]] = ()) -> pd.DataFrame:
    """Return the index with a picture a row, and the same one for the rows of each list."""
    picture = index["cell_id"].to_numpy(dtype=object).copy()
    for rows in equal:
        picture[rows] = picture[rows[0]]
    return index.assign(pixels_sha256=pd.Series(picture, index=index.index, dtype="str"))


def random_groups(index: pd.DataFrame, seed: int, n: int = 40) -> list[list[int]]:
    """Return lists of 2 to 30 rows, each of one label, no row twice."""
    rng, groups = np.random.default_rng(seed), []
    for label in (PARASITIZED, UNINFECTED):
        rows = rng.permutation(np.flatnonzero(index["label"] == label))
        cuts = rng.integers(2, 31, n // 2).cumsum()
        groups += [part.tolist() for part in np.split(rows[: cuts[-1]], cuts[:-1])]
    return groups


@BOTH
def test_without_equal_pictures_nothing_changes(make):
    index = nih_like()
    pd.testing.assert_frame_equal(
        split_cells(with_pictures(index), make(test_pct=0.15)), split_cells(index, make(test_pct=0.15))
    )


def test_without_equal_pictures_the_order_is_cut_as_the_tutorial_does():
    index = with_pictures(nih_like())
    order = np.random.default_rng(42).permutation(27_558)
    expected = np.full(27_558, "train", dtype=object)
    expected[order[:5_511]], expected[order[5_511:8_266]] = "valid", "test"
    assert split_cells(index, random_split(0.2, 0.1))["split"].tolist() == expected.tolist()


@BOTH
@pytest.mark.parametrize("seed", range(5))
def test_equal_pictures_are_on_one_side_and_the_shares_as_asked_for(make, seed):
    index = nih_like(seed)
    groups = [
        rows for rows in random_groups(index, seed) if make is random_split or index["patient_id"][rows].nunique() < 4
    ]
    cells = joined(with_pictures(index, groups), make(test_pct=0.15, seed=seed))
    assert cells.groupby("pixels_sha256")["split"].nunique().max() == 1
    assert shared_pictures(cells) == {"train/valid": 0, "train/test": 0, "valid/test": 0}
    shares = cells["split"].value_counts(normalize=True)
    assert shares["valid"] == pytest.approx(0.2, rel=0.02)
    assert shares["test"] == pytest.approx(0.15, rel=0.02)


@BOTH
def test_with_equal_pictures_the_order_of_the_rows_does_not_matter(make):
    index = nih_like()
    index = with_pictures(index, [[0, 7, 9], [15_000, 20_000], [3, 13_000]])
    shuffled = index.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(split_cells(index, make()), split_cells(shuffled, make()))


def test_equal_bytes_are_an_equal_picture_where_pixels_are_not_known():
    index = nih_like().assign(sha256=lambda table: table["cell_id"])
    index.loc[[1, 5, 2_000], "sha256"] = "same"
    cells = joined(index, random_split(test_pct=0.15))
    assert cells.loc[cells["sha256"] == "same", "split"].nunique() == 1


@pytest.mark.parametrize("seed", range(10))
def test_patients_who_share_a_picture_are_on_one_side(seed):
    index = table_of({f"C{n}": (10, 10) for n in range(12)})
    rows = [index.index[index["patient_id"] == patient][0] for patient in ("C2", "C5", "C9")]
    cells = joined(with_pictures(index, [rows[:2], [rows[1] + 1, rows[2]]]), patient_split(test_pct=0.2, seed=seed))
    assert cells.loc[cells["patient_id"].isin(["C2", "C5", "C9"]), "split"].nunique() == 1
    assert set(shared_patients(cells).values()) == {0}


def test_a_picture_with_most_cells_stays_to_train_on():
    index = table_of({"C1": (600, 0), "C2": (0, 200), "C3": (100, 100)})
    cells = joined(with_pictures(index, [list(range(600))]), random_split())
    assert set(cells["split"].iloc[:600]) == {"train"}
    assert (cells["split"] == "valid").sum() == 200


def test_where_every_picture_is_too_large_the_smallest_one_validates():
    index = table_of({"C1": (30, 20), "C2": (25, 25)})
    groups = [list(range(30)), list(range(30, 55)), list(range(55, 75)), list(range(75, 100))]
    cells = joined(with_pictures(index, groups), random_split(0.1))
    assert (cells["split"] == "valid").sum() == 20


def test_copies_of_one_picture_a_class_cannot_be_split():
    index = with_pictures(table_of({"C1": (30, 0), "C2": (0, 30)}), [list(range(30)), list(range(30, 60))])
    with pytest.raises(SplitError, match=r"30 training cells .* 2 pictures"):
        split_cells(index, random_split())


def test_patients_who_all_share_one_picture_cannot_be_split():
    index = with_pictures(table_of({f"C{n}": (5, 5) for n in range(4)}), [[0, 5, 10, 15]])
    with pytest.raises(SplitError, match=r"1 patients \(of 4: .*source\.exclude"):
        split_cells(index, patient_split())


def test_where_contradictions_left_no_cell_the_error_says_so():
    index = table_of({f"C{n}": (n % 2, 1 - n % 2) for n in range(60)})
    index["excluded"] = "the same picture is labelled both ways: also C1_cell_0 as Parasitized"
    with pytest.raises(SplitError, match=r"0 usable cells.*60 cells are excluded"):
        split_cells(index, random_split())


def test_shared_pictures_are_counted_by_pair_of_parts():
    sides = {"train": "xxyz", "valid": "xw", "test": "xyv"}
    rows = [{"pixels_sha256": picture, "split": side} for side in sides for picture in sides[side]]
    cells = pd.DataFrame(rows).assign(cell_id=lambda table: [f"c{n}" for n in range(len(table))])
    assert shared_pictures(cells) == {"train/valid": 1, "train/test": 2, "valid/test": 1}


def test_the_log_says_how_many_cells_are_copies_and_that_none_is_shared(caplog):
    caplog.set_level(logging.INFO)
    index = with_pictures(table_of({f"C{n}": (10, 10) for n in range(12)}), [[0, 1, 2], [130, 131]])
    split_cells(index, random_split())
    assert "5 cells show only 2 pictures" in caplog.text
    assert "0 pictures shared between train and valid" in caplog.text
    assert "names or patients are wrong" not in caplog.text


def test_a_picture_of_several_patients_is_a_warning(caplog):
    index = with_pictures(table_of({f"C{n}": (10, 10) for n in range(12)}), [[0, 25]])
    split_cells(index, random_split())
    assert "1 pictures are there under the names of several patients" in caplog.text


def test_splits_of_other_parameters_are_refused_and_an_earlier_versions_are_not() -> None:
    split = Split(strategy="random", valid_pct=0.2, seed=1)
    splits = pd.DataFrame({"cell_id": ["a"], "split": ["train"]})
    refuse_other_split(splits, split)
    splits.attrs["split"] = split.model_dump(mode="json")
    refuse_other_split(splits, split)
    with pytest.raises(SplitError, match=r"split\.seed=1, and it is 2 now"):
        refuse_other_split(splits, split.model_copy(update={"seed": 2}))


def test_splits_by_folders_have_neither_shares_nor_a_seed() -> None:
    split = Split(strategy="folder", valid_pct=0.2, seed=1)
    splits = pd.DataFrame({"cell_id": ["a"], "split": ["train"]})
    splits.attrs["split"] = split.model_dump(mode="json")
    refuse_other_split(splits, split.model_copy(update={"seed": 2, "valid_pct": 0.5}))
