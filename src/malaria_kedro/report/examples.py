"""The cells that a person should look at: the most and the least certain calls, and refused images."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.decoding import decode_image
from malaria_kedro.inference.images_again import read_again
from malaria_kedro.inference.results import REFUSED, ReadingRequest
from malaria_kedro.learning.metadata import ClassifierMetadata
from malaria_kedro.names import PARASITIZED, UNINFECTED

if TYPE_CHECKING:
    from malaria_kedro.learning.classifier import Classifier

log = logging.getLogger(__name__)

# px per side: a cell as small as the network's is shown larger, without smoothing what is there.
SHOWN = 128


@dataclass(frozen=True)
class Example:
    """A row of ``malaria_kedro.inference.results.Results`` that is shown; ``p_parasitized`` may be missing (NaN)."""

    path: str
    call: str
    p_parasitized: float
    quality: str
    reason: str


COLUMNS = [field.name for field in fields(Example)]
Examples = dict[str, list[Example]]


def choose_examples(
    frames: Iterable[pd.DataFrame], metadata: ClassifierMetadata, count: int, *, flagged: bool = False
) -> Examples:
    """Choose cells of each kind for the report in one pass; of equals, the first in the order of the source.

    The kinds: surest parasitized, surest uninfected, least sure (nearest to the threshold, in log-odds), and refused
    and flagged, with the largest p first and what has none last.

    Args:
        frames: rows as ``Results.frames`` yields them.
        metadata: of the classifier, for its threshold.
        count: cells of each kind at the most.
        flagged: also choose called cells that have a flag, for a quality gate that only flags.
    """
    threshold = metadata.threshold
    if threshold is None:
        raise ValueError(f"{metadata.name} has no threshold, so no cell is near to it; calibrate it again")
    best: dict[str, pd.DataFrame] = {}
    for frame in frames:
        is_called = frame["call"] != REFUSED
        called, refused = frame[is_called], frame[~is_called]
        p = called["p_parasitized"].astype("float64")
        distance = np.abs(_log_odds(p.to_numpy()) - _log_odds(np.array([threshold])))
        offered = {
            "surest_parasitized": called.assign(score=p)[called["call"] == PARASITIZED],
            "surest_uninfected": called.assign(score=1 - p)[called["call"] == UNINFECTED],
            "least_sure": called.assign(score=-distance),
            # A parasite that the gate turned away matters more than a photograph.
            "refused": refused.assign(score=refused["p_parasitized"].astype("float64").fillna(-1.0)),
        }
        if flagged:
            offered["flagged"] = called.assign(score=p)[called["quality"] != ""]
        for kind, rows in offered.items():
            # Of equal scores, nlargest keeps the first.
            rows = rows[[*COLUMNS, "score"]].nlargest(count, "score")
            best[kind] = pd.concat([best[kind], rows]).nlargest(count, "score") if kind in best else rows
    return {
        kind: [Example(*row) for row in rows[COLUMNS].itertuples(index=False, name=None)] for kind, rows in best.items()
    }


def picture_examples(
    examples: Examples, about: ReadingRequest, work: Path, classifier: Classifier, *, heat_maps: bool
) -> dict[str, bytes] | None:
    """Return PNG pictures of the examples, by path; what cannot be read has none.

    None, with a warning, where the source is gone or one of them has changed since: a picture of another file beside a
    call would be a lie.

    Args:
        examples: of ``choose_examples``.
        about: how their source was read.
        work: folder that it was listed in.
        classifier: that read them; its input size is theirs.
        heat_maps: show each called cell beside what speaks for its call.
    """
    size, pattern = classifier.metadata.input.size, about.patient_pattern
    calls = {cell.path: cell.call for some in examples.values() for cell in some}
    again = read_again(about.images, work, calls, patient_pattern=pattern, fingerprint=about.fingerprint)
    cells: dict[str, np.ndarray] = {}
    try:
        for path, data in again:
            if (pixels := decode_image(data, size, bit_depth=about.bit_depth).pixels) is not None:
                cells[path] = pixels
    except SourceError as error:
        log.warning("no pictures of the examples: %s", error)
        return None
    pictures = {path: _png(cell) for path, cell in cells.items()}
    called = [path for path in cells if calls[path] != REFUSED]
    if heat_maps and called:
        from malaria_kedro.figures.heat_maps import side_by_side
        from malaria_kedro.learning.heatmaps import heat_maps as map_evidence

        stacked = np.stack([cells[path] for path in called])
        classes = np.array([0 if calls[path] == PARASITIZED else 1 for path in called])
        maps = map_evidence(classifier.network(), stacked, classes)
        for path, image, heat in zip(called, stacked, maps, strict=True):
            pictures[path] = _png(side_by_side(image, heat))
    return pictures


def _png(image: np.ndarray) -> bytes:
    factor = max(1, round(SHOWN / image.shape[0]))
    large = Image.fromarray(image).resize((image.shape[1] * factor, image.shape[0] * factor), Image.Resampling.NEAREST)
    file = io.BytesIO()
    large.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))
