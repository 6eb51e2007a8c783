"""The findings in a few plain sentences: the report's first section."""

from __future__ import annotations

from dataclasses import dataclass

from malaria_kedro.cells.duplicates import BOTH_LABELS
from malaria_kedro.evaluation.measurements import Measurement, SplitMetrics
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.names import SPLIT_NAMES
from malaria_kedro.report.formats import count, percent, place, probability
from malaria_kedro.report.inputs import VariantReport, all_patients_disjoint, known_pairs
from malaria_kedro.report.tables import with_interval

RUN_CROSS_VALIDATION = "kedro run --pipelines cross_validation"
LEAKAGE = (
    "Cells of one patient look alike. Where splits share patients, the scores are inflated: on the NIH cells the same "
    "network reached 98.6 % on random folds and 95.9 % on patient-disjoint ones (Rajaraman et al. 2018, PeerJ 6:e4568)."
)


@dataclass(frozen=True)
class Finding:
    """A question and the sentences that answer it."""

    topic: str
    sentences: list[str]


def summarise(entries: list[VariantReport], summary: DataBunchSummary, baseline: Measurement | None) -> list[Finding]:
    """Say what was found, on whom, how certain it is, and what it is not; topics without a sentence are left out."""
    findings = [
        Finding("Found", [_result(entry, summary) for entry in entries]),
        Finding("On whom", [_cells(summary), describe_split(summary), *_equal_pictures(summary)]),
        Finding("How certain", _how_sure(entries)),
        Finding("At the stored threshold", [sentence for entry in entries if (sentence := _operating_point(entry))]),
        Finding("For a patient", [sentence for entry in entries if (sentence := _floor(entry))]),
        Finding("What colour alone gives", [_baseline(entries, baseline)] if baseline else []),
        Finding("What this is not", [_limits(summary)]),
    ]
    return [finding for finding in findings if finding.sentences]


def describe_split(summary: DataBunchSummary) -> str:
    """Say in one sentence whether patients are kept apart."""
    disjoint, pairs = all_patients_disjoint(summary), known_pairs(summary)
    if disjoint is None:
        return "Which patients the cells come from is not known, so whether splits share patients is not known either."
    patients = summary.patients
    if disjoint:
        total = summary.n_patients or sum(patients[split] for split in {s for p in pairs for s in p.split("/")})
        return f"0 of {count(total)} patients shared: no patient has cells in two splits."
    pair = max(pairs, key=lambda pair: pairs[pair])
    one, other = pair.split("/")
    return (
        f"{count(pairs[pair])} of {count(patients[other])} {SPLIT_NAMES.get(other, other)} patients also have cells in "
        f"{SPLIT_NAMES.get(one, one)}, which inflates the scores."
    )


def prove_pairs(summary: DataBunchSummary) -> list[str]:
    """Say for each pair of splits how many patients are in both."""
    sentences = []
    for pair, shared in known_pairs(summary).items():
        one, other = pair.split("/")
        sentences.append(
            f"{count(shared)} of {count(summary.patients[other])} {SPLIT_NAMES.get(other, other)} patients shared with "
            f"{SPLIT_NAMES.get(one, one)}."
        )
    return sentences


def describe_equal_pictures(summary: DataBunchSummary) -> str | None:
    """Say whether a picture is in two splits, and how many cells show one that others show too.

    Returns:
        None where it was not counted.
    """
    equal, pairs = summary.equal_cells, summary.shared_pictures
    if equal is None or pairs is None:
        return None
    if not equal.n_cells:
        return "0 pictures shared: no two cells show the same picture."
    copies = f"{count(equal.n_cells)} cells show only {_pictures(equal.n_pictures)}"
    if pairs and (shared := max(pairs.values())):
        one, other = (SPLIT_NAMES.get(split, split) for split in max(pairs, key=lambda pair: pairs[pair]).split("/"))
        sentence = f"{_pictures(shared)} in two splits, {one} and {other}, which inflates the scores. {copies}."
    else:
        sentence = f"0 pictures shared: {copies}, each within one split."
    if across := equal.n_across_patients:
        sentence += (
            f" By their names, {count(across)} of the pictures belong to several patients, so names or patients are "
            "wrong."
        )
    return sentence


def tell_contradictions(summary: DataBunchSummary) -> str | None:
    """Say how many cells were left out because their picture carries both labels; None if there were none."""
    n = summary.excluded.get(BOTH_LABELS)
    return f"{count(n)} cells are not used, because {BOTH_LABELS}." if n else None


def list_what_was_not_done(entries: list[VariantReport], summary: DataBunchSummary) -> list[tuple[str, str]]:
    """List what is missing, with what follows from it; what only this run lacks comes last."""
    missing = [
        ("External validation", "No cell of another source was tried: how far the results generalise is not known."),
        (
            "Whole smears",
            "Only cropped cells were seen; finding the cells in a smear was not tried.",
        ),
        ("Species and stages", "Only parasitized or uninfected is predicted, neither the species nor the stage."),
        (
            "Other stains and microscopes",
            "All cells were stained and imaged in one way; another may change every number.",
        ),
        ("Real proportions", "Parasitized cells are far rarer in blood than here; there, predictive values fall."),
        (
            "Clinical use",
            "No patient, no reader and no outcome was studied: this is neither a diagnosis nor a medical device.",
        ),
    ]
    if summary.phantom:
        missing.insert(0, ("Blood", "Every cell was drawn by the project; the scores say nothing about malaria."))
    if all_patients_disjoint(summary) is False:
        missing.append(
            ("Disjoint patients", "Some patients are in two splits here; kedro run --env patient keeps them apart.")
        )
    if not all("test" in entry.metrics.splits for entry in entries):
        missing.append(
            ("A held-out test split", "All scores are on validation cells; split.test_pct holds out a test split.")
        )
    missing.append(
        ("Cross-validation and label audit", f"Not on this page: {RUN_CROSS_VALIDATION} writes a page of its own.")
    )
    return missing


