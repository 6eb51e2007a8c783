"""The quality gate: an image that is not a cell, or cannot be judged, gets a reason instead of a call.

A network of two classes answers for a photograph too. So each image is compared with the training cells: its
statistics must lie where theirs do, jointly (Mahalanobis distance) and where a single one decides. The distance is
that to the nearest class (after Lee et al. 2018, arXiv:1807.03888): a parasite widens colour and texture, and against
one distribution of all cells it would count as an outlier. All limits are quantiles of the training cells, weighted so
that the classes count equally; no other images enter them. Neither do the network's features: measured with
``benchmarks/quality_gate.py`` they refuse nothing that the statistics let pass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

import numpy as np
import pandas as pd
from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationError

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.inference.image_statistics import GRID, STATISTICS
from malaria_kedro.language import N_

BLANK, BLURRED, NOT_A_CELL, UNLIKE_TRAINING = "blank", "blurred", "not_a_cell", "unlike_training"
Verdict = tuple[tuple[str, ...], str]
# A column per statistic, as ``malaria_kedro.inference.image_statistics.measure_cells`` gives them.
Statistics: TypeAlias = pd.DataFrame | Mapping[str, np.ndarray]

Labels: TypeAlias = Sequence[str] | np.ndarray
# float64, and lists in JSON.
Numbers: TypeAlias = Annotated[
    np.ndarray,
    PlainValidator(lambda numbers: np.asarray(TypeAdapter(list[float] | list[list[float]]).validate_python(numbers))),
    PlainSerializer(lambda numbers: numbers.tolist()),
]
# How many cells are refused, of how many, by label.
Refused: TypeAlias = dict[str, tuple[int, int]]

# Raise it with any change to what a stored gate means, so that an older one is refused instead of misread.
FORMAT = 3
FEWEST_CELLS = 50
# What was done with the gate, by its mode, for those who read the results.
GATE_SENTENCES = {
    "refuse": N_("An image that does not pass the quality gate is not called; it keeps its p."),
    "flag": N_("The quality gate only flags here: an image that does not pass it is called all the same."),
    "off": N_("The quality gate is off: whatever could be decoded was called, cell or not."),
    "none": N_("This classifier has no quality gate: whatever could be decoded was called, cell or not."),
}

# How far a cell's statistics move when it is reduced to 32 px (root mean square over 300 NIH cells; for skewed ones, of
# the logarithm). None counts as more precise, or a copy would be further away than a photograph. Left out, and so not
# in the distance: an edge can only be too wide, and tells how an image was reduced rather than what it shows; contrast
# follows from coverage and brightness.
SIZE_ERROR = {
    "coverage": 0.02,
    "corners": 0.015,
    "outline": 0.02,
    "waist": 0.03,
    "flatness": 0.03,
    "brightness": 0.002,
    "red_green": 0.002,
    "blue_green": 0.003,
    "tone_spread": 0.17,
    "colour_spread": 0.22,
    "roughness": 0.17,
    "roughest": 0.21,
    "mottle": 0.21,
    "greening": 0.34,
}
# Ratios and spreads, which are skewed: their logarithms are nearly normal.
LOGARITHMIC = ("outline", "brightness", "tone_spread", "colour_spread", "roughness", "roughest", "mottle")
SMALLEST = 1e-3
# Training cells further out than so many robust deviations count as so far when the covariance is estimated.
WINSOR = 8.0

# These tell whether something is cut out like a single cell, whatever it shows.
OUTLINE = ("coverage", "corners", "outline", "waist", "flatness")

# Colour decides alone, too: stains differ so much from each other that the distance would let a green cell pass.
COLOURS = ("red_green", "blue_green")
# A new slide brings a stain of its own: stains vary more between patients than within, and patients are few.
STAIN_ALLOWANCE = 0.5  # standard deviations of the training cells
# Stain takes green first, and a parasite takes more of it than the cell. Towards more stain the limit of a colour is at
# least where a thousandth of a normal distribution lies beyond: with few patients it would be so near that of the next
# one's cells the parasitized are refused and the uninfected are not.
STRONGER_STAIN = 3.1  # standard deviations of the training cells
# The distance allows for it as well: otherwise patients with an unusual stain are refused, and infected patients give
# most parasitized cells.
STAIN = ("brightness", "red_green", "blue_green")
STAIN_ERROR = 0.5  # robust standard deviations of the training cells
# So does an interior that is smoother than that of any cell: blurred before it was cut out, its outline may be sharp.
DETAIL = ("roughness", "roughest")
# Smears in focus differ in smoothness: without this, one NIH fold has half as many refusals again.
DETAIL_SLACK = 0.85
# The distance is the most telling, so it may refuse most: eight times what the limit of one statistic may.
DISTANCE_WEIGHT = 8.0
# A smoother way of making an image smaller widens edges by a fifth.
EDGE_SLACK = 1.25
# Few or uniform training cells, phantoms for one, must not refuse their own copies of another size: the distance's
# limit is at least the one that a thousandth of a normal distribution exceeds.
NORMAL_TAIL = 0.001
# An image with less than this share of the lowest contrast of training cells shows nothing.
BLANK_SHARE = 0.1
# What the reasons call usual is the range of all but one in a hundred training cells.
USUAL = (0.005, 0.995)

AGAIN = "export the classifier again (kedro run --pipelines modeling)"
# The name of the only class where cells are not told apart.
ALL = "all"
# Cells of a patient are alike, so refusals come in clusters: only a difference this unlikely is reported.
CHANCE = 0.01


class GateError(MalariaKedroError, ValueError):
    """A gate cannot be fitted, read or used; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class StatisticsClass:
    """Where the training cells of a class lie in their statistics: a normal distribution."""

    centre: Numbers  # float64 K, medians (after the logarithm where it is taken)
    scale: Numbers  # float64 K, robust standard deviations
    precision: Numbers  # float64 K×K, inverse covariance of the scaled statistics

    def distances(self, values: np.ndarray) -> np.ndarray:
        """Return the squared Mahalanobis distance of each row (float64 N×K), float64 N."""
        away = (values - self.centre) / self.scale
        return np.einsum("ij,jk,ik->i", away, self.precision, away)

    def of(self, chosen: list[int]) -> StatisticsClass:
        """Return the distribution of some of the statistics."""
        covariance = np.linalg.inv(self.precision)[np.ix_(chosen, chosen)]
        return StatisticsClass(self.centre[chosen], self.scale[chosen], np.linalg.inv(covariance))


