"""The findings in a few plain sentences: the report's first section."""

from __future__ import annotations

from collections.abc import Sequence

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
LIMITS = (
    "No cell of another hospital, microscope or stain was tried, no whole smear was read, no parasite species was "
    "identified, and nobody was diagnosed. Research use only."
)
PHANTOM_LIMITS = (
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
        "Found": [*(_result(entry, summary) for entry in entries), *map(_not_trained, untrained)],
        "On whom": [
            *(_cells(summary), describe_split(summary)),
            *(describe_equal_pictures(summary) if equal else None, tell_contradictions(summary)),
        ],
        "How certain": [*_how_sure(entries)],
        "At the stored threshold": [_operating_point(entry) for entry in entries],
        "For a patient": [_floor(entry) for entry in entries],
        "What colour alone gives": [_baseline(entries, baseline) if baseline else None],
        "What this is not": [PHANTOM_LIMITS if summary.phantom else LIMITS],
    }
    return {topic: said for topic, sentences in findings.items() if (said := [text for text in sentences if text])}


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
    return f"{_of_a_pair(summary, pair, 'also have cells in')}, which inflates the scores."


def prove_pairs(summary: DataBunchSummary) -> list[str]:
    """Say for each pair of splits how many patients are in both."""
    return [_of_a_pair(summary, pair, "shared with") + "." for pair in known_pairs(summary)]


def _of_a_pair(summary: DataBunchSummary, pair: str, verb: str) -> str:
    one, other = pair.split("/")
    shared, patients = count(summary.shared_patients[pair]), count(summary.patients[other])
    return f"{shared} of {patients} {SPLIT_NAMES.get(other, other)} patients {verb} {SPLIT_NAMES.get(one, one)}"


def describe_equal_pictures(summary: DataBunchSummary) -> str | None:
    """Say whether a picture is in two splits, and how many cells share theirs; None where it was not counted."""
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
        what = f"{count(across)} of the pictures belong to several patients"
        sentence += f" By their names, {what}, so names or patients are wrong."
    return sentence


def tell_contradictions(summary: DataBunchSummary) -> str | None:
    """Say how many cells were left out because their picture carries both labels; None if there were none."""
    n = summary.excluded.get(BOTH_LABELS)
    return f"{count(n)} cells are not used, because {BOTH_LABELS}." if n else None


def list_what_was_not_done(entries: list[VariantReport], summary: DataBunchSummary) -> dict[str, str]:
    """List what is missing, with what follows from it; what only this run lacks comes last."""
    drawn = {"Blood": "Every cell was drawn by the project; the scores say nothing about malaria."}
    missing = (drawn if summary.phantom else {}) | {
        "External validation": "No cell of another source was tried: how far the results generalise is not known.",
        "Whole smears": "Only cropped cells were seen; finding the cells in a smear was not tried.",
        "Species and stages": "Only parasitized or uninfected is predicted, neither the species nor the stage.",
        "Other stains and microscopes": "All cells were stained and imaged in one way; another may change every "
        "number.",
        "Real proportions": "Parasitized cells are far rarer in blood than here; there, predictive values fall.",
        "Clinical use": "No patient, no reader and no outcome was studied: this is neither a diagnosis nor a medical "
        "device.",
    }
    if all_patients_disjoint(summary) is False:
        missing["Disjoint patients"] = "Some patients are in two splits here; kedro run --env patient keeps them apart."
    if not _all_tested(entries):
        missing["A held-out test split"] = "All scores are on validation cells; split.test_pct holds out a test split."
    audit = f"Not on this page: {RUN_CROSS_VALIDATION} writes a page of its own."
    return missing | {"Cross-validation and label audit": audit}


def _all_tested(entries: list[VariantReport]) -> bool:
    return all("test" in entry.metrics.splits for entry in entries)


def _result(entry: VariantReport, summary: DataBunchSummary) -> str:
    split = entry.metrics.main_split
    values = entry.metrics.splits[split]
    kind = "phantom cells" if summary.phantom else "cells"
    area = f" ROC AUC {with_interval(values, 'roc_auc')}." if values.roc_auc is not None else ""
    return (
        f"Of {count(values.n)} {SPLIT_NAMES[split]} {kind}{_of_patients(values.n_patients)}, "
        f"{entry.name} calls {with_interval(values, 'accuracy')} correctly: it {_calls(values)}.{area}"
    )


