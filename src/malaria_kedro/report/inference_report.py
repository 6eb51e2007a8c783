"""The page on new cells: calls, refusals with their reasons, and the cells that a person should look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from malaria_kedro.evaluation.measurements import ExternalMetrics, SplitMetrics
from malaria_kedro.figures.new_cells import rank_patients, shows_patients
from malaria_kedro.inference.gate import GATE_SENTENCES
from malaria_kedro.inference.results import Counts, ReadingRequest, count_calls
from malaria_kedro.learning.metadata import ClassifierMetadata
from malaria_kedro.learning.soundness import describe_scores, find_doubts
from malaria_kedro.names import PARASITIZED, UNINFECTED
from malaria_kedro.report.captions import Picture, picture
from malaria_kedro.report.examples import Example, Examples
from malaria_kedro.report.formats import count, is_missing, percent, probability, template
from malaria_kedro.report.inputs import RunRecord
from malaria_kedro.report.sections import Section
from malaria_kedro.report.tables import (
    Column,
    Table,
    about_intervals,
    heading,
    metric_rows,
    name_cell,
    number,
    table_of,
)

SECTIONS = {
    "summary": "Summary",
    "metrics": "How good the calls are here",
    "patients": "Patients",
    "surest_parasitized": "Most certain: parasitized",
    "surest_uninfected": "Most certain: uninfected",
    "least_sure": "Least certain",
    "refused": "Not called",
    "flagged": "Called, and flagged",
    "how": "How the images were read",
}
EMPTY = {
    "surest_parasitized": "No cell was called parasitized.",
    "surest_uninfected": "No cell was called uninfected.",
    "least_sure": "No cell was called.",
    "refused": "Every image was called.",
    "flagged": "No image that was called has a flag.",
}
# More rows make a page that nobody reads; the table on disk has them all.
MOST_PATIENTS = 50
PATIENTS_IN_WORDS = 5  # of the figure, for who cannot see it


def write_report(
    frames: Iterable[pd.DataFrame],
    patients: pd.DataFrame,
    metadata: ClassifierMetadata,
    examples: Examples,
    pictures: Mapping[str, bytes] | None,
    request: ReadingRequest,
    run: RunRecord,
    measured: ExternalMetrics | None = None,
    *,
    figure: bytes,
) -> str:
    """Return the page as HTML with everything inside: no font and no address to load, and one small script.

    Args:
        frames: all rows, as a stream: columns call, quality and p_parasitized.
        patients: one row per patient, as ``patient_summary`` gives it.
        metadata: of the classifier that read the cells.
        examples: of ``choose_examples``.
        pictures: PNG by path; what could not be read has none. None = the images have changed since they were read, or
            are gone.
        request: how the images were read, as the table of the rows tells it.
        run: that writes the page.
        measured: the metrics of the images whose labels are known; None = no label is known.
        figure: PNG or SVG bytes of what was found, see ``malaria_kedro.figures.new_cells.draw_new_cells``.
    """
    counts = count_calls(frames)
    shown = dict.fromkeys(SECTIONS, True) | {"flagged": "flagged" in examples, "metrics": measured is not None}
    return template("inference.html.j2").render(
        sections=SECTIONS,
        contents=[Section(*item) for item in SECTIONS.items() if shown[item[0]]],
        empty=EMPTY,
        counts=counts,
        calls={PARASITIZED: counts.parasitized, UNINFECTED: counts.uninfected},
        gate=GATE_SENTENCES[request.gate],
        soundness=describe_scores(metadata),
        doubts=find_doubts(metadata)[metadata.data.phantom :],  # the page says the first in its own words
        measured=measured,
        labelled=measured and _labelled(measured),
        scores=measured and measured.called and _scores(measured.called),
        changed=pictures is None,
        patients=_patients(patients.head(MOST_PATIENTS)),
        n_patients=len(patients),
        examples={kind: [(cell, _show(cell, pictures or {})) for cell in cells] for kind, cells in examples.items()},
        metadata=metadata,
        run=run,
        findings=_summarise(counts, patients, request),
        figure=_figure(figure, counts, patients),
        version=Path(request.classifier).parent.name,
        request=asdict(request),
    )


def _summarise(counts: Counts, patients: pd.DataFrame, request: ReadingRequest) -> dict[str, list[str]]:
    """Say what was found, on whom, and how certain it is."""
    found = f"Of {count(counts.cells)} images, {count(counts.called)} are called"
    if counts.called:
        share = percent(counts.parasitized / counts.called, counts.called)
        found += f": {count(counts.parasitized)} parasitized ({share}) and {count(counts.uninfected)} uninfected"
    found += f". Not called: {count(counts.refused)} (unreadable: {count(counts.unreadable)})."
    known, unknown = patients["patient_id"].notna(), patients.loc[patients["patient_id"].isna(), "cells"].sum()
    whom = [f"Patients known by the names of their images: {count(known.sum())}."] if known.any() else []
    if unknown:
        whom.append(f"Images whose patient is not known: {count(unknown)}.")
    called = f"A cell is called parasitized from a calibrated p(parasitized) of {probability(request.threshold)} on."
    return {
        "Found": [found, *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in request.repeats)],
        "On whom": whom or ["There is no image."],
        "How certain": [called, GATE_SENTENCES[request.gate]],
    }


def _figure(figure: bytes, counts: Counts, patients: pd.DataFrame) -> Picture:
    if shows_patients(patients):
        highest = "; ".join(
            f"{row.patient_id}: {percent(row.apparent_parasitaemia)} "
            f"({percent(row.apparent_low)} to {percent(row.apparent_high)})"
            for row in rank_patients(patients).head(PATIENTS_IN_WORDS).itertuples()
        )
        return picture(
            figure,
            f"Patients by apparent parasitaemia, with its lowest and highest bounds. The highest: {highest}.",
            "Apparent parasitaemia of each patient, and its bounds: the images that are not called may all be "
            "uninfected, or all parasitized.",
        )
    return picture(
        figure,
        f"Images by p(parasitized): {count(counts.parasitized)} are called parasitized, {count(counts.uninfected)} "
        f"uninfected, {count(counts.refused)} are not called.",
        "Images by p(parasitized): the further from the threshold in the middle, the surer is the call.",
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


def _labelled(measured: ExternalMetrics) -> Table:
    return table_of(
        "Labelled images",
        {
            heading("Label"): lambda item: item[0],
            number("Images"): lambda item: count(item[1].images),
            number("Called", "parasitized"): lambda item: count(item[1].parasitized),
            number("Called", "uninfected"): lambda item: count(item[1].uninfected),
            number("Not called"): lambda item: count(item[1].refused),
            number("unreadable", "of them"): lambda item: count(item[1].unreadable),
        },
        measured.labels.items(),
        caption=f"Of {count(measured.unlabelled)} more images no label is known." if measured.unlabelled else "",
        css="data",
    )


def _scores(called: SplitMetrics) -> Table:
    patients = f" of {count(called.n_patients)} patients" if called.n_patients else ""
    return Table(
        "Metrics",
        [heading("Metric"), Column(f"{count(called.n)} labelled cells{patients} that were called")],
        metric_rows([called]),
        caption=about_intervals({"these images": called}),
        css="measured",
    )


def _show(cell: Example, pictures: Mapping[str, bytes]) -> Picture | None:
    if cell.path not in pictures:
        return None
    said = f"called {cell.call}" if cell.call else "not called"
    if not is_missing(cell.p_parasitized):
        said += f", p(parasitized) {probability(cell.p_parasitized)}"
    return picture(pictures[cell.path], f"{cell.path}: {said}", cell.path)
