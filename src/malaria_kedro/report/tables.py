"""Tables of the pages: columns, rows, and the metrics with their intervals and the counts behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from malaria_kedro.evaluation.measurements import Measurement, Scores, SplitMetrics
from malaria_kedro.language import N_, _, ngettext
from malaria_kedro.names import split_name
from malaria_kedro.report.formats import (
    count,
    decimals,
    is_missing,
    percent,
    percent_sign,
    probability,
    shortest,
)


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


def table_of(
    label: str,
    columns: Mapping[Column, Callable[[Any], Cell | str]],
    items: Iterable[object],
    *,
    caption: str = "",
    css: str = "",
    mark: Callable[[Any], str] = lambda _: "",
) -> Table:
    """Return a table with a row for each item: of each column what its function shows, and of ``mark`` the class."""
    rows = [Row([show(item) for show in columns.values()], mark(item)) for item in items]
    return Table(label, list(columns), rows, caption, css)


def number(title: str, note: str = "") -> Column:
    """Return a column of numbers, which are aligned to the right."""
    return Column(title, note, "number")


def heading(title: str, css: str = "") -> Column:
    """Return a column whose cells are their rows' headers."""
    return Column(title, css=css, header=True)


def name_cell(name: object) -> Cell:
    """Return an id, space for space; an unknown one is set apart from whatever a name can be."""
    return Cell(_("unknown"), css="unknown") if is_missing(name) else Cell(str(name), css="id")


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
    "accuracy": Metric(N_("Accuracy"), N_("cells called correctly"), part=("tp", "tn"), whole=_ALL),
    "error_rate": Metric(N_("Error rate"), N_("cells called incorrectly"), part=("fp", "fn"), whole=_ALL),
    "balanced_accuracy": Metric(N_("Balanced accuracy"), N_("mean of sensitivity and specificity")),
    "sensitivity": Metric(N_("Sensitivity"), N_("parasitized cells found"), part=("tp",), whole=("tp", "fn")),
    "specificity": Metric(N_("Specificity"), N_("uninfected cells recognised"), part=("tn",), whole=("tn", "fp")),
    "precision": Metric(
        N_("Positive predictive value"), N_("parasitized cells among those called so"), True, ("tp",), ("tp", "fp")
    ),
    "npv": Metric(
        N_("Negative predictive value"), N_("uninfected cells among those called so"), True, ("tn",), ("tn", "fn")
    ),
    "f1": Metric(N_("F1"), N_("balance of sensitivity and positive predictive value"), is_share=False),
    "mcc": Metric(N_("Matthews correlation"), N_("from −1 to 1; 0 is chance"), is_share=False),
    "roc_auc": Metric(N_("ROC AUC"), N_("how often a parasitized cell outranks an uninfected one"), is_share=False),
    "average_precision": Metric(N_("Average precision"), N_("area under precision and recall"), is_share=False),
    "loss": Metric(N_("Cross-entropy"), N_("mean loss in nats; less is better"), is_share=False),
    "brier": Metric(N_("Brier score"), N_("mean squared error of p; less is better"), is_share=False),
    "ece": Metric(N_("Calibration error"), N_("ECE, 15 bins; less is better"), is_share=False),
}
# What follows from the calls alone, in the order of the operating point's table.
CALL_METRICS = (
    *("sensitivity", "specificity", "precision", "npv", "accuracy", "error_rate", "balanced_accuracy", "f1", "mcc"),
)
FOLD_METRICS = tuple(name for name in METRICS if name not in ("error_rate", "precision", "npv"))


def beside(
    label: str,
    names: Iterable[str],
    items: Sequence[Any],
    rows: Mapping[str, Callable[[Any], Cell | str]],
    *,
    caption: str = "",
) -> Table:
    """Return a table with a column for each item, under its name, and a row for each of ``rows``."""
    found = [Row([title, *map(show, items)]) for title, show in rows.items()]
    return Table(label, [heading(""), *map(Column, names)], found, caption, "measured")


