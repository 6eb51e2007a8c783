"""The report: one self-contained HTML page, on which the variants stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap

import pandas as pd

from malaria_kedro.evaluation.measurements import Measurement
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.names import SPLIT_NAMES
from malaria_kedro.parameters import Block
from malaria_kedro.report import findings, sections
from malaria_kedro.report.captions import batch_picture, roc_picture, variant_pictures
from malaria_kedro.report.checklist import SOURCES, checklist_table, make_checklist
from malaria_kedro.report.formats import template
from malaria_kedro.report.inputs import RunRecord, VariantReport, all_patients_disjoint
from malaria_kedro.report.tables import measured_table

COLOUR = "colour alone"  # the colour baseline, beside the variants
# The page's sections in order, by id.
SECTIONS = {
    "summary": "Summary",
    "metrics": "Metrics",
    "operating-point": "Operating point and other thresholds",
    "curves": "Confusion, ROC and precision-recall",
    "calibration": "Calibration",
    "losses": "Worst calls",
    "patients": "Patients",
    "comparison": "Beside the tutorial",
    "training": "Training, exported epoch and cost",
    "data": "Data card",
    "split": "Leakage check",
    "not-done": "What was not done",
    "checklist": "Checklist",
    "parameters": "Parameters",
    "versions": "Versions and hardware",
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

    Raises:
        ValueError: where a figure is neither a PNG nor an SVG.
    """
    measured = {entry.name: entry.metrics for entry in entries} | ({COLOUR: baseline} if baseline else {})
    checklist = make_checklist(entries, summary)
    return template("report.html.j2").render(
        titles=SECTIONS,
        contents=list(starmap(sections.Section, SECTIONS.items())),
        run=run,
        classifiers={entry.name: entry.version for entry in entries},
        findings=findings.summarise(entries, summary, baseline, untrained),
        roc=roc_picture(roc_curves, entries),
        entries=entries,
        data=summary,
        measured=measured_table(measured, "Metrics of the variants"),
        measured_notes=sections.merge_notes((name, of.notes) for name, of in measured.items()),
        point_notes=sections.merge_notes(
            (entry.name, entry.operating_point.notes) for entry in entries if entry.operating_point
        ),
        calibration_notes=sections.merge_notes(
            (entry.name, entry.metrics.calibration.notes) for entry in entries if entry.metrics.calibration
        ),
        patient_notes=sections.merge_notes(
            (f"{entry.name}, {SPLIT_NAMES.get(split, split)}", floor.notes)
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
        leakage=findings.LEAKAGE,
        not_done=findings.list_what_was_not_done(entries, summary),
        done=sum(item.done for item in checklist),
        checklist=checklist_table(checklist),
        sources=SOURCES,
        versions=sections.merge_blocks(entry.metadata.versions for entry in entries),
        hardware=sections.merge_blocks(
            entry.metadata.hardware.as_dict() for entry in entries if entry.metadata.hardware
        ),
        parameters={name: block.model_dump(mode="json") for name, block in parameters.items()},
    )
