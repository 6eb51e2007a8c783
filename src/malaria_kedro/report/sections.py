"""The sections of the report: values, words and tables, ready for their templates."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from malaria_kedro.evaluation.comparison import CITED_SOURCE
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.learning.description import EpochRow
from malaria_kedro.names import CLASSES, SPLIT_NAMES
from malaria_kedro.report.formats import (
    MISSING,
    count,
    decimals,
    duration,
    is_missing,
    megabytes,
    milliseconds,
    percent,
    place,
    rate,
    text,
)
from malaria_kedro.report.inputs import Patient, VariantReport
from malaria_kedro.report.tables import (
    CALL_METRICS,
    Cell,
    Column,
    Row,
    Table,
    beside,
    heading,
    measured_table,
    name_cell,
    number,
    table_of,
)

_RULES = {
    "last": "the last epoch (select: last)",
    "best_valid_loss": "the epoch with the lowest validation loss (select: best_valid_loss)",
    "best_accuracy": "the epoch with the highest validation accuracy (select: best_accuracy)",
}


class Section(NamedTuple):
    """An entry of a page's contents."""

    id: str
    title: str


def count_cells(summary: DataBunchSummary) -> Table:
    """Return a table of the cells and patients of each split, and of all together."""
    splits = {split: summary.counts[split] for split in SPLIT_NAMES if split in summary.counts}

    def row(name: str, by_class: Mapping[str, int], n_patients: int | None, css: str = "") -> Row:
        n = sum(by_class.values())
        share = percent(by_class.get(CLASSES[0], 0) / n if n else None)
        return Row([name, *(count(by_class.get(c, 0)) for c in CLASSES), count(n), count(n_patients), share], css)

    total = {name: sum(counts.get(name, 0) for counts in splits.values()) for name in CLASSES}
    names = (*CLASSES, "Cells", "Patients", f"{CLASSES[0]} share")
    return Table(
        "Cells and patients per split",
        [heading("Split"), *map(number, names)],
        [
            *(row(SPLIT_NAMES[split], counts, summary.patients.get(split)) for split, counts in splits.items()),
            row("all", total, summary.n_patients, "total"),
        ],
        caption="Cells and patients of each split",
    )


def list_excluded(summary: DataBunchSummary, listed: ListedCells) -> dict[str, Table]:
    """List the excluded cells, by a title with the reason."""
    columns = {
        heading("Cell", "words"): lambda cell: cell.cell_id,
        Column("Label"): lambda cell: cell.label,
        Column("Patient"): lambda cell: text(cell.patient_id),
        Column("Why it is not used", css="words"): lambda cell: cell.excluded,
    }
    tables = {}
    for reason, cells in listed.excluded.items():
        n = summary.excluded.get(reason, len(cells))
        of = f"the first {len(cells)} of {count(n)} cells" if n > len(cells) else f"{count(n)} cell{'s' * (n != 1)}"
        tables[f"{reason}: {of}"] = table_of(f"Cells excluded: {reason}", columns, cells)
    return tables


def list_equal_pictures(summary: DataBunchSummary, listed: ListedCells) -> dict[str, Table]:
    """List the pictures that several cells show, by a title; empty where there is none."""
    columns = {
        number("Cells"): lambda found: count(found.n_cells),
        Column("Label"): lambda found: found.label,
        Column("Patients"): lambda found: text(", ".join(found.patients)),
        Column("Which", css="words"): lambda found: (
            ", ".join(found.cell_ids) + ", …" * (found.n_cells > len(found.cell_ids))
        ),
    }
    shown = len(listed.equal)
    n = summary.equal_cells.n_pictures if summary.equal_cells else shown
    of = f"the first {shown} of {count(n)}" if n > shown else f"{shown}"
    table = table_of("Cells that show the same picture", columns, listed.equal)
    return {f"Pictures that several cells show: {of}": table} if shown else {}


def recipe_table(entries: list[VariantReport]) -> Table:
    """Return how the variants were trained, which epoch was exported, and what they cost."""

    def stage(name: str) -> Callable[[VariantReport], str]:
        def describe(entry: VariantReport) -> str:
            cycle = getattr(entry.metadata.parameters, name)
            if not cycle or not cycle.epochs:
                return "skipped" if cycle else MISSING
            one = isinstance(cycle.lr_max, float)
            rates = rate(cycle.lr_max) if one else f"{' (first layers) to '.join(map(rate, cycle.lr_max))} (head)"
            return f"{cycle.epochs} one-cycle epochs, top rate {rates}"

        return describe

    def started(entry: VariantReport) -> str:
        return "random weights" if entry.metadata.pretrained == "none" else text(entry.metadata.pretrained)

    def exported(entry: VariantReport) -> Cell:
        chosen = entry.metadata.selected
        why = _RULES.get(str(chosen.rule), f"the epoch asked for (select: {chosen.rule})")
        return Cell(f"epoch {chosen.epoch} of {text(chosen.stage).replace('_', ' ')}", words=why)

    def predicting(entry: VariantReport) -> Cell:
        cost = entry.metrics.cost
        return Cell(f"{milliseconds(cost.ms_per_cell)} per cell, in batches", words=f"on {cost.device}")

    def size(entry: VariantReport) -> str:
        return f"{entry.metadata.input.size} × {entry.metadata.input.size} px, {entry.metadata.input.channels}"

    return beside(
        "Recipe, exported epoch and cost",
        [entry.name for entry in entries],
        entries,
        {
            "Network": lambda entry: f"{entry.metadata.network}, {count(entry.metadata.n_parameters)} weights",
            "Started from": started,
            "Input": size,
            "Batch size": lambda entry: count(entry.metadata.parameters.batch_size),
            "Stage 1": stage("stage_1"),
            "Stage 2": stage("stage_2"),
            "Exported epoch": exported,
            "… its validation loss": lambda entry: decimals(entry.metadata.selected.valid_loss),
            "… its validation accuracy": lambda entry: percent(entry.metadata.selected.accuracy),
            "Training time": lambda entry: duration(entry.metrics.cost.train_seconds),
            "File size": lambda entry: megabytes(entry.metrics.cost.weights_bytes),
            "Prediction": predicting,
        },
    )


