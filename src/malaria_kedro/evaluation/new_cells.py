"""What a stream of new images shows: how their probabilities are spread, and metrics where their labels are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from malaria_kedro.evaluation.bootstrap import ALL_METRICS, Bootstrap, Sample
from malaria_kedro.evaluation.measurements import ExternalMetrics, LabelledImages, SplitMetrics
from malaria_kedro.evaluation.metrics import measure_sample
from malaria_kedro.inference.results import REFUSED, ReadingRequest
from malaria_kedro.language import N_
from malaria_kedro.learning.calibration import SMALLEST
from malaria_kedro.names import CLASSES, PARASITIZED, UNINFECTED

# Beyond so many cells each draw takes so long, and changes so little, that fewer are drawn.
CELL_DRAWS = 2_000_000_000
FEWEST_DRAWS = 200
# Of equal width on each side of the threshold.
BINS_OF_A_SIDE = 8


def count_probabilities(frames: Iterable[pd.DataFrame], threshold: float) -> pd.DataFrame:
    """Count images by p(parasitized), in bins of equal width below and above the threshold; only counts are held.

    Args:
        frames: rows as ``malaria_kedro.inference.results.Results.frames`` yields them.
        threshold: from which p on a cell was called parasitized, 0-1.

    Returns:
        Two times ``BINS_OF_A_SIDE`` rows, p rising: ``low`` and ``high``, the edges of the bin (float64), and the
        images in it that were ``called`` and ``refused`` (int64). Unreadable images have no p and are not counted.
    """
    edge = np.float32(threshold)  # calls compare in float32, in which p is stored
    counts = np.zeros((2, 2 * BINS_OF_A_SIDE), dtype=np.int64)
    for frame in frames:
        frame = frame[frame["p_parasitized"].notna()]
        p = frame["p_parasitized"].to_numpy(dtype=np.float32)
        above, share = p >= edge, np.zeros(len(p))
        np.divide(p - edge, 1 - edge, where=above & (edge < 1), out=share)
        np.divide(p, edge, where=~above, out=share)
        place = np.minimum((share * BINS_OF_A_SIDE).astype(int), BINS_OF_A_SIDE - 1) + BINS_OF_A_SIDE * above
        for row, chosen in zip(counts, (frame["call"] != REFUSED, frame["call"] == REFUSED), strict=True):
            row += np.bincount(place[chosen.to_numpy(dtype=bool)], minlength=len(row))
    edges = np.r_[np.linspace(0, threshold, BINS_OF_A_SIDE + 1), np.linspace(threshold, 1, BINS_OF_A_SIDE + 1)[1:]]
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "called": counts[0], "refused": counts[1]})


def measure_new_cells(
    frames: Iterable[pd.DataFrame], about: ReadingRequest, intervals: Bootstrap
) -> ExternalMetrics | None:
    """Measure the calls of labelled images at the threshold that they were called at; None where none has a label.

    Sensitivity and the others are those of the images that were called; the table of counts tells how many were not,
    by their label. Rows are not kept, but 13 bytes of each called image with a label are, and some 100 while they are
    measured, up to 400 where no patient is known.

    Args:
        frames: rows as ``malaria_kedro.inference.results.Results.frames`` yields them.
        about: how they were read.
        intervals: how to draw them; of more than a million cells, fewer draws are made, as the result says.
    """
    counts = {label: np.zeros(5, dtype=int) for label in CLASSES}
    patients: dict[str, int] = {}
    actual, p, units = [], [], []
    unlabelled = 0
    for frame in frames:
        unlabelled += int(frame["label"].isna().sum())
        frame = frame[frame["label"].notna()]
        for label, its in frame.groupby("label"):
            call, none = its["call"], its["p_parasitized"].isna()
            called = [(call == name).sum() for name in (PARASITIZED, UNINFECTED, REFUSED)]
            counts[str(label)] += [len(its), *called, none.sum()]
        frame = frame[frame["call"] != REFUSED]
        codes, names = pd.factorize(frame["patient_id"])
        known = np.array([patients.setdefault(name, len(patients)) for name in names] + [-1], dtype=np.int64)
        units.append(known[codes])
        actual.append((frame["label"] == PARASITIZED).to_numpy(dtype=bool))
        p.append(frame["p_parasitized"].to_numpy(dtype=np.float32))
    labels = {
        label: LabelledImages(**dict(zip(LabelledImages.model_fields, map(int, its), strict=True)))
        for label, its in counts.items()
    }
    if not sum(its.images for its in labels.values()):
        return None
    sample = _sample(np.concatenate(actual), np.concatenate(p).astype(float), np.concatenate(units), len(patients))
    # Calls compare in float32, in which p is stored.
    threshold = float(np.float32(about.threshold))
    metrics, notes = None, [N_("no image with a label was called, so nothing is measured.")]
    if len(sample.p):
        draws = min(intervals.draws, max(FEWEST_DRAWS, CELL_DRAWS // len(sample.p)))
        found, notes = measure_sample(sample, threshold, ALL_METRICS, replace(intervals, draws=draws))
        metrics = SplitMetrics(**found)
    return ExternalMetrics(
        positive_class=PARASITIZED,
        threshold=about.threshold,
        labels=labels,
        unlabelled=unlabelled,
        called=metrics,
        how=about.labels,
        notes=notes,
        classifier=about.classifier,
        images=about.images,
    )


def _sample(actual: np.ndarray, p: np.ndarray, unit_of: np.ndarray, known: int) -> Sample:
    unknown = unit_of < 0
    count = int(unknown.sum())
    unit_of = unit_of.copy()
    unit_of[unknown] = known + np.arange(count)
    losses = -np.log(np.where(actual, p, 1 - p).clip(SMALLEST, 1))
    return Sample(actual, p, losses, unit_of, "patient" if known else "cell", units=known + count, unknown=count)