@dataclass(frozen=True, eq=False)
class QualityGate:
    """The limits within which an image passes; made by ``fit_gate``, or read by ``from_dict``."""

    n_cells: int  # training cells that it was fitted on
    refused_share: float  # of the training cells, that the limits were meant to refuse
    lowest: dict[str, float]  # statistic → least value that passes
    highest: dict[str, float]  # statistic → largest value that passes
    usual: dict[str, tuple[float, float]] = field(repr=False)  # the range of nearly all training cells, for the reasons
    names: tuple[str, ...]  # the statistics in the distance
    # Label → where its cells lie; all in one, ``ALL``, where labels were not given or a class is too small.
    classes: Annotated[dict[str, StatisticsClass], Field(min_length=1)] = field(repr=False)
    limit: float  # largest squared distance to the nearest class that passes
    # The same in the statistics of ``OUTLINE`` alone, for what counts as cut out like a cell, whatever it shows.
    outline_limit: float
    # How many cells it refuses, by split (``train``, ``valid``): a record that decides nothing, and no part of the id.
    refused: dict[str, Refused] = field(default_factory=dict, repr=False)

    @property
    def id(self) -> str:
        """The sha256 of everything that decides."""
        return self.to_dict()["id"]

    def judge(self, statistics: Statistics) -> list[Verdict]:
        """Judge images, each by itself.

        Returns:
            Flags and a sentence for each: ``()`` and ``""`` where the image passes, else one of ``blank``,
            ``blurred``, ``unlike_training`` (cut out like a single cell, and unusual in colour or texture)
            and ``not_a_cell``. What is not a finite number does not pass.

        Raises:
            GateError: a statistic is missing.
        """
        table = _columns(statistics)
        strange = np.flatnonzero(np.any(list(self.outside(table).values()), axis=0))
        verdicts: list[Verdict] = [((), "")] * len(table["contrast"])
        table = {name: values[strange] for name, values in table.items()}
        like_one = _outline_distances(self.classes, self.names, table) <= self.outline_limit
        for i, (row, far) in enumerate(zip(strange, self.distances(table), strict=True)):
            verdicts[row] = self._refuse({name: values[i] for name, values in table.items()}, far, like_one[i])
        return verdicts

    def outside(self, statistics: Statistics) -> dict[str, np.ndarray]:
        """Return which images lie outside each limit: bool N by ``distance`` or a statistic's name.

        Raises:
            GateError: a statistic is missing.
        """
        table = _columns(statistics)
        # Written so that a NaN is outside.
        within = {"distance": self.distances(table) <= self.limit}
        for name in sorted({*self.lowest, *self.highest}):
            least, most = self.lowest.get(name, -np.inf), self.highest.get(name, np.inf)
            within[name] = (table[name] >= least) & (table[name] <= most)
        return {name: ~passed for name, passed in within.items()}

    def distances(self, statistics: Statistics) -> np.ndarray:
        """Return each image's squared Mahalanobis distance to the nearest class in its statistics, float64 N."""
        return _nearest(self.classes.values(), _values(_columns(statistics), self.names))

    def _refuse(self, image: Mapping[str, float], far: float, cut_out_as_cell: bool) -> Verdict:
        """Return the flag and the reason of an image whose statistics do not pass."""
        if image["contrast"] < self.lowest["contrast"]:
            blank = N_("blank: brightness varies by {value} grey levels, in training cells {low} to {high}")
            return (BLANK,), blank.format(value=f"{image['contrast']:.1f}", **self._usually("contrast"))
        coloured_well = all(self.lowest[name] <= image[name] <= self.highest[name] for name in COLOURS)
        # A photograph has soft steps of brightness too, but no black corner.
        if coloured_well and image["edge_width"] > self.highest["edge_width"] and image["corners"] < 1:
            wide = N_(
                "blurred: its outline is {value} px wide on a grid of {grid} px, in training cells {low} to {high}"
            )
            values = {"value": f"{image['edge_width']:.1f}", "grid": GRID, **self._usually("edge_width")}
            return (BLURRED,), wide.format(**values)
        smooth = [name for name in DETAIL if image[name] < self.lowest[name]]
        if coloured_well and smooth and far <= self.limit:
            reason = self._compare(smooth[0], image)
            return (BLURRED,), N_("blurred: no detail within: {reason}").format(reason=reason)
        # Edges have no lower limit.
        candidates = [*self.names, *(["edge_width"] if image["edge_width"] > self.highest["edge_width"] else [])]
        strangest = max(candidates, key=lambda name: self._beyond(name, image[name]))
        if self._beyond(strangest, image[strangest]) > 0:
            reason = self._compare(strangest, image)
        else:
            distance = N_("distance {distance} in all statistics together, limit {limit}")
            reason = distance.format(distance=f"{far:.1f}", limit=f"{self.limit:.1f}")
        if cut_out_as_cell:
            return (UNLIKE_TRAINING,), N_("unlike the training cells: {reason}").format(reason=reason)
        return (NOT_A_CELL,), N_("not like a cell: {reason}").format(reason=reason)

    def _beyond(self, name: str, value: float) -> float:
        """Return how far outside the usual range a value lies, in widths of that range; infinite for a NaN."""
        low, high = self.usual[name]
        return max(low - value, value - high) / max(high - low, 1e-6) if np.isfinite(value) else np.inf

    def _compare(self, name: str, image: Mapping[str, float]) -> str:
        said = N_("{statistic} is {value}, in training cells {low} to {high}")
        return said.format(statistic=name, value=f"{image[name]:.3g}", **self._usually(name))

    def _usually(self, name: str) -> dict[str, str]:
        low, high = self.usual[name]
        return {"low": f"{low:.3g}", "high": f"{high:.3g}"}

    def to_dict(self) -> dict[str, Any]:
        """Return the gate as what JSON can hold, with its id."""
        content = TypeAdapter(QualityGate).dump_python(self, mode="json")
        refused = content.pop("refused")
        decides = {"format": FORMAT, **content}
        sha256 = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        return {**decides, "id": sha256, "refused": refused}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> QualityGate:
        """Read what ``to_dict`` wrote.

        Raises:
            GateError: it is damaged, of another format, or fitted on statistics that are no longer measured.
        """
        found = stored.get("format") if isinstance(stored, Mapping) else type(stored).__name__
        if found != FORMAT:
            raise GateError(f"a quality gate of format {found}, and this version reads {FORMAT}; {AGAIN}")
        try:
            gate = TypeAdapter(cls).validate_python(dict(stored))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(map(str, problem["loc"]))
            raise GateError(f"the stored quality gate is damaged ({key}: {problem['msg']}); {AGAIN}") from error
        if gate.id != stored.get("id"):
            raise GateError(f"the stored quality gate was changed: its content does not match its id; {AGAIN}")
        if unknown := {*gate.names, *gate.lowest, *gate.highest, *gate.usual} - STATISTICS.keys():
            raise GateError(f"the stored gate needs {sorted(unknown)}, which is no longer measured; {AGAIN}")
        return gate


