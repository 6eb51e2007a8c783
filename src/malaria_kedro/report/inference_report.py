"""The page on new cells: calls, refusals with their reasons, and the cells that a person should look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pandas as pd

from malaria_kedro.names import CLASSES
from malaria_kedro.report.captions import picture
from malaria_kedro.report.formats import count, is_missing, percent, probability, template
from malaria_kedro.report.sections import Section
from malaria_kedro.report.tables import Table, heading, name_cell, number, table_of

SECTIONS = {
    "summary": "Summary",
    "patients": "Patients",
    "surest_parasitized": "Surest: parasitized",
    "surest_uninfected": "Surest: uninfected",
    "least_sure": "Least sure",
    "refused": "Not called",
    "flagged": "Called, and flagged",
    "how": "How it was read",
}
EMPTY = {
    "surest_parasitized": "No cell was called parasitized.",
    "surest_uninfected": "No cell was called uninfected.",
    "least_sure": "No cell was called.",
    "refused": "Every image was called.",
    "flagged": "No image that was called has a flag.",
}
GATES = {
    "refuse": "An image that does not pass the quality gate is not called; it keeps its p.",
    "flag": "The quality gate only flags here: an image that does not pass it is called nevertheless.",
    "off": "The quality gate is off: whatever could be decoded was called, be it a cell or not.",
    "none": "This classifier has no quality gate: whatever could be decoded was called, be it a cell or not.",
}
# More rows make a page that nobody reads; the table on disk has them all.
MOST_PATIENTS = 50


def write_report(
    frames: Iterable[pd.DataFrame],
    patients: pd.DataFrame,
    card: dict[str, Any],
    examples: Mapping[str, list[dict[str, Any]]],
    pictures: Mapping[str, bytes] | None,
    request: Mapping[str, Any],
) -> str:
    """Write the page.

    Args:
        frames: all rows, as a stream: columns call, flags and p_parasitized.
        patients: one row per patient, as ``patient_summary`` gives it.
        card: of the classifier that read the cells.
        examples: rows by kind, of ``choose_examples``.
        pictures: PNG by path; what could not be read has none. None = the images have changed since they were read, or
            are gone.
        request: how the images were read, as the table of the rows tells it: ``gate`` and whatever else is to be shown.

    Returns:
        HTML with everything inside: no script, no font, no address to load.
    """
    calls: Counter[Hashable] = Counter()
    unreadable = flagged = 0
    flags: Counter[str] = Counter()
    for frame in frames:
        calls.update(frame["call"].value_counts().to_dict())
        unreadable += int(frame["p_parasitized"].isna().sum())
        flagged += int(((frame["call"] != "") & (frame["flags"] != "")).sum())
        flags.update(flag for found in frame.loc[frame["flags"] != "", "flags"] for flag in found.split(";"))
    calibration = card.get("calibration") or {}
    return template("inference.html.j2").render(
        sections=SECTIONS,
        contents=[Section(*item) for item in SECTIONS.items() if item[0] != "flagged" or "flagged" in examples],
        empty=EMPTY,
        total=calls.total(),
        calls={name: calls[name] for name in CLASSES},
        refused=calls[""],
        unreadable=unreadable,
        flagged=flagged,
        gate=GATES[request["gate"]],
        gate_warns=request["gate"] != "refuse",
        changed=pictures is None,
        threshold=request.get("threshold"),
        flags=dict(sorted(flags.items())),
        patients=_patients(patients.head(MOST_PATIENTS)),
        n_patients=len(patients),
        examples={
            kind: [row | {"picture": _show(row, pictures or {})} for row in rows] for kind, rows in examples.items()
        },
        card=card,
        calibration=calibration,
        request=dict(request),
    )


def _patients(patients: pd.DataFrame) -> Table:
    return table_of(
        "Patients",
        {
            heading("Patient"): lambda row: name_cell(row.patient_id),
            number("Images"): lambda row: count(row.cells),
            number("Called"): lambda row: count(row.called),
            number("Parasitized"): lambda row: count(row.parasitized),
            number("Apparent", "parasitaemia"): lambda row: percent(row.apparent_parasitaemia),
            number("Lowest"): lambda row: percent(row.apparent_low),
            number("Highest"): lambda row: percent(row.apparent_high),
            number("Not called"): lambda row: count(row.refused),
            number("unreadable", "of them"): lambda row: count(row.unreadable),
            number("parasitized", "by their p, of them"): lambda row: count(row.refused_at_threshold),
        },
        patients.itertuples(),
        caption="Apparent parasitaemia is the share of the called images, not of the blood. Lowest and highest count "
        "every image that was read and not called as uninfected, and as parasitized; unreadable images are in neither.",
        css="data",
    )


def _show(row: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Any:
    if row["path"] not in pictures:
        return None
    said = f"called {row['call']}" if row["call"] else "not called"
    if not is_missing(row["p_parasitized"]):
        said += f", p {probability(row['p_parasitized'])}"
    return picture(pictures[row["path"]], f"{row['path']}: {said}", row["path"])
