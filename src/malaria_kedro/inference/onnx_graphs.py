"""The ONNX graphs of a classifier: exported, compared with torch, quantised, and accepted on held-out cells."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from malaria_kedro.files import temporary_folder
from malaria_kedro.inference.backends import load_predictor
from malaria_kedro.inference.export import ONNX, ONNX_INT8, Outputs, Parity, export_onnx, read_onnx, torch_reader
from malaria_kedro.inference.extras import ParityError
from malaria_kedro.inference.quantise import Acceptance, accept_int8, quantise

if TYPE_CHECKING:
    from malaria_kedro.learning.classifier import Classifier
    from malaria_kedro.learning.databunch import DataBunch

logger = logging.getLogger(__name__)

# Cells that the ranges of activations are read from: more move them no further.
CALIBRATION_CELLS = 512
PARITY_CELLS = 512


@dataclass(frozen=True)
class OnnxDescription:
    """What ``onnx.json`` says about the graphs beside it."""

    name: str
    training_id: str
    data_fingerprint: str  # of the cells that int8 was calibrated and judged on
    phantom: bool  # whether these are drawings
    metadata: dict[str, str]  # what the float32 graph carries itself
    parity: Parity  # how far the float32 graph is from torch
    int8: Acceptance  # whether the quantised graph may stand in for it


@dataclass(frozen=True)
class OnnxGraphs:
    """The bytes of the float32 graph, those of the int8 graph where it is accepted, and what describes them."""

    float32: bytes = field(repr=False)
    int8: bytes | None = field(repr=False)
    about: OnnxDescription


def export_graphs(classifier: Classifier, bunch: DataBunch) -> OnnxGraphs:
    """Export a classifier, and quantise it on training cells; the held-out cells decide whether int8 is kept.

    Raises:
        BackendError: an extra is missing, or the graph disagrees with torch.
    """
    metadata = classifier.metadata
    held_out = np.concatenate([bunch.rows("valid"), bunch.rows("test")])
    with temporary_folder() as folder:  # the exporters write files
        float_path, int8_path = folder / ONNX, folder / ONNX_INT8
        parity = export_onnx(classifier, float_path, _spread(bunch, held_out, PARITY_CELLS))
        quantise(float_path, _spread(bunch, bunch.rows("train"), CALIBRATION_CELLS), int8_path)
        try:
            int8 = load_predictor(classifier, "onnx", onnx_path=int8_path, int8=True)
        except ParityError as error:
            verdict = Acceptance(False, None, None, f"int8 is not accepted: {error}")
        else:
            p_float, p_int8 = (_p(read, bunch, held_out) for read in (torch_reader(classifier), int8))
            verdict = accept_int8(p_float, p_int8, bunch.cells["label"].to_numpy()[held_out])
        if verdict.accepted:
            logger.info("%s: %s", metadata.name, verdict.sentence)
        else:
            logger.warning("%s: %s; so there is no int8 graph", metadata.name, verdict.sentence)
        return OnnxGraphs(
            float_path.read_bytes(),
            int8_path.read_bytes() if verdict.accepted else None,
            OnnxDescription(
                name=metadata.name,
                training_id=metadata.training_id,
                data_fingerprint=bunch.fingerprint,
                phantom=bunch.phantom,
                metadata=read_onnx(float_path).metadata,
                parity=parity,
                int8=verdict,
            ),
        )


def _spread(bunch: DataBunch, rows: np.ndarray, count: int) -> np.ndarray:
    """Return the pixels of ``count`` of the rows at most, evenly over them."""
    return np.asarray(bunch.pixels[rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int)]])


def _p(read: Callable[[np.ndarray], Outputs], bunch: DataBunch, rows: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [read(np.asarray(bunch.pixels[rows[start : start + 256]]))[0] for start in range(0, len(rows), 256)]
    )