def _not_trained(variant: str) -> str:
    return f"Nothing was measured of {variant}, which is not trained (kedro run --pipelines modeling)."


def _calls(values: SplitMetrics) -> str:
    """Say how much of each class is recognised, or that it has no cell."""
    found, spared = "has no parasitized cell to find", "has no uninfected one to recognise"
    if values.sensitivity is not None:
        found = f"finds {with_interval(values, 'sensitivity')} of the parasitized cells"
    if values.specificity is not None:
        spared = f"recognises {with_interval(values, 'specificity')} of the uninfected ones"
    return f"{found} and {spared}"


def _cells(summary: DataBunchSummary) -> str:
    sizes = {split: sum(counts.values()) for split, counts in summary.counts.items()}
    parts = [f"{count(sizes[split])} for {name}" for split, name in SPLIT_NAMES.items() if sizes.get(split)]
    kind, source = ("phantom cells", "") if summary.phantom else ("cells", f" ({place(summary.origin)})")
    patients = _of_patients(summary.n_patients)
    return f"{count(sum(sizes.values()))} {kind}{patients}{source}: {', '.join(parts)}."


def _pictures(n: int) -> str:
    return f"{count(n)} picture{'s' * (n != 1)}"


def _of_patients(n: int | None) -> str:
    return f" of {count(n)} patients" if n else ""


def _how_sure(entries: list[VariantReport]) -> list[str]:
    drawn = [split.bootstrap for entry in entries for split in entry.metrics.splits.values() if split.bootstrap]
    if not drawn:
        intervals = "No intervals were drawn, so how far chance plays a part is not known."
    elif drawn[0].unit == "patient":
        intervals = (
            f"In brackets are {drawn[0].level * 100:g} % intervals, from drawing whole patients again and again. "
            "They show how the numbers would vary with other patients from the same source, not from another source."
        )
    else:
        intervals = "The intervals draw single cells, because no patient is known; they are too narrow."
    if _all_tested(entries):
        return [intervals, "The test cells chose nothing: no epoch, no temperature, no threshold."]
    chosen = ["the epoch"] * any(str(entry.metadata.selected.rule).startswith("best_") for entry in entries)
    chosen += ["the temperature", "the threshold"] * any(entry.metrics.calibration is not None for entry in entries)
    if not chosen:
        return [intervals, "No test split was held out; the validation cells chose nothing."]
    what = " and ".join(filter(None, [", ".join(chosen[:-1]), chosen[-1]]))
    chose = f"No test split was held out. The validation cells also chose {what}, which inflates the scores a little."
    return [intervals, chose]


def _operating_point(entry: VariantReport) -> str:
    point, split = entry.operating_point, entry.metrics.main_split
    if point is None or split not in point.splits:
        return ""
    target = entry.metrics.calibration.target_sensitivity if entry.metrics.calibration else None
    aim = f" (the highest that finds at least {target * 100:g} % of validation's parasitized cells)" if target else ""
    found = f"{_calls(point.splits[split])} in {SPLIT_NAMES[split]}"
    return f"With the threshold at p = {probability(point.threshold)}{aim}, {entry.name} {found}."


def _floor(entry: VariantReport) -> str:
    floor = entry.metrics.patients.get(entry.metrics.main_split)
    return f"{entry.name}: {floor.sentence}" if floor else ""


def _baseline(entries: list[VariantReport], baseline: Measurement) -> str:
    split = baseline.main_split
    networks = [(entry.name, entry.metrics.splits[split]) for entry in entries if split in entry.metrics.splits]
    beside = f" ({', '.join(f'{name} {percent(values.accuracy)}' for name, values in networks)})" if networks else ""
    return (
        "Colour statistics and a logistic regression, which see no shape at all, call "
        f"{with_interval(baseline.splits[split], 'accuracy')} of the {SPLIT_NAMES[split]} cells correctly{beside}."
    )
