"""The quality gate: what is no cell, or shows nothing that could be called, gets a reason instead of a probability.

A network of two classes answers for a photograph too. So each image is first held against the training cells: its
statistics must lie where theirs do, taken together (Mahalanobis distance) and where one of them alone decides, and so
must what the network's body makes of it (after Lee et al. 2018, arXiv:1807.03888). All limits are quantiles of the
training cells; no image that is no cell has a part in them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from malaria_kedro.inference.image_statistics import GRID, STATISTICS

BLANK, BLURRED, NOT_A_CELL = "blank", "blurred", "not_a_cell"
Verdict = tuple[tuple[str, ...], str]
# Of each image: a table, columns by name, or a row by name for each image.
Statistics = pd.DataFrame | Mapping[str, np.ndarray] | Sequence[Mapping[str, float]]

# Raise it with any change to what a stored gate means, so that an older one is refused instead of misread.
FORMAT = 1
FEWEST_CELLS = 50

# How far a cell's statistics move when it is made smaller, to 32 px (root mean square over 300 NIH cells; of skewed
# ones, of the logarithm). Nothing counts as known better than that, or a copy would be further away than a photograph.
# Not here, and so not in the distance: an edge can only be too wide, and says how an image was made smaller rather than
# what it shows; contrast follows from coverage and brightness.
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

# Colour decides alone, too: stains differ so much from each other that the distance would let a green cell pass.
COLOURS = ("red_green", "blue_green")
# A new slide brings a stain of its own: between the patients' stains lies more than within, and patients are few.
STAIN_ALLOWANCE = 0.5  # standard deviations of the training cells
# So does an interior smoother than that of any cell: out of focus before it was cut out, its outline may be sharp.
DETAIL = ("roughness", "roughest")
# One smear in focus is smoother than another: without this, one NIH fold has half as many refusals again.
DETAIL_SLACK = 0.85
# The distance tells most, so it may refuse most: eight times what a limit of one number may.
DISTANCE_WEIGHT, LIMIT_WEIGHT = 8.0, 1.0
# A smoother way of making an image smaller widens edges by a fifth.
EDGE_SLACK = 1.25
# Few or uniform training cells, phantoms for one, must not refuse their own copies of another size: the distance's
# limit is at least the one that a thousandth of a normal distribution exceeds.
NORMAL_TAIL = 0.001
# An image with less than this share of the least contrast of training cells shows one thing: nothing.
BLANK_SHARE = 0.1
# What the reasons call usual is where all but one of a hundred training cells lie.
USUAL = (0.005, 0.995)

# Axes of the feature space that are told apart; what lies beyond them is taken as noise of one size.
AXES = 64
MOST_CELLS_FOR_AXES = 8192
CELLS_AT_ONCE = 2048
# A network spreads cells that it has not seen wider than those that it was trained on: by so much in the NIH cells.
FEATURE_SLACK = 1.3


class GateError(ValueError):
    """A gate cannot be fitted, read or used; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Where the training cells lie in the network's features: a normal distribution, estimated by its largest axes.

    This is probabilistic PCA (Tipping & Bishop 1999): ``axes`` with a variance each, and one variance for the rest.

    Attributes:
        centre: float32 F.
        axes: float32 K×F, orthonormal.
        variances: float64 K, along the axes.
        rest: mean variance along each of the other F - K.
        limit: largest squared distance that passes.
    """

    centre: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rest: float
    limit: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the squared Mahalanobis distance of each row (float N×F), float64 N.

        Raises:
            GateError: features of another width, thus of another network.
        """
        if features.ndim != 2 or features.shape[1] != len(self.centre):
            raise GateError(
                f"features of shape {features.shape} do not fit a gate for {len(self.centre)} a cell: it was fitted "
                "on another network; fit the gate on this one's features"
            )
        parts = [self._distances(features[i : i + CELLS_AT_ONCE]) for i in range(0, len(features), CELLS_AT_ONCE)]
        return np.concatenate([np.empty(0), *parts])

    def _distances(self, features: np.ndarray) -> np.ndarray:
        away = features.astype(np.float64) - self.centre
        along = away @ self.axes.T.astype(np.float64)
        beyond = np.square(away).sum(axis=1) - np.square(along).sum(axis=1)
        return (np.square(along) / self.variances).sum(axis=1) + beyond / self.rest


