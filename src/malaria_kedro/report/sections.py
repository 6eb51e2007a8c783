"""The sections of the report: values, words and tables, ready for their templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from malaria_kedro.evaluation.comparison import CITED_SOURCE
from malaria_kedro.evaluation.measurements import FalsePositiveFloor
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.learning.metadata import Recipe
from malaria_kedro.names import CLASSES, SPLIT_NAMES
from malaria_kedro.report.captions import Picture, variant_picture
from malaria_kedro.report.formats import count, decimals, duration, is_missing, percent, place, probability, rate, text
from malaria_kedro.report.inputs import Epoch, Patient, VariantReport
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
)

# Where a variant's figures stand; one of another name follows the curves.
FIGURE_SECTIONS = {
    "loss_curves": "epoch",
    "confusion_matrix": "curves",
    "roc_curve": "curves",
    "precision_recall_curve": "curves",
    "reliability_diagram": "calibration",
    "top_losses": "losses",
    "top_losses_heatmap": "losses",
    "true_positives_heatmap": "losses",
    "patients": "patients",
}
# A longer table is folded up.
ROWS_IN_SIGHT = 12
_RULES = {
    "last": "the last epoch (select: last)",
    "best_valid_loss": "the epoch with the lowest validation loss (select: best_valid_loss)",
    "best_accuracy": "the epoch with the highest validation accuracy (select: best_accuracy)",
}


@dataclass(frozen=True)
class Section:
    """An entry of a page's contents, with those within it."""

    id: str
    title: str
    within: tuple[Section, ...] = ()


@dataclass(frozen=True)
class Listing:
    """A table that is folded up behind a title."""

    title: str
    table: Table


@dataclass(frozen=True)
class VariantView:
    """What a variant's sections show; their ids begin with ``id``.

    Attributes:
        why: why the exported epoch was chosen.
        late: whether that epoch lies after the turn of validation loss.
        pictures: by section.
    """

    id: str
    entry: VariantReport
    recipe: Recipe
    why: str
    late: bool
    history: Table
    measured: Table
    pictures: Mapping[str, list[Picture]]
    calibration: Table | None
    operating_point: Table | None
    floors: list[tuple[str, FalsePositiveFloor]]
    patients: Table | None

    @property
    def heat_maps(self) -> bool:
        """Whether any figure is a heat map."""
        return any(name.endswith("_heatmap") for name in self.entry.figures)


def count_cells(summary: DataBunchSummary) -> Table:
    """Return a table of the cells and patients of each split, and of all together."""
    counts, patients = summary.counts, summary.patients

    def row(name: str, by_class: Mapping[str, int], n_patients: int | None, css: str = "") -> Row:
        n = sum(by_class.values())
        share = percent(by_class.get(CLASSES[0], 0) / n if n else None)
        return Row([name, *(count(by_class.get(c, 0)) for c in CLASSES), count(n), count(n_patients), share], css)

    splits = [split for split in SPLIT_NAMES if split in counts]
    total = {name: sum(counts[split].get(name, 0) for split in splits) for name in CLASSES}
    return Table(
        "Cells and patients per split",
        [
            *(heading("Split"), *(number(name) for name in CLASSES), number("Cells"), number("Patients")),
            number(f"{CLASSES[0]} share"),
        ],
        [
            *(row(SPLIT_NAMES[split], counts[split], patients.get(split)) for split in splits),
            row("all", total, summary.n_patients, "total"),
        ],
        caption="Cells and patients of each split",
    )


def list_excluded(summary: DataBunchSummary, listed: ListedCells) -> list[Listing]:
    """List the excluded cells, by reason."""
    columns = [heading("Cell", "words"), Column("Label"), Column("Patient"), Column("Why it is not used", css="words")]
    listings = []
    for reason, cells in listed.excluded.items():
        n = summary.excluded.get(reason, len(cells))
        of = f"the first {len(cells)} of {count(n)} cells" if n > len(cells) else f"{count(n)} cell{'s' * (n != 1)}"
        rows = [Row([cell.cell_id, cell.label, text(cell.patient_id), cell.excluded]) for cell in cells]
        listings.append(Listing(f"{reason}: {of}", Table(f"Cells excluded: {reason}", columns, rows)))
    return listings


def list_equal_pictures(summary: DataBunchSummary, listed: ListedCells) -> Listing | None:
    """List the pictures that several cells show; None where there is none."""
    pictures = listed.equal
    if not pictures:
        return None
    n = summary.equal_cells.n_pictures if summary.equal_cells else len(pictures)
    of = f"the first {len(pictures)} of {count(n)}" if n > len(pictures) else f"{len(pictures)}"
    rows = [
        Row(
            [
                *(count(found.n_cells), found.label, text(", ".join(found.patients))),
                ", ".join(found.cell_ids) + (", …" if found.n_cells > len(found.cell_ids) else ""),
            ]
        )
        for found in pictures
    ]
    columns = [number("Cells"), Column("Label"), Column("Patients"), Column("Which", css="words")]
    return Listing(f"Pictures that several cells show: {of}", Table("Cells that show the same picture", columns, rows))