@dataclass(frozen=True, eq=False)
class _Check:
    """A value of each training cell that must not exceed a quantile, times the slack, plus the allowance."""

    values: np.ndarray
    shares: np.ndarray  # of all cells, that each stands for
    weight: float = 1.0  # a check of twice the weight may refuse twice as many
    slack: float = 1.0
    allowance: float = 0.0
    least: float = -np.inf  # of the limit

    def tails(self) -> np.ndarray:
        """Return for each cell the share of cells that lie as far out, divided by the weight."""
        order = np.argsort(self.values, kind="stable")
        as_far = np.cumsum(self.shares[order][::-1])[::-1]
        return as_far[np.searchsorted(self.values[order], self.values, side="left")] / self.weight

    def limit(self, tail: float) -> float:
        """Return the limit that leaves this share, times the weight, outside (before slack and allowance)."""
        order = np.argsort(self.values, kind="stable")
        shares = self.shares[order]
        # With equal shares that is numpy's quantile.
        below = (np.cumsum(shares) - shares) / (1 - shares[-1])
        quantile = float(np.interp(max(1 - tail * self.weight, 0.5), below, self.values[order]))
        return max(quantile * self.slack + self.allowance, self.least)


def fit_gate(statistics: Statistics, *, labels: Labels | None = None, refused_share: float = 0.005) -> QualityGate:
    """Fit a gate on training cells.

    One tail share serves all limits: the one at which together they refuse ``refused_share`` of the training cells,
    where classes count equally, however many cells they have.

    Args:
        statistics: of each training cell, measured at the size at which new ones will be.
        labels: their classes; None, or fewer than 50 cells of a class = all are taken as one class.
        refused_share: of the training cells, 0-0.1: in any archive a few are damaged or not cells. Of new patients'
            cells about as many again will be outside the limits.

    Raises:
        GateError: fewer than 50 cells, a statistic is missing or not finite, the labels are not of these cells, or
            a share that would refuse none or most.
    """
    from scipy.stats import chi2  # a second to import

    table = _columns(statistics)
    _check_training(table, labels, refused_share)
    n, names = len(table["contrast"]), tuple(SIZE_ERROR)
    members, shares = _classes(labels, n), _shares(labels, n, refused_share)
    values = _values(table, names)
    classes = {label: _normal(values[cells], names) for label, cells in members.items()}
    checks = {
        "distance": _Check(_nearest(classes.values(), values), shares, DISTANCE_WEIGHT),
        "edge_width": _Check(table["edge_width"], shares, slack=EDGE_SLACK),
        **{f"{name} low": _Check(-table[name], shares, slack=DETAIL_SLACK) for name in DETAIL},
    }
    for name in COLOURS:
        mean, deviation = float(table[name].mean()), float(table[name].std(ddof=1))
        allowance, least = STAIN_ALLOWANCE * deviation, mean + STRONGER_STAIN * deviation
        checks[f"{name} high"] = _Check(table[name], shares, allowance=allowance, least=least)
        checks[f"{name} low"] = _Check(-table[name], shares, allowance=allowance)
    tails = np.min([check.tails() for check in checks.values()], axis=0)
    order = np.argsort(tails, kind="stable")
    tail = float(tails[order[np.searchsorted(np.cumsum(shares[order]), refused_share, side="right")]])
    limits = {name: check.limit(tail) for name, check in checks.items()}
    outlines = _Check(_outline_distances(classes, names, table), shares)
    ranges = {name: np.quantile(values, USUAL) for name, values in table.items()}
    usual = {name: (float(low), float(high)) for name, (low, high) in ranges.items()}
    return QualityGate(
        lowest={
            "contrast": BLANK_SHARE * usual["contrast"][0],
            **{name: -limits[f"{name} low"] for name in (*COLOURS, *DETAIL)},
        },
        highest={"edge_width": limits["edge_width"], **{name: limits[f"{name} high"] for name in COLOURS}},
        usual=usual,
        names=names,
        classes=classes,
        limit=max(limits["distance"], float(chi2.isf(NORMAL_TAIL, len(names)))),
        outline_limit=max(outlines.limit(tail), float(chi2.isf(NORMAL_TAIL, len(OUTLINE)))),
        n_cells=n,
        refused_share=refused_share,
    )