@dataclass(frozen=True, eq=False)
class QualityGate:
    """What passes; made by :func:`fit_gate`, or read by :meth:`from_dict`.

    Attributes:
        lowest: statistic → least value that passes.
        highest: statistic → largest value that passes.
        usual: statistic → the range of nearly all training cells, for the reasons.
        names: the statistics in the distance.
        centre: float64 K, their medians (after the logarithm where it is taken).
        scale: float64 K, their robust standard deviations.
        precision: float64 K×K, inverse covariance of the scaled statistics.
        limit: largest squared distance that passes.
        features: the feature space, None for a gate by statistics alone.
        n_cells: training cells that it was fitted on.
        refused_share: share of the training cells that the limits were meant to refuse.
    """

    lowest: dict[str, float]
    highest: dict[str, float]
    usual: dict[str, tuple[float, float]] = field(repr=False)
    names: tuple[str, ...]
    centre: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    precision: np.ndarray = field(repr=False)
    limit: float
    features: FeatureSpace | None = field(repr=False)
    n_cells: int
    refused_share: float

    @property
    def id(self) -> str:
        """Return what stands for everything that decides, sha256."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def __call__(
        self, statistics: Statistics, features: np.ndarray | None, p: np.ndarray | None = None
    ) -> list[Verdict]:
        """Judge as :meth:`judge` does; a probability (``p``) has no say in whether a cell is one."""
        return self.judge(statistics, features)

    def judge(self, statistics: Statistics, features: np.ndarray | None = None) -> list[Verdict]:
        """Judge images, each by itself.

        Args:
            statistics: of each image; what :func:`~malaria_kedro.inference.image_statistics.measure_cells` gives, as
                a table too, or a list of what ``measure`` gives.
            features: float N×F, what the head of the network sees; None where the backend does not tell, and then
                the statistics decide alone.

        Returns:
            Flags and a sentence for each: ``()`` and ``""`` where the image passes, else one of ``blank``,
            ``blurred`` and ``not_a_cell``. What is not a finite number does not pass.

        Raises:
            GateError: a statistic is missing, or the features are not this network's or not these images'.
        """
        table = _columns(statistics)
        far = self.distances(table)
        unseen = np.zeros(len(far))
        if features is not None and self.features is not None:
            if len(features) != len(far):
                raise GateError(f"{len(features)} rows of features for {len(far)} images; give one for each")
            unseen = self.features.distances(features)
        # Written so that a NaN is refused.
        cell_like = far <= self.limit
        for name, least in self.lowest.items():
            cell_like &= table[name] >= least
        for name, most in self.highest.items():
            cell_like &= table[name] <= most
        known = unseen <= (self.features.limit if self.features else 0.0)
        verdicts: list[Verdict] = [((), "")] * len(far)
        for i in np.flatnonzero(~known):
            reason = f"distance {unseen[i]:.0f} in its features, limit {self.features.limit:.0f}"
            verdicts[i] = (NOT_A_CELL,), f"unlike what the network has learned from: {reason}"
        for i in np.flatnonzero(~cell_like):
            verdicts[i] = self._refuse({name: values[i] for name, values in table.items()}, far[i])
        return verdicts

    def distances(self, statistics: Statistics) -> np.ndarray:
        """Return each image's squared Mahalanobis distance from the training cells in its statistics, float64 N."""
        away = _scaled(_columns(statistics), self.names, self.centre, self.scale)
        return np.einsum("ij,jk,ik->i", away, self.precision, away)

    def _refuse(self, image: Mapping[str, float], far: float) -> Verdict:
        """Name what is wrong with an image whose statistics do not pass, in the words that help most."""
        if image["contrast"] < self.lowest["contrast"]:
            reason = f"brightness varies by {image['contrast']:.1f} grey levels, {self._usually('contrast')}"
            return (BLANK,), f"blank: {reason}"
        coloured_well = all(self.lowest[name] <= image[name] <= self.highest[name] for name in COLOURS)
        # A photograph has soft steps of brightness too, but no black corner.
        if coloured_well and image["edge_width"] > self.highest["edge_width"] and image["corners"] < 1:
            reason = f"{image['edge_width']:.1f} px wide on a grid of {GRID} px, {self._usually('edge_width')}"
            return (BLURRED,), f"blurred: its outline is {reason}"
        smooth = [name for name in DETAIL if image[name] < self.lowest[name]]
        if coloured_well and smooth and far <= self.limit:
            reason = f"{smooth[0]} is {image[smooth[0]]:.3g}, {self._usually(smooth[0])}"
            return (BLURRED,), f"blurred: no detail within: {reason}"
        # Sharper edges than any break no limit.
        candidates = [*self.names, *(["edge_width"] if image["edge_width"] > self.highest["edge_width"] else [])]
        strangest = max(candidates, key=lambda name: self._beyond(name, image[name]))
        if self._beyond(strangest, image[strangest]) > 0:
            reason = f"{strangest} is {image[strangest]:.3g}, {self._usually(strangest)}"
        else:
            reason = f"distance {far:.1f} in all statistics together, limit {self.limit:.1f}"
        return (NOT_A_CELL,), f"not like a cell: {reason}"

    def _beyond(self, name: str, value: float) -> float:
        """Return how far outside the usual range a value lies, in widths of that range; without bound for a NaN."""
        low, high = self.usual[name]
        return max(low - value, value - high) / max(high - low, 1e-6) if np.isfinite(value) else np.inf

    def _usually(self, name: str) -> str:
        low, high = self.usual[name]
        return f"in training cells {low:.3g} to {high:.3g}"

    def to_dict(self) -> dict[str, Any]:
        """Return the gate as what JSON can hold, with its id."""
        return self._content() | {"id": self.id}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> QualityGate:
        """Read what :meth:`to_dict` wrote.

        Raises:
            GateError: it is damaged, of another format, or fitted on statistics that are measured no more.
        """
        if not isinstance(stored, Mapping) or stored.get("format") != FORMAT:
            found = stored.get("format") if isinstance(stored, Mapping) else type(stored).__name__
            raise GateError(f"a quality gate of format {found}, and this version reads {FORMAT}; fit the gate again")
        try:
            gate = cls(
                lowest=_numbers(stored["lowest"]),
                highest=_numbers(stored["highest"]),
                usual={name: (float(low), float(high)) for name, (low, high) in stored["usual"].items()},
                names=tuple(stored["names"]),
                centre=np.array(stored["centre"], dtype=np.float64),
                scale=np.array(stored["scale"], dtype=np.float64),
                precision=np.array(stored["precision"], dtype=np.float64),
                limit=float(stored["limit"]),
                features=_read_space(stored["features"]),
                n_cells=int(stored["n_cells"]),
                refused_share=float(stored["refused_share"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GateError(f"the stored quality gate is damaged ({error!r}); fit the gate again") from error
        if gate.id != stored.get("id"):
            raise GateError("the stored quality gate was changed: its content does not fit its id; fit the gate again")
        if unknown := {*gate.names, *gate.lowest, *gate.highest, *gate.usual} - STATISTICS.keys():
            raise GateError(f"the stored gate needs {sorted(unknown)}, which is measured no more; fit the gate again")
        return gate

    def _content(self) -> dict[str, Any]:
        space = self.features
        return {
            "format": FORMAT,
            "n_cells": self.n_cells,
            "refused_share": self.refused_share,
            "lowest": self.lowest,
            "highest": self.highest,
            "usual": {name: list(span) for name, span in self.usual.items()},
            "names": list(self.names),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "precision": self.precision.tolist(),
            "limit": self.limit,
            "features": space
            and {
                "centre": _to_text(space.centre),
                "axes": _to_text(space.axes),
                "variances": space.variances.tolist(),
                "rest": space.rest,
                "limit": space.limit,
            },
        }


@dataclass(frozen=True, eq=False)
class _Check:
    """A number of each training cell that must not be too large.

    A check of twice the weight may refuse twice as many. A limit is its quantile, times the slack, plus the allowance.
    """

    values: np.ndarray
    weight: float = LIMIT_WEIGHT
    slack: float = 1.0
    allowance: float = 0.0

    def tails(self) -> np.ndarray:
        """Return of each cell the share of cells that lie as far out, by the weight."""
        ascending = np.sort(self.values)
        return (len(ascending) - np.searchsorted(ascending, self.values, side="left")) / len(ascending) / self.weight

    def limit(self, tail: float) -> float:
        """Return the limit that leaves this share, times the weight, outside (but for slack and allowance)."""
        return float(np.quantile(self.values, max(1 - tail * self.weight, 0.5))) * self.slack + self.allowance


def fit_gate(
    statistics: Statistics, features: np.ndarray | None = None, *, refused_share: float = 0.005
) -> QualityGate:
    """Fit a gate on training cells.

    One tail share serves all limits: the one at which they refuse ``refused_share`` of the training cells together.

    Args:
        statistics: of each training cell, measured at the size at which others will be; see :meth:`QualityGate.judge`.
        features: float N×F, what the head of the network sees of the same cells; None to judge by statistics alone.
        refused_share: share of the training cells outside the limits, 0-0.1. A few of any archive are damaged or no
            cells, and of new patients' cells about as many again will be outside.

    Returns:
        The gate.

    Raises:
        GateError: fewer than 50 cells, a statistic is missing or not finite, the features are not of these cells, or a
            share that would refuse none or most.
    """
    from scipy.stats import chi2  # a second to import

    table = _columns(statistics)
    _check_training(table, features, refused_share)
    names = tuple(SIZE_ERROR)
    centre, scale, precision = _normal(table, names)
    away = _scaled(table, names, centre, scale)
    checks = {
        "distance": _Check(np.einsum("ij,jk,ik->i", away, precision, away), DISTANCE_WEIGHT),
        "edge_width": _Check(table["edge_width"], slack=EDGE_SLACK),
        **{f"{name} low": _Check(-table[name], slack=DETAIL_SLACK) for name in DETAIL},
    }
    for name in COLOURS:
        values, allowance = table[name], STAIN_ALLOWANCE * float(table[name].std(ddof=1))
        checks[f"{name} high"] = _Check(values, allowance=allowance)
        checks[f"{name} low"] = _Check(-values, allowance=allowance)
    space = None
    if features is not None:
        space = _fit_space(features)
        checks["features"] = _Check(space.distances(features), slack=FEATURE_SLACK)
    furthest = np.sort(np.min([check.tails() for check in checks.values()], axis=0))
    tail = float(furthest[int(refused_share * len(furthest))])
    limits = {name: check.limit(tail) for name, check in checks.items()}
    if space is not None:
        space = FeatureSpace(space.centre, space.axes, space.variances, space.rest, limits["features"])
    usual = {name: tuple(map(float, np.quantile(table[name], USUAL))) for name in STATISTICS}
    return QualityGate(
        lowest={
            "contrast": BLANK_SHARE * usual["contrast"][0],
            **{name: -limits[f"{name} low"] for name in (*COLOURS, *DETAIL)},
        },
        highest={"edge_width": limits["edge_width"], **{name: limits[f"{name} high"] for name in COLOURS}},
        usual=usual,
        names=names,
        centre=centre,
        scale=scale,
        precision=precision,
        limit=max(limits["distance"], float(chi2.isf(NORMAL_TAIL, len(names)))),
        features=space,
        n_cells=len(furthest),
        refused_share=refused_share,
    )


def _columns(statistics: Statistics) -> dict[str, np.ndarray]:
    """Return float64 N a name of ``STATISTICS``."""
    if not isinstance(statistics, Mapping | pd.DataFrame):
        rows = list(statistics)
        names = [name for name in STATISTICS if all(name in row for row in rows)]
        statistics = {name: [row[name] for row in rows] for name in names}
    if missing := [name for name in STATISTICS if name not in statistics]:
        raise GateError(
            f"the statistics lack {', '.join(missing)}; measure the images with image_statistics.measure_cells"
        )
    return {name: np.asarray(statistics[name], dtype=np.float64) for name in STATISTICS}


def _check_training(table: dict[str, np.ndarray], features: np.ndarray | None, refused_share: float) -> None:
    n = len(table["contrast"])
    if n < FEWEST_CELLS:
        raise GateError(f"{n} training cells tell no limits; give {FEWEST_CELLS} or more")
    if not 0 < refused_share <= 0.1:
        raise GateError(f"refused_share is {refused_share}; give a share above 0 and up to 0.1")
    if not all(np.isfinite(values).all() for values in table.values()):
        raise GateError("a statistic of a training cell is not a finite number; measure the cells again")
    if features is not None:
        if features.ndim != 2 or len(features) != n:
            raise GateError(f"features of shape {features.shape} for {n} cells; give one row for each cell")
        if not np.isfinite(features).all():
            raise GateError("a feature of a training cell is not a finite number: this network is broken; train again")


def _values(table: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """Return the statistics of the distance, float64 N×K, skewed ones as logarithms."""
    columns = [np.log(np.maximum(table[name], 0) + SMALLEST) if name in LOGARITHMIC else table[name] for name in names]
    return np.stack(columns, axis=1)


def _scaled(table: dict[str, np.ndarray], names: tuple[str, ...], centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (_values(table, names) - centre) / scale


def _normal(table: dict[str, np.ndarray], names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return medians, robust deviations and the inverse covariance of the scaled statistics (Ledoit & Wolf 2004)."""
    from sklearn.covariance import LedoitWolf  # a second to import

    values = _values(table, names)
    low, centre, high = np.quantile(values, (0.16, 0.5, 0.84), axis=0)
    # Most cells have nothing in their corners: half of what is between the quantiles would be a deviation of zero.
    scale = np.maximum((high - low) / 2, values.std(axis=0) / 3)
    scale = np.where(scale > 0, scale, 1.0)
    winsorised = np.clip((values - centre) / scale, -WINSOR, WINSOR)
    covariance = LedoitWolf(assume_centered=True).fit(winsorised).covariance_
    error = np.array([SIZE_ERROR[name] for name in names]) / scale
    return centre, scale, np.linalg.inv(covariance + np.diag(error**2))


def _fit_space(features: np.ndarray) -> FeatureSpace:
    """Return the training cells' feature space, without a limit yet."""
    from sklearn.decomposition import PCA  # a second to import

    # Evenly over the table, which may be in the order of the classes.
    chosen = np.linspace(0, len(features) - 1, min(len(features), MOST_CELLS_FOR_AXES)).astype(int)
    some = features[chosen].astype(np.float32)
    n_axes = min(AXES, some.shape[1] - 1, len(some) // 4)
    pca = PCA(n_axes, svd_solver="randomized", random_state=0).fit(some)
    variances = pca.explained_variance_.astype(np.float64)
    total = float(some.var(axis=0, ddof=1, dtype=np.float64).sum())
    # A feature that no training cell wakes has no variance; one that wakes must count, but not without bound.
    floor = 1e-6 * max(total, 1e-12)
    rest = max((total - variances.sum()) / (some.shape[1] - n_axes), floor)
    centre = pca.mean_.astype(np.float32)
    return FeatureSpace(centre, pca.components_.astype(np.float32), np.maximum(variances, floor), rest, np.inf)


def _numbers(stored: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in stored.items()}


def _read_space(stored: Mapping[str, Any] | None) -> FeatureSpace | None:
    if stored is None:
        return None
    centre = _from_text(stored["centre"])
    variances = np.array(stored["variances"], dtype=np.float64)
    axes = _from_text(stored["axes"]).reshape(len(variances), len(centre))
    return FeatureSpace(centre, axes, variances, float(stored["rest"]), float(stored["limit"]))


def _to_text(values: np.ndarray) -> str:
    """Return float32 as base64: exact, and a quarter as long as decimals."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def _from_text(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
