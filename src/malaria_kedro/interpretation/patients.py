"""Patients instead of cells: what each one's smear would show, and how much of that a healthy one shows too."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from malaria_kedro.interpretation.calibration import outcomes
from malaria_kedro.interpretation.curves import percent_axis, state
from malaria_kedro.interpretation.figures import (
    BLUE,
    GREY,
    SPLIT_NAMES,
    VERMILLION,
    Inches,
    _finish,
    _font_size,
)
from malaria_kedro.interpretation.metrics import EVALUATED_SPLITS

logger = logging.getLogger(__name__)

# So many red cells are looked at in a thin smear before a parasitaemia is written down; a few hundred are too few.
CELLS_OF_A_SMEAR = 5000
# Fewer healthy patients say little about how healthy patients differ.
FEW_PATIENTS = 10
# Up to so many patients fit on an axis by name.
NAMED_PATIENTS = 40
# A longer name would leave the axes no room; its middle is left out, the table has it whole.
LETTERS_OF_A_NAME = 24

COLUMNS = {
    "split": "str",
    "patient_id": "str",
    "cells": "int64",
    "parasitized_cells": "int64",
    "flagged_cells": "int64",
    "labelled_parasitaemia": "float64",
    "apparent_parasitaemia": "float64",
    "uninfected_cells": "int64",
    "false_positives": "int64",
    "false_positive_rate": "float64",
    "healthy": "bool",
}


def patient_table(predictions: pd.DataFrame, *, threshold: float, column: str = "p_calibrated") -> pd.DataFrame:
    """Count each patient's cells, those that are parasitized and those that are flagged.

    Args:
        predictions: columns split, label, the named one, and patient_id where patients are known.
        threshold: from here on a cell is flagged.
        column: the probability that the threshold is for.

    Returns:
        A row a split and patient, validation first: ``split``, ``patient_id``, ``cells``, ``parasitized_cells`` (by
        their labels), ``flagged_cells``, ``labelled_parasitaemia`` and ``apparent_parasitaemia`` (shares of the cells,
        0-1), ``uninfected_cells``, ``false_positives`` (those of them that are flagged), ``false_positive_rate`` (0-1,
        missing without an uninfected cell) and ``healthy`` (no cell of the split is labelled parasitized). Cells of
        unknown patients are left out, with a warning; without a known patient there is no row.

    Raises:
        ValueError: for a missing column, an unknown label or a probability that is no number from 0 to 1.
    """
    actual, p = outcomes(predictions, "all patients", column)
    patients = predictions.get("patient_id")
    known = np.zeros(len(predictions), dtype=bool) if patients is None else patients.notna().to_numpy()
    if not known.all():
        logger.warning(
            "%d of %d predicted cells have no known patient and are left out of the patients' table; see "
            "source.patient_pattern",
            *((~known).sum(), len(known)),
        )
    if not known.any():
        return pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)
    cells = pd.DataFrame(
        {
            "split": predictions["split"].astype(str).to_numpy(),
            "patient_id": patients.astype(str).to_numpy(),
            "cells": 1,
            "parasitized_cells": actual,
            "flagged_cells": p >= threshold,
            "uninfected_cells": ~actual,
            "false_positives": ~actual & (p >= threshold),
        }
    )[known]
    table = cells.groupby(["split", "patient_id"], as_index=False).sum()
    table = table.assign(
        labelled_parasitaemia=table["parasitized_cells"] / table["cells"],
        apparent_parasitaemia=table["flagged_cells"] / table["cells"],
        false_positive_rate=table["false_positives"] / table["uninfected_cells"].where(table["uninfected_cells"] > 0),
        healthy=table["parasitized_cells"] == 0,
    )
    order = {split: number for number, split in enumerate(EVALUATED_SPLITS)}
    table = table.sort_values("split", key=lambda splits: splits.map(order), kind="stable", ignore_index=True)
    return table[list(COLUMNS)].astype(COLUMNS)


def false_positive_floor(table: pd.DataFrame) -> dict[str, Any]:
    """Tell how much parasitaemia a healthy patient shows, below which a real one cannot be seen.

    Args:
        table: the rows of one split of :func:`patient_table`.

    Returns:
        Strict JSON: ``n_patients``, ``n_healthy``, ``false_positive_rate`` (of the uninfected cells of all patients),
        ``healthy_mean``, ``healthy_sd`` (n - 1), ``healthy_min``, ``healthy_max`` (of the rates of healthy patients,
        each counting once), ``flagged_of_5000`` (false alarms to expect among so many uninfected cells), ``sentence``
        and ``notes``. Shares are 0-1; what cannot be told is None and the notes say why.

    Raises:
        ValueError: for rows of more than one split.
    """
    if len(splits := sorted(table["split"].unique())) > 1:
        raise ValueError(f"the patients are of the splits {splits}; a floor is that of one of them")
    healthy = table.loc[table["healthy"], "false_positive_rate"].to_numpy(dtype=float)
    uninfected, flagged = int(table["uninfected_cells"].sum()), int(table["false_positives"].sum())
    rate = flagged / uninfected if uninfected else None
    notes = []
    if table.empty:
        notes.append("nothing can be told of patients, because no patient is known.")
    elif rate is None:
        notes.append("false_positive_rate is undefined, because no cell is uninfected.")
    if not table.empty and not len(healthy):
        notes.append("healthy patients cannot be described, because every patient has a parasitized cell.")
    elif len(healthy) == 1:
        notes.append("healthy_sd is undefined, because one patient only is healthy.")
    elif 1 < len(healthy) < FEW_PATIENTS:
        notes.append(f"{len(healthy)} healthy patients say little about how others differ.")
    return {
        "n_patients": len(table),
        "n_healthy": len(healthy),
        "false_positive_rate": rate,
        "healthy_mean": float(healthy.mean()) if len(healthy) else None,
        "healthy_sd": float(healthy.std(ddof=1)) if len(healthy) > 1 else None,
        "healthy_min": float(healthy.min()) if len(healthy) else None,
        "healthy_max": float(healthy.max()) if len(healthy) else None,
        "flagged_of_5000": None if rate is None else rate * CELLS_OF_A_SMEAR,
        "sentence": _floor_in_words(table, rate, uninfected, healthy),
        "notes": notes,
    }


def draw_patients(table: pd.DataFrame, *, size: Inches, dpi: int, title: str, phantom: bool) -> Figure:
    """Draw a point a patient: apparent against labelled parasitaemia, and the false positives of the healthy ones.

    Args:
        table: rows of :func:`patient_table`.
        size: width and height of one split's row, inches; test stands below validation.
    """
    splits = list(dict.fromkeys(table["split"])) or ["valid"]
    width, height = size
    figure = Figure(figsize=(width, height * len(splits)), dpi=dpi, layout="constrained")
    font = _font_size(width / 2, height / 16, letters=56)
    if table.empty:
        state(
            figure.subplots(),
            "No patient is known: the names of the cells do not tell. source.patient_pattern reads a patient's number.",
            font * 1.2,
        )
        _finish(figure, title, font * 1.1, phantom)
        return figure
    for split, (both, healthy) in zip(splits, figure.subplots(len(splits), 2, squeeze=False), strict=True):
        patients = table[table["split"] == split]
        _draw_parasitaemia(both, patients, f"{SPLIT_NAMES.get(split, split)}: {_count(len(patients), 'patient')}", font)
        _draw_healthy(healthy, patients, font)
        for axes in (both, healthy):
            axes.tick_params(labelsize=font * 0.9)
            axes.spines[["top", "right"]].set_visible(False)
    legend = (
        "larger point: more cells; parasitaemia: share of the crops at hand, not of the blood\n"
        "healthy: no cell of the patient is labelled parasitized"
    )
    _finish(figure, title, font * 1.1, phantom, legend)
    return figure


def _floor_in_words(table: pd.DataFrame, rate: float | None, uninfected: int, healthy: np.ndarray) -> str:
    if rate is None:
        why = "no patient is known" if table.empty else "no cell is uninfected"
        return f"How much parasitaemia a healthy patient shows cannot be told, because {why}."
    smear = f"a healthy patient with {CELLS_OF_A_SMEAR:,} cells shows"
    one = f"one parasitized cell among {CELLS_OF_A_SMEAR:,} would be {percent(1 / CELLS_OF_A_SMEAR)}"
    if rate == 0:
        # With none among n, (1 - bound)^n is 5 %: about 3/n (Hanley and Lippman-Hand 1983).
        bound = percent(1 - 0.05 ** (1 / uninfected))
        return (
            f"None of {_count(uninfected, 'uninfected cell')} was flagged: {smear} 0 % parasitaemia, but so few cells "
            f"do not exclude {bound} (95 % bound); real parasitaemia below that cannot be told from none, and {one}."
        )
    alarms = rate * CELLS_OF_A_SMEAR
    words = (
        f"At this specificity ({100 * (1 - rate):.4g} %) {smear} {percent(rate)} parasitaemia "
        f"({alarms:,.0f} false alarms); real parasitaemia below that cannot be told from none, and {one}."
    )
    if len(healthy) > 1:
        low, high = percent(healthy.min()), percent(healthy.max())
        words += (
            f" Each of the {len(healthy)} healthy patients here shows {low}."
            if low == high
            else f" The {len(healthy)} healthy patients here range from {low} to {high}."
        )
    return words


def percent(share: float) -> str:
    """Write a share (0-1) as a percentage of two digits: 0.0216 is ``2.2 %``."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _draw_parasitaemia(axes: Axes, patients: pd.DataFrame, name: str, font: float) -> None:
    areas = _areas(patients)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", zorder=1)
    for healthy, colour, label in ((False, BLUE, "infected"), (True, VERMILLION, "healthy")):
        rows = (patients["healthy"] == healthy).to_numpy()
        axes.scatter(
            patients["labelled_parasitaemia"][rows],
            patients["apparent_parasitaemia"][rows],
            s=areas[rows],
            facecolors=colour,
            edgecolors="white",
            linewidths=0.5,
            alpha=0.7,
            label=f"{label} ({rows.sum()})",
            zorder=2,
            clip_on=False,
        )
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.xaxis.set_major_formatter(percent_axis())
    axes.yaxis.set_major_formatter(percent_axis())
    axes.grid(alpha=0.25)
    axes.set_xlabel("labelled parasitaemia", fontsize=font)
    axes.set_ylabel("apparent parasitaemia (flagged cells)", fontsize=font)
    axes.set_title(name, fontsize=font)
    legend = axes.legend(fontsize=font * 0.9, frameon=False, loc="upper left")
    for handle in legend.legend_handles:
        handle.set_sizes([30])


