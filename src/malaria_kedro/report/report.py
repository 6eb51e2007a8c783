"""The report: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap

import pandas as pd

from malaria_kedro.evaluation.measurements import Measurement
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.parameters import Block
from malaria_kedro.report import findings, sections
from malaria_kedro.report.captions import batch_picture
from malaria_kedro.report.checklist import SOURCES, checklist_table, make_checklist
from malaria_kedro.report.formats import template
from malaria_kedro.report.inputs import VariantReport, all_patients_disjoint
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
    summary: DataBunchSummary,
    *,
    batch_preview: bytes,
    parameters: Mapping[str, Block],
    baseline: Measurement | None,
    listed: ListedCells,
    untrained: Sequence[str] = (),
) -> str:
    """Return the page as HTML with everything inside: no script, no font, no address to load.

    Args:
        entries: the variants, in the order of the page.
        comparison: what ``compare_variants`` returned.
        summary: of the cells that the variants were trained and measured on.
        batch_preview: PNG bytes of a batch as the network sees it.
        parameters: the blocks that the variants share, by name.
        baseline: what ``measure`` found for colour statistics and logistic regression on the same splits.
        listed: the databunch's ids of excluded and of equal cells.
        untrained: variants that are not on the page.

    Raises:
        ValueError: where a figure is not a PNG.
    """
    variants = [sections.describe_variant(entry, f"variant-{number}") for number, entry in enumerate(entries, start=1)]
    of_variants = []
    for variant in variants:
        within = tuple(sections.Section(f"{variant.id}-{part}", title) for part, title in VARIANT_SECTIONS.items())
        of_variants.append(sections.Section(variant.id, f"Variant {variant.entry.name}", within))
    first, last = (starmap(sections.Section, titles.items()) for titles in (DATA_SECTIONS, LAST_SECTIONS))
    checklist = make_checklist(entries, summary)
    return template("report.html.j2").render(
        titles=DATA_SECTIONS | LAST_SECTIONS,
        variant_titles=VARIANT_SECTIONS,
        contents=[*first, *of_variants, *last],
        findings=findings.summarise(entries, summary, baseline, untrained),
        data=summary,
        counts=sections.count_cells(summary),
        excluded=sections.list_excluded(summary, listed),
        equal_pictures=sections.list_equal_pictures(summary, listed),
        pictures=[batch_picture(batch_preview, summary)],
        proof=findings.describe_split(summary),
        pairs=findings.prove_pairs(summary),
        leaks=all_patients_disjoint(summary) is False,
        pictures_proof=findings.describe_equal_pictures(summary),
        contradictions=findings.tell_contradictions(summary),
        leakage=findings.LEAKAGE,
        variants=variants,
        comparison=sections.comparison_table(comparison),
        baseline=baseline,
        baseline_table=measured_table(baseline, "Metrics of the colour baseline") if baseline else None,
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
