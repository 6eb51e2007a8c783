"""Confidence intervals by a bootstrap of whole patients, because cells of one patient resemble each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from malaria_kedro.evaluation.measurements import Confusion, Interval
from malaria_kedro.language import N_
from malaria_kedro.learning.calibration import BINS, labels_and_probabilities, reliability_bins

# From the confusion counts; from the order of all cells; and, the last three, from sums over cells.
_RATES = ("accuracy", "error_rate", "balanced_accuracy", "sensitivity", "specificity", "precision", "npv")
COUNT_METRICS = (*_RATES, "f1", "mcc")
RANK_METRICS = ("roc_auc", "average_precision")
ALL_METRICS = (*COUNT_METRICS, *RANK_METRICS, "loss", "brier", "ece")

# So many numbers are processed at a time: arrays of 2 MB stay in a processor's cache.
NUMBERS_AT_ONCE = 1 << 18
UNDEFINED_SHARE = 0.05
# With fewer units the percentiles are known to cover less than they promise (Cameron et al. 2008).
FEW_UNITS = 10


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn; the same seed gives the same intervals.

    Raises:
        ValueError: for fewer than one draw, or a level that is not between 0 and 1.
    """

    draws: int = 2000
    seed: int = 42
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws is {self.draws}; an interval needs at least one, and 2000 for two good digits")
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level} is not between 0 and 1; 0.95 is the usual one")


@dataclass(frozen=True)
class Intervals:
    """What the draws span."""

    unit: str  # what is drawn, "patient" or (where no patient is known) "cell"
    units: int
    intervals: dict[str, Interval | None]  # of each metric; None where too few draws define it
    notes: list[str]  # why there is no interval, or why it is too narrow


@dataclass(frozen=True)
class Sample:
    """Cells, and the unit that each is drawn with."""

    actual: np.ndarray  # bool N, True where the cell is parasitized
    p: np.ndarray  # float64 N, the probability of that
    losses: np.ndarray  # float64 N, cross-entropy in nats
    unit_of: np.ndarray  # int64 N, 0 to units - 1
    unit: str  # "patient" or "cell"
    units: int
    unknown: int  # cells that are units of their own, because their patient is not known


def sample_cells(rows: pd.DataFrame, column: str = "p_parasitized", *, where: str = "the sample") -> Sample:
    """Take the cells of a split; each cell of an unknown patient counts as a patient of its own.

    Args:
        rows: columns label, loss, the named one, and patient_id where patients are known.
        column: the probabilities' column.
        where: what the rows are, for the message.

    Raises:
        ValueError: for a missing column, an unknown label or a probability that is not a number from 0 to 1.
    """
    actual, p = labels_and_probabilities(rows, where, column)
    unit_of, known = pd.factorize(rows.get("patient_id", pd.Series(None, index=rows.index, dtype=object)))
    unknown = int((unit_of < 0).sum())
    unit_of[unit_of < 0] = len(known) + np.arange(unknown)
    unit = N_("patient") if len(known) else N_("cell")
    losses = rows["loss"].to_numpy(dtype=float)
    return Sample(actual, p, losses, unit_of, unit, units=len(known) + unknown, unknown=unknown)


