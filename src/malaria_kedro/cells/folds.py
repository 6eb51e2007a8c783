"""Folds of a cross-validation: every cell is held out once, by patient or at random, and equal pictures together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from malaria_kedro.cells.duplicates import join_patients, pictures_of
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.names import PARASITIZED


class FoldError(MalariaKedroError, ValueError):
    """The cells cannot be divided into folds as asked; the message says why and what to do."""


def fold_cells(cells: pd.DataFrame, *, strategy: str, folds: int, seed: int) -> np.ndarray:
    """Number every cell's fold.

    The shares of the classes are kept as even as whole patients allow (scikit-learn's StratifiedGroupKFold). The
    table's order plays no part.

    Args:
        cells: columns ``cell_id``, ``label``, ``patient_id``; without ``pixels_sha256`` and ``sha256`` no two cells
            count as the same picture.
        strategy: ``patient`` (each patient's cells in one fold, patients who share a picture together) or ``random``.
        folds: how many, 2 or more.
        seed: of the order of patients or cells.

    Returns:
        int64 N, 1 to ``folds``, in the table's order.

    Raises:
        FoldError: a patient is unknown where patients decide, there are fewer patients, or fewer cells or pictures of a
            class, than folds, or a fold would hold all cells of a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # a second to import

    ordered = cells.sort_values("cell_id")
    picture = pictures_of(ordered)
    positive = (ordered["label"] == PARASITIZED).to_numpy()
    rarest = min(picture[positive].nunique(), picture[~positive].nunique())
    if rarest < folds:
        what = "pictures" if picture.duplicated().any() else "cells"
        raise FoldError(
            f"{folds} folds need {folds} {what} of each class, and one class has {rarest}; take fewer folds"
        )
    if strategy == "patient":
        if unknown := int(ordered["patient_id"].isna().sum()):
            raise FoldError(
                f"{unknown} cells name no patient; set source.patient_pattern to your naming or source.patients to a "
                "table, or use cross_validation.strategies=[random]"
            )
        patient = join_patients(ordered["patient_id"], picture)
        if (groups := patient.nunique()) < folds:
            n_patients = ordered["patient_id"].nunique()
            joined = f" (of {n_patients}: those who share equal pictures count as one)" if n_patients > groups else ""
            raise FoldError(f"{groups} patients{joined} cannot make {folds} folds; take fewer (cross_validation.folds)")
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        parts = splitter.split(ordered, positive, groups=patient.to_numpy(dtype=str))
    elif picture.duplicated().any():
        parts = _fold_pictures(picture, positive, folds, seed)
    else:
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(ordered, positive)
    number = pd.Series(0, index=ordered.index, dtype="int64")
    for fold, (train, held_out) in enumerate(parts, start=1):
        if len(np.unique(positive[train])) < 2 or not len(held_out):
            raise FoldError(
                f"fold {fold} of {folds} would leave cells of one class only to train on, or hold none out; "
                "take another number of folds or another seed"
            )
        number.iloc[held_out] = fold
    return number.reindex(cells.index).to_numpy()


def _fold_pictures(
    picture: pd.Series, positive: np.ndarray, folds: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield training and held-out rows of each fold: whole pictures, each to the fold with fewest cells of its class.

    As scikit-learn's StratifiedGroupKFold, which takes half a minute for as many groups as there are cells.
    """
    of_cell, first = pd.factorize(picture)[0], ~picture.duplicated().to_numpy()
    n_cells, of_class = np.bincount(of_cell), positive[first].astype(int)
    order = np.random.default_rng(seed).permutation(len(n_cells))
    order = order[np.argsort(-n_cells[order], kind="stable")]  # largest first, so that small ones even out the folds
    filled, fold_of = np.zeros((2, folds), dtype=int), np.empty(len(n_cells), dtype=int)
    for one in order:
        fold_of[one] = fold = filled[of_class[one]].argmin()
        filled[of_class[one], fold] += n_cells[one]
    for fold in range(folds):
        held_out = fold_of[of_cell] == fold
        yield np.flatnonzero(~held_out), np.flatnonzero(held_out)
