"""The page on new cells: what was called, what was refused and why, and the cells that a person should look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from malaria_kedro.cells.names import CLASSES
from malaria_kedro.interpretation.captions import picture
from malaria_kedro.interpretation.formats import probability, template

SECTIONS = {
    "summary": "Summary",
    "patients": "Patients",
    "surest_parasitized": "Surest: parasitized",
    "surest_uninfected": "Surest: uninfected",
    "least_sure": "Least sure",
    "refused": "Not called",
    "how": "How it was read",
}
EMPTY = {
    "surest_parasitized": "No cell was called parasitized.",
    "surest_uninfected": "No cell was called uninfected.",
    "least_sure": "No cell was called.",
    "refused": "Every image was called.",
}
# More rows make a page that nobody reads; the table on disk has them all.
MOST_PATIENTS = 50


def write_report(
    frames: Iterable[pd.DataFrame],
    patients: pd.DataFrame,
    card: dict[str, Any],
    examples: Mapping[str, list[dict[str, Any]]],
    pictures: Mapping[str, bytes],
    request: Mapping[str, Any],
) -> str:
    """Write the page.

    Args:
        frames: all rows, as a stream: columns call and flags.
        patients: a row a patient, as ``patient_summary`` gives it.
        card: of the classifier that read the cells.
        examples: rows by kind, of ``choose_examples``.
        pictures: PNG by path; what could not be read has none.
        request: the block ``inference``.

    Returns:
        HTML with everything inside: no script, no font, no address to load.
    """
    calls: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    for frame in frames:
        calls.update(frame["call"].value_counts().to_dict())
        flags.update(flag for found in frame.loc[frame["flags"] != "", "flags"] for flag in found.split(";"))
    calibration = card.get("calibration") or {}
    return template("inference.html.j2").render(
        sections=SECTIONS,
        empty=EMPTY,
        total=calls.total(),
        calls={name: calls[name] for name in CLASSES},
        refused=calls[""],
        flags=dict(sorted(flags.items())),
        patients=patients.head(MOST_PATIENTS).to_dict("records"),
        n_patients=len(patients),
        examples={kind: [row | {"picture": _show(row, pictures)} for row in rows] for kind, rows in examples.items()},
        card=card,
        calibration=calibration,
        request=dict(request),
    )


def _show(row: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Any:
    if row["path"] not in pictures:
        return None
    said = f"called {row['call']}, p {probability(row['p_parasitized'])}" if row["call"] else "not called"
    return picture(pictures[row["path"]], f"{row['path']}: {said}", row["path"])
