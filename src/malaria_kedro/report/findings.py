"""The findings in a few plain sentences: the report's first section."""

from __future__ import annotations

from collections.abc import Sequence

from malaria_kedro.cells.duplicates import BOTH_LABELS
from malaria_kedro.evaluation.measurements import Measurement, SplitMetrics
from malaria_kedro.language import N_, _, ngettext, retell
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.names import SPLIT_NAMES, split_name
from malaria_kedro.report.formats import about, count, listed, percent, place, probability, shortest
from malaria_kedro.report.inputs import VariantReport, all_patients_disjoint, known_pairs
from malaria_kedro.report.tables import with_interval

RUN_CROSS_VALIDATION = "kedro run --pipelines cross_validation"
LEAKAGE = N_(
    "Cells of one patient look alike. Where splits share patients, the scores are inflated: on the NIH cells the same "
    "network reached 98.6 % on random folds and 95.9 % on patient-disjoint ones (Rajaraman et al. 2018, PeerJ 6:e4568)."
)
LIMITS = N_(
    "No cell of another hospital, microscope or stain was tried, no whole smear was read, no parasite species was "
    "identified, and nobody was diagnosed. Research use only."
)
PHANTOM_LIMITS = N_(
    "Every cell was drawn by the project: the numbers show that the pipelines work and say nothing about malaria."
)


def summarise(
    entries: list[VariantReport],
    summary: DataBunchSummary,
    baseline: Measurement | None,
    untrained: Sequence[str] = (),
) -> dict[str, list[str]]:
    """Say by topic what was found, on whom, how certain it is, and what it is not; no topic is without a sentence."""
    equal = summary.equal_cells and summary.equal_cells.n_cells
    findings: dict[str, list[str | None]] = {
        _("Found"): [*(_result(entry, summary) for entry in entries), *map(_not_trained, untrained)],
        _("On whom"): [
            *(_cells(summary), describe_split(summary)),
            *(describe_equal_pictures(summary) if equal else None, tell_contradictions(summary)),
        ],
        _("How certain"): [*_how_sure(entries)],
        _("At the stored threshold"): [_operating_point(entry) for entry in entries],
        _("For a patient"): [_floor(entry) for entry in entries],
        _("What colour alone gives"): [_baseline(entries, baseline) if baseline else None],
        _("What this is not"): [_(PHANTOM_LIMITS) if summary.phantom else _(LIMITS)],
    }
    return {topic: said for topic, sentences in findings.items() if (said := [text for text in sentences if text])}


def describe_split(summary: DataBunchSummary) -> str:
    """Say in one sentence whether patients are kept apart."""
    disjoint, pairs = all_patients_disjoint(summary), known_pairs(summary)
    if disjoint is None:
        return _(
            "Which patients the cells come from is not known, so whether splits share patients is not known either."
        )
    patients = summary.patients
    if disjoint:
        total = summary.n_patients or sum(patients[split] for split in {s for p in pairs for s in p.split("/")})
        return ngettext(
            "0 of {n} patient shared: no patient has cells in two splits.",
            "0 of {n} patients shared: no patient has cells in two splits.",
            total,
        ).format(n=count(total))
    pair = max(pairs, key=lambda pair: pairs[pair])
    return ngettext(
        "{shared} of {n} {split} patient also has cells in {other}, which inflates the scores.",
        "{shared} of {n} {split} patients also have cells in {other}, which inflates the scores.",
        summary.patients[pair.split("/")[1]],
    ).format(**_of_a_pair(summary, pair))


def prove_pairs(summary: DataBunchSummary) -> list[str]:
    """Say for each pair of splits how many patients are in both."""
    return [
        ngettext(
            "{shared} of {n} {split} patient shared with {other}.",
            "{shared} of {n} {split} patients shared with {other}.",
            summary.patients[pair.split("/")[1]],
        ).format(**_of_a_pair(summary, pair))
        for pair in known_pairs(summary)
    ]


def _of_a_pair(summary: DataBunchSummary, pair: str) -> dict[str, str]:
    other, split = pair.split("/")
    shared, patients = count(summary.shared_patients[pair]), count(summary.patients[split])
    return {"shared": shared, "n": patients, "split": split_name(split), "other": split_name(other)}


