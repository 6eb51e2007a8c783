"""The page of a cross-validation: its folds, the label audit, and what was trained on which cells."""

from __future__ import annotations

import itertools
from itertools import starmap

import pandas as pd

from malaria_kedro.evaluation.comparison import compare_folds
from malaria_kedro.evaluation.measurements import CrossValidationMetrics, FoldMetrics
from malaria_kedro.language import N_, Language, _, ngettext, written_in
from malaria_kedro.names import strategy_name
from malaria_kedro.parameters import Variant
from malaria_kedro.report.captions import Picture, picture
from malaria_kedro.report.findings import LEAKAGE
from malaria_kedro.report.formats import about, count, decimals, percent, probability, text, write
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
    "summary": N_("Summary"),
    "folds": N_("Folds"),
    "comparison": N_("Beside the tutorial"),
    "label-audit": N_("Label audit"),
    "data": N_("Data"),
    "training": N_("What was trained"),
}
PROTOCOLS = {"patient": N_("disjoint patients"), "random": N_("random folds")}
LISTED_LABELS = 20


def write_report(
    metrics: CrossValidationMetrics,
    label_audit: pd.DataFrame,
    recipe: Variant,
    run: RunRecord,
    *,
    folds: bytes,
    label_audit_sheet: bytes,
    language: Language = "en",
) -> str:
    """Return the page as HTML with everything inside: no font and no address to load, and one small script.

    Args:
        metrics: what was measured, and what was trained.
        label_audit: audit_rank, cell_id, patient_id, given_label, suggested_label, score, p_parasitized, is_issue.
        recipe: the variant's parameters.
        run: that writes the page.
        folds: PNG or SVG bytes of the figure of the folds.
        label_audit_sheet: PNG bytes of the most suspicious cells.
        language: of the page.

    Raises:
        ValueError: where a figure is neither a PNG nor an SVG.
    """
    with written_in(language):
        titles = {section: _(title) for section, title in SECTIONS.items()}
        return write(
            "cross_validation.html.j2",
            titles=titles,
            contents=list(starmap(Section, titles.items())),
            metrics=metrics,
            run=run,
            findings=_summarise(metrics, label_audit),
            names={strategy: protocol_name(strategy) for strategy in metrics.protocols},
            strategies={strategy: strategy_name(strategy) for strategy in metrics.protocols},
            leakage=_(LEAKAGE) if any(protocol.shared_patients for protocol in metrics.protocols.values()) else None,
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
        said = ngettext(
            "With {protocol}: accuracy {accuracy} over {n} fold, ROC AUC {area}.",
            "With {protocol}: accuracy {accuracy} over {n} folds, ROC AUC {area}.",
            len(protocol.folds),
        ).format(
            protocol=protocol_name(strategy),
            accuracy=f"{percent(mean.accuracy)} ± {percent(sd.accuracy)}",
            n=len(protocol.folds),
            area=f"{decimals(mean.roc_auc)} ± {decimals(sd.roc_auc)}",
        )
        found.append(said)
        whom.append(_on_whom(metrics, strategy))
    issues = int(label_audit["is_issue"].sum())
    sure = _(
        "Every cell is predicted by a network that has not seen it. That network is the one of the last epoch, so the "
        "held-out cells choose nothing."
    )
    labels = ngettext(
        "{n} of {all} labels is suspected to be wrong.", "{n} of {all} labels are suspected to be wrong.", issues
    ).format(n=count(issues), all=count(len(label_audit)))
    return {_("Found"): found, _("On whom"): whom, _("How certain"): [sure], _("Labels"): [labels]}


def _on_whom(metrics: CrossValidationMetrics, strategy: str) -> str:
    protocol = metrics.protocols[strategy]
    cells, shared = count(protocol.n), protocol.shared_patients
    kind = _("{n} phantom cells") if metrics.phantom else _("{n} cells")
    if n := protocol.n_patients:
        of = ngettext("{cells} of {n} patient", "{cells} of {n} patients", n)
        said = [of.format(cells=kind.format(n=cells), n=count(n))]
    else:
        said = [kind.format(n=cells), _("no patient is known")]
    if shared is not None:
        both = ngettext("{n} patient in both splits of a fold", "{n} patients in both splits of a fold", shared)
        said.append(both.format(n=count(shared)))
    return f"{about('; '.join(said), strategy_name(strategy).capitalize())}."


def protocol_name(strategy: str) -> str:
    """Return what readers call the folds of a strategy, in the language of the page."""
    return _(PROTOCOLS.get(strategy, strategy))


def _measured(metrics: CrossValidationMetrics) -> Table:
    """Return each protocol's mean and spread over the folds, and beside them all its cells together."""
    protocols, pooled = metrics.protocols, {name: of.pooled for name, of in metrics.protocols.items()}
    columns: list[Column] = []
    for name, of in protocols.items():
        columns += [
            Column(strategy_name(name), _("mean ± standard deviation of {n} folds").format(n=len(of.folds))),
            Column(strategy_name(name), _("all cells together")),
        ]

    def row(name: str, together: Row) -> Row:
        spreads = (f"{score(of.mean, name, of.n)} ± {score(of.sd, name, of.n)}" for of in protocols.values())
        head, *cells = together.cells
        return Row([head, *itertools.chain.from_iterable(zip(spreads, cells, strict=True))])

    together = metric_rows(list(pooled.values()), FOLD_METRICS)
    return Table(
        _("Metrics of the folds"),
        [heading(_("Metric")), *columns],
        [row(name, cells) for name, cells in zip(FOLD_METRICS, together, strict=True)],
        caption=about_intervals(pooled),
        css="measured",
    )


def _each_fold(metrics: CrossValidationMetrics) -> Table:
    names = ("accuracy", "sensitivity", "specificity", "roc_auc")

    def row(strategy: str, fold: FoldMetrics) -> Row:
        counts = str(fold.seed), str(fold.fold), count(fold.n), count(fold.n_patients)
        return Row([strategy_name(strategy), *counts, *(score(fold, name, fold.n) for name in names)])

    titles = (_("Seed"), _("Fold"), _("Cells"), _("Patients"), *(_(METRICS[name].name) for name in names))
    return Table(
        _("Each fold"),
        [Column(_("Protocol")), *map(number, titles)],
        [row(strategy, fold) for strategy, found in metrics.protocols.items() for fold in found.folds],
        css="data",
    )


def _picture_of_folds(metrics: CrossValidationMetrics, content: bytes) -> Picture:
    sentences = [_("Each fold of the cross-validation.")]
    for strategy, protocol in metrics.protocols.items():
        if accuracies := [fold.accuracy for fold in protocol.folds if fold.accuracy is not None]:
            said = _("{strategy} folds: accuracy from {low} to {high}, mean {mean}.").format(
                strategy=strategy_name(strategy).capitalize(),
                low=percent(min(accuracies)),
                high=percent(max(accuracies)),
                mean=percent(protocol.mean.accuracy),
            )
            sentences.append(said)
    return picture(content, " ".join(sentences), _("What each fold reached, protocol by protocol."))


def _kinds(table: pd.DataFrame) -> list[str]:
    """Say how many labels are suspected, of which kind."""
    issues = table[table["is_issue"].astype(bool)]
    sizes = issues.groupby(["given_label", "suggested_label"], observed=True, as_index=False).size()
    said = _("{n} labelled {given} that look {suggested}")
    return [
        said.format(n=count(n), given=_(str(given)), suggested=_(str(suggested)))
        for given, suggested, n in sizes.itertuples(index=False, name=None)
    ]


def _audit(table: pd.DataFrame) -> Table:
    listed = table.sort_values("audit_rank").head(LISTED_LABELS)
    return table_of(
        _("The most suspicious labels"),
        {
            number(_("Rank")): lambda label: count(label.audit_rank),
            heading(_("Cell"), "name"): lambda label: name_cell(label.cell_id),
            Column(_("Patient")): lambda label: name_cell(label.patient_id),
            Column(_("Given")): lambda label: _(label.given_label),
            Column(_("Suggested")): lambda label: _(text(label.suggested_label)),
            number(_("Quality")): lambda label: probability(label.score),
            number(_("p(parasitized)")): lambda label: probability(label.p_parasitized),
            Column(_("Suspected")): lambda label: _("yes") if label.is_issue else _("no"),
        },
        listed.itertuples(),
        caption=_(
            "The {n} most suspicious labels; quality of the label from 0 to 1, low is suspicious. All labels are in "
            "label_audit.csv."
        ).format(n=len(listed)),
        css="data",
    )


def _picture_of_audit(table: pd.DataFrame, png: bytes) -> Picture:
    sheet = _("Contact sheet of the most suspicious of {n} labels, the worst first.")
    alt = [sheet.format(n=count(len(table)))]
    for worst in table.sort_values("audit_rank").head(1).itertuples():
        first = _("First {cell}, labelled {label}, with a label quality of {quality}.")
        alt.append(first.format(cell=worst.cell_id, label=_(str(worst.given_label)), quality=decimals(worst.score)))
    return picture(png, " ".join(alt), _("The most suspicious labels, worst first. Look at them; nothing was changed."))
