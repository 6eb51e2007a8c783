"""Int8 quantisation of the graph, and the test on held-out cells that accepts or rejects it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from malaria_kedro.files import temporary_folder, write_file
from malaria_kedro.inference.export import INPUT, read_onnx, seal
from malaria_kedro.inference.extras import BackendError, import_extra

if TYPE_CHECKING:
    from onnx import ModelProto

logger = logging.getLogger(__name__)

ACCURACY_LIMIT = 0.1  # percentage points
AUC_LIMIT = 0.0005
CALIBRATION_BATCH = 32
QUANTISED = ["Conv", "Relu", "MaxPool", "Add"]


@dataclass(frozen=True)
class Acceptance:
    """Whether an int8 graph may stand in for the float one, and what it changes (int8 minus float)."""

    accepted: bool
    accuracy_change_points: float | None  # None if the graph already fails the probe cells
    auc_change: float | None  # None as well if all cells are of one class
    sentence: str


def quantise(onnx_path: Path, calibration_cells: np.ndarray, path: Path) -> None:
    """Quantise the convolutions of an exported classifier to int8 and write the graph.

    Static quantisation (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference"): weights int8 for each output channel, activations uint8 in the range that the
    calibration cells reach. Normalisation, pooling, head and softmax stay float32: they cost next to nothing, and
    produce the probability and the features.

    Args:
        onnx_path: of ``malaria_kedro.inference.export.export_onnx``.
        calibration_cells: uint8 N×S×S×3, real training cells of both classes; 256 or more.
        path: the file to write; an older one is replaced.

    Raises:
        BackendError: the extra is missing; the file is damaged, foreign or quantised already; or there are no cells,
            or they have another size.
    """
    runtime = import_extra("onnxruntime.quantization", "onnx")
    onnx = import_extra("onnx", "onnx")
    file = read_onnx(onnx_path)
    if file.int8:
        raise BackendError(f"{onnx_path} is quantised already; give the float32 file that export_onnx writes")
    wanted = (file.size, file.size, 3)
    cells = np.asarray(calibration_cells)
    if cells.dtype != np.uint8 or cells.ndim != 4 or cells.shape[1:] != wanted or not len(cells):
        raise BackendError(
            f"calibration cells must be uint8 N×{file.size}×{file.size}×3, RGB, at least one; these are {cells.dtype} "
            f"{cells.shape}"
        )

    class Reader(runtime.CalibrationDataReader):  # type: ignore[name-defined] # of an extra, imported late
        batches = iter(range(0, len(cells), CALIBRATION_BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:
            start = next(self.batches, None)
            return None if start is None else {INPUT: np.ascontiguousarray(cells[start : start + CALIBRATION_BATCH])}

    model = onnx.load_from_string(file.data)
    # Torch's exporter has done the pre-processing, folded norms included; without this the quantiser warns.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with temporary_folder() as folder:  # the quantiser only writes files
        quantised = folder / "int8.onnx"
        runtime.quantize_static(
            model,
            quantised,
            Reader(),
            quant_format=runtime.QuantFormat.QDQ,
            per_channel=True,
            # Seven bits: without VNNI a CPU adds two products in 16 bits, and eight would saturate there.
            reduce_range=True,
            activation_type=runtime.QuantType.QUInt8,
            weight_type=runtime.QuantType.QInt8,
            op_types_to_quantize=QUANTISED,
            nodes_to_exclude=_outside_the_body(model),
            calibrate_method=runtime.CalibrationMethod.MinMax,
        )
        data = seal(onnx.load(quantised), file.metadata | {"precision": "int8"})
    write_file(path, lambda beside: beside.write_bytes(data))


def accept_int8(float_p: np.ndarray, int8_p: np.ndarray, labels: np.ndarray) -> Acceptance:
    """Judge an int8 graph by what it changes on labelled cells that were not trained on.

    It is accepted where accuracy (calls at 0.5) changes by at most 0.1 percentage points and the area under the ROC
    curve by at most 0.0005, in either direction: a graph that is better by more is another classifier as well. The
    probabilities of Parasitized (N, 0-1) are those of the float32 graph or of torch, and of the int8 graph; labels are
    N class names.

    Raises:
        ValueError: different lengths, an unknown label, or a probability that is not a number from 0 to 1.
    """
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    from malaria_kedro.learning.calibration import labels_and_probabilities

    rows = pd.DataFrame({"label": labels, "float": float_p.astype(float), "int8": int8_p.astype(float)})
    actual, before = labels_and_probabilities(rows, "the held-out cells", "float")
    _, after = labels_and_probabilities(rows, "the held-out cells", "int8")
    n = len(actual)
    right_before, right_after = (int(((p >= 0.5) == actual).sum()) for p in (before, after))
    points = 100 * (right_after - right_before) / n
    one_class = bool(actual.all() or not actual.any())
    auc_change = None if one_class else float(roc_auc_score(actual, after) - roc_auc_score(actual, before))
    accepted = abs(points) <= ACCURACY_LIMIT and auc_change is not None and abs(auc_change) <= AUC_LIMIT
    auc = (
        "there is no AUC, because every cell is of one class"
        if auc_change is None
        else f"AUC by {auc_change:+.5f} (limit {AUC_LIMIT:g})"
    )
    sentence = (
        f"int8 is {'accepted' if accepted else 'not accepted'}: on {n} held-out cells accuracy changes by "
        f"{points:+.3f} points, from {100 * right_before / n:.2f} % to {100 * right_after / n:.2f} % "
        f"(limit {ACCURACY_LIMIT:g}), and {auc}"
    )
    return Acceptance(accepted, points, auc_change, sentence)


def _outside_the_body(model: ModelProto) -> list[str]:
    """Return the names of the nodes before the first convolution, and from the pooling of the features on."""
    nodes = list(model.graph.node)
    kinds = [node.op_type for node in nodes]
    first, behind = kinds.index("Conv"), next(n for n, kind in enumerate(kinds) if kind in ("ReduceMax", "ReduceMean"))
    return [node.name for node in nodes[:first] + nodes[behind:]]