class WeightedMetrics:
    """The metrics of cells whose units weigh 0, 1, 2 or more times, for many sets of weights at once.

    The sums of each unit and the order of the cells are computed once; a set of weights then costs a product of
    matrices and two cumulative sums. The arguments are those of ``bootstrap_intervals``.
    """

    def __init__(self, sample: Sample, threshold: float, names: tuple[str, ...] = ALL_METRICS) -> None:
        actual, called, gap = sample.actual, sample.p >= threshold, sample.p - sample.actual
        columns = [actual & called, actual & ~called, ~actual & called, ~actual & ~called, gap**2, sample.losses]
        sums = [np.bincount(sample.unit_of, weights=column, minlength=sample.units) for column in columns]
        cell_bin = sample.unit_of * BINS + reliability_bins(sample.p)
        gaps = np.bincount(cell_bin, weights=gap, minlength=sample.units * BINS).reshape(sample.units, BINS)
        self.names = names
        self._sums = np.column_stack([*sums, gaps])  # units x (tp, fn, fp, tn, squared gap, loss, 15 gaps)
        falling = np.argsort(-sample.p, kind="stable")
        self._sorted_units, self._sorted_actual = sample.unit_of[falling], actual[falling].astype(float)
        # Cells with the same p are one step of the curves: only the last of them counts.
        self._steps = np.flatnonzero(np.append(np.diff(sample.p[falling]) != 0, True))

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return metric → float64 (draws), NaN where undefined, from how often each unit is drawn (draws x units)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            totals = weights @ self._sums
            found = _from_sums(totals)
            if set(self.names) & set(RANK_METRICS):
                found |= self._from_order(weights)
        return {name: found[name] for name in self.names}

    def measure_all(self) -> dict[str, float | None]:
        """Return metric → its value with each unit once; None where it is undefined."""
        found = self.measure(np.ones((1, len(self._sums))))
        return {name: float(value[0]) if np.isfinite(value[0]) else None for name, value in found.items()}

    def confusion(self) -> Confusion:
        """Return the counts of cells with each unit once."""
        tp, fn, fp, tn = (int(count) for count in self._sums[:, :4].sum(axis=0))
        return Confusion(tp=tp, fn=fn, fp=fp, tn=tn)

    def _from_order(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        each = weights[:, self._sorted_units]  # draws x cells
        called = np.cumsum(each, axis=1)[:, self._steps]
        np.multiply(each, self._sorted_actual, out=each)
        hits = np.cumsum(each, axis=1)[:, self._steps]
        alarms = called - hits
        new_hits, new_alarms = (np.diff(counts, axis=1, prepend=0) for counts in (hits, alarms))
        precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
        positives, negatives = hits[:, -1], alarms[:, -1]
        # Every false alarm is outranked by the hits before it, and half by those of the same p.
        ranked = np.einsum("ds,ds->d", new_alarms, hits - new_hits / 2)
        return {
            "roc_auc": ranked / (positives * negatives),
            "average_precision": np.einsum("ds,ds->d", new_hits, precision) / positives,
        }


def bootstrap_intervals(
    sample: Sample, bootstrap: Bootstrap, *, threshold: float, names: tuple[str, ...] = ALL_METRICS
) -> Intervals:
    """Draw units with replacement, as many as there are, and return the percentiles of each metric.

    The percentile interval of a bootstrap of clusters (Efron and Tibshirani 1993; Field and Welsh 2007). Draws that
    do not define a metric are left out; where they are more than one in twenty there is no interval.

    Args:
        sample: the cells, one or more.
        bootstrap: draws, seed, level.
        threshold: cells with p at or above it are called parasitized.
        names: the metrics to compute, of ``ALL_METRICS``.
    """
    if sample.units < 2:
        note = N_("there are no intervals, because all cells come from one {unit}.").format(unit=sample.unit)
        return Intervals(sample.unit, sample.units, dict.fromkeys(names), [note])
    metrics = WeightedMetrics(sample, threshold, names)
    chunks = [metrics.measure(weights) for weights in _draw_weights(sample, bootstrap)]
    intervals: dict[str, Interval | None] = dict.fromkeys(names)
    notes: list[str] = []
    if sample.unit == "cell":
        notes.append(N_("the intervals draw single cells, because no patient is known; they are too narrow."))
    elif sample.unknown:
        singly = N_("{n} cells of unknown patients are drawn singly; the intervals may be too narrow.")
        notes.append(singly.format(n=sample.unknown))
    elif sample.units < FEW_UNITS:
        few = N_("the intervals rest on {n} patients only; they are likely too narrow.")
        notes.append(few.format(n=sample.units))
    tail = (1 - bootstrap.level) / 2
    for name in names:
        values = np.concatenate([chunk[name] for chunk in chunks])
        defined = values[np.isfinite(values)]
        missing = 1 - len(defined) / len(values)
        if missing > UNDEFINED_SHARE:
            undefined = N_("{name} has no interval, because {share} of the draws do not define it.")
            notes.append(undefined.format(name=name, share=f"{100 * missing:.0f} %"))
        else:
            low, high = np.quantile(defined, (tail, 1 - tail))
            intervals[name] = float(low), float(high)
    return Intervals(sample.unit, sample.units, intervals, notes)


def _draw_weights(sample: Sample, bootstrap: Bootstrap) -> Iterator[np.ndarray]:
    """Yield weights (float64, some draws x units; each row sums up to the number of units) until all are drawn."""
    generator = np.random.default_rng(bootstrap.seed)
    units, at_once = sample.units, max(1, NUMBERS_AT_ONCE // len(sample.p))
    for first in range(0, bootstrap.draws, at_once):
        count = min(at_once, bootstrap.draws - first)
        # A multinomial draw, made by counting: numpy's own is slow with many units.
        picked = generator.integers(units, size=(count, units)) + units * np.arange(count)[:, None]
        yield np.bincount(picked.ravel(), minlength=count * units).reshape(count, units).astype(float)


def _from_sums(totals: np.ndarray) -> dict[str, np.ndarray]:
    tp, fn, fp, tn, squared, loss = totals[:, :6].T
    n = tp + fn + fp + tn
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    return {
        "accuracy": (tp + tn) / n,
        "error_rate": (fp + fn) / n,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": tp / (tp + fp),
        "npv": tn / (tn + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "mcc": (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
        "loss": loss / n,
        "brier": squared / n,
        "ece": np.abs(totals[:, 6:]).sum(axis=1) / n,
    }