def count_refused(verdicts: Sequence[Verdict], labels: Labels) -> Refused:
    """Count how many cells of each class a gate refuses, of how many, in the order of the labels' names."""
    refused, found = np.array([bool(flags) for flags, _ in verdicts], dtype=bool), np.asarray(labels, dtype=str)
    return {str(label): (int(refused[found == label].sum()), int((found == label).sum())) for label in np.unique(found)}


def differ_by_chance(refused: Refused) -> float:
    """Return the p-value, 0-1, of the hypothesis that the gate refuses two classes at the same rate.

    Fisher's exact test (two-sided), which treats cells as independent; 1 where there are not two classes.
    """
    from scipy.stats import fisher_exact  # a second to import

    if len(refused) != 2:
        return 1.0
    return float(fisher_exact([(found, of - found) for found, of in refused.values()]).pvalue)


def _columns(statistics: Statistics) -> dict[str, np.ndarray]:
    """Return float64 N for each name in ``STATISTICS``."""
    if missing := [name for name in STATISTICS if name not in statistics]:
        raise GateError(
            f"the statistics lack {', '.join(missing)}; measure the images with image_statistics.measure_cells"
        )
    return {name: np.asarray(statistics[name], dtype=np.float64) for name in STATISTICS}


def _check_training(table: dict[str, np.ndarray], labels: Labels | None, refused_share: float) -> None:
    n = len(table["contrast"])
    if n < FEWEST_CELLS:
        raise GateError(f"{n} training cells are too few to fit limits; give {FEWEST_CELLS} or more")
    if not 0 < refused_share <= 0.1:
        raise GateError(f"refused_share is {refused_share}; give a share above 0 and up to 0.1")
    if not all(np.isfinite(values).all() for values in table.values()):
        raise GateError("a statistic of a training cell is not a finite number; measure the cells again")
    if labels is not None and len(labels) != n:
        raise GateError(f"{len(labels)} labels for {n} cells; give one for each cell")


