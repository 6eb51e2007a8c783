"""The report: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.names import CLASSES, SPLIT_NAMES
from malaria_kedro.report.captions import data_picture, extra_picture
from malaria_kedro.report.checklist import SOURCES, make_checklist
from malaria_kedro.report.findings import (
    RUN_CROSS_VALIDATION,
    describe_equal_pictures,
    describe_split,
    list_what_was_not_done,
    prove_pairs,
    summarise,
    tell_contradictions,
)
from malaria_kedro.report.formats import rows_of, template
from malaria_kedro.report.inputs import ReportExtras, VariantReport, known_pairs
from malaria_kedro.report.sections import (
    comparison_row,
    describe_audit,
    describe_data,
    describe_folds,
    describe_variant,
    measured_table,
    merge_blocks,
)

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
    "cross-validation": "Cross-validation",
    "baseline": "Colour baseline",
    "label-audit": "Label audit",
    "not-done": "What was not done",
    "checklist": "Checklist",
    "parameters": "Parameters",
    "versions": "Versions and hardware",
}
LEAKAGE = (
    "Cells of one patient look alike. Where patients are shared, the scores flatter: on the NIH cells the same network "
    "reached 98.6 % on random folds and 95.9 % on patient-disjoint ones (Rajaraman et al. 2018, PeerJ 6:e4568)."
)


def write_report(
    entries: list[VariantReport],
    comparison: pd.DataFrame,
    databunch_summary: DataBunchSummary,
    *,
    figures: Mapping[str, bytes],
    parameters: Mapping[str, Any],
    extras: ReportExtras | None = None,
    listed: ListedCells | None = None,
) -> str:
    """Write the page.

    Args:
        entries: the variants, in the order of the page.
        comparison: what ``compare_variants`` returned.
        databunch_summary: counts, patients, exclusions, fingerprint and origin of the data.
        figures: PNG bytes of figures of the data, by name (``batch_preview``).
        parameters: the resolved blocks that the variants share, by name.
        extras: cross-validation, label audit and colour baseline, those that there are.
        listed: the databunch's ids of excluded and of equal cells.

    Returns:
        HTML with everything inside: no script, no font, no address to load.

    Raises:
        ValueError: where a figure is not a PNG.
    """
    extras = extras or ReportExtras()
    variants = [describe_variant(entry, f"variant-{number}") for number, entry in enumerate(entries, start=1)]
    checklist = make_checklist(entries, databunch_summary, extras, [variant["id"] for variant in variants])
    return template("report.html.j2").render(
        titles=DATA_SECTIONS | LAST_SECTIONS,
        variant_titles=VARIANT_SECTIONS,
        contents=_contents(variants),
        findings=summarise(entries, databunch_summary, extras),
        data=describe_data(databunch_summary, listed),
        pictures=[data_picture(name, png, databunch_summary) for name, png in figures.items()],
        proof=describe_split(databunch_summary),
        pairs=prove_pairs(databunch_summary),
        pictures_proof=describe_equal_pictures(databunch_summary),
        contradictions=tell_contradictions(databunch_summary),
        patients_known=bool(known_pairs(databunch_summary)),
        leakage=LEAKAGE,
        variants=variants,
        comparison=[comparison_row(row) for row in rows_of(comparison)],
        folds=describe_folds(extras.cross_validation),
        baseline=measured_table(extras.baseline) if extras.baseline else None,
        audit=None if extras.label_audit is None else describe_audit(extras.label_audit),
        extra_pictures={name: extra_picture(name, png, extras) for name, png in extras.figures.items()},
        run_cross_validation=RUN_CROSS_VALIDATION,
        not_done=list_what_was_not_done(entries, databunch_summary, extras),
        checklist=checklist,
        sources=SOURCES,
        versions=merge_blocks([entry.card.get("versions", {}) for entry in entries]),
        hardware=merge_blocks([entry.card.get("hardware", {}) for entry in entries]),
        parameters=dict(parameters),
        split_names=SPLIT_NAMES,
        classes=CLASSES,
    )


def _contents(variants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """List the sections: id, title and the sections within."""

    def plain(sections: Mapping[str, str]) -> list[dict[str, Any]]:
        return [{"id": id_, "title": title, "within": []} for id_, title in sections.items()]

    between = [
        {
            "id": variant["id"],
            "title": f"Variant {variant['card']['name']}",
            "within": [{"id": f"{variant['id']}-{part}", "title": title} for part, title in VARIANT_SECTIONS.items()],
        }
        for variant in variants
    ]
    return plain(DATA_SECTIONS) + between + plain(LAST_SECTIONS)
