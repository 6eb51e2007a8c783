"""Equal pictures: cells that show the same pixels, whatever their files are called and however they are encoded."""

from __future__ import annotations

import logging
from typing import TypedDict

import numpy as np
import pandas as pd

from malaria_kedro.language import N_
from malaria_kedro.names import CLASSES, natural_order

logger = logging.getLogger(__name__)

BOTH_LABELS = N_("the same picture is labelled both ways")
LISTED = 20


class EqualPicture(TypedDict):
    """A picture that several cells show."""

    cell_ids: list[str]  # ``LISTED`` at most
    n_cells: int
    label: str
    patients: list[str]


def pictures_of(cells: pd.DataFrame) -> pd.Series:
    """Return an identifier of each cell's picture: equal for equal pixels, and never null.

    Args:
        cells: column ``cell_id``, and ``pixels_sha256`` or ``sha256`` where they are known; a cell without either
            counts as a picture of its own. Or ``picture``: what this function has returned of these cells before.
    """
    if "picture" in cells:
        return cells["picture"]
    picture = "cell " + cells["cell_id"].astype("str")
    for column in ("sha256", "pixels_sha256"):
        if column in cells:
            picture = picture.mask(cells[column].notna(), f"{column} " + cells[column].astype("str"))
    return picture


def exclude_contradictions(index: pd.DataFrame) -> pd.DataFrame:
    """Return the index with the cells excluded whose picture is there under both labels, and warn how many they are.

    Which of the labels is right is unknown, so none of these cells is used. Cells that are excluded already play no
    part: leaving the wrong ones out (``source.exclude``) keeps the others.
    """
    used = index[index["excluded"] == ""]
    both = used.assign(picture=pictures_of(used))
    both = both[both.groupby("picture")["label"].transform("nunique") > 1]
    if both.empty:
        return index
    other = both["label"].map(dict(zip(CLASSES, reversed(CLASSES), strict=True)))
    # The first cell of the other label stands for all of them.
    first = both.sort_values("cell_id").groupby(["picture", "label"])["cell_id"].first()
    also = [f"also {first[one, label]} as {label}" for one, label in zip(both["picture"], other, strict=True)]
    index = index.copy()
    index.loc[both.index, "excluded"] = [f"{BOTH_LABELS}: {one}" for one in also]
    logger.warning(
        "%d cells (%s) show %d pictures that are labelled both ways, and are not used: the first is %s, %s. Find out "
        "which labels are right, and name the wrong cells in source.exclude to use the others",
        len(both),
        ", ".join(f"{n} {label}" for label, n in both["label"].value_counts().sort_index().items()),
        both["picture"].nunique(),
        both["cell_id"].iat[0],
        also[0],
    )
    return index


def count_equal(cells: pd.DataFrame) -> dict[str, int]:
    """Count the cells whose picture another cell has too.

    Args:
        cells: what ``pictures_of`` takes, and ``patient_id``.

    Returns:
        ``n_cells``; ``n_pictures`` that these show; ``n_across_patients``, how many of the pictures are of two or more
        known patients: names or patients are wrong.
    """
    equal = _equal(cells)
    patients = equal.groupby("picture")["patient_id"].nunique()
    return {"n_cells": len(equal), "n_pictures": len(patients), "n_across_patients": int((patients > 1).sum())}


def list_equal(cells: pd.DataFrame) -> list[EqualPicture]:
    """List the first pictures that several cells show, ``LISTED`` at most, those of several patients first.

    Args:
        cells: what ``count_equal`` takes, and ``label``.
    """
    listed = [
        EqualPicture(
            cell_ids=group["cell_id"].head(LISTED).tolist(),
            n_cells=len(group),
            label=" and ".join(sorted(group["label"].unique())),
            patients=sorted(group["patient_id"].dropna().unique(), key=natural_order),
        )
        for _, group in _equal(cells).groupby("picture")
    ]
    return sorted(listed, key=lambda one: (len(one["patients"]) < 2, natural_order(one["cell_ids"][0])))[:LISTED]


def join_patients(patients: pd.Series, pictures: pd.Series) -> pd.Series:
    """Return the group of each cell's patient: patients who share a picture, directly or through others, are one.

    A group has the name of its first patient. No patient may be null.
    """
    pairs = pd.DataFrame({"patient": patients, "picture": pictures}).drop_duplicates()
    pairs = pairs[pairs["picture"].duplicated(keep=False)]
    if pairs.empty:
        return patients
    from scipy.sparse import coo_matrix  # imported late, as scikit-learn, which brings it, is
    from scipy.sparse.csgraph import connected_components

    patient, names = pd.factorize(pairs["patient"], sort=True)
    picture, found = pd.factorize(pairs["picture"])
    n = len(names) + len(found)
    edges = coo_matrix((np.ones(len(pairs)), (patient, picture + len(names))), shape=(n, n))
    component = connected_components(edges, directed=False)[1][: len(names)]
    first = pd.Series(names, index=names).groupby(component).transform("first")
    return patients.map(first).fillna(patients)


def _equal(cells: pd.DataFrame) -> pd.DataFrame:
    cells = cells.assign(picture=pictures_of(cells))
    return cells[cells["picture"].duplicated(keep=False)].sort_values("cell_id")
