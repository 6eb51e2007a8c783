"""The sections of the report: values, words and tables, ready for their templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from malaria_kedro.evaluation.comparison import CITED_SOURCE
from malaria_kedro.evaluation.measurements import Scores
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.learning.description import EpochRow
from malaria_kedro.names import CLASSES, SPLIT_NAMES
from malaria_kedro.report.captions import Picture, variant_picture
from malaria_kedro.report.formats import count, decimals, duration, is_missing, percent, place, probability, rate, text
from malaria_kedro.report.inputs import VariantReport
from malaria_kedro.report.tables import (
    CALL_METRICS,
    Cell,
    Column,
    Row,
    Table,
    about_intervals,
    heading,
    measured_table,
    metric_rows,
    name_cell,
    number,
    table_of,
)

# Where a variant's figures stand; the others are beside the curves.
FIGURE_SECTIONS = {
    "loss_curves": "epoch",
    "reliability_diagram": "calibration",
    "top_losses": "losses",
    "top_losses_heatmap": "losses",
    "true_positives_heatmap": "losses",
    "patients": "patients",
}
_RULES = {
    "last": "the last epoch (select: last)",
    "best_valid_loss": "the epoch with the lowest validation loss (select: best_valid_loss)",
    "best_accuracy": "the epoch with the highest validation accuracy (select: best_accuracy)",
}


class Section(NamedTuple):
    """An entry of a page's contents, with those within it."""

    id: str
    title: str
    within: tuple[Section, ...] = ()


@dataclass(frozen=True)
class VariantView:
    """What a variant's sections show; their ids begin with ``id``."""

    id: str
    entry: VariantReport
    why: str  # the exported epoch was chosen
    late: bool  # whether that epoch lies after the turn of validation loss
    history: Table
    measured: Table
    pictures: Mapping[str, list[Picture]]  # by section
    heat_maps: bool
    calibration: Table | None
    operating_point: Table | None
    patients: Table | None


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


def describe_variant(entry: VariantReport, id_: str) -> VariantView:
    """Return what a variant's sections show; ``id_`` is the id that theirs begin with."""
    selected, onset = entry.metadata.selected, entry.onset
    pictures: dict[str, list[Picture]] = {}
    for name, png in entry.figures.items():
        pictures.setdefault(FIGURE_SECTIONS.get(name, "curves"), []).append(variant_picture(name, png, entry))
    return VariantView(
        id=id_,
        entry=entry,
        why=_RULES.get(str(selected.rule), f"the epoch asked for (select: {selected.rule})"),
        late=bool(onset and onset.rose and selected.stage == onset.stage and (selected.epoch or 0) > onset.epoch),
        history=_history(entry),
        measured=measured_table(entry.metrics, f"Metrics of {entry.name}"),
        pictures=pictures,
        heat_maps=any(name.endswith("_heatmap") for name in entry.figures),
        calibration=_before_and_after(entry),
        operating_point=_operating_point(entry),
        patients=_patients(entry) if entry.patients else None,
    )


def _history(entry: VariantReport) -> Table:
    selected, onset = entry.metadata.selected, entry.onset
    n = entry.metrics.splits["valid"].n

    def exported(epoch: EpochRow) -> bool:
        return (epoch.stage, epoch.epoch) == (selected.stage, selected.epoch)

    def note(epoch: EpochRow) -> str:
        lowest = onset is not None and (epoch.stage, epoch.epoch) == (onset.stage, onset.epoch)
        return ", ".join(["exported"] * exported(epoch) + ["lowest validation loss"] * lowest)

    return table_of(
        f"Training history of {entry.name}",
        {
            Column("Stage"): lambda epoch: epoch.stage.replace("_", " "),
            number("Epoch"): lambda epoch: str(epoch.epoch),
            number("Training loss"): lambda epoch: decimals(epoch.train_loss),
            number("Validation loss"): lambda epoch: decimals(epoch.valid_loss),
            number("Accuracy"): lambda epoch: percent(epoch.accuracy, n),
            number("Error rate"): lambda epoch: percent(epoch.error_rate, n),
            number("Learning rate"): lambda epoch: rate(epoch.lr),
            number("Time"): lambda epoch: duration(epoch.seconds),
            Column("Note"): note,
        },
        entry.history,
        caption="One row per epoch; the learning rate is that of the head at the end of the epoch",
        css="data",
        mark=lambda epoch: "exported" * exported(epoch),
    )


def _before_and_after(entry: VariantReport) -> Table | None:
    names = {"ece": "Calibration error (ECE)", "brier": "Brier score", "loss": "Cross-entropy"}

    def row(split: str, before: Scores, after: Scores) -> Row:
        scores = (f"{decimals(before.score(name))} → {decimals(after.score(name))}" for name in names)
        return Row([SPLIT_NAMES.get(split, split).capitalize(), *scores])

    splits = entry.metrics.splits.items()
    rows = [row(split, values, values.calibrated) for split, values in splits if values.calibrated]
    if not rows:
        return None
    return Table(
        f"Calibration of {entry.name} before and after",
        [heading("Split"), *(number(title, "before → after") for title in names.values())],
        rows,
        caption="Before and after the temperature; less is better everywhere",
    )


def _operating_point(entry: VariantReport) -> Table | None:
    """Return the table of the calls at the stored threshold and, beside it, at the plain one."""
    point, plain = entry.operating_point, entry.metrics
    if point is None:
        return None
    columns, values = [heading("Metric")], []
    for split, at_point in point.splits.items():
        name = SPLIT_NAMES.get(split, split).capitalize()
        columns.append(Column(name, f"p ≥ {probability(point.threshold)}, stored", "stored"))
        columns.append(Column(name, f"p ≥ {probability(plain.threshold)}"))
        values += [at_point, plain.splits[split]]
    rows, caption = metric_rows(values, CALL_METRICS), about_intervals(point.splits)
    return Table(f"Operating point of {entry.name}", columns, rows, caption, "measured")


def _patients(entry: VariantReport) -> Table:
    return table_of(
        f"Patients, by {entry.name}",
        {
            Column("Split"): lambda patient: SPLIT_NAMES.get(patient.split, patient.split),
            heading("Patient"): lambda patient: name_cell(patient.patient_id),
            number("Cells"): lambda patient: count(patient.cells),
            number("Labelled parasitized"): lambda patient: count(patient.parasitized_cells),
            number("Flagged"): lambda patient: count(patient.flagged_cells),
            number("Labelled parasitaemia"): lambda patient: percent(patient.labelled_parasitaemia),
            number("Apparent parasitaemia"): lambda patient: percent(patient.apparent_parasitaemia),
            number("False-positive rate"): lambda patient: percent(patient.false_positive_rate),
            Column("Healthy"): lambda patient: "yes" if patient.healthy else "no",
        },
        entry.patients,
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
