"""The inputs of the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from malaria_kedro.learning.databunch_summary import DataBunchSummary


@dataclass(frozen=True)
class VariantReport:
    """What the report tells of one model variant.

    Attributes:
        card: the classifier's card.
        metrics: what ``measure`` found, with calibration, operating_point, patients and cost where they are known.
        history: one row per epoch: stage, epoch, train_loss, valid_loss, accuracy, error_rate, lr, seconds.
        figures: PNG bytes by name; those that the report knows stand in their sections, others behind the curves.
        patients: what ``patient_table`` returned: one row per split and patient; None where no patient is known.
    """

    card: dict[str, Any]
    metrics: dict[str, Any]
    history: pd.DataFrame
    figures: dict[str, bytes]
    patients: pd.DataFrame | None = None


@dataclass(frozen=True)
class ReportExtras:
    """What is there only when its pipeline has been run; the page says what is missing.

    Attributes:
        cross_validation: the metrics of a cross-validation, protocol by protocol.
        label_audit: rank, cell_id, patient_id, given_label, suggested_label, score, p_parasitized, is_issue.
        baseline: what ``measure`` found for colour statistics and logistic regression on the same split.
        figures: PNG bytes of ``folds`` and ``label_audit_sheet``.
    """

    cross_validation: dict[str, Any] | None = None
    label_audit: pd.DataFrame | None = None
    baseline: dict[str, Any] | None = None
    figures: dict[str, bytes] = field(default_factory=dict)


def main_split(metrics: dict[str, Any]) -> str:
    """Name the split whose numbers come first: test where a test part was held out, else validation."""
    return "test" if "test" in metrics["splits"] else "valid"


def calibration_of(entry: VariantReport) -> dict[str, Any]:
    """Return what calibration found for a variant; empty in a classifier of before there was any."""
    return entry.metrics.get("calibration") or entry.card.get("calibration") or {}


def operating_point_of(entry: VariantReport) -> dict[str, Any] | None:
    """Return the calls at the stored threshold; None where no threshold could be chosen, or none was."""
    return entry.metrics.get("operating_point") if calibration_of(entry).get("threshold") is not None else None


def all_patients_disjoint(summary: DataBunchSummary) -> bool | None:
    """Tell whether no patient is in two splits; None where that is not known."""
    pairs = known_pairs(summary)
    return not any(shared for shared in pairs.values()) if pairs else None


def known_pairs(summary: DataBunchSummary) -> dict[str, int]:
    """Return the pairs of splits that both have known patients (``train/valid``), and how many these share."""
    return {
        pair: shared
        for pair, shared in summary.shared_patients.items()
        if all(summary.patients.get(split) for split in pair.split("/"))
    }