def measured_table(measured: Mapping[str, Measurement], label: str, names: Sequence[str] = tuple(METRICS)) -> Table:
    """Return a table of metrics: a column for each split of what was measured, under its name (none for ``""``)."""

    def size(values: SplitMetrics) -> Cell:
        parasitized = {"n": count(values.n_parasitized), "share": percent(values.n_parasitized / values.n)}
        words = ngettext("{n} parasitized ({share})", "{n} parasitized ({share})", values.n_parasitized)
        return Cell(count(values.n), words="; ".join([words.format(**parasitized), *of_patients(values.n_patients)]))

    def called(of: Measurement) -> Cell:
        words = _("calibrated") if of.column == "p_calibrated" else _("not calibrated")
        return Cell(f"p ≥ {probability(of.threshold)}", words=words)

    columns = [(name, split, of) for name, of in measured.items() for split in of.splits]
    values = [of.splits[split] for _name, split, of in columns]
    drawn = {split: of.splits[split] for _name, split, of in columns if of.splits[split].bootstrap}
    splits = [split_name(split) for _name, split, _of in columns]
    titles = [
        Column(name, split) if name else Column(split.capitalize())
        for (name, _split, _of), split in zip(columns, splits, strict=True)
    ]
    return Table(
        label,
        [heading(_("Metric")), *titles],
        [
            Row([_("Cells"), *map(size, values)]),
            Row([_("Called parasitized from"), *(called(of) for _name, _split, of in columns)]),
            *metric_rows(values, names),
        ],
        caption=about_intervals(drawn),
        css="measured",
    )


def metric_rows(columns: Sequence[SplitMetrics], names: Sequence[str] = tuple(METRICS)) -> list[Row]:
    """Return one row per metric: its name with what it says, and one cell per column."""

    heads = {name: Cell(_(METRICS[name].name), words=_(METRICS[name].says)) for name in names}
    return [Row([head, *(metric_cell(of, name) for of in columns)]) for name, head in heads.items() if columns]


def metric_cell(values: SplitMetrics, name: str) -> Cell:
    """Return one metric of one split, ready to be read."""
    metric, value, bounds = METRICS[name], values.score(name), values.intervals.get(name)
    if value is None:
        return Cell(decimals(None))
    if not metric.is_share:
        return Cell(decimals(value), _range(*map(decimals, bounds)) if bounds else "")
    n, words = values.n, ""
    if metric.whole:
        part, n = (sum(getattr(values.confusion, of) for of in fields) for fields in (metric.part, metric.whole))
        words = _("{part} of {whole}").format(part=count(part), whole=count(n))
    interval = _range(percent(bounds[0], n).removesuffix(percent_sign()), percent(bounds[1], n)) if bounds else ""
    return Cell(percent(value, n), interval, words)


def _range(low: str, high: str) -> str:
    return _("{low} to {high}").format(low=low, high=high)


def of_patients(n: int | None) -> list[str]:
    """Return ``["12 patients"]``, and nothing where none is known."""
    return [ngettext("{n} patient", "{n} patients", n).format(n=count(n))] if n else []


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
    units = {split_name(split): count(draws.units) for split, draws in drawn.items()}
    if len(set(units.values())) == 1 and len(units) > 1:
        of = _("{n} each time").format(n=count(one.units))
    else:
        of = ", ".join(_("{n} in {split}").format(n=n, split=split) for split, n in units.items())
    drew = {
        "patient": _(
            "In brackets: {level} % intervals, from {draws} draws of whole patients with replacement ({units})."
        ),
        "cell": _(
            "In brackets: {level} % intervals, from {draws} draws of single cells (no patient is known) with "
            "replacement ({units})."
        ),
    }[one.unit]
    said = [drew.format(level=shortest(one.level * 100), draws=count(one.draws), units=of)]
    # What is drawn twice makes a bin's share jump, and a gap is never below zero.
    if any(values.intervals.get("ece") for values in splits.values()):
        said.append(_("That of the calibration error lies high, because redrawing adds to it."))
    return " ".join(said)