def _draw_healthy(axes: Axes, patients: pd.DataFrame, font: float) -> None:
    """Draw the false-positive rates of the healthy patients, sorted, over the rate of all uninfected cells."""
    healthy = patients[patients["healthy"]].sort_values(["false_positive_rate", "patient_id"])
    if healthy.empty:
        state(axes, "No patient is healthy: every one has a cell that is labelled parasitized.", font)
        return
    rates, places = healthy["false_positive_rate"].to_numpy(), np.arange(len(healthy))
    pooled = patients["false_positives"].sum() / patients["uninfected_cells"].sum()
    axes.vlines(places, 0, rates, color=VERMILLION, alpha=0.5, linewidth=1.2)
    look = {"facecolors": VERMILLION, "edgecolors": "white", "linewidths": 0.5, "zorder": 3, "clip_on": False}
    axes.scatter(places, rates, s=_areas(patients)[patients.index.get_indexer(healthy.index)], **look)
    # Beyond the middle of the mean's deviation a line says nothing that the points do not show.
    axes.axhline(rates.mean(), color="black", linewidth=1, label=f"mean of the healthy: {percent(rates.mean())}")
    axes.axhline(pooled, color=BLUE, linewidth=1, linestyle="--", label=f"all uninfected cells: {percent(pooled)}")
    axes.set_ylim(0, max(rates.max(), pooled, 0.01) * 1.3)
    axes.set_xlim(-0.8, max(len(healthy) - 0.2, 1))
    axes.yaxis.set_major_formatter(percent_axis(1 if axes.get_ylim()[1] < 0.1 else 0))
    if len(healthy) <= NAMED_PATIENTS:
        axes.set_xticks(places, [_shortened(str(patient)) for patient in healthy["patient_id"]], rotation=90)
        axes.set_xlabel("healthy patients", fontsize=font)
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(healthy)} healthy patients, fewest false alarms first", fontsize=font)
    axes.grid(alpha=0.25, axis="y")
    axes.set_ylabel("false-positive rate", fontsize=font)
    low, high = percent(rates.min()), percent(rates.max())
    spread = f", {low} to {high}" if low != high else f", {low}"
    axes.set_title(f"{_count(len(healthy), 'healthy patient')}{spread}", fontsize=font)
    axes.legend(fontsize=font * 0.9, frameon=False, loc="upper left")


def _shortened(name: str) -> str:
    if len(name) <= LETTERS_OF_A_NAME:
        return name
    half = LETTERS_OF_A_NAME // 2
    return f"{name[: half - 1]}…{name[-half:]}"


def _areas(patients: pd.DataFrame) -> np.ndarray:
    """Return the points' areas (points squared): that of a patient's cells, but never too small to see."""
    return 12 + 80 * (patients["cells"] / patients["cells"].max()).to_numpy()
