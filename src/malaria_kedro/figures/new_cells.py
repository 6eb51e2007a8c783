"""What was found in new cells: the parasitaemia of each patient with its bounds, or how sure the calls are."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from malaria_kedro.figures import style
from malaria_kedro.figures.numbers import number, number_ticks, percent, percent_ticks
from malaria_kedro.figures.style import BLUE, GREY, VERMILLION, Look
from malaria_kedro.language import _, ngettext

# Inches.
PROBABILITIES_SIZE, PATIENTS_WIDTH, AROUND_PATIENTS, ROW = (5.0, 4.2), 5.0, 1.7, 0.2
# More rows than these, and a reader scrolls to see the picture of the first screen.
MOST_PATIENTS = 16


def draw_new_cells(
    patients: pd.DataFrame, probabilities: pd.DataFrame, look: Look, *, trained_on_phantoms: bool
) -> Figure:
    """Draw the patients against each other; where fewer than two are known, the probabilities of all images.

    Args:
        patients: what ``patient_summary`` returned.
        probabilities: what ``count_probabilities`` returned.
        look: how it looks.
        trained_on_phantoms: whether the classifier has seen drawn cells only; the footnote says so.
    """
    if patients.empty:
        return style.message_figure(look, PROBABILITIES_SIZE, _("There is no image."))
    warning = [_("classifier trained on phantom cells: this says nothing about blood")] if trained_on_phantoms else []
    if shows_patients(patients):
        return _draw_patients(patients, look, warning)
    return _draw_probabilities(patients, probabilities, look, warning)


def shows_patients(patients: pd.DataFrame) -> bool:
    """Tell whether the figure of these patients compares them; else it shows probabilities."""
    return int(patients["patient_id"].notna().sum()) > 1


def rank_patients(patients: pd.DataFrame) -> pd.DataFrame:
    """Return the known patients in the figure's order: the highest apparent parasitaemia first, then as they were."""
    known = patients[patients["patient_id"].notna()]
    return known.sort_values("apparent_parasitaemia", ascending=False, kind="stable", na_position="last")


def _draw_patients(patients: pd.DataFrame, look: Look, warning: list[str]) -> Figure:
    """Draw a row per patient, the highest parasitaemia on top: apparent, and from its lowest to its highest bound."""
    ranked = rank_patients(patients)
    rows = pd.concat([ranked.head(MOST_PATIENTS), patients[patients["patient_id"].isna()]])
    footnote = [
        _("in brackets: images called; bar: were all those not called uninfected, or parasitized"),
        *_describe_hidden(ranked.iloc[MOST_PATIENTS:], len(ranked)),
        *warning,
    ]
    places = np.arange(len(rows))
    names = [
        style.shorten_name(str(patient)) if known else _("not known")
        for patient, known in zip(rows["patient_id"], rows["patient_id"].notna(), strict=True)
    ]
    with style.open_figure(look, (PATIENTS_WIDTH, AROUND_PATIENTS + ROW * len(rows)), "\n".join(footnote)) as figure:
        axes = figure.subplots()
        axes.hlines(places, rows["apparent_low"], rows["apparent_high"], color=GREY, linewidth=3, alpha=0.6, zorder=2)
        axes.plot(rows["apparent_parasitaemia"], places, "o", color=VERMILLION, zorder=3, clip_on=False)
        counts = rows["called"].to_numpy()
        axes.set_yticks(places, [f"{name} ({number(n)})" for name, n in zip(names, counts, strict=True)])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        highest = np.nanmax(np.r_[rows["apparent_high"], rows["apparent_parasitaemia"], 0.01])
        axes.set_xlim(0, min(1.05 * highest, 1))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(percent_ticks(0 if highest > 0.05 else 1))
        axes.set_xlabel(_("apparent parasitaemia"))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    return figure


def _describe_hidden(hidden: pd.DataFrame, known: int) -> list[str]:
    """Say how many patients are not drawn, and how high their parasitaemia is at most."""
    if hidden.empty:
        return []
    said = [
        _("the {shown} highest of {known} patients").format(shown=MOST_PATIENTS, known=number(known))
        if hidden["apparent_parasitaemia"].isna().all()
        else _("the {shown} highest of {known} patients; the others are at {highest} or below").format(
            shown=MOST_PATIENTS,
            known=number(known),
            highest=percent(math.ceil(round(1000 * hidden["apparent_parasitaemia"].max(), 6)) / 1000, 1),
        )
    ]
    if none := int(hidden["apparent_parasitaemia"].isna().sum()):
        text = ngettext(
            "{n} patient not shown has no image that was called",
            "{n} patients not shown have no image that was called",
            none,
        )
        said.append(text.format(n=number(none)))
    return said


def _draw_probabilities(patients: pd.DataFrame, bins: pd.DataFrame, look: Look, warning: list[str]) -> Figure:
    """Draw how many images there are at each p(parasitized): called as uninfected, as parasitized, and not called."""
    half = len(bins) // 2
    threshold = float(bins["low"].iloc[half])
    footnote = [
        _("bins of equal width on each side of the threshold, p = {threshold}").format(
            threshold=number(threshold, ".3g")
        )
    ]
    if unreadable := int(patients["unreadable"].sum()):
        text = ngettext("{n} unreadable image has no p", "{n} unreadable images have no p", unreadable)
        footnote.append(text.format(n=number(unreadable)))
    with style.open_figure(look, PROBABILITIES_SIZE, "\n".join(footnote + warning)) as figure:
        axes = figure.subplots()
        middles = np.arange(len(bins)) + 0.5
        handles = []
        for chosen, colour, label in (
            (slice(None, half), BLUE, _("called uninfected ({n})")),
            (slice(half, None), VERMILLION, _("called parasitized ({n})")),
        ):
            called = bins["called"].to_numpy()[chosen]
            _draw_bars(axes, middles[chosen] - 0.14, called, 0.56, colour)
            handles.append(_square(colour, label.format(n=number(called.sum()))))
        refused = bins["refused"].to_numpy()
        _draw_bars(axes, middles + 0.28, refused, 0.28, GREY)
        handles.append(_square(GREY, _("not called ({n})").format(n=number(refused.sum()))))
        axes.axvline(half, color=GREY, linestyle="--", linewidth=1)
        ticks = np.array([0, half // 2, half, half + half // 2, 2 * half])
        axes.set_xticks(ticks, [number(p, ".3g") for p in [*bins["low"], 1.0][:: half // 2]])
        axes.set(
            xlim=(0, len(bins)), yscale="log", ylim=(0.5, max(3 * bins[["called", "refused"]].to_numpy().max(), 10))
        )
        axes.yaxis.set_major_formatter(number_ticks(",.0f", lowest=1))
        axes.set(xlabel=_("p(parasitized)"), ylabel=_("images"))
        axes.grid(visible=False, axis="x")
        style.legend_below(axes, handles)
    return figure


def _draw_bars(axes: Axes, places: np.ndarray, counts: np.ndarray, width: float, colour: str) -> None:
    some = counts > 0
    axes.bar(places[some], counts[some], width=width, color=colour)


def _square(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker="s", linestyle="none", label=label)
