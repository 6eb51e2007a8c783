"""The sections of the report: values, words and tables, ready for their templates."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from malaria_kedro.evaluation.comparison import CITED_SOURCE
from malaria_kedro.language import N_, _, ngettext, retell
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.learning.description import EpochRow
from malaria_kedro.names import CLASSES, PARASITIZED, SPLIT_NAMES, split_name, strategy_name
from malaria_kedro.report.formats import (
    MISSING,
    count,
    decimals,
    duration,
    is_missing,
    listed,
    megabytes,
    milliseconds,
    percent,
    place,
    rate,
    shortest,
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
    "last": N_("the last epoch (select: last)"),
    "best_valid_loss": N_("the epoch with the lowest validation loss (select: best_valid_loss)"),
    "best_accuracy": N_("the epoch with the highest validation accuracy (select: best_accuracy)"),
}


# What the fields of the metadata's hardware are called.
HARDWARE = {
    "device": N_("Device"),
    "name": N_("Name"),
    "precision": N_("Precision"),
    "threads": N_("Threads"),
    "memory_format": N_("Memory format"),
    "memory_gb": N_("Memory gb"),
    "cuda": N_("Cuda"),
    "driver": N_("Driver"),
    "capability": N_("Capability"),
}
_STAGES = {"stage_1": N_("stage 1"), "stage_2": N_("stage 2")}


class Section(NamedTuple):
    """An entry of a page's contents."""

    id: str
    title: str


def stage_name(stage: str | None) -> str:
    """Return what readers call a stage of training, in the language of the page."""
    return _(_STAGES[stage]) if stage in _STAGES else text(stage).replace("_", " ")


def count_cells(summary: DataBunchSummary) -> Table:
    """Return a table of the cells and patients of each split, and of all together."""
    splits = {split: summary.counts[split] for split in SPLIT_NAMES if split in summary.counts}

    def row(name: str, by_class: Mapping[str, int], n_patients: int | None, css: str = "") -> Row:
        n = sum(by_class.values())
        share = percent(by_class.get(PARASITIZED, 0) / n if n else None)
        return Row([name, *(count(by_class.get(c, 0)) for c in CLASSES), count(n), count(n_patients), share], css)

    total = {name: sum(counts.get(name, 0) for counts in splits.values()) for name in CLASSES}
    names = (*map(_, CLASSES), _("Cells"), _("Patients"), _("Parasitized share"))
    return Table(
        _("Cells and patients per split"),
        [heading(_("Split")), *map(number, names)],
        [
            *(row(split_name(split), counts, summary.patients.get(split)) for split, counts in splits.items()),
            row(_("all"), total, summary.n_patients, "total"),
        ],
        caption=_("Cells and patients of each split"),
    )


def list_excluded(summary: DataBunchSummary, found: ListedCells) -> dict[str, Table]:
    """List the excluded cells, by a title with the reason."""
    columns = {
        heading(_("Cell"), "words"): lambda cell: cell.cell_id,
        Column(_("Label")): lambda cell: _(cell.label),
        Column(_("Patient")): lambda cell: text(cell.patient_id),
        Column(_("Why it is not used"), css="words"): lambda cell: retell(cell.excluded),
    }
    tables = {}
    for reason, cells in found.excluded.items():
        n = summary.excluded.get(reason, len(cells))
        if n > len(cells):
            of = _("the first {shown} of {n} cells").format(shown=len(cells), n=count(n))
        else:
            of = ngettext("{n} cell", "{n} cells", n).format(n=count(n))
        why = retell(reason)
        tables[f"{why}: {of}"] = table_of(_("Cells excluded: {reason}").format(reason=why), columns, cells)
    return tables


def list_equal_pictures(summary: DataBunchSummary, found: ListedCells) -> dict[str, Table]:
    """List the pictures that several cells show, by a title; empty where there is none."""
    columns = {
        number(_("Cells")): lambda picture: count(picture.n_cells),
        Column(_("Label")): lambda picture: _(picture.label),
        Column(_("Patients")): lambda picture: text(", ".join(picture.patients)),
        Column(_("Which"), css="words"): lambda picture: (
            ", ".join(picture.cell_ids) + ", …" * (picture.n_cells > len(picture.cell_ids))
        ),
    }
    shown = len(found.equal)
    n = summary.equal_cells.n_pictures if summary.equal_cells else shown
    if n > shown:
        title = _("Pictures that several cells show: the first {shown} of {n}").format(shown=shown, n=count(n))
    else:
        title = _("Pictures that several cells show: {n}").format(n=shown)
    return {title: table_of(_("Cells that show the same picture"), columns, found.equal)} if shown else {}


