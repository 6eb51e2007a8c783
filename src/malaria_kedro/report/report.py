"""The report: one self-contained HTML page, on which the variants stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap

import pandas as pd

from malaria_kedro.evaluation.measurements import Measurement
from malaria_kedro.language import N_, Language, _, written_in
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.names import split_name
from malaria_kedro.parameters import Block
from malaria_kedro.report import findings, sections
from malaria_kedro.report.captions import batch_picture, roc_picture, variant_pictures
from malaria_kedro.report.checklist import SOURCES, checklist_table, make_checklist
from malaria_kedro.report.formats import write
from malaria_kedro.report.inputs import RunRecord, VariantReport, all_patients_disjoint
from malaria_kedro.report.tables import measured_table

COLOUR = N_("colour alone")  # the colour baseline, beside the variants
# The page's sections in order, by id.
SECTIONS = {
    "summary": N_("Summary"),
    "metrics": N_("Metrics"),
    "operating-point": N_("Operating point and other thresholds"),
    "curves": N_("Confusion, ROC and precision-recall"),
    "calibration": N_("Calibration"),
    "losses": N_("Worst calls"),
    "patients": N_("Patients"),
    "comparison": N_("Beside the tutorial"),
    "training": N_("Training, exported epoch and cost"),
    "data": N_("Data card"),
    "split": N_("Leakage check"),
    "not-done": N_("What was not done"),
    "checklist": N_("Checklist"),
    "parameters": N_("Parameters"),
    "versions": N_("Versions and hardware"),
}


def write_report(
    entries: list[VariantReport],
    comparison: pd.DataFrame,
    summary: DataBunchSummary,
    *,
    run: RunRecord,
    roc_curves: bytes,
    batch_preview: bytes,
    parameters: Mapping[str, Block],
    baseline: Measurement | None,
    listed: ListedCells,
    untrained: Sequence[str] = (),
    language: Language = "en",
) -> str:
    """Return the page as HTML with everything inside: no font and no address to load, and one small script.

    Args:
        entries: the variants, in the order of the page.
        comparison: what ``compare_variants`` returned.
        summary: of the cells that the variants were trained and measured on.
        run: that writes the page.
        roc_curves: PNG or SVG bytes of the ROC curves of all variants.
        batch_preview: PNG bytes of a batch as the network sees it.
        parameters: the blocks that the variants share, by name.
        baseline: what ``measure`` found for colour statistics and logistic regression on the same splits.
        listed: the databunch's ids of excluded and of equal cells.
        untrained: variants that are not on the page.
        language: of the page.

    Raises:
        ValueError: where a figure is neither a PNG nor an SVG.
    """
    with written_in(language):
        measured = {entry.name: entry.metrics for entry in entries} | ({_(COLOUR): baseline} if baseline else {})
        checklist = make_checklist(entries, summary)
        titles = {section: _(title) for section, title in SECTIONS.items()}
        return write(
            "report.html.j2",
            titles=titles,
            contents=list(starmap(sections.Section, titles.items())),
            run=run,
            classifiers={entry.name: entry.version for entry in entries},
            findings=findings.summarise(entries, summary, baseline, untrained),
            roc=roc_picture(roc_curves, entries),
            entries=entries,
            data=summary,
            measured=measured_table(measured, _("Metrics of the variants")),
            measured_notes=sections.merge_notes((name, of.notes) for name, of in measured.items()),
            point_notes=sections.merge_notes(
                (entry.name, entry.operating_point.notes) for entry in entries if entry.operating_point
            ),
            calibration_notes=sections.merge_notes(
                (entry.name, entry.metrics.calibration.notes) for entry in entries if entry.metrics.calibration
            ),
            patient_notes=sections.merge_notes(
                (f"{entry.name}, {split_name(split)}", floor.notes)
                for entry in entries
                for split, floor in entry.metrics.patients.items()
            ),
            baseline=baseline is not None,
            operating_points=sections.operating_points(entries),
            thresholds=sections.thresholds_table(entries),
            swept=[entry for entry in entries if entry.sweep],
            calibration=sections.calibration_table(entries),
            pictures=variant_pictures(entries),
            heat_maps=any(name.endswith("_heatmap") for entry in entries for name in entry.figures),
            patients=sections.patients_table(entries),
            comparison=sections.comparison_table(comparison),
            recipes=sections.recipe_table(entries),
            history=sections.history_table(entries),
            late=[entry for entry in entries if sections.is_late(entry)],
            counts=sections.count_cells(summary),
            excluded=sections.list_excluded(summary, listed),
            equal_pictures=sections.list_equal_pictures(summary, listed),
            batch=batch_picture(batch_preview, summary),
            proof=findings.describe_split(summary),
            pairs=findings.prove_pairs(summary),
            leaks=all_patients_disjoint(summary) is False,
            pictures_proof=findings.describe_equal_pictures(summary),
            contradictions=findings.tell_contradictions(summary),
            leakage=_(findings.LEAKAGE),
            not_done=findings.list_what_was_not_done(entries, summary),
            done=sum(item.done for item in checklist),
            checklist=checklist_table(checklist),
            sources=SOURCES,
            versions=sections.merge_blocks(entry.metadata.versions for entry in entries),
            hardware=sections.merge_blocks(
                {_(sections.HARDWARE[field]): value for field, value in entry.metadata.hardware.as_dict().items()}
                for entry in entries
                if entry.metadata.hardware
            ),
            parameters={name: block.model_dump(mode="json") for name, block in parameters.items()},
        )
