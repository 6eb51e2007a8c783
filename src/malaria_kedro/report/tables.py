"""Rows of the metric tables: each value with its interval and the counts behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from malaria_kedro.names import SPLIT_NAMES
from malaria_kedro.report.formats import count, decimal_interval, decimals, percent, percent_interval


@dataclass(frozen=True)
class Metric:
    """How a metric is called, what it says, and which fields of the confusion matrix make it, where some do."""

    name: str
    says: str
    is_share: bool = True
    part: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """A value of a table, its interval and the numbers behind it; the latter two may be empty."""

    value: str
    interval: str = ""
    words: str = ""


_ALL = ("tp", "fn", "fp", "tn")
METRICS = {
    "accuracy": Metric("Accuracy", "cells called rightly", part=("tp", "tn"), whole=_ALL),
    "error_rate": Metric("Error rate", "cells called wrongly", part=("fp", "fn"), whole=_ALL),
    "balanced_accuracy": Metric("Balanced accuracy", "mean of sensitivity and specificity"),
    "sensitivity": Metric("Sensitivity", "parasitized cells found", part=("tp",), whole=("tp", "fn")),
    "specificity": Metric("Specificity", "uninfected cells left alone", part=("tn",), whole=("tn", "fp")),
    "precision": Metric("Positive predictive value", "called parasitized are so", part=("tp",), whole=("tp", "fp")),
    "npv": Metric("Negative predictive value", "called uninfected are so", part=("tn",), whole=("tn", "fn")),
    "f1": Metric("F1", "balance of sensitivity and positive predictive value", is_share=False),
    "mcc": Metric("Matthews correlation", "from −1 to 1; 0 is chance", is_share=False),
    "roc_auc": Metric("ROC AUC", "how often a parasitized cell outranks an uninfected one", is_share=False),
    "average_precision": Metric("Average precision", "area under precision and recall", is_share=False),
    "loss": Metric("Cross-entropy", "mean loss in nats; less is better", is_share=False),
    "brier": Metric("Brier score", "mean squared error of p; less is better", is_share=False),
    "ece": Metric("Calibration error", "ECE, 15 bins; less is better", is_share=False),
}
# What follows from the calls alone, in the order of the operating point's table.
CALL_METRICS = (
    *("sensitivity", "specificity", "precision", "npv", "accuracy", "error_rate", "balanced_accuracy", "f1", "mcc"),
)
FOLD_METRICS = (
    *("accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1", "mcc"),
    *("roc_auc", "average_precision", "loss", "brier", "ece"),
)


def metric_rows(columns: Sequence[Mapping[str, Any]], names: Sequence[str] = tuple(METRICS)) -> list[dict[str, Any]]:
    """Return one row per metric: its name, what it says, and one cell per column; metrics without a value are left out.

    Args:
        columns: dictionaries of a split, as ``measure`` gives them; what one lacks is a dash.
        names: the metrics, in this order.
    """
    return [
        {
            "name": METRICS[name].name,
            # The numbers behind a value say it already.
            "says": "" if METRICS[name].whole else METRICS[name].says,
            "cells": [metric_cell(values, name) for values in columns],
        }
        for name in names
        if any(name in values for values in columns)
    ]


def metric_cell(values: Mapping[str, Any], name: str) -> Cell:
    """Return one metric of one split, ready to be read."""
    metric, value = METRICS[name], values.get(name)
    if value is None:
        return Cell(decimals(None))
    bounds = (values.get("intervals") or {}).get(name)
    if not metric.is_share:
        return Cell(decimals(value), decimal_interval(bounds) if bounds else "")
    confusion = values.get("confusion") or {}
    if not (metric.whole and confusion):
        n = values.get("n")
        return Cell(percent(value, n), percent_interval(bounds, n) if bounds else "")
    part, whole = (sum(confusion[field] for field in fields) for fields in (metric.part, metric.whole))
    words = f"{count(part)} of {count(whole)} {metric.says}"
    return Cell(percent(value, whole), percent_interval(bounds, whole) if bounds else "", words)


def with_interval(values: Mapping[str, Any], name: str) -> str:
    """Write a metric for a sentence: 95.9 % (94.8 to 96.9 %)."""
    cell = metric_cell(values, name)
    return f"{cell.value} ({cell.interval})" if cell.interval else cell.value


def about_intervals(splits: Mapping[str, Mapping[str, Any]]) -> str:
    """Say how the intervals of these splits were drawn; empty where none was."""
    drawn = {split: values["bootstrap"] for split, values in splits.items() if values.get("bootstrap")}
    if not drawn:
        return ""
    one = next(iter(drawn.values()))
    what = {"patient": "whole patients", "cell": "single cells (no patient is known)"}[one["unit"]]
    units = {SPLIT_NAMES.get(split, split): count(values["units"]) for split, values in drawn.items()}
    same = len(set(units.values())) == 1 and len(units) > 1
    of = f"{count(one['units'])} each time" if same else ", ".join(f"{n} in {name}" for name, n in units.items())
    # What is drawn twice makes a bin's share jump, and a gap is never below zero.
    ece = any((values.get("intervals") or {}).get("ece") for values in splits.values())
    high = " The calibration error's lies high, because redrawing adds to it." if ece else ""
    return (
        f"In brackets: {one['level'] * 100:g} % intervals, from {count(one['draws'])} draws of {what} "
        f"with replacement ({of}).{high}"
    )