def recipe_table(entries: list[VariantReport]) -> Table:
    """Return how the variants were trained, which epoch was exported, and what they cost."""

    def stage(name: str) -> Callable[[VariantReport], str]:
        def describe(entry: VariantReport) -> str:
            cycle = getattr(entry.metadata.parameters, name)
            if not cycle or not cycle.epochs:
                return _("skipped") if cycle else MISSING
            if isinstance(cycle.lr_max, float):
                said = ngettext(
                    "{n} one-cycle epoch, top rate {rate}", "{n} one-cycle epochs, top rate {rate}", cycle.epochs
                )
                return said.format(n=cycle.epochs, rate=rate(cycle.lr_max))
            first, last = rate(cycle.lr_max[0]), rate(cycle.lr_max[-1])
            return ngettext(
                "{n} one-cycle epoch, top rate {first} (first layers) to {last} (head)",
                "{n} one-cycle epochs, top rate {first} (first layers) to {last} (head)",
                cycle.epochs,
            ).format(n=cycle.epochs, first=first, last=last)

        return describe

    def started(entry: VariantReport) -> str:
        return _("random weights") if entry.metadata.pretrained == "none" else text(entry.metadata.pretrained)

    def exported(entry: VariantReport) -> Cell:
        chosen = entry.metadata.selected
        rule = str(chosen.rule)
        why = _(_RULES[rule]) if rule in _RULES else _("the epoch asked for (select: {epoch})").format(epoch=rule)
        said = _("epoch {epoch} of {stage}").format(epoch=chosen.epoch, stage=stage_name(chosen.stage))
        return Cell(said, words=why)

    def predicting(entry: VariantReport) -> Cell:
        cost = entry.metrics.cost
        said = _("{time} per cell, in batches").format(time=milliseconds(cost.ms_per_cell))
        return Cell(said, words=_("on {device}").format(device=cost.device))

    def size(entry: VariantReport) -> str:
        return f"{entry.metadata.input.size} × {entry.metadata.input.size} px, {entry.metadata.input.channels}"

    return beside(
        _("Recipe, exported epoch and cost"),
        [entry.name for entry in entries],
        entries,
        {
            _("Network"): lambda entry: _("{network}, {n} weights").format(
                network=entry.metadata.network, n=count(entry.metadata.n_parameters)
            ),
            _("Started from"): started,
            _("Input"): size,
            _("Batch size"): lambda entry: count(entry.metadata.parameters.batch_size),
            _("Stage 1"): stage("stage_1"),
            _("Stage 2"): stage("stage_2"),
            _("Exported epoch"): exported,
            _("… its validation loss"): lambda entry: decimals(entry.metadata.selected.valid_loss),
            _("… its validation accuracy"): lambda entry: percent(entry.metadata.selected.accuracy),
            _("Training time"): lambda entry: duration(entry.metrics.cost.train_seconds),
            _("File size"): lambda entry: megabytes(entry.metrics.cost.weights_bytes),
            _("Prediction"): predicting,
        },
    )