def merge_notes(notes: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    """Return each note once, with the names of all whose note it is."""
    whose: dict[str, list[str]] = {}
    for name, its in notes:
        for note in its:
            whose.setdefault(note, []).append(name)
    return {note: ", ".join(names) for note, names in whose.items()}


def is_late(entry: VariantReport) -> bool:
    """Tell whether the exported epoch lies after the turn of validation loss."""
    selected, onset = entry.metadata.selected, entry.onset
    return bool(onset and onset.rose and selected.stage == onset.stage and (selected.epoch or 0) > onset.epoch)


def history_table(entries: list[VariantReport]) -> Table:
    """Return every epoch of the variants, side by side."""
    histories = [{(epoch.stage, epoch.epoch): epoch for epoch in entry.history} for entry in entries]
    epochs = sorted({key for history in histories for key in history})

    def loss(entry: VariantReport, epoch: EpochRow) -> Cell:
        at, chosen, onset = (epoch.stage, epoch.epoch), entry.metadata.selected, entry.onset
        exported = at == (chosen.stage, chosen.epoch)
        lowest = onset is not None and at == (onset.stage, onset.epoch)
        notes = ", ".join(["exported"] * exported + ["lowest"] * lowest)
        return Cell(decimals(epoch.valid_loss), words=notes, css="exported" * exported)

    def cells(entry: VariantReport, epoch: EpochRow | None) -> list[Cell | str]:
        if epoch is None:
            return [MISSING] * 4
        accuracy = percent(epoch.accuracy, entry.metrics.splits["valid"].n)
        return [decimals(epoch.train_loss), loss(entry, epoch), accuracy, duration(epoch.seconds)]

    titles = ("Training loss", "Validation loss", "Accuracy", "Time")
    return Table(
        "Training history",
        [heading("Epoch"), *(number(title, entry.name) for entry in entries for title in titles)],
        [
            Row(
                [
                    f"{stage.replace('_', ' ')}, {epoch}",
                    *itertools.chain.from_iterable(
                        cells(entry, history.get((stage, epoch)))
                        for entry, history in zip(entries, histories, strict=True)
                    ),
                ]
            )
            for stage, epoch in epochs
        ],
        caption="Losses are cross-entropy in nats; the learning rate of each epoch is in history.csv",
        css="data",
    )


def calibration_table(entries: list[VariantReport]) -> Table | None:
    """Return what the temperatures changed; None where no variant is calibrated."""
    if not any(entry.metrics.calibration for entry in entries):
        return None
    names = {"ece": "calibration error (ECE)", "brier": "Brier score", "loss": "cross-entropy"}
    splits = dict.fromkeys(split for entry in entries for split in entry.metrics.splits)

    def temperature(entry: VariantReport) -> Cell:
        found = entry.metrics.calibration
        if found is None:
            return Cell(MISSING, words="not calibrated")
        effect = "less" if found.temperature > 1 else "more" if found.temperature < 1 else "as"
        words = f"{effect} certain {'than' if effect != 'as' else 'as'} the network; fitted on {count(found.n)} cells"
        return Cell(decimals(found.temperature, 3), words=words)

    def change(split: str, name: str) -> Callable[[VariantReport], str]:
        def show(entry: VariantReport) -> str:
            before = entry.metrics.splits.get(split)
            if before is None or before.calibrated is None:
                return MISSING
            return f"{decimals(before.score(name))} → {decimals(before.calibrated.score(name))}"

        return show

    return beside(
        "Calibration before and after",
        [entry.name for entry in entries],
        entries,
        {"Temperature": temperature}
        | {
            f"{SPLIT_NAMES.get(split, split).capitalize()}: {title}": change(split, name)
            for split in splits
            for name, title in names.items()
        },
        caption="Before → after the temperature; less is better everywhere",
    )


def operating_points(entries: list[VariantReport]) -> Table | None:
    """Return the calls at the stored thresholds; None where there is none."""
    points = {entry.name: entry.operating_point for entry in entries if entry.operating_point}
    return measured_table(points, "Calls at the stored thresholds", CALL_METRICS) if points else None


# Of the thresholds that are counted, those that the page lists.
LISTED_THRESHOLDS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


def thresholds_table(entries: list[VariantReport]) -> Table | None:
    """Return what is found and what is recognised at some thresholds of the calibrated p; None where none is known."""
    swept = [(entry.name, entry.sweep) for entry in entries if entry.sweep]
    if not swept:
        return None

    def share(part: int, whole: int) -> str:
        return percent(part / whole if whole else None, whole)

    def at(threshold: float) -> Iterator[str]:
        for _, sweep in swept:
            calls = next(calls for calls in sweep.calls if calls.threshold == threshold)
            yield share(calls.found, sweep.n_parasitized)
            yield share(sweep.n_uninfected - calls.alarms, sweep.n_uninfected)

    splits = " and ".join(dict.fromkeys(SPLIT_NAMES[sweep.split] for _, sweep in swept))
    return Table(
        "Calls at other thresholds",
        [heading("p from"), *(number(title, name) for name, _ in swept for title in ("Sensitivity", "Specificity"))],
        [Row([f"{threshold:g}", *at(threshold)]) for threshold in LISTED_THRESHOLDS],
        caption=f"Sensitivity and specificity over the {splits} cells if a cell is called parasitized from this p on",
        css="data",
    )


def patients_table(entries: list[VariantReport]) -> Table | None:
    """Return a row per patient and split, with what each variant flags; None where no patient is known."""
    found = {entry.name: {(of.split, of.patient_id): of for of in entry.patients} for entry in entries}
    rows = list(dict.fromkeys(key for patients in found.values() for key in patients))
    if not rows:
        return None

    def flagged(patient: Patient | None) -> list[Cell | str]:
        if patient is None:
            return [MISSING] * 3
        shares = percent(patient.apparent_parasitaemia), percent(patient.false_positive_rate)
        return [count(patient.flagged_cells), *shares]

    def row(split: str, name: str) -> Row:
        known = [patients.get((split, name)) for patients in found.values()]
        one = next(patient for patient in known if patient)
        return Row(
            [
                SPLIT_NAMES.get(split, split),
                name_cell(name),
                count(one.cells),
                count(one.parasitized_cells),
                percent(one.labelled_parasitaemia),
                "yes" if one.healthy else "no",
                *itertools.chain.from_iterable(map(flagged, known)),
            ]
        )

    per_variant = ("Flagged", "Apparent parasitaemia", "False-positive rate")
    return Table(
        "Patients",
        [
            Column("Split"),
            heading("Patient"),
            *map(number, ("Cells", "Labelled parasitized", "Labelled parasitaemia")),
            Column("Healthy"),
            *(number(title, name) for name in found for title in per_variant),
        ],
        [row(*key) for key in rows],
        caption="One row per patient. Parasitaemia is the share of these crops, not of the blood. Healthy: no cell is "
        "labelled parasitized.",
        css="data",
    )


def comparison_table(comparison: pd.DataFrame) -> Table:
    """Return the comparison, with what is cited told from what is measured."""

    def cited(row: Any) -> bool:
        return row.source == CITED_SOURCE

    def share(row: Any, value: float | None) -> str:
        # The tutorial prints one decimal; writing two would claim more than it tells.
        return percent(value, None if cited(row) else row.n)

    def epoch(row: Any) -> str:
        return text(None if is_missing(row.selected_epoch) else f"{row.selected_stage}, {int(row.selected_epoch)}")

    return table_of(
        "Comparison of the variants",
        {
            heading("Variant", "words"): lambda row: Cell(row.variant, words="(cited)" * cited(row)),
            Column("Protocol, split"): lambda row: (
                f"{text(row.split_strategy)}, {SPLIT_NAMES.get(row.split, row.split)}"
            ),
            number("Cells"): lambda row: count(row.n),
            number("Accuracy"): lambda row: share(row, row.accuracy),
            number("Sensitivity"): lambda row: share(row, row.sensitivity),
            number("Specificity"): lambda row: share(row, row.specificity),
            number("ROC AUC"): lambda row: decimals(row.roc_auc),
            Column("Data", css="words"): lambda row: place(row.data),
            Column("Epochs"): lambda row: text(row.epochs),
            Column("Exported epoch"): lambda row: epoch(row).replace("_", " "),
            number("Weights"): lambda row: count(row.n_parameters),
            number("Training"): lambda row: duration(row.train_seconds),
        },
        comparison.itertuples(),
        css="data",
        mark=lambda row: "cited" * cited(row),
    )


def merge_blocks(blocks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Merge what the variants' metadata say; where they differ, the values are separated by slashes."""
    values: dict[str, dict[str, None]] = {}  # without repetitions, in the order of the blocks
    for block in blocks:
        for key, value in block.items():
            values.setdefault(key, {})[text(value)] = None
    return {key: " / ".join(known) for key, known in values.items()}
