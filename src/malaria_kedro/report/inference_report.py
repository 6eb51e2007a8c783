"""The page on new cells: calls, refusals with their reasons, and the cells that a person should look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from malaria_kedro.evaluation.measurements import ExternalMetrics, SplitMetrics
from malaria_kedro.figures.new_cells import rank_patients, shows_patients
from malaria_kedro.inference.gate import GATE_SENTENCES
from malaria_kedro.inference.results import Counts, ReadingRequest, count_calls
from malaria_kedro.language import N_, Language, _, ngettext, retell, written_in
from malaria_kedro.learning.metadata import ClassifierMetadata
from malaria_kedro.learning.soundness import describe_scores, find_doubts
from malaria_kedro.names import PARASITIZED, UNINFECTED
from malaria_kedro.report.captions import Picture, picture
from malaria_kedro.report.examples import Example, Examples
from malaria_kedro.report.formats import about, count, is_missing, percent, probability, write
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
    "summary": N_("Summary"),
    "metrics": N_("How good the calls are here"),
    "patients": N_("Patients"),
    "surest_parasitized": N_("Most certain: parasitized"),
    "surest_uninfected": N_("Most certain: uninfected"),
    "least_sure": N_("Least certain"),
    "refused": N_("Not called"),
    "flagged": N_("Called, and flagged"),
    "how": N_("How the images were read"),
}
EMPTY = {
    "surest_parasitized": N_("No cell was called parasitized."),
    "surest_uninfected": N_("No cell was called uninfected."),
    "least_sure": N_("No cell was called."),
    "refused": N_("Every image was called."),
    "flagged": N_("No image that was called has a flag."),
}
# What of the request the page tells, and what it calls it.
REQUEST = {
    "images": N_("Images"),
    "patient_pattern": N_("Patient pattern"),
    "classifier": N_("Classifier"),
    "backend": N_("Backend"),
    "gate": N_("Gate"),
    "bit_depth": N_("Bit depth"),
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
    language: Language = "en",
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
        language: of the page.
    """
    counts = count_calls(frames)
    shown = dict.fromkeys(SECTIONS, True) | {"flagged": "flagged" in examples, "metrics": measured is not None}
    with written_in(language):
        titles = {section: _(title) for section, title in SECTIONS.items()}
        return write(
            "inference.html.j2",
            sections=titles,
            contents=[Section(*item) for item in titles.items() if shown[item[0]]],
            empty={section: _(sentence) for section, sentence in EMPTY.items()},
            counts=counts,
            calls={_(PARASITIZED): counts.parasitized, _(UNINFECTED): counts.uninfected},
            gate=_(GATE_SENTENCES[request.gate]),
            soundness=describe_scores(metadata),
            doubts=find_doubts(metadata)[metadata.data.phantom :],  # the page says the first in its own words
            measured=measured,
            labelled=measured and _labelled(measured),
            scores=measured and measured.called and _scores(measured.called),
            changed=pictures is None,
            patients=_patients(patients.head(MOST_PATIENTS)),
            n_patients=len(patients),
            examples={
                kind: [(cell, _show(cell, pictures or {})) for cell in cells] for kind, cells in examples.items()
            },
            metadata=metadata,
            run=run,
            findings=_summarise(counts, patients, request),
            figure=_figure(figure, counts, patients),
            version=Path(request.classifier).parent.name,
            threshold=request.threshold,
            gate_mode=request.gate,
            request={_(title): getattr(request, field) for field, title in REQUEST.items()},
        )


def _summarise(counts: Counts, patients: pd.DataFrame, request: ReadingRequest) -> dict[str, list[str]]:
    """Say what was found, on whom, and how certain it is."""
    if counts.called:
        found = ngettext(
            "Of {cells} images, {n} is called: {parasitized} parasitized ({share}) and {uninfected} uninfected.",
            "Of {cells} images, {n} are called: {parasitized} parasitized ({share}) and {uninfected} uninfected.",
            counts.called,
        ).format(
            cells=count(counts.cells),
            n=count(counts.called),
            parasitized=count(counts.parasitized),
            share=percent(counts.parasitized / counts.called, counts.called),
            uninfected=count(counts.uninfected),
        )
    else:
        found = _("Of {cells} images, none is called.").format(cells=count(counts.cells))
    refused = _("Not called: {n} (unreadable: {unreadable}).")
    known, unknown = patients["patient_id"].notna(), patients.loc[patients["patient_id"].isna(), "cells"].sum()
    whom = []
    if known.any():
        whom.append(_("Patients known by the names of their images: {n}.").format(n=count(known.sum())))
    if unknown:
        whom.append(_("Images whose patient is not known: {n}.").format(n=count(unknown)))
    called = _("A cell is called parasitized from a calibrated p(parasitized) of {threshold} on.")
    return {
        _("Found"): [
            f"{found} {refused.format(n=count(counts.refused), unreadable=count(counts.unreadable))}",
            *(f"{said[0].upper()}{said[1:]}." for said in map(retell, request.repeats)),
        ],
        _("On whom"): whom or [_("There is no image.")],
        _("How certain"): [called.format(threshold=probability(request.threshold)), _(GATE_SENTENCES[request.gate])],
    }


