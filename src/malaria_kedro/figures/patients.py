"""Patients: apparent against labelled parasitaemia, and the false positives of the healthy ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from malaria_kedro.evaluation.patients import count_of, percent
from malaria_kedro.figures.style import BLUE, GREY, VERMILLION, Inches, finish, font_size, percent_axis, show_message
from malaria_kedro.names import SPLIT_NAMES

# Up to so many patients fit on an axis by name.
NAMED_PATIENTS = 40
# A longer name would leave the axes no room; its middle is left out, the table has it whole.
LETTERS_OF_A_NAME = 24


def draw_patients(table: pd.DataFrame, *, size: Inches, dpi: int, title: str, phantom: bool) -> Figure:
    """Draw one point per patient: apparent against labelled parasitaemia, and the false positives of the healthy ones.

    Args:
        table: rows of ``patient_table``.
        size: width and height of one split's row, inches; test stands below validation.
    """
    splits = list(dict.fromkeys(table["split"])) or ["valid"]
    width, height = size
    figure = Figure(figsize=(width, height * len(splits)), dpi=dpi, layout="constrained")
    font = font_size(width / 2, height / 16, letters=56)
    if table.empty:
        show_message(
            figure.subplots(),
            "No patient is known: the names of the cells do not tell. source.patient_pattern reads a patient's number.",
            font * 1.2,
        )
        finish(figure, title, font * 1.1, phantom)
        return figure
    for split, (both, healthy) in zip(splits, figure.subplots(len(splits), 2, squeeze=False), strict=True):
        patients = table[table["split"] == split]
        _draw_parasitaemia(
            both, patients, f"{SPLIT_NAMES.get(split, split)}: {count_of(len(patients), 'patient')}", font
        )
        _draw_healthy(healthy, patients, font)
        for axes in (both, healthy):
            axes.tick_params(labelsize=font * 0.9)
            axes.spines[["top", "right"]].set_visible(False)
    legend = (
        "larger point: more cells; parasitaemia: share of the crops at hand, not of the blood\n"
        "healthy: no cell of the patient is labelled parasitized"
    )
    finish(figure, title, font * 1.1, phantom, legend)
    return figure


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
        if isinstance(handle, PathCollection):
            handle.set_sizes([30])


def _draw_healthy(axes: Axes, patients: pd.DataFrame, font: float) -> None:
    """Draw the false-positive rates of the healthy patients, sorted, over the rate of all uninfected cells."""
    healthy = patients[patients["healthy"]].sort_values(["false_positive_rate", "patient_id"])
    if healthy.empty:
        show_message(axes, "No patient is healthy: every one has a cell that is labelled parasitized.", font)
        return
    rates, places = healthy["false_positive_rate"].to_numpy(), np.arange(len(healthy))
    pooled = patients["false_positives"].sum() / patients["uninfected_cells"].sum()
    axes.vlines(places, 0, rates, color=VERMILLION, alpha=0.5, linewidth=1.2)
    look: dict[str, Any] = {
        "facecolors": VERMILLION,
        "edgecolors": "white",
        "linewidths": 0.5,
        "zorder": 3,
        "clip_on": False,
    }
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
    axes.set_title(f"{count_of(len(healthy), 'healthy patient')}{spread}", fontsize=font)
    axes.legend(fontsize=font * 0.9, frameon=False, loc="upper left")


def _shortened(name: str) -> str:
    if len(name) <= LETTERS_OF_A_NAME:
        return name
    half = LETTERS_OF_A_NAME // 2
    return f"{name[: half - 1]}…{name[-half:]}"


def _areas(patients: pd.DataFrame) -> np.ndarray:
    """Return the points' areas (points squared): that of a patient's cells, but never too small to see."""
    return 12 + 80 * (patients["cells"] / patients["cells"].max()).to_numpy()