def merge_notes(notes: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    """Return each note once, in the language of the page, with the names of all whose note it is."""
    whose: dict[str, list[str]] = {}
    for name, its in notes:
        for note in its:
            whose.setdefault(retell(note), []).append(name)
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
        notes = ", ".join([_("exported")] * exported + [_("lowest")] * lowest)
        return Cell(decimals(epoch.valid_loss), words=notes, css="exported" * exported)

    def cells(entry: VariantReport, epoch: EpochRow | None) -> list[Cell | str]:
        if epoch is None:
            return [MISSING] * 4
        accuracy = percent(epoch.accuracy, entry.metrics.splits["valid"].n)
        return [decimals(epoch.train_loss), loss(entry, epoch), accuracy, duration(epoch.seconds)]

    titles = (_("Training loss"), _("Validation loss"), _("Accuracy"), _("Time"))
    return Table(
        _("Training history"),
        [heading(_("Epoch")), *(number(title, entry.name) for entry in entries for title in titles)],
        [
            Row(
                [
                    f"{stage_name(stage)}, {epoch}",
                    *itertools.chain.from_iterable(
                        cells(entry, history.get((stage, epoch)))
                        for entry, history in zip(entries, histories, strict=True)
                    ),
                ]
            )
            for stage, epoch in epochs
        ],
        caption=_("Losses are cross-entropy in nats; the learning rate of each epoch is in history.csv"),
        css="data",
    )


def calibration_table(entries: list[VariantReport]) -> Table | None:
    """Return what the temperatures changed; None where no variant is calibrated."""
    if not any(entry.metrics.calibration for entry in entries):
        return None
    titles = {
        "ece": _("{split}: calibration error (ECE)"),
        "brier": _("{split}: Brier score"),
        "loss": _("{split}: cross-entropy"),
    }
    splits = dict.fromkeys(split for entry in entries for split in entry.metrics.splits)

    def temperature(entry: VariantReport) -> Cell:
        found = entry.metrics.calibration
        if found is None:
            return Cell(MISSING, words=_("not calibrated"))
        if found.temperature > 1:
            words = _("less certain than the network; fitted on {n} cells")
        elif found.temperature < 1:
            words = _("more certain than the network; fitted on {n} cells")
        else:
            words = _("as certain as the network; fitted on {n} cells")
        return Cell(decimals(found.temperature, 3), words=words.format(n=count(found.n)))

    def change(split: str, name: str) -> Callable[[VariantReport], str]:
        def show(entry: VariantReport) -> str:
            before = entry.metrics.splits.get(split)
            if before is None or before.calibrated is None:
                return MISSING
            return f"{decimals(before.score(name))} → {decimals(before.calibrated.score(name))}"

        return show

    return beside(
        _("Calibration before and after"),
        [entry.name for entry in entries],
        entries,
        {_("Temperature"): temperature}
        | {
            title.format(split=split_name(split).capitalize()): change(split, name)
            for split in splits
            for name, title in titles.items()
        },
        caption=_("Before → after the temperature; less is better everywhere"),
    )


def operating_points(entries: list[VariantReport]) -> Table | None:
    """Return the calls at the stored thresholds; None where there is none."""
    points = {entry.name: entry.operating_point for entry in entries if entry.operating_point}
    return measured_table(points, _("Calls at the stored thresholds"), CALL_METRICS) if points else None


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
        for _name, sweep in swept:
            calls = next(calls for calls in sweep.calls if calls.threshold == threshold)
            yield share(calls.found, sweep.n_parasitized)
            yield share(sweep.n_uninfected - calls.alarms, sweep.n_uninfected)

    splits = listed([*dict.fromkeys(split_name(sweep.split) for _name, sweep in swept)])
    titles = (_("Sensitivity"), _("Specificity"))
    return Table(
        _("Calls at other thresholds"),
        [heading(_("p from")), *(number(title, name) for name, _sweep in swept for title in titles)],
        [Row([shortest(threshold), *at(threshold)]) for threshold in LISTED_THRESHOLDS],
        caption=_(
            "Sensitivity and specificity over the {splits} cells if a cell is called parasitized from this p on"
        ).format(splits=splits),
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
                split_name(split),
                name_cell(name),
                count(one.cells),
                count(one.parasitized_cells),
                percent(one.labelled_parasitaemia),
                _("yes") if one.healthy else _("no"),
                *itertools.chain.from_iterable(map(flagged, known)),
            ]
        )

    per_variant = (_("Flagged"), _("Apparent parasitaemia"), _("False-positive rate"))
    return Table(
        _("Patients"),
        [
            Column(_("Split")),
            heading(_("Patient")),
            *map(number, (_("Cells"), _("Labelled parasitized"), _("Labelled parasitaemia"))),
            Column(_("Healthy")),
            *(number(title, name) for name in found for title in per_variant),
        ],
        [row(*key) for key in rows],
        caption=_(
            "One row per patient. Parasitaemia is the share of these crops, not of the blood. Healthy: no cell is "
            "labelled parasitized."
        ),
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
        if is_missing(row.selected_epoch):
            return MISSING
        return f"{stage_name(row.selected_stage)}, {int(row.selected_epoch)}"

    return table_of(
        _("Comparison of the variants"),
        {
            heading(_("Variant"), "words"): lambda row: Cell(retell(row.variant), words=_("(cited)") * cited(row)),
            Column(_("Protocol, split")): lambda row: (
                f"{strategy_name(text(row.split_strategy))}, {split_name(row.split)}"
            ),
            number(_("Cells")): lambda row: count(row.n),
            number(_("Accuracy")): lambda row: share(row, row.accuracy),
            number(_("Sensitivity")): lambda row: share(row, row.sensitivity),
            number(_("Specificity")): lambda row: share(row, row.specificity),
            number(_("ROC AUC")): lambda row: decimals(row.roc_auc),
            Column(_("Data"), css="words"): lambda row: retell(place(row.data)),
            Column(_("Epochs")): lambda row: text(row.epochs),
            Column(_("Exported epoch")): epoch,
            number(_("Weights")): lambda row: count(row.n_parameters),
            number(_("Training")): lambda row: duration(row.train_seconds),
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