def _figure(figure: bytes, counts: Counts, patients: pd.DataFrame) -> Picture:
    if shows_patients(patients):
        highest = "; ".join(
            _("{patient}: {parasitaemia} ({low} to {high})").format(
                patient=row.patient_id,
                parasitaemia=percent(row.apparent_parasitaemia),
                low=percent(row.apparent_low),
                high=percent(row.apparent_high),
            )
            for row in rank_patients(patients).head(PATIENTS_IN_WORDS).itertuples()
        )
        return picture(
            figure,
            _("Patients by apparent parasitaemia, with its lowest and highest bounds. The highest: {highest}.").format(
                highest=highest
            ),
            _(
                "Apparent parasitaemia of each patient, and its bounds: the images that are not called may all be "
                "uninfected, or all parasitized."
            ),
        )
    return picture(
        figure,
        _(
            "Images by p(parasitized): {parasitized} are called parasitized, {uninfected} uninfected, {refused} are "
            "not called."
        ).format(
            parasitized=count(counts.parasitized), uninfected=count(counts.uninfected), refused=count(counts.refused)
        ),
        _("Images by p(parasitized): the further from the threshold in the middle, the surer is the call."),
    )


def _patients(patients: pd.DataFrame) -> Table:
    return table_of(
        _("Patients"),
        {
            heading(_("Patient")): lambda row: name_cell(row.patient_id),
            number(_("Images")): lambda row: count(row.cells),
            number(_("Called")): lambda row: count(row.called),
            number(_("Parasitized")): lambda row: count(row.parasitized),
            number(_("Apparent"), _("parasitaemia")): lambda row: percent(row.apparent_parasitaemia),
            number(_("Lowest")): lambda row: percent(row.apparent_low),
            number(_("Highest")): lambda row: percent(row.apparent_high),
            number(_("Not called")): lambda row: count(row.refused),
            number(_("unreadable"), _("of them")): lambda row: count(row.unreadable),
            number(_("parasitized"), _("by their p, of them")): lambda row: count(row.refused_at_threshold),
        },
        patients.itertuples(),
        caption=_(
            "Apparent parasitaemia is the share of the called images, not of the blood. Lowest and highest count every "
            "image that was read and not called as uninfected, and as parasitized; unreadable images are in neither."
        ),
        css="data",
    )


def _labelled(measured: ExternalMetrics) -> Table:
    return table_of(
        _("Labelled images"),
        {
            heading(_("Label")): lambda item: _(item[0]),
            number(_("Images")): lambda item: count(item[1].images),
            number(_("Called"), _("parasitized")): lambda item: count(item[1].parasitized),
            number(_("Called"), _("uninfected")): lambda item: count(item[1].uninfected),
            number(_("Not called")): lambda item: count(item[1].refused),
            number(_("unreadable"), _("of them")): lambda item: count(item[1].unreadable),
        },
        measured.labels.items(),
        caption=ngettext(
            "Of {n} more image no label is known.", "Of {n} more images no label is known.", measured.unlabelled
        ).format(n=count(measured.unlabelled))
        if measured.unlabelled
        else "",
        css="data",
    )


def _scores(called: SplitMetrics) -> Table:
    if n := called.n_patients:
        said = ngettext(
            "{cells} labelled cells of {n} patient that were called",
            "{cells} labelled cells of {n} patients that were called",
            n,
        )
    else:
        said = _("{cells} labelled cells that were called")
    return Table(
        _("Metrics"),
        [heading(_("Metric")), Column(said.format(cells=count(called.n), n=count(n)))],
        metric_rows([called]),
        caption=about_intervals({N_("these images"): called}),
        css="measured",
    )


def _show(cell: Example, pictures: Mapping[str, bytes]) -> Picture | None:
    if cell.path not in pictures:
        return None
    said = [_("called {call}").format(call=_(cell.call)) if cell.call else _("not called")]
    if not is_missing(cell.p_parasitized):
        said.append(_("p(parasitized) {p}").format(p=probability(cell.p_parasitized)))
    return picture(pictures[cell.path], about(", ".join(said), cell.path), cell.path)
