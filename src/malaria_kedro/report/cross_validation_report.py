"""The page of a cross-validation: its folds, the label audit, and what was trained on which cells."""

from __future__ import annotations

import itertools
from itertools import starmap

import pandas as pd

from malaria_kedro.evaluation.comparison import compare_folds
from malaria_kedro.evaluation.measurements import CrossValidationMetrics, FoldMetrics
from malaria_kedro.parameters import Variant
from malaria_kedro.report.captions import Picture, picture
from malaria_kedro.report.findings import LEAKAGE
from malaria_kedro.report.formats import count, decimals, percent, probability, template, text
from malaria_kedro.report.inputs import RunRecord
from malaria_kedro.report.sections import Section, comparison_table
from malaria_kedro.report.tables import (
    FOLD_METRICS,
    METRICS,
    Column,
    Row,
    Table,
    about_intervals,
    heading,
    metric_rows,
    name_cell,
    number,
    score,
    table_of,
)

SECTIONS = {
    "summary": "Summary",
    "folds": "Folds",
    "comparison": "Beside the tutorial",
    "label-audit": "Label audit",
    "data": "Data",
    "training": "What was trained",
}
PROTOCOLS = {"patient": "disjoint patients", "random": "random folds"}
LISTED_LABELS = 20


def write_report(
    metrics: CrossValidationMetrics,
    label_audit: pd.DataFrame,
    recipe: Variant,
    run: RunRecord,
    *,
    folds: bytes,
    label_audit_sheet: bytes,
) -> str:
    """Return the page as HTML with everything inside: no font and no address to load, and one small script.

    Args:
        metrics: what was measured, and what was trained.
        label_audit: audit_rank, cell_id, patient_id, given_label, suggested_label, score, p_parasitized, is_issue.
        recipe: the variant's parameters.
        run: that writes the page.
        folds: PNG or SVG bytes of the figure of the folds.
        label_audit_sheet: PNG bytes of the most suspicious cells.

    Raises:
        ValueError: where a figure is neither a PNG nor an SVG.
    """
    return template("cross_validation.html.j2").render(
        titles=SECTIONS,
        contents=list(starmap(Section, SECTIONS.items())),
        metrics=metrics,
        run=run,
        findings=_summarise(metrics, label_audit),
        names=PROTOCOLS,
        leakage=LEAKAGE if any(protocol.shared_patients for protocol in metrics.protocols.values()) else None,
        measured=_measured(metrics),
        each=_each_fold(metrics),
        folds=_picture_of_folds(metrics, folds),
        comparison=comparison_table(compare_folds(metrics)),
        n_audited=len(label_audit),
        kinds=_kinds(label_audit),
        audit=_audit(label_audit),
        sheet=_picture_of_audit(label_audit, label_audit_sheet),
        recipe=recipe.model_dump(mode="json"),
    )


def _summarise(metrics: CrossValidationMetrics, label_audit: pd.DataFrame) -> dict[str, list[str]]:
    found, whom = [], []
    for strategy, protocol in metrics.protocols.items():
        mean, sd = protocol.mean, protocol.sd
        accuracy = f"accuracy {percent(mean.accuracy)} ± {percent(sd.accuracy)} over {len(protocol.folds)} folds"
        area = f"ROC AUC {decimals(mean.roc_auc)} ± {decimals(sd.roc_auc)}"
        found.append(f"With {PROTOCOLS.get(strategy, strategy)}: {accuracy}, {area}.")
        cells = f"{count(protocol.n)} {'phantom cells' if metrics.phantom else 'cells'}"
        of = f" of {count(protocol.n_patients)} patients" if protocol.n_patients else "; no patient is known"
        shared = protocol.shared_patients
        both = "" if shared is None else f"; {count(shared)} patients in both splits of a fold"
        whom.append(f"{strategy.capitalize()}: {cells}{of}{both}.")
    issues = count(label_audit["is_issue"].sum())
    sure = (
        "Every cell is predicted by a network that has not seen it. That network is the one of the last epoch, so the "
        "held-out cells choose nothing."
    )
    labels = f"{issues} of {count(len(label_audit))} labels are suspected to be wrong."
    return {"Found": found, "On whom": whom, "How certain": [sure], "Labels": [labels]}


