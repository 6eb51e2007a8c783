"""Patients: apparent against labelled parasitaemia, and the false positives of the healthy ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from malaria_kedro.figures import style
from malaria_kedro.figures.numbers import number, percent_ticks, short_percent
from malaria_kedro.figures.style import BLUE, GREY, INK, VERMILLION, Look
from malaria_kedro.language import _, ngettext
from malaria_kedro.names import SPLIT_NAMES

ROW_SIZE = (9.0, 5.0)  # inches, of one split

# Up to so many patients fit on an axis by name.
NAMED_PATIENTS = 40
POINTS: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.5, "clip_on": False}


def draw_patients(table: pd.DataFrame, look: Look) -> Figure:
    """Draw the rows of ``patient_table``: apparent against labelled parasitaemia, and the errors on the healthy."""
    if table.empty:
        sentence = _(
            "No patient is known: the file names do not say. source.patient_pattern finds the patient in a file name."
        )
        return style.message_figure(look, ROW_SIZE, sentence)
    splits = list(dict.fromkeys(table["split"]))
    size = ROW_SIZE[0], ROW_SIZE[1] * len(splits)
    footnote = [
        _("larger point: more cells; parasitaemia: share of the crops at hand, not of the blood"),
        _("healthy: no cell of the patient is labelled parasitized"),
    ]
    with style.open_figure(look, size, "\n".join(footnote)) as figure:
        for split, (both, healthy) in zip(splits, figure.subplots(len(splits), 2, squeeze=False), strict=True):
            patients = table[table["split"] == split]
            n, name = len(patients), _(SPLIT_NAMES.get(split, split))
            title = ngettext("{split}: {n} patient", "{split}: {n} patients", n)
            style.title_panel(both, title.format(split=name, n=number(n)))
            _draw_parasitaemia(both, patients)
            _draw_healthy(healthy, patients)
    return figure


def _draw_parasitaemia(axes: Axes, patients: pd.DataFrame) -> None:
    areas = _areas(patients)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", zorder=1)
    for healthy, colour, label in ((False, BLUE, _("infected ({n})")), (True, VERMILLION, _("healthy ({n})"))):
        rows = (patients["healthy"] == healthy).to_numpy()
        labelled, apparent = patients["labelled_parasitaemia"][rows], patients["apparent_parasitaemia"][rows]
        look: dict[str, Any] = {"facecolors": colour, "alpha": 0.7, "label": label.format(n=number(rows.sum(), ""))}
        axes.scatter(labelled, apparent, s=areas[rows], zorder=2, **look, **POINTS)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set(xlabel=_("labelled parasitaemia"), ylabel=_("apparent parasitaemia (flagged cells)"))
    axes.xaxis.set_major_formatter(percent_ticks())
    axes.yaxis.set_major_formatter(percent_ticks())
    legend = axes.legend(loc="upper left")
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([30])


def _draw_healthy(axes: Axes, patients: pd.DataFrame) -> None:
    """Draw the false-positive rates of the healthy patients, sorted, and the rate of all uninfected cells."""
    # Of equals, C2 stays before C10, as in the table.
    healthy = patients[patients["healthy"]].sort_values("false_positive_rate", kind="stable")
    if healthy.empty:
        style.write_message(axes, _("No patient is healthy: each has a cell that is labelled parasitized."))
        return
    rates, places = healthy["false_positive_rate"].to_numpy(), np.arange(len(healthy))
    pooled = patients["false_positives"].sum() / patients["uninfected_cells"].sum()
    axes.vlines(places, 0, rates, color=VERMILLION, alpha=0.5, linewidth=1.2)
    areas = _areas(patients)[patients.index.get_indexer(healthy.index)]
    axes.scatter(places, rates, s=areas, facecolors=VERMILLION, zorder=3, **POINTS)
    mean = _("mean of the healthy: {rate}").format(rate=short_percent(rates.mean()))
    all_cells = _("all uninfected cells: {rate}").format(rate=short_percent(pooled))
    axes.axhline(rates.mean(), color=INK, linewidth=1, label=mean)
    axes.axhline(pooled, color=BLUE, linewidth=1, linestyle="--", label=all_cells)
    axes.set_ylim(0, max(rates.max(), pooled, 0.01) * 1.3)
    axes.set_xlim(-0.8, max(len(healthy) - 0.2, 1))
    axes.yaxis.set_major_formatter(percent_ticks(1 if axes.get_ylim()[1] < 0.1 else 0))
    if len(healthy) <= NAMED_PATIENTS:
        axes.set_xticks(places, [style.shorten_name(str(patient)) for patient in healthy["patient_id"]])
        axes.tick_params(axis="x", rotation=90, labelsize="x-small")
        axes.set_xlabel(_("healthy patients"))
    else:
        axes.set_xticks([])
        label = _("{n} healthy patients, fewest false positives first")
        axes.set_xlabel(label.format(n=number(len(healthy), "")))
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(_("false-positive rate"))
    low, high = short_percent(rates.min()), short_percent(rates.max())
    if low == high:
        title = ngettext("{n} healthy patient, {low}", "{n} healthy patients, {low}", len(healthy))
    else:
        title = ngettext("{n} healthy patient, {low} to {high}", "{n} healthy patients, {low} to {high}", len(healthy))
    style.title_panel(axes, title.format(n=number(len(healthy)), low=low, high=high))
    axes.legend(loc="upper left")


def _areas(patients: pd.DataFrame) -> np.ndarray:
    """Return the points' areas (points squared): that of a patient's cells, but never too small to see."""
    return 12 + 80 * (patients["cells"] / patients["cells"].max()).to_numpy()
