"""From a classifier to its ONNX files: exported, compared with torch, quantised, and accepted on held-out cells."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from malaria_kedro.inference.backends import load_predictor
from malaria_kedro.inference.export import export_onnx, read_onnx, torch_reader
from malaria_kedro.inference.extras import ParityError
from malaria_kedro.inference.quantise import Acceptance, accept_int8, quantise
from malaria_kedro.inference.reader import ONNX, ONNX_INT8

if TYPE_CHECKING:
    from malaria_kedro.learning.classifier import Classifier
    from malaria_kedro.learning.databunch import DataBunch

logger = logging.getLogger(__name__)

ABOUT = "onnx.json"
# Cells that the ranges of activations are read from: more move them no further.
CALIBRATION_CELLS = 512
PARITY_CELLS = 512


@dataclass(frozen=True)
class OnnxPlan:
    """What is to be exported; nothing is written before ``write``."""

    classifier: Classifier
    bunch: DataBunch

    def write(self, folder: Path) -> None:
        """Write ``model.onnx``, ``model.int8.onnx`` if it is accepted, and ``onnx.json`` into an existing folder.

        Raises:
            BackendError: an extra is missing, or the graph disagrees with torch.
        """
        card = self.classifier.card
        held_out = self._rows("valid", "test")
        some = held_out[np.linspace(0, len(held_out) - 1, min(len(held_out), PARITY_CELLS)).astype(int)]
        found = export_onnx(self.classifier, folder / ONNX, np.asarray(self.bunch.pixels[some]))
        about = {
            "name": card["name"],
            "training_id": card["training_id"],
            "data_fingerprint": self.bunch.fingerprint,
            "phantom": self.bunch.phantom,
            "metadata": read_onnx(folder / ONNX).metadata,
            "parity": asdict(found),
        }
        train = self._rows("train")
        chosen = train[np.linspace(0, len(train) - 1, min(len(train), CALIBRATION_CELLS)).astype(int)]
        quantise(folder / ONNX, np.asarray(self.bunch.pixels[chosen]), folder / ONNX_INT8)
        try:
            int8 = load_predictor(self.classifier, "onnx", onnx_path=folder / ONNX_INT8, int8=True)
        except ParityError as error:
            verdict = Acceptance(False, None, None, f"int8 is not accepted: {error}")
        else:
            p_float, p_int8 = self._p(torch_reader(self.classifier), held_out), self._p(int8, held_out)
            verdict = accept_int8(p_float, p_int8, self.bunch.cells["label"].to_numpy()[held_out])
        about["int8"] = asdict(verdict)
        logger.info("%s: %s", card["name"], verdict.sentence)
        if not verdict.accepted:
            (folder / ONNX_INT8).unlink()
            logger.warning("%s: the int8 graph is not written, because it would change results", card["name"])
        (folder / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def _rows(self, *splits: str) -> np.ndarray:
        return np.concatenate([self.bunch.rows(split) for split in splits])

    def _p(self, read, rows: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [read(np.asarray(self.bunch.pixels[rows[start : start + 256]]))[0] for start in range(0, len(rows), 256)]
        )