def _measured(metrics: CrossValidationMetrics) -> Table:
    """Return each protocol's mean and spread over the folds, and beside them all its cells together."""
    protocols, pooled = metrics.protocols, {name: of.pooled for name, of in metrics.protocols.items()}
    columns: list[Column] = []
    for name, of in protocols.items():
        columns += [
            Column(name, f"mean ± standard deviation of {len(of.folds)} folds"),
            Column(name, "all cells together"),
        ]

    def row(name: str, together: Row) -> Row:
        spreads = (f"{score(of.mean, name, of.n)} ± {score(of.sd, name, of.n)}" for of in protocols.values())
        head, *cells = together.cells
        return Row([head, *itertools.chain.from_iterable(zip(spreads, cells, strict=True))])

    together = metric_rows(list(pooled.values()), FOLD_METRICS)
    return Table(
        "Metrics of the folds",
        [heading("Metric"), *columns],
        [row(name, cells) for name, cells in zip(FOLD_METRICS, together, strict=True)],
        caption=about_intervals(pooled),
        css="measured",
    )


def _each_fold(metrics: CrossValidationMetrics) -> Table:
    names = ("accuracy", "sensitivity", "specificity", "roc_auc")

    def row(strategy: str, fold: FoldMetrics) -> Row:
        counts = str(fold.seed), str(fold.fold), count(fold.n), count(fold.n_patients)
        return Row([strategy, *counts, *(score(fold, name, fold.n) for name in names)])

    titles = ("Seed", "Fold", "Cells", "Patients", *(METRICS[name].name for name in names))
    return Table(
        "Each fold",
        [Column("Protocol"), *map(number, titles)],
        [row(strategy, fold) for strategy, found in metrics.protocols.items() for fold in found.folds],
        css="data",
    )


def _picture_of_folds(metrics: CrossValidationMetrics, content: bytes) -> Picture:
    sentences = ["Each fold of the cross-validation."]
    for strategy, protocol in metrics.protocols.items():
        if accuracies := [fold.accuracy for fold in protocol.folds if fold.accuracy is not None]:
            sentences.append(
                f"{strategy.capitalize()} folds: accuracy from {percent(min(accuracies))} to "
                f"{percent(max(accuracies))}, mean {percent(protocol.mean.accuracy)}."
            )
    return picture(content, " ".join(sentences), "What each fold reached, protocol by protocol.")


def _kinds(table: pd.DataFrame) -> list[str]:
    """Say how many labels are suspected, of which kind."""
    issues = table[table["is_issue"].astype(bool)]
    sizes = issues.groupby(["given_label", "suggested_label"], observed=True, as_index=False).size()
    return [
        f"{count(n)} labelled {given} that look {suggested}"
        for given, suggested, n in sizes.itertuples(index=False, name=None)
    ]


def _audit(table: pd.DataFrame) -> Table:
    listed = table.sort_values("audit_rank").head(LISTED_LABELS)
    return table_of(
        "The most suspicious labels",
        {
            number("Rank"): lambda label: count(label.audit_rank),
            heading("Cell", "name"): lambda label: name_cell(label.cell_id),
            Column("Patient"): lambda label: name_cell(label.patient_id),
            Column("Given"): lambda label: label.given_label,
            Column("Suggested"): lambda label: text(label.suggested_label),
            number("Quality"): lambda label: probability(label.score),
            number("p(parasitized)"): lambda label: probability(label.p_parasitized),
            Column("Suspected"): lambda label: "yes" if label.is_issue else "no",
        },
        listed.itertuples(),
        caption=f"The {len(listed)} most suspicious labels; quality of the label from 0 to 1, low is suspicious. "
        "All labels are in label_audit.csv.",
        css="data",
    )


def _picture_of_audit(table: pd.DataFrame, png: bytes) -> Picture:
    alt = f"Contact sheet of the most suspicious of {count(len(table))} labels, the worst first."
    for worst in table.sort_values("audit_rank").head(1).itertuples():
        alt += f" First {worst.cell_id}, labelled {worst.given_label}, with a label quality of {decimals(worst.score)}."
    return picture(png, alt, "The most suspicious labels, worst first. Look at them; nothing was changed.")