def _classes(labels: Labels | None, n: int) -> dict[str, np.ndarray]:
    """Return the rows (int64) of each class; of all cells as one where labels are missing, or a class has too few."""
    if labels is not None:
        found = np.asarray(labels, dtype=str)
        members = {str(label): np.flatnonzero(found == label) for label in np.unique(found)}
        if min(map(len, members.values())) >= FEWEST_CELLS:
            return members
    return {ALL: np.arange(n)}


def _shares(labels: Labels | None, n: int, refused_share: float) -> np.ndarray:
    """Return the share of all that each cell stands for, float64 n, which sum to 1: classes weigh the same."""
    if labels is None:
        return np.full(n, 1 / n)
    _, number, counts = np.unique(np.asarray(labels, dtype=str), return_inverse=True, return_counts=True)
    shares = 1 / (len(counts) * counts[number])
    # At least two cells of each class may be refused: one photograph among a few dozen must not set the limits.
    shares = np.minimum(shares, refused_share / 2)
    return shares / shares.sum()


def _values(table: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """Return the statistics that enter the distance, float64 N×K, skewed ones as logarithms."""
    columns = [np.log(np.maximum(table[name], 0) + SMALLEST) if name in LOGARITHMIC else table[name] for name in names]
    return np.stack(columns, axis=1)


def _nearest(classes: Iterable[StatisticsClass], values: np.ndarray) -> np.ndarray:
    """Return each row's squared distance to the nearest class, float64 N."""
    return np.min([cells.distances(values) for cells in classes], axis=0)


def _outline_distances(
    classes: Mapping[str, StatisticsClass], names: tuple[str, ...], table: dict[str, np.ndarray]
) -> np.ndarray:
    """Return the squared distance to the nearest class in the statistics of ``OUTLINE`` alone, float64 N."""
    chosen = [names.index(name) for name in OUTLINE]
    return _nearest([cells.of(chosen) for cells in classes.values()], _values(table, OUTLINE))


def _normal(values: np.ndarray, names: tuple[str, ...]) -> StatisticsClass:
    """Return medians, robust deviations and the inverse covariance of the scaled statistics (Ledoit & Wolf 2004)."""
    from sklearn.covariance import LedoitWolf  # a second to import

    low, centre, high = np.quantile(values, (0.16, 0.5, 0.84), axis=0)
    # Most cells have nothing in their corners, where half the range between the quantiles would be zero.
    scale = np.maximum((high - low) / 2, values.std(axis=0) / 3)
    scale = np.where(scale > 0, scale, 1.0)
    winsorised = np.clip((values - centre) / scale, -WINSOR, WINSOR)
    covariance = LedoitWolf(assume_centered=True).fit(winsorised).covariance_
    error = np.array([SIZE_ERROR[name] for name in names]) / scale
    stain = np.array([STAIN_ERROR if name in STAIN else 0.0 for name in names])
    return StatisticsClass(centre, scale, np.linalg.inv(covariance + np.diag(error**2 + stain**2)))