def describe_variant(entry: VariantReport, id_: str) -> VariantView:
    """Return what a variant's sections show; ``id_`` is the id that theirs begin with."""
    selected, onset = entry.metadata.selected, entry.onset
    pictures: dict[str, list[Picture]] = {}
    for name, png in entry.figures.items():
        pictures.setdefault(FIGURE_SECTIONS.get(name, "curves"), []).append(variant_picture(name, png, entry))
    return VariantView(
        id=id_,
        entry=entry,
        recipe=entry.metadata.parameters,
        why=_RULES.get(str(selected.rule), f"the epoch asked for (select: {selected.rule})"),
        late=bool(onset and onset.rose and selected.stage == onset.stage and (selected.epoch or 0) > onset.epoch),
        history=_history(entry),
        measured=measured_table(entry.metrics, f"Metrics of {entry.name}"),
        pictures=pictures,
        calibration=_before_and_after(entry),
        operating_point=_operating_point(entry),
        floors=[
            (SPLIT_NAMES[split], entry.metrics.patients[split])
            for split in SPLIT_NAMES
            if split in entry.metrics.patients
        ],
        patients=_patients(entry),
    )


def _history(entry: VariantReport) -> Table:
    selected, onset = entry.metadata.selected, entry.onset
    n = entry.metrics.splits["valid"].n

    def row(epoch: Epoch) -> Row:
        exported = (epoch.stage, epoch.epoch) == (selected.stage, selected.epoch)
        lowest = onset is not None and (epoch.stage, epoch.epoch) == (onset.stage, onset.epoch)
        marks = ["exported"] * exported + ["lowest validation loss"] * lowest
        return Row(
            [
                *(epoch.stage.replace("_", " "), str(epoch.epoch)),
                *(decimals(epoch.train_loss), decimals(epoch.valid_loss)),
                *(percent(epoch.accuracy, n), percent(epoch.error_rate, n)),
                *(rate(epoch.lr), duration(epoch.seconds), ", ".join(marks)),
            ],
            "exported" if exported else "",
        )

    return Table(
        f"Training history of {entry.name}",
        [
            *(Column("Stage"), number("Epoch"), number("Training loss"), number("Validation loss")),
            *(number("Accuracy"), number("Error rate"), number("Learning rate"), number("Time"), Column("Note")),
        ],
        [row(epoch) for epoch in entry.history],
        caption="One row per epoch; the learning rate is that of the head at the end of the epoch",
        css="data",
    )


def _before_and_after(entry: VariantReport) -> Table | None:
    names = {"ece": "Calibration error (ECE)", "brier": "Brier score", "loss": "Cross-entropy"}
    rows = [
        Row(
            [
                SPLIT_NAMES.get(split, split).capitalize(),
                *(f"{decimals(before.score(name))} → {decimals(before.calibrated.score(name))}" for name in names),
            ]
        )
        for split, before in entry.metrics.splits.items()
        if before.calibrated
    ]
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
    return Table(
        f"Operating point of {entry.name}",
        columns,
        metric_rows(values, CALL_METRICS),
        caption=about_intervals(point.splits),
        css="measured",
    )


def _patients(entry: VariantReport) -> Table | None:
    def row(patient: Patient) -> Row:
        return Row(
            [
                *(SPLIT_NAMES.get(patient.split, patient.split), name_cell(patient.patient_id)),
                *(count(patient.cells), count(patient.parasitized_cells), count(patient.flagged_cells)),
                *(percent(patient.labelled_parasitaemia), percent(patient.apparent_parasitaemia)),
                *(percent(patient.false_positive_rate), "yes" if patient.healthy else "no"),
            ]
        )

    if not entry.patients:
        return None
    return Table(
        f"Patients, by {entry.name}",
        [
            *(Column("Split"), heading("Patient"), number("Cells"), number("Labelled parasitized"), number("Flagged")),
            *(number("Labelled parasitaemia"), number("Apparent parasitaemia"), number("False-positive rate")),
            Column("Healthy"),
        ],
        [row(patient) for patient in entry.patients],
        caption="One row per patient. Parasitaemia is the share of these crops, not of the blood. Healthy: no cell is "
        "labelled parasitized.",
        css="data",
    )


def comparison_table(comparison: pd.DataFrame) -> Table:
    """Return the comparison, with what is cited told from what is measured."""

    def row(found: Any) -> Row:
        cited = found.source == CITED_SOURCE
        # The tutorial prints one decimal; writing two would claim more than it tells.
        n = None if cited else found.n
        split = SPLIT_NAMES.get(found.split, found.split)
        epoch = found.selected_epoch
        selected = "–" if is_missing(epoch) else f"{found.selected_stage.replace('_', ' ')}, {int(epoch)}"
        return Row(
            [
                Cell(found.variant, words="(cited)" if cited else ""),
                *(f"{text(found.split_strategy)}, {split}", count(found.n)),
                *(percent(found.accuracy, n), percent(found.sensitivity, n), percent(found.specificity, n)),
                *(decimals(found.roc_auc), place(found.data), text(found.epochs), selected),
                *(count(found.n_parameters), duration(found.train_seconds)),
            ],
            "cited" if cited else "",
        )

    return Table(
        "Comparison of the variants",
        [
            *(heading("Variant", "words"), Column("Protocol, cells of"), number("Cells"), number("Accuracy")),
            *(number("Sensitivity"), number("Specificity"), number("ROC AUC"), Column("Data", css="words")),
            *(Column("Epochs"), Column("Exported epoch"), number("Weights"), number("Training")),
        ],
        [row(found) for found in comparison.itertuples()],
        css="data",
    )


def merge_blocks(blocks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Merge what the variants' metadata say; where they differ, the values are separated by slashes."""
    values: dict[str, list[str]] = {}
    for block in blocks:
        for key, value in block.items():
            known = values.setdefault(key, [])
            if text(value) not in known:
                known.append(text(value))
    return {key: " / ".join(known) for key, known in values.items()}