def _result(entry: VariantReport, summary: DataBunchSummary) -> str:
    split = entry.metrics.main_split
    values = entry.metrics.splits[split]
    kind = "phantom cells" if summary.phantom else "cells"
    area = f" ROC AUC {with_interval(values, 'roc_auc')}." if values.roc_auc is not None else ""
    return (
        f"Of {count(values.n)} {SPLIT_NAMES[split]} {kind}{_of_patients(values.n_patients)}, "
        f"{entry.name} calls {with_interval(values, 'accuracy')} correctly: it {_calls(values)}.{area}"
    )


def _calls(values: SplitMetrics) -> str:
    """Say how much of each class is recognised, or that it has no cell."""
    found = (
        f"finds {with_interval(values, 'sensitivity')} of the parasitized cells"
        if values.sensitivity is not None
        else "has no parasitized cell to find"
    )
    spared = (
        f"recognises {with_interval(values, 'specificity')} of the uninfected ones"
        if values.specificity is not None
        else "has no uninfected one to recognise"
    )
    return f"{found} and {spared}"


def _cells(summary: DataBunchSummary) -> str:
    sizes = {split: sum(counts.values()) for split, counts in summary.counts.items()}
    parts = [f"{count(sizes[split])} for {name}" for split, name in SPLIT_NAMES.items() if sizes.get(split)]
    kind, source = ("phantom cells", "") if summary.phantom else ("cells", f" ({place(summary.origin)})")
    patients = _of_patients(summary.n_patients)
    return f"{count(sum(sizes.values()))} {kind}{patients}{source}: {', '.join(parts)}."


def _pictures(n: int) -> str:
    return f"{count(n)} picture" if n == 1 else f"{count(n)} pictures"


def _equal_pictures(summary: DataBunchSummary) -> list[str]:
    proof = describe_equal_pictures(summary) if summary.equal_cells and summary.equal_cells.n_cells else None
    return [sentence for sentence in (proof, tell_contradictions(summary)) if sentence]


def _of_patients(n: int | None) -> str:
    return f" of {count(n)} patients" if n else ""


def _how_sure(entries: list[VariantReport]) -> list[str]:
    sentences = []
    drawn = [split.bootstrap for entry in entries for split in entry.metrics.splits.values() if split.bootstrap]
    if drawn and drawn[0].unit == "patient":
        sentences.append(
            f"In brackets are {drawn[0].level * 100:g} % intervals, from drawing whole patients again and again. "
            "They show how the numbers would vary with other patients from the same source, not from another source."
        )
    elif drawn:
        sentences.append("The intervals draw single cells, because no patient is known; they are too narrow.")
    else:
        sentences.append("No intervals were drawn, so how far chance plays a part is not known.")
    if all("test" in entry.metrics.splits for entry in entries):
        sentences.append("The test cells chose nothing: no epoch, no temperature, no threshold.")
    elif chosen := _chosen_on_validation(entries):
        sentences.append(
            f"No test split was held out. The validation cells also chose {chosen}, which inflates the scores a little."
        )
    else:
        sentences.append("No test split was held out; the validation cells chose nothing.")
    return sentences


def _chosen_on_validation(entries: list[VariantReport]) -> str:
    chosen = []
    if any(str(entry.metadata.selected.rule).startswith("best_") for entry in entries):
        chosen.append("the epoch")
    if any(entry.metrics.calibration for entry in entries):
        chosen += ["the temperature", "the threshold"]
    return " and ".join([", ".join(chosen[:-1]), chosen[-1]] if len(chosen) > 1 else chosen)


def _operating_point(entry: VariantReport) -> str:
    point, split = entry.operating_point, entry.metrics.main_split
    if point is None or split not in point.splits:
        return ""
    target = entry.metrics.calibration.target_sensitivity if entry.metrics.calibration else None
    aim = f" (the highest that finds at least {target * 100:g} % of validation's parasitized cells)" if target else ""
    return (
        f"With the threshold at p = {probability(point.threshold)}{aim}, {entry.name} "
        f"{_calls(point.splits[split])} in {SPLIT_NAMES[split]}."
    )


def _floor(entry: VariantReport) -> str:
    floor = entry.metrics.patients.get(entry.metrics.main_split)
    return f"{entry.name}: {floor.sentence}" if floor else ""


def _baseline(entries: list[VariantReport], baseline: Measurement) -> str:
    split = baseline.main_split
    networks = [
        f"{entry.name} {percent(entry.metrics.splits[split].accuracy)}"
        for entry in entries
        if split in entry.metrics.splits
    ]
    beside = f" ({', '.join(networks)})" if networks else ""
    return (
        "Colour statistics and a logistic regression, which see no shape at all, call "
        f"{with_interval(baseline.splits[split], 'accuracy')} of the {SPLIT_NAMES[split]} cells correctly{beside}."
    )


def _limits(summary: DataBunchSummary) -> str:
    if summary.phantom:
        return (
            "Every cell was drawn by the project: the numbers show that the pipelines work and say nothing about "
            "malaria."
        )
    return (
        "No cell of another hospital, microscope or stain was tried, no whole smear was read, no parasite species "
        "was identified, and nobody was diagnosed. Research use only."
    )
