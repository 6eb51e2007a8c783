"""Tables of the pages: columns, rows, and the metrics with their intervals and the counts behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from malaria_kedro.evaluation.measurements import Measurement, Scores, SplitMetrics
from malaria_kedro.names import SPLIT_NAMES
from malaria_kedro.report.formats import count, decimal_interval, decimals, is_missing, percent, percent_interval


@dataclass(frozen=True)
class Cell:
    """A value, with its interval and the numbers behind it where there are any; ``href`` makes it a link."""

    value: str
    interval: str = ""
    words: str = ""
    css: str = ""
    href: str = ""


@dataclass(frozen=True)
class Column:
    """A column's title, a note in small letters below it, its class, and whether its cells are their rows' headers."""

    title: str
    note: str = ""
    css: str = ""
    header: bool = False


@dataclass(frozen=True)
class Row:
    """One cell per column."""

    cells: Sequence[Cell | str]
    css: str = ""


@dataclass(frozen=True)
class Table:
    """A table as the macro ``table`` writes it; ``label`` names it to those who hear the page."""

    label: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    caption: str = ""
    css: str = ""


def number(title: str, note: str = "") -> Column:
    """Return a column of numbers, which are aligned to the right."""
    return Column(title, note, "number")


def heading(title: str, css: str = "") -> Column:
    """Return a column whose cells are their rows' headers."""
    return Column(title, css=css, header=True)


def name_cell(name: object) -> Cell:
    """Return an id, space for space; an unknown one is set apart from whatever a name can be."""
    return Cell("unknown", css="unknown") if is_missing(name) else Cell(str(name), css="id")


@dataclass(frozen=True)
class Metric:
    """A metric's name, what it says, and the fields of the confusion matrix that it is the ratio of, if it is one."""

    name: str
    says: str
    is_share: bool = True
    part: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


_ALL = ("tp", "fn", "fp", "tn")
METRICS = {
    "accuracy": Metric("Accuracy", "cells called correctly", part=("tp", "tn"), whole=_ALL),
    "error_rate": Metric("Error rate", "cells called incorrectly", part=("fp", "fn"), whole=_ALL),
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


def measured_table(measured: Measurement, label: str) -> Table:
    """Return a table of all metrics, one column per split."""
    splits = measured.splits
    sizes = [Cell(count(values.n), words=_composition(values)) for values in splits.values()]
    return Table(
        label,
        [heading("Metric"), *(Column(SPLIT_NAMES.get(split, split).capitalize()) for split in splits)],
        [Row(["Cells", *sizes]), *metric_rows(list(splits.values()))],
        caption=f"A cell is called parasitized if p ≥ {measured.threshold}. {about_intervals(splits)}",
        css="measured",
    )


def _composition(values: SplitMetrics) -> str:
    words = f"{count(values.n_parasitized)} parasitized ({percent(values.n_parasitized / values.n)})"
    return f"{words}; {count(values.n_patients)} patients" if values.n_patients else words


def metric_rows(columns: Sequence[SplitMetrics], names: Sequence[str] = tuple(METRICS)) -> list[Row]:
    """Return one row per metric: its name with what it says, and one cell per column."""
    if not columns:
        return []
    # Where the numbers behind a value stand beside it, they say what it is.
    heads = [Cell(METRICS[name].name, words="" if METRICS[name].whole else METRICS[name].says) for name in names]
    return [
        Row([head, *(metric_cell(values, name) for values in columns)]) for name, head in zip(names, heads, strict=True)
    ]


def metric_cell(values: SplitMetrics, name: str) -> Cell:
    """Return one metric of one split, ready to be read."""
    metric, value = METRICS[name], values.score(name)
    if value is None:
        return Cell(decimals(None))
    bounds = values.intervals.get(name)
    if not metric.is_share:
        return Cell(decimals(value), decimal_interval(bounds) if bounds else "")
    if not metric.whole:
        return Cell(percent(value, values.n), percent_interval(bounds, values.n) if bounds else "")
    part, whole = (sum(getattr(values.confusion, of) for of in fields) for fields in (metric.part, metric.whole))
    words = f"{count(part)} of {count(whole)} {metric.says}"
    return Cell(percent(value, whole), percent_interval(bounds, whole) if bounds else "", words)


def score(values: Scores, name: str, n: int) -> str:
    """Write a metric of n cells without its interval."""
    value = values.score(name)
    return percent(value, n) if METRICS[name].is_share else decimals(value)


def with_interval(values: SplitMetrics, name: str) -> str:
    """Write a metric for a sentence: 95.9 % (94.8 to 96.9 %)."""
    cell = metric_cell(values, name)
    return f"{cell.value} ({cell.interval})" if cell.interval else cell.value


def about_intervals(splits: Mapping[str, SplitMetrics]) -> str:
    """Say how the intervals of these splits were drawn; empty where none was."""
    drawn = {split: values.bootstrap for split, values in splits.items() if values.bootstrap}
    if not drawn:
        return ""
    one = next(iter(drawn.values()))
    what = {"patient": "whole patients", "cell": "single cells (no patient is known)"}[one.unit]
    units = {SPLIT_NAMES.get(split, split): count(draws.units) for split, draws in drawn.items()}
    same = len(set(units.values())) == 1 and len(units) > 1
    of = f"{count(one.units)} each time" if same else ", ".join(f"{n} in {name}" for name, n in units.items())
    # What is drawn twice makes a bin's share jump, and a gap is never below zero.
    ece = any(values.intervals.get("ece") for values in splits.values())
    high = " That of the calibration error lies high, because redrawing adds to it." if ece else ""
    return (
        f"In brackets: {one.level * 100:g} % intervals, from {count(one.draws)} draws of {what} "
        f"with replacement ({of}).{high}"
    )
