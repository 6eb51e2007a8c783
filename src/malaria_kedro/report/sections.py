"""The sections of the report: values, words and rows, ready for their templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from malaria_kedro.evaluation.comparison import CITED_SOURCE, recipe_of
from malaria_kedro.evaluation.metrics import overfitting_onset
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.names import CLASSES, SPLIT_NAMES
from malaria_kedro.report.captions import variant_picture
from malaria_kedro.report.findings import PROTOCOLS
from malaria_kedro.report.formats import is_missing, rows_of
from malaria_kedro.report.inputs import VariantReport, calibration_of, operating_point_of
from malaria_kedro.report.tables import CALL_METRICS, FOLD_METRICS, METRICS, about_intervals, metric_cell, metric_rows

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
# A longer table of patients is folded up, and so many labels are listed.
ROWS_IN_SIGHT = 12
LISTED_LABELS = 20
_RULES = {
    "last": "the last epoch (select: last)",
    "best_valid_loss": "the epoch with the lowest validation loss (select: best_valid_loss)",
    "best_accuracy": "the epoch with the highest validation accuracy (select: best_accuracy)",
}


def describe_data(summary: DataBunchSummary, listed: ListedCells | None = None) -> dict[str, Any]:
    """Return the data card: the databunch's summary with one row per split and one of all, and the cells ``listed``."""
    counts, patients = summary.counts, summary.patients

    def row(name: str, by_class: Mapping[str, int], n_patients: int | None) -> dict[str, Any]:
        cells = sum(by_class.values())
        share = by_class.get(CLASSES[0], 0) / cells if cells else None
        return {"name": name, "by_class": by_class, "cells": cells, "share": share, "patients": n_patients}

    splits = [split for split in SPLIT_NAMES if split in counts]
    total = {name: sum(counts[split].get(name, 0) for split in splits) for name in CLASSES}
    listed = listed or ListedCells()
    return summary.model_dump() | {
        "rows": [row(SPLIT_NAMES[split], counts[split], patients.get(split)) for split in splits],
        "total": row("all", total, summary.n_patients),
        "excluded_cells": [
            {"reason": reason, "n": summary.excluded.get(reason, len(cells)), "cells": cells}
            for reason, cells in listed.excluded.items()
        ],
        "equal_pictures": listed.equal,
    }


def describe_variant(entry: VariantReport, id_: str) -> dict[str, Any]:
    """Return what a variant's sections show; ``id_`` is the id that theirs begin with."""
    card, onset = entry.card, overfitting_onset(entry.history)
    selected = card["selected"]
    late = (
        onset is not None
        and onset["rose"]
        and selected["stage"] == onset["stage"]
        and selected["epoch"] > onset["epoch"]
    )
    pictures: dict[str, list] = {}
    for name, png in entry.figures.items():
        pictures.setdefault(FIGURE_SECTIONS.get(name, "curves"), []).append(variant_picture(name, png, entry))
    return {
        "id": id_,
        "card": card,
        "recipe": recipe_of(card),
        "metrics": entry.metrics,
        "measured": measured_table(entry.metrics),
        "why": _RULES.get(selected["rule"], f"the epoch asked for (select: {selected['rule']})"),
        "onset": onset,
        "late": late,
        "history": [_history_row(row, selected, onset) for row in rows_of(entry.history)],
        "pictures": pictures,
        "heat_maps": any(name.endswith("_heatmap") for name in entry.figures),
        "calibration": calibration_of(entry),
        "calibration_rows": _before_and_after(entry),
        "point": _operating_point(entry),
        "floors": [
            {"split": SPLIT_NAMES[split], **floor}
            for split in SPLIT_NAMES
            if (floor := (entry.metrics.get("patients") or {}).get(split))
        ],
        "patients": [] if entry.patients is None else rows_of(entry.patients),
        "patients_folded": entry.patients is not None and len(entry.patients) > ROWS_IN_SIGHT,
        "cost": entry.metrics.get("cost") or {},
    }