def describe_equal_pictures(summary: DataBunchSummary) -> str | None:
    """Say whether a picture is in two splits, and how many cells share theirs; None where it was not counted."""
    equal, pairs = summary.equal_cells, summary.shared_pictures
    if equal is None or pairs is None:
        return None
    if not equal.n_cells:
        return _("0 pictures shared: no two cells show the same picture.")
    copies = {"cells": count(equal.n_cells), "n": count(equal.n_pictures)}
    if pairs and (shared := max(pairs.values())):
        one, other = map(split_name, max(pairs, key=lambda pair: pairs[pair]).split("/"))
        in_two = ngettext(
            "{n} picture in two splits, {one} and {other}, which inflates the scores.",
            "{n} pictures in two splits, {one} and {other}, which inflates the scores.",
            shared,
        ).format(n=count(shared), one=one, other=other)
        show = ngettext(
            "{cells} cells show only {n} picture.", "{cells} cells show only {n} pictures.", equal.n_pictures
        ).format(**copies)
        sentences = [in_two, show]
    else:
        within = ngettext(
            "0 pictures shared: {cells} cells show only {n} picture, each within one split.",
            "0 pictures shared: {cells} cells show only {n} pictures, each within one split.",
            equal.n_pictures,
        ).format(**copies)
        sentences = [within]
    if across := equal.n_across_patients:
        wrong = ngettext(
            "By their names, {n} of the pictures belongs to several patients, so names or patients are wrong.",
            "By their names, {n} of the pictures belong to several patients, so names or patients are wrong.",
            across,
        ).format(n=count(across))
        sentences.append(wrong)
    return " ".join(sentences)


def tell_contradictions(summary: DataBunchSummary) -> str | None:
    """Say how many cells were left out because their picture carries both labels; None if there were none."""
    n = summary.excluded.get(BOTH_LABELS)
    if not n:
        return None
    return ngettext(
        "{n} cell is not used, because the same picture is labelled both ways.",
        "{n} cells are not used, because the same picture is labelled both ways.",
        n,
    ).format(n=count(n))


def list_what_was_not_done(entries: list[VariantReport], summary: DataBunchSummary) -> dict[str, str]:
    """List what is missing, with what follows from it; what only this run lacks comes last."""
    drawn = {_("Blood"): _("Every cell was drawn by the project; the scores say nothing about malaria.")}
    missing = (drawn if summary.phantom else {}) | {
        _("External validation"): _(
            "No cell of another source was tried: how far the results generalise is not known."
        ),
        _("Whole smears"): _("Only cropped cells were seen; finding the cells in a smear was not tried."),
        _("Species and stages"): _("Only parasitized or uninfected is predicted, neither the species nor the stage."),
        _("Other stains and microscopes"): _(
            "All cells were stained and imaged in one way; another may change every number."
        ),
        _("Real proportions"): _("Parasitized cells are far rarer in blood than here; there, predictive values fall."),
        _("Clinical use"): _(
            "No patient, no reader and no outcome was studied: this is neither a diagnosis nor a medical device."
        ),
    }
    if all_patients_disjoint(summary) is False:
        apart = _("Some patients are in two splits here; {command} keeps them apart.")
        missing[_("Disjoint patients")] = apart.format(command="kedro run --env patient")
    if not _all_tested(entries):
        held_out = _("All scores are on validation cells; {parameter} holds out a test split.")
        missing[_("A held-out test split")] = held_out.format(parameter="split.test_pct")
    return missing | {_("Cross-validation and label audit"): tell_of_cross_validation()}


def tell_of_cross_validation() -> str:
    """Say where the cross-validation is."""
    return _("Not on this page: {command} writes a page of its own.").format(command=RUN_CROSS_VALIDATION)


def _all_tested(entries: list[VariantReport]) -> bool:
    return all("test" in entry.metrics.splits for entry in entries)


def _result(entry: VariantReport, summary: DataBunchSummary) -> str:
    split = entry.metrics.main_split
    values = entry.metrics.splits[split]
    n = values.n_patients
    if summary.phantom and n:
        said = ngettext(
            "Of {cells} {split} phantom cells of {n} patient, {name} calls {accuracy} correctly: it {calls}.",
            "Of {cells} {split} phantom cells of {n} patients, {name} calls {accuracy} correctly: it {calls}.",
            n,
        )
    elif summary.phantom:
        said = _("Of {cells} {split} phantom cells, {name} calls {accuracy} correctly: it {calls}.")
    elif n:
        said = ngettext(
            "Of {cells} {split} cells of {n} patient, {name} calls {accuracy} correctly: it {calls}.",
            "Of {cells} {split} cells of {n} patients, {name} calls {accuracy} correctly: it {calls}.",
            n,
        )
    else:
        said = _("Of {cells} {split} cells, {name} calls {accuracy} correctly: it {calls}.")
    sentence = said.format(
        cells=count(values.n),
        split=split_name(split),
        n=count(n),
        name=entry.name,
        accuracy=with_interval(values, "accuracy"),
        calls=_calls(values),
    )
    if values.roc_auc is None:
        return sentence
    area = _("ROC AUC {area}.").format(area=with_interval(values, "roc_auc"))
    return f"{sentence} {area}"


