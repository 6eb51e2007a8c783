"""The report: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import starmap

import pandas as pd

from malaria_kedro.evaluation.measurements import Measurement
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.parameters import Block
from malaria_kedro.report.captions import data_picture
from malaria_kedro.report.checklist import SOURCES, checklist_table, make_checklist
from malaria_kedro.report.findings import (
    LEAKAGE,
    describe_equal_pictures,
    describe_split,
    list_what_was_not_done,
    prove_pairs,
    summarise,
    tell_contradictions,
)
from malaria_kedro.report.formats import template
from malaria_kedro.report.inputs import VariantReport, all_patients_disjoint
from malaria_kedro.report.sections import (
    Section,
    comparison_table,
    count_cells,
    describe_variant,
    list_equal_pictures,
    list_excluded,
    merge_blocks,
)
from malaria_kedro.report.tables import measured_table

# The page's sections in order, by id; those of the variants stand between the two.
DATA_SECTIONS = {
    "summary": "Summary",
    "comparison": "Results side by side",
    "data": "Data card",
    "split": "Leakage check",
}
VARIANT_SECTIONS = {
    "recipe": "Recipe",
    "epoch": "Which epoch, and why",
    "metrics": "Metrics",
    "curves": "Confusion, ROC and precision-recall",
    "calibration": "Calibration",
    "operating-point": "Operating point",
    "losses": "Worst calls",
    "patients": "Patients",
    "cost": "Cost",
}
LAST_SECTIONS = {
    "baseline": "Colour baseline",
    "not-done": "What was not done",
    "checklist": "Checklist",
    "parameters": "Parameters",
    "versions": "Versions and hardware",
}


def write_report(
    entries: list[VariantReport],
    comparison: pd.DataFrame,
    databunch_summary: DataBunchSummary,
    *,
    figures: Mapping[str, bytes],
    parameters: Mapping[str, Block],
    baseline: Measurement | None = None,
    listed: ListedCells | None = None,
) -> str:
    """Return the page as HTML with everything inside: no script, no font, no address to load.

    Args:
        entries: the variants, in the order of the page.
        comparison: what ``compare_variants`` returned.
        databunch_summary: of the cells that the variants were trained and measured on.
        figures: PNG bytes of figures of the data, by name (``batch_preview``).
        parameters: the blocks that the variants share, by name.
        baseline: what ``measure`` found for colour statistics and logistic regression on the same splits.
        listed: the databunch's ids of excluded and of equal cells.

    Raises:
        ValueError: where a figure is not a PNG.
    """
    listed = listed or ListedCells()
    variants = [describe_variant(entry, f"variant-{number}") for number, entry in enumerate(entries, start=1)]
    of_variants = []
    for variant in variants:
        within = tuple(Section(f"{variant.id}-{part}", title) for part, title in VARIANT_SECTIONS.items())
        of_variants.append(Section(variant.id, f"Variant {variant.entry.name}", within))
    first, last = (starmap(Section, sections.items()) for sections in (DATA_SECTIONS, LAST_SECTIONS))
    checklist = make_checklist(entries, databunch_summary, [variant.id for variant in variants])
    return template("report.html.j2").render(
        titles=DATA_SECTIONS | LAST_SECTIONS,
        variant_titles=VARIANT_SECTIONS,
        contents=[*first, *of_variants, *last],
        findings=summarise(entries, databunch_summary, baseline),
        data=databunch_summary,
        counts=count_cells(databunch_summary),
        excluded=list_excluded(databunch_summary, listed),
        equal_pictures=list_equal_pictures(databunch_summary, listed),
        pictures=[data_picture(name, png, databunch_summary) for name, png in figures.items()],
        proof=describe_split(databunch_summary),
        pairs=prove_pairs(databunch_summary),
        leaks=all_patients_disjoint(databunch_summary) is False,
        pictures_proof=describe_equal_pictures(databunch_summary),
        contradictions=tell_contradictions(databunch_summary),
        leakage=LEAKAGE,
        variants=variants,
        comparison=comparison_table(comparison),
        baseline=baseline,
        baseline_table=measured_table(baseline, "Metrics of the colour baseline") if baseline else None,
        not_done=list_what_was_not_done(entries, databunch_summary),
        done=sum(item.done for item in checklist),
        checklist=checklist_table(checklist),
        sources=SOURCES,
        versions=merge_blocks(entry.metadata.versions for entry in entries),
        hardware=merge_blocks(entry.metadata.hardware.as_dict() for entry in entries if entry.metadata.hardware),
        parameters={name: block.model_dump(mode="json") for name, block in parameters.items()},
    )
