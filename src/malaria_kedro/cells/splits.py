"""Which cells train, validate and test: at random as in the tutorial, by patient, or by the source's folders."""

from __future__ import annotations

import logging
from itertools import combinations

import numpy as np
import pandas as pd

from malaria_kedro.cells.duplicates import BOTH_LABELS, count_equal, join_patients, pictures_of
from malaria_kedro.cells.listing import splits_of
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.names import PARASITIZED
from malaria_kedro.parameters import Split

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")

PATIENT_ORDERS = 2000  # random ones that are tried for each part; the best cut of all is taken
BALANCE_TOLERANCE = 0.02
# One percentage point of balance beyond the tolerance weighs as much as a tenth of the part's size.
IMBALANCE_WEIGHT = 10


class SplitError(MalariaKedroError, ValueError):
    """The cells cannot be split as asked; the message says why and what to do."""


def split_cells(index: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Assign every used cell to train, valid or test.

    Cells that show the same picture go to one part, and so do all patients who share one if patients decide. The
    table's order plays no part.

    Args:
        index: the cell index (columns ``cell_id``, ``label``, ``patient_id``, ``excluded``; where folders decide,
            ``path`` too; without ``pixels_sha256`` and ``sha256`` no two cells count as the same picture).
        split: strategy, shares and seed.

    Returns:
        Columns ``cell_id`` and ``split``, sorted by ``cell_id``, one row per used cell.

    Raises:
        SplitError: a part would be empty, only one class is there or is left to train on, a patient is unknown where
            patients decide, or the source's folders, where these decide, do not give each cell one part, or none to
            train or to validate on.
    """
    used = index[index["excluded"] == ""]
    cells = used[["cell_id", "label", "patient_id"]].assign(picture=pictures_of(used))
    cells = cells.sort_values("cell_id", ignore_index=True)
    if cells["label"].nunique() < 2:
        found = ", ".join(cells["label"].unique()) or "none"
        both = int(index["excluded"].str.startswith(BOTH_LABELS).sum())
        why = f" ({both} cells are excluded because {BOTH_LABELS})" if both else ""
        raise SplitError(
            f"the {len(cells)} usable cells are of one class ({found}): both are needed to train; "
            f"see the column excluded of cell_index{why}"
        )
    if split.strategy == "folder":
        split_of, why = _split_by_folder(cells, index), "the source's folders are so"
    else:
        # If all lie in folders of one split, nothing was separated.
        if "path" in index and index["path"].map(splits_of).nunique() > 1:
            logger.warning(
                "the cells of the source's own folders (train/, valid/, test/) are one set, which is split anew "
                "(split.strategy=%s); split.strategy=folder keeps them apart",
                split.strategy,
            )
        split_of = _split_patients(cells, split) if split.strategy == "patient" else _split_at_random(cells, split)
        why = "too few cells or patients for a better balance"
    n_pictures = cells["picture"].nunique()
    pictures = f" that show {n_pictures} pictures" if n_pictures < len(cells) else ""
    for part in SPLITS:
        wanted = part != "test" or (split.test_pct > 0 and split.strategy != "folder")
        if wanted and not (split_of == part).any():
            raise SplitError(
                f"the {part} part is empty with {len(cells)} cells of {cells['patient_id'].nunique()} patients"
                f"{pictures} (valid_pct {split.valid_pct}, test_pct {split.test_pct}); give more cells or other shares"
            )
    to_train_on = cells.loc[split_of == "train", "label"]
    if to_train_on.nunique() < 2:
        raise SplitError(
            f"all {len(to_train_on)} training cells would be {to_train_on.iat[0]}{pictures} "
            f"(valid_pct {split.valid_pct}, test_pct {split.test_pct}, seed {split.seed}): nothing could be learnt; "
            "give more cells or patients, another seed, or smaller shares to the other parts"
        )
    _log_split(cells.assign(split=split_of), why)
    return pd.DataFrame({"cell_id": cells["cell_id"], "split": pd.Series(split_of, dtype="str")})


def refuse_other_split(splits: pd.DataFrame, split: Split) -> None:
    """Raise SplitError for splits that were made with other parameters; an earlier version's tell none."""
    now = split.model_dump(mode="json")
    made_with = splits.attrs.get("split", now)
    decisive = ("strategy",) if split.strategy == "folder" else tuple(now)
    if changed := [key for key in decisive if made_with.get(key, now[key]) != now[key]]:
        raise SplitError(
            f"cell_splits was made with split.{changed[0]}={made_with[changed[0]]}, and it is {now[changed[0]]} now: "
            "run the data_engineering pipeline from its start"
        )


def shared_patients(cells: pd.DataFrame) -> dict[str, int]:
    """Count the known patients in two splits, by pair of splits, e.g. ``{"train/valid": 146}``."""
    return _shared(cells["patient_id"], cells["split"])


def shared_pictures(cells: pd.DataFrame) -> dict[str, int]:
    """Count the pictures in two splits, each once however many cells show it; see ``shared_patients``."""
    return _shared(pictures_of(cells), cells["split"])


def _shared(values: pd.Series, split: pd.Series) -> dict[str, int]:
    of_part = {part: set(group.dropna()) for part, group in values.groupby(split)}
    present = [part for part in SPLITS if part in of_part]
    return {f"{one}/{other}": len(of_part[one] & of_part[other]) for one, other in combinations(present, 2)}


def _log_split(table: pd.DataFrame, why: str) -> None:
    """Log sizes, balance and what the parts share; warn of shared pictures and, with the reason, of imbalance."""
    overall = (table["label"] == PARASITIZED).mean()
    for part in SPLITS:
        rows = table[table["split"] == part]
        if rows.empty:
            continue
        share, patients = (rows["label"] == PARASITIZED).mean(), rows["patient_id"].nunique()
        people = f"{patients} patient{'s' * (patients != 1)}"
        logger.info("%s: %d cells (%.1f %% parasitized) of %s", part, len(rows), 100 * share, people)
        if abs(share - overall) > BALANCE_TOLERANCE:
            off = "%s has %.1f %% parasitized cells, all have %.1f %%: %s"
            logger.warning(off, part, 100 * share, 100 * overall, why)
    equal = count_equal(table)
    if equal["n_cells"]:
        logger.warning("%d cells show only %d pictures: the others are copies", equal["n_cells"], equal["n_pictures"])
    if across := equal["n_across_patients"]:
        logger.warning("%d pictures are there under the names of several patients: names or patients are wrong", across)
    if in_common := shared_pictures(table):
        level = logging.WARNING if any(in_common.values()) else logging.INFO
        logger.log(level, "%s", _between("pictures", in_common))
    if not (total := table["patient_id"].nunique()):
        logger.warning("how many patients the parts share is unknown: no cell names its patient")
        return
    if people_in_common := shared_patients(table):
        logger.info("%s", _between(f"of {total} patients", people_in_common))


def _between(what: str, shared: dict[str, int]) -> str:
    """Return what each two splits share: ``0 pictures shared between train and valid, 0 between train and test``."""
    (pair, count), *others = ((pair.replace("/", " and "), count) for pair, count in shared.items())
    first = f"{count} {what} shared between {pair}"
    return ", ".join([first, *(f"{count} between {pair}" for pair, count in others)])


def _split_at_random(cells: pd.DataFrame, split: Split) -> np.ndarray:
    order = np.random.default_rng(split.seed).permutation(len(cells))
    # Cut as in the tutorial's ImageDataBunch: int(0.2 * 27,558) = 5,511.
    n_valid, n_test = int(split.valid_pct * len(cells)), int(split.test_pct * len(cells))
    if cells["picture"].duplicated().any():
        return _split_pictures(cells["picture"], order, {"valid": n_valid, "test": n_test})
    split_of = np.full(len(cells), "train", dtype=object)
    split_of[order[:n_valid]] = "valid"
    split_of[order[n_valid : n_valid + n_test]] = "test"
    return split_of


def _split_pictures(picture: pd.Series, order: np.ndarray, wanted: dict[str, int]) -> np.ndarray:
    """Deal whole pictures out, each in the turn of its first cell; with one cell a picture that is a cut of the order.

    A picture with more cells than a part still needs is passed over, so that one with many copies trains.
    """
    of_cell, first = pd.factorize(picture)[0], ~picture.duplicated().to_numpy()
    n_cells = np.bincount(of_cell)
    turns = of_cell[order[first[order]]]
    part_of = np.full(len(n_cells), "train", dtype=object)
    for part, n in wanted.items():
        free, missing = [one for one in turns if part_of[one] == "train"], n
        for one in free:
            if n_cells[one] <= missing:
                part_of[one], missing = part, missing - n_cells[one]
            if not missing:
                break
        if n and missing == n and free:  # every picture has more cells than the part is to have: the smallest one
            part_of[min(free, key=lambda one: n_cells[one])] = part
    return part_of[of_cell]


def _split_patients(cells: pd.DataFrame, split: Split) -> np.ndarray:
    unknown = cells.loc[cells["patient_id"].isna(), "cell_id"]
    if len(unknown):
        raise SplitError(
            f"{len(unknown)} cells name no patient (the first is {unknown.iloc[0]}); set source.patient_pattern to "
            "your naming or source.patients to a table, or use split.strategy=random"
        )
    # Patients who share a picture stay together, under the name of the first.
    patient = join_patients(cells["patient_id"], cells["picture"])
    counts = pd.crosstab(patient, cells["label"] == PARASITIZED)
    counts = counts.reindex(columns=[False, True], fill_value=0).sort_index()
    parts = 2 + (split.test_pct > 0)
    if len(counts) < parts:
        n_patients = cells["patient_id"].nunique()
        joined = f" (of {n_patients}: those who share equal pictures count as one)" if n_patients > len(counts) else ""
        remedy = ", or leave the copies out (source.exclude)" if joined else ""
        raise SplitError(
            f"{len(counts)} patients{joined} cannot be put on {parts} sides; use more patients or "
            f"split.strategy=random{remedy}"
        )
    rng = np.random.default_rng(split.seed)
    side = pd.Series("train", index=counts.index, dtype=object)
    for part, share in (("test", split.test_pct), ("valid", split.valid_pct)):
        if share > 0:
            free = counts[side == "train"]
            leave = 1 + (part == "test")  # patients that the parts still to be filled need
            side[_choose_patients(free, share * len(cells), counts[True].sum() / len(cells), leave, rng)] = part
    return patient.map(side).to_numpy(dtype=object)


def _split_by_folder(cells: pd.DataFrame, index: pd.DataFrame) -> np.ndarray:
    """Keep each cell in its folder's split, but equal images in one split: the first of train, valid and test."""
    of_cell = index.set_index("cell_id").loc[cells["cell_id"]]
    sides = of_cell["path"].map(splits_of)
    if several := list(of_cell["path"][sides.map(len) > 1]):
        raise SplitError(
            f"split.strategy=folder: {len(several)} cells lie in folders of two splits (the first is {several[0]}); "
            "keep the folders around Parasitized/ and Uninfected/ or those in them, or take split.strategy=random or "
            "patient"
        )
    side = sides.map(lambda splits: splits[0] if splits else None)
    found = ", ".join(f"{count} in {part}" for part, count in side.value_counts().items()) or "none in such folders"
    for part in ("train", "valid"):
        if not (side == part).any():
            raise SplitError(
                f"split.strategy=folder needs the folders train/ and valid/ (or val/, validation/) in source.path, "
                f"each with Parasitized/ and Uninfected/ (or both in each of these); of {len(cells)} cells {found}: "
                f"{part} is missing. Make the folder, or take split.strategy=random or patient"
            )
    if beside := list(of_cell["path"][side.isna()]):
        raise SplitError(
            f"split.strategy=folder: {len(beside)} of {len(cells)} cells lie beside the folders of splits (the first "
            f"is {beside[0]}); move them into train/, valid/ or test/, or take split.strategy=random or patient"
        )
    logger.info("split.strategy=folder: split.valid_pct and split.test_pct are not used")
    order = side.map({part: number for number, part in enumerate(SPLITS)})
    first = order.groupby(cells["picture"].to_numpy()).transform("min").map(dict(enumerate(SPLITS)))
    if moved := int((first != side).sum()):
        logger.warning(
            "%d cells (such as %s) lie in several of the source's folders as equal images; so that none is trained on "
            "and measured too, they count to the first of train, valid and test that holds them",
            moved,
            cells["cell_id"][(first != side).to_numpy().argmax()],
        )
    if not (first == "valid").any():
        raise SplitError(
            "split.strategy=folder: every image of valid/ is in train/ too, so nothing could be measured; put other "
            "cells into valid/, or take split.strategy=random or patient"
        )
    return first.to_numpy(dtype=object)


def _choose_patients(
    counts: pd.DataFrame, n_wanted: float, share: float, leave: int, rng: np.random.Generator
) -> pd.Index:
    """Choose patients with about ``n_wanted`` cells whose share of parasitized cells is about ``share``.

    Tries many random orders of the patients and every cut of each, and takes the cut with the smallest sum of the
    relative error in size, of the error in balance, and of what the balance of the chosen or of the remaining cells
    exceeds the tolerance by, weighted.
    """
    uninfected, parasitized = counts[False].to_numpy(), counts[True].to_numpy()
    n_all, n_all_parasitized = uninfected.sum() + parasitized.sum(), parasitized.sum()
    best_error, best = np.inf, np.arange(1)
    for _ in range(PATIENT_ORDERS):
        order = rng.permutation(len(counts))
        to_cut = order[: len(counts) - leave]
        n_parasitized = parasitized[to_cut].cumsum()
        n = n_parasitized + uninfected[to_cut].cumsum()
        imbalance = np.abs(n_parasitized / n - share)
        imbalance_left = np.abs((n_all_parasitized - n_parasitized) / (n_all - n) - share)
        beyond = np.maximum(np.maximum(imbalance, imbalance_left) - BALANCE_TOLERANCE, 0)
        error = np.abs(n - n_wanted) / n_wanted + imbalance + IMBALANCE_WEIGHT * beyond
        cut = int(error.argmin())
        if error[cut] < best_error:
            best_error, best = error[cut], order[: cut + 1]
    return counts.index[np.sort(best)]
