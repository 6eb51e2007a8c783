"""Metrics per patient: apparent parasitaemia, and the false positives of healthy patients."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from malaria_kedro.evaluation.measurements import FalsePositiveFloor
from malaria_kedro.evaluation.metrics import EVALUATED_SPLITS
from malaria_kedro.language import N_
from malaria_kedro.learning.calibration import labels_and_probabilities
from malaria_kedro.names import natural_order

logger = logging.getLogger(__name__)

# A parasitaemia is read from about this many red cells of a thin smear; a few hundred are too few.
CELLS_OF_A_SMEAR = 5000
# Fewer healthy patients say little about how healthy patients differ.
FEW_PATIENTS = 10

COLUMNS = {
    **dict.fromkeys(("split", "patient_id"), "str"),
    **dict.fromkeys(("cells", "parasitized_cells", "flagged_cells"), "int64"),
    **dict.fromkeys(("labelled_parasitaemia", "apparent_parasitaemia"), "float64"),
    **dict.fromkeys(("uninfected_cells", "false_positives"), "int64"),
    **{"false_positive_rate": "float64", "healthy": "bool"},
}


def patient_table(predictions: pd.DataFrame, *, threshold: float, column: str = "p_calibrated") -> pd.DataFrame:
    """Count each patient's cells, those that are parasitized and those that are flagged.

    Args:
        predictions: columns split, label, the named one, and patient_id where patients are known.
        threshold: from here on a cell is flagged.
        column: the probability that the threshold is for.

    Returns:
        ``COLUMNS``, one row per split and patient, validation first, C2 before C10. Parasitaemia is a share of the
        cells (0-1), by their labels or as they are flagged; ``false_positive_rate`` is missing without an uninfected
        cell; ``healthy`` is who has no parasitized cell in the split. Cells of unknown patients are left out, with a
        warning.

    Raises:
        ValueError: for a missing column, an unknown label or a probability that is not a number from 0 to 1.
    """
    actual, p = labels_and_probabilities(predictions, "all patients", column)
    flagged = p >= threshold
    cells = predictions.reindex(columns=["split", "patient_id"]).astype({"split": "str"})
    cells = cells.assign(cells=1, parasitized_cells=actual, flagged_cells=flagged)
    cells = cells.assign(uninfected_cells=~actual, false_positives=~actual & flagged)
    if unknown := int(cells["patient_id"].isna().sum()):
        logger.warning(
            "%d of %d predicted cells have no known patient and are left out of the patients' table; see "
            "source.patient_pattern",
            unknown,
            len(cells),
        )
    table = cells.groupby(["split", "patient_id"], as_index=False).sum()
    table = table.assign(
        labelled_parasitaemia=table["parasitized_cells"] / table["cells"],
        apparent_parasitaemia=table["flagged_cells"] / table["cells"],
        false_positive_rate=table["false_positives"] / table["uninfected_cells"].where(table["uninfected_cells"] > 0),
        healthy=table["parasitized_cells"] == 0,
    )
    keys = zip(table["split"], table["patient_id"], strict=True)
    places = [(EVALUATED_SPLITS.index(split), natural_order(patient)) for split, patient in keys]
    table = table.iloc[sorted(range(len(table)), key=places.__getitem__)]
    return table.reset_index(drop=True)[list(COLUMNS)].astype(COLUMNS)


def false_positive_floor(table: pd.DataFrame) -> FalsePositiveFloor:
    """Return how much parasitaemia healthy patients show, below which a real one cannot be detected.

    Args:
        table: the rows of one split of ``patient_table``; a ValueError refuses those of several.
    """
    if len(splits := sorted(table["split"].unique())) > 1:
        raise ValueError(f"the patients are of the splits {splits}; a floor is that of one of them")
    healthy = table.loc[table["healthy"], "false_positive_rate"].to_numpy(dtype=float)
    uninfected, flagged = int(table["uninfected_cells"].sum()), int(table["false_positives"].sum())
    rate = flagged / uninfected if uninfected else None
    notes, undefined = [], N_("{name} is undefined, because {reason}.")
    if table.empty:
        notes.append(N_("nothing can be said about patients, because no patient is known."))
    elif rate is None:
        notes.append(undefined.format(name="false_positive_rate", reason=N_("no cell is uninfected")))
    if not table.empty and not len(healthy):
        notes.append(N_("healthy patients cannot be described, because every patient has a parasitized cell."))
    elif len(healthy) == 1:
        notes.append(undefined.format(name="healthy_sd", reason=N_("only one patient is healthy")))
    elif 1 < len(healthy) < FEW_PATIENTS:
        notes.append(N_("{n} healthy patients say little about how others differ.").format(n=len(healthy)))
    return FalsePositiveFloor(
        n_patients=len(table),
        n_healthy=len(healthy),
        false_positive_rate=rate,
        healthy_mean=float(healthy.mean()) if len(healthy) else None,
        healthy_sd=float(healthy.std(ddof=1)) if len(healthy) > 1 else None,
        healthy_min=float(healthy.min()) if len(healthy) else None,
        healthy_max=float(healthy.max()) if len(healthy) else None,
        flagged_of_5000=None if rate is None else rate * CELLS_OF_A_SMEAR,
        sentence=_floor_in_words(table, rate, uninfected, healthy),
        notes=notes,
    )


def _floor_in_words(table: pd.DataFrame, rate: float | None, uninfected: int, healthy: np.ndarray) -> str:
    if rate is None:
        unknown = N_("How much parasitaemia a healthy patient shows is not known, because {reason}.")
        return unknown.format(reason=N_("no patient is known") if table.empty else N_("no cell is uninfected"))
    smear = {"cells": f"{CELLS_OF_A_SMEAR:,}", "one": percent(1 / CELLS_OF_A_SMEAR)}
    if rate == 0:
        # With none among n, (1 - bound)^n is 5 %: about 3/n (Hanley and Lippman-Hand 1983).
        bound = percent(1 - 0.05 ** (1 / uninfected))
        # The plural is that of the cells among which none was flagged; the language of the page chooses its own.
        none = (
            N_(
                "None of {n} uninfected cell was flagged: a healthy patient with {cells} cells shows 0 % parasitaemia, "
                "but so few cells do not exclude {bound} (95 % bound); real parasitaemia below that cannot be "
                "distinguished from none, and one parasitized cell among {cells} would be {one}."
            )
            if uninfected == 1
            else N_(
                "None of {n} uninfected cells was flagged: a healthy patient with {cells} cells shows 0 % "
                "parasitaemia, but so few cells do not exclude {bound} (95 % bound); real parasitaemia below that "
                "cannot be distinguished from none, and one parasitized cell among {cells} would be {one}."
            )
        )
        return none.format(n=f"{uninfected:,}", bound=bound, **smear)
    alarms = rate * CELLS_OF_A_SMEAR
    words = N_(
        "At this specificity ({specificity}) a healthy patient with {cells} cells shows {rate} parasitaemia ({alarms} "
        "false alarms); real parasitaemia below that cannot be distinguished from none, and one parasitized cell among "
        "{cells} would be {one}."
    ).format(specificity=f"{100 * (1 - rate):.4g} %", rate=percent(rate), alarms=f"{alarms:,.0f}", **smear)
    if len(healthy) > 1:
        low, high = percent(healthy.min()), percent(healthy.max())
        differ = (
            N_("Each of the {n} healthy patients here shows {low}.")
            if low == high
            else N_("The {n} healthy patients here range from {low} to {high}.")
        )
        return f"{words} {differ.format(n=len(healthy), low=low, high=high)}"
    return words


def percent(share: float) -> str:
    """Write a share (0-1) as a percentage of two digits: 0.0216 is ``2.2 %``."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def count_of(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