def _not_trained(variant: str) -> str:
    said = _("Nothing was measured of {name}, which is not trained ({command}).")
    return said.format(name=variant, command="kedro run --pipelines modeling")


def _calls(values: SplitMetrics) -> str:
    """Say how much of each class is recognised, or that it has no cell; a network's name or "it" stands before it."""
    sensitivity, specificity = with_interval(values, "sensitivity"), with_interval(values, "specificity")
    if values.sensitivity is None and values.specificity is None:
        return _("has no parasitized cell to find and has no uninfected one to recognise")
    if values.sensitivity is None:
        said = _("has no parasitized cell to find and recognises {specificity} of the uninfected ones")
    elif values.specificity is None:
        said = _("finds {sensitivity} of the parasitized cells and has no uninfected one to recognise")
    else:
        said = _("finds {sensitivity} of the parasitized cells and recognises {specificity} of the uninfected ones")
    return said.format(sensitivity=sensitivity, specificity=specificity)


def _cells(summary: DataBunchSummary) -> str:
    sizes = {split: sum(counts.values()) for split, counts in summary.counts.items()}
    parts = [
        _("{n} for {split}").format(n=count(sizes[split]), split=split_name(split))
        for split in SPLIT_NAMES
        if sizes.get(split)
    ]
    n = summary.n_patients
    if summary.phantom and n:
        said = ngettext(
            "{cells} phantom cells of {n} patient: {parts}.", "{cells} phantom cells of {n} patients: {parts}.", n
        )
    elif summary.phantom:
        said = _("{cells} phantom cells: {parts}.")
    elif n:
        said = ngettext(
            "{cells} cells of {n} patient ({source}): {parts}.", "{cells} cells of {n} patients ({source}): {parts}.", n
        )
    else:
        said = _("{cells} cells ({source}): {parts}.")
    return said.format(
        cells=count(sum(sizes.values())), n=count(n), source=place(summary.origin), parts=", ".join(parts)
    )


def _how_sure(entries: list[VariantReport]) -> list[str]:
    drawn = [split.bootstrap for entry in entries for split in entry.metrics.splits.values() if split.bootstrap]
    if not drawn:
        intervals = _("No intervals were drawn, so how far chance plays a part is not known.")
    elif drawn[0].unit == "patient":
        intervals = _(
            "In brackets are {level} % intervals, from drawing whole patients again and again. "
            "They show how the numbers would vary with other patients from the same source, not from another source."
        ).format(level=shortest(drawn[0].level * 100))
    else:
        intervals = _("The intervals draw single cells, because no patient is known; they are too narrow.")
    if _all_tested(entries):
        return [intervals, _("The test cells chose nothing: no epoch, no temperature, no threshold.")]
    chosen = [_("the epoch")] * any(str(entry.metadata.selected.rule).startswith("best_") for entry in entries)
    if any(entry.metrics.calibration is not None for entry in entries):
        chosen += [_("the temperature"), _("the threshold")]
    if not chosen:
        return [intervals, _("No test split was held out; the validation cells chose nothing.")]
    chose = _("No test split was held out. The validation cells also chose {what}, which inflates the scores a little.")
    return [intervals, chose.format(what=listed(chosen))]


def _operating_point(entry: VariantReport) -> str:
    point, split = entry.operating_point, entry.metrics.main_split
    if point is None or split not in point.splits:
        return ""
    target = entry.metrics.calibration.target_sensitivity if entry.metrics.calibration else None
    if target:
        said = _(
            "With the threshold at p = {threshold} (the highest that finds at least {target} % of validation's "
            "parasitized cells), {name} {calls} in {split}."
        )
    else:
        said = _("With the threshold at p = {threshold}, {name} {calls} in {split}.")
    return said.format(
        threshold=probability(point.threshold),
        target=shortest(100 * (target or 0)),
        name=entry.name,
        calls=_calls(point.splits[split]),
        split=split_name(split),
    )


def _floor(entry: VariantReport) -> str:
    floor = entry.metrics.patients.get(entry.metrics.main_split)
    return about(retell(floor.sentence), entry.name) if floor else ""


def _baseline(entries: list[VariantReport], baseline: Measurement) -> str:
    split = baseline.main_split
    networks = [(entry.name, entry.metrics.splits[split]) for entry in entries if split in entry.metrics.splits]
    if networks:
        said = _(
            "Colour statistics and a logistic regression, which see no shape at all, call {accuracy} of the {split} "
            "cells correctly ({networks})."
        )
    else:
        said = _(
            "Colour statistics and a logistic regression, which see no shape at all, call {accuracy} of the {split} "
            "cells correctly."
        )
    return said.format(
        accuracy=with_interval(baseline.splits[split], "accuracy"),
        split=split_name(split),
        networks=", ".join(f"{name} {percent(values.accuracy)}" for name, values in networks),
    )