def measured_table(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return a table of all metrics: a column a split."""
    splits = metrics["splits"]
    return {
        "columns": [
            {"title": SPLIT_NAMES.get(s, s).capitalize(), "n": v["n"], "patients": v.get("n_patients"), **_share(v)}
            for s, v in splits.items()
        ],
        "rows": metric_rows(list(splits.values())),
        "threshold": metrics["threshold"],
        "about": about_intervals(splits),
        "notes": metrics.get("notes") or [],
    }


def _share(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"n_parasitized": values["n_parasitized"], "share": values["n_parasitized"] / values["n"]}


def _before_and_after(entry: VariantReport) -> list[dict[str, Any]]:
    """Return a split a row: calibration error, Brier score and cross-entropy before and after the temperature."""
    found, rows = calibration_of(entry), []
    for split, values in entry.metrics["splits"].items():
        after = values.get("calibrated")
        if after:
            pairs = {name: (values.get(name), after.get(name)) for name in ("ece", "brier", "loss")}
        elif found and split == found.get("fitted_on"):
            names = {"ece": "ece", "brier": "brier", "loss": "nll"}
            pairs = {name: (found.get(f"{its}_before"), found.get(f"{its}_after")) for name, its in names.items()}
        else:
            continue
        rows.append({"split": SPLIT_NAMES.get(split, split), **pairs})
    return rows


def _operating_point(entry: VariantReport) -> dict[str, Any] | None:
    """Return the table of the calls at the stored threshold and, beside it, at the plain one."""
    point = operating_point_of(entry)
    if not point:
        return None
    plain, columns, values = entry.metrics["threshold"], [], []
    for split, at_point in point["splits"].items():
        name = SPLIT_NAMES.get(split, split).capitalize()
        columns.append({"split": name, "threshold": point["threshold"], "stored": True})
        columns.append({"split": name, "threshold": plain, "stored": False})
        values += [at_point, entry.metrics["splits"].get(split, {})]
    rows = metric_rows(values, CALL_METRICS)
    return {**point, "columns": columns, "rows": rows, "about": about_intervals(point["splits"])}


def _history_row(row: dict[str, Any], selected: dict[str, Any], onset: dict[str, Any] | None) -> dict[str, Any]:
    def is_of(mark: dict[str, Any] | None) -> bool:
        return mark is not None and row["stage"] == mark["stage"] and row["epoch"] == mark["epoch"]

    marks = [mark for mark, holds in (("exported", is_of(selected)), ("lowest validation loss", is_of(onset))) if holds]
    return row | {"exported": is_of(selected), "marks": ", ".join(marks)}


def comparison_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the comparison, with what is cited told from what is measured."""
    cited = row["source"] == CITED_SOURCE
    stage, epoch = row.get("selected_stage"), row.get("selected_epoch")
    return row | {
        "cited": cited,
        "selected": None if epoch is None or is_missing(epoch) else f"{str(stage).replace('_', ' ')}, {int(epoch)}",
        "strategy": row["split_strategy"],
        # The tutorial prints one decimal; writing two would claim more than it tells.
        "n_digits": None if cited else row["n"],
    }


def describe_folds(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a cross-validation's tables: over the folds, all cells together, and fold by fold."""
    if not found:
        return None
    protocols = found["protocols"]
    pooled = {strategy: protocol["pooled"] for strategy, protocol in protocols.items()}
    return {
        **found,
        "protocols": [
            {"strategy": strategy, "name": PROTOCOLS.get(strategy, strategy), **protocol}
            for strategy, protocol in protocols.items()
        ],
        "spread": [_spread(protocols, name) for name in FOLD_METRICS],
        "pooled": metric_rows(list(pooled.values()), FOLD_METRICS),
        "about": about_intervals(pooled),
        "notes": found.get("notes") or [],
    }


def _spread(protocols: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a metric's row: mean and standard deviation over the folds, a cell a protocol."""
    cells = []
    for protocol in protocols.values():
        mean, sd = ({"n": protocol["n"], name: protocol[which].get(name)} for which in ("mean", "sd"))
        cells.append({"mean": metric_cell(mean, name).value, "sd": metric_cell(sd, name).value})
    return {"name": METRICS[name].name, "cells": cells}


def describe_audit(table: pd.DataFrame) -> dict[str, Any]:
    """Return how many labels are suspected, of which kind, and the first of the list."""
    issues = table[table["is_issue"].astype(bool)]
    kinds = issues.groupby(["given_label", "suggested_label"], as_index=False, observed=True).size()
    return {
        "n": len(table),
        "n_issues": len(issues),
        "kinds": rows_of(kinds),
        "listed": rows_of(table.sort_values("rank").head(LISTED_LABELS)),
    }


def merge_blocks(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge what the variants' cards say; where two differ, both values are kept, told apart by a slash."""
    merged: dict[str, Any] = {}
    for block in blocks:
        for key, value in block.items():
            if key in merged and merged[key] != value:
                value = f"{merged[key]} / {value}" if str(value) not in str(merged[key]).split(" / ") else merged[key]
            merged[key] = value
    return merged
