"""One ONNX graph from uint8 pixels to a calibrated probability, so that no other program can normalise wrongly.

from malaria_kedro.inference.export import export_onnx
export_onnx(classifier, Path("resnet18.onnx"), cells)
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from malaria_kedro.files import refuse_device, write_file
from malaria_kedro.inference.extras import BackendError, ParityError, import_extra

if TYPE_CHECKING:
    from onnx import ModelProto

    from malaria_kedro.learning.classifier import Classifier

logger = logging.getLogger(__name__)

PARITY_LIMIT = 1e-4  # in probability
FEATURES_LIMIT = 1e-3  # of the largest feature; float32 backends differ by some 3e-6
# The probe cells are not those that int8 was calibrated with. Its log-odds correlate with the float ones by 0.70 or
# more, least for networks that hardly tell cells apart, and its features by 0.89 or more; another network's features
# correlate by 0.33 or less, and swapped outputs turn the sign of the log-odds' correlation.
INT8_MEAN_LIMIT, INT8_P_CORRELATION, INT8_FEATURES_CORRELATION = 0.1, 0.3, 0.7
INPUT, OUTPUTS = "cells", ["p_parasitized", "features"]
OPSET = 18  # torch's exporter writes it without conversion; ONNX Runtime reads it since 1.14, OpenVINO since 2023
FORMAT, CHECKSUM = "malaria-kedro classifier 1", "sha256"
ONNX, ONNX_INT8 = "model.onnx", "model.int8.onnx"  # beside each other in a version's folder
_AGAIN = "export the classifier again (kedro run --pipelines export)"

Outputs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """The largest differences between two backends on the same cells."""

    n: int  # cells
    p: float  # of a probability
    features: float  # of a feature, relative to the largest one of the reference

    @property
    def holds(self) -> bool:
        """Whether every probability is within 1e-4; False if one is not a number."""
        return self.p <= PARITY_LIMIT

    @property
    def sentence(self) -> str:
        """The differences in words."""
        return (
            f"on {self.n} cells p_parasitized differs by at most {self.p:.1e} "
            f"(limit {PARITY_LIMIT:.0e}) and the features by {self.features:.1e} of the largest"
        )


@dataclass(frozen=True)
class OnnxFile:
    """The bytes of an ONNX file of this project whose checksum is right, and its metadata."""

    data: bytes
    metadata: dict[str, str]

    @property
    def size(self) -> int:
        """Pixels per side of its input."""
        return int(self.metadata["size"])

    @property
    def int8(self) -> bool:
        """Whether it is quantised."""
        return self.metadata["precision"] == "int8"


def export_onnx(classifier: Classifier, path: Path, cells: np.ndarray) -> Parity:
    """Write a classifier as one ONNX graph, after checking that it computes what torch computes.

    Its input is ``cells``, uint8 batch×S×S×3 (RGB, any batch); its outputs are ``p_parasitized``, float32 batch (0-1,
    at the stored temperature), and ``features``, float32 batch×F. The same weights and metadata give the same bytes
    with the same versions of torch and onnxscript. Both are compared on the given cells, uint8 N×S×S×3.

    Raises:
        BackendError: the extra is missing, the metadata or the weights are damaged, or the graph disagrees with torch;
            nothing is written then.
    """
    data = onnx_bytes(classifier)
    runtime = import_extra("onnxruntime", "onnx")
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = parity(torch_reader(classifier), lambda batch: session.run(OUTPUTS, {INPUT: batch}), cells)
    if not found.holds:
        raise BackendError(
            f"the ONNX graph of {classifier.metadata.name} is not written, because it disagrees with torch: "
            f"{found.sentence}; install other versions of torch, onnxscript and onnxruntime"
        )
    write_file(path, lambda beside: beside.write_bytes(data))
    logger.info("%s as ONNX: %s", classifier.metadata.name, found.sentence)
    return found


def onnx_bytes(classifier: Classifier) -> bytes:
    """Return a classifier as the bytes of an ONNX file; see ``export_onnx``, which also compares it with torch.

    Raises:
        BackendError: the extra is missing, or the metadata or the weights are damaged.
    """
    for module in ("onnx", "onnxscript"):
        import_extra(module, "onnx")
    import torch

    from malaria_kedro.inference.calibrated_network import CalibratedNetwork

    size = classifier.metadata.input.size
    program = torch.onnx.export(
        CalibratedNetwork(classifier),
        # Two cells: the exporter would take a batch of one for a constant.
        (torch.zeros(2, size, size, 3, dtype=torch.uint8),),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=OUTPUTS,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    assert program is not None  # with dynamo=True it never is
    model = program.model_proto
    _forget_the_source(model)
    return seal(model, describe(classifier))


def describe(classifier: Classifier) -> dict[str, str]:
    """Return what an ONNX file says about its classifier: its metadata, without the checksum.

    ``weights_sha256`` is that of ``model.safetensors``, as ``sha256sum`` gives it.
    """
    metadata = classifier.metadata
    return {
        "format": FORMAT,
        "name": metadata.name,
        "architecture": metadata.architecture,
        "training_id": metadata.training_id,
        "weights_sha256": weights_sha256(classifier),
        "intended_use": metadata.intended_use or "",
        "classes": json.dumps(metadata.classes),
        "positive_class": metadata.positive_class,
        "input": "uint8 batch×size×size×3, RGB, 0-255; the whole cell squished to size, bilinear",
        "size": str(metadata.input.size),
        "normalisation": json.dumps(metadata.normalisation.as_dict(), sort_keys=True),
        "temperature": repr(metadata.temperature),
        "quality_gate": str((classifier.quality_gate or {}).get("id", "none")),
        "precision": "float32",
    }


def weights_sha256(classifier: Classifier) -> str:
    """Return the sha256 of a classifier's weights: that of its ``model.safetensors``."""
    from safetensors.torch import save

    return hashlib.sha256(save(classifier.state, metadata={"format": "pt"})).hexdigest()


def seal(model: ModelProto, metadata: dict[str, str]) -> bytes:
    """Return a model as the bytes of a file, with the given metadata and a checksum of all of it."""
    del model.metadata_props[:]
    for key, value in (metadata | {CHECKSUM: _checksum(model, metadata)}).items():
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString(deterministic=True)


def read_onnx(path: Path) -> OnnxFile:
    """Read an ONNX file of this project, and check its checksum.

    Raises:
        BackendError: there is none, it is damaged, or it is another program's.
    """
    try:
        refuse_device(path)
        data = Path(path).read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise BackendError(f"{path} cannot be read as an ONNX file ({why}); {_AGAIN}") from error
    return check_onnx(data, str(path))


def check_onnx(data: bytes, name: str) -> OnnxFile:
    """Check the bytes of an ONNX file as ``read_onnx`` does; messages call it ``name``."""
    onnx = import_extra("onnx", "onnx")
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_from_string(data)
        # Text that is not UTF-8 raises only when it is read.
        metadata = {entry.key: entry.value for entry in model.metadata_props}
    except (DecodeError, ValueError) as error:
        raise BackendError(f"{name} is not an ONNX file, or a damaged one ({error}); {_AGAIN}") from error
    if metadata.get("format") != FORMAT:
        raise BackendError(
            f"{name} is not an ONNX file of this project: its metadata says {metadata.get('format')!r} where "
            f"{FORMAT!r} is expected; {_AGAIN}"
        )
    if metadata.pop(CHECKSUM, None) != _checksum(model, metadata):
        raise BackendError(f"{name} is damaged: its checksum does not match its content; {_AGAIN}")
    return OnnxFile(data, metadata)


def check_origin(file: OnnxFile, classifier: Classifier, name: str) -> None:
    """Raise ``BackendError`` where an ONNX file was made from another classifier; ``name`` is the file's."""
    expected = describe(classifier)
    for key in ("weights_sha256", "temperature", "size", "normalisation", "classes", "quality_gate"):
        found = file.metadata.get(key, "missing")
        if found != expected[key]:
            raise BackendError(
                f"{name} was not made from the classifier {expected['name']}: its {key} is {found}, the classifier's "
                f"is {expected[key]}; {_AGAIN}, or load the one of the file"
            )


def check_probe(
    read: Callable[[np.ndarray], Any], classifier: Classifier, name: str, *, int8: bool = False, again: str
) -> None:
    """Check that a backend computes what the classifier computes for the probe cells; unlike metadata, this proves it.

    The classifier's stored probe is taken; torch computes one if it was not read from a folder. The message calls the
    backend ``name``, and ``again`` says what to do.

    Raises:
        ParityError: it does not.
    """
    from malaria_kedro.learning.probe import measure_probe, read_probe

    probe = classifier.probe or measure_probe(classifier.network(), classifier.metadata)
    found = read_probe(read, classifier.metadata.input.size)
    p_apart = np.abs(found.p - probe.p)
    if int8:
        mean = p_apart.mean()
        p_like = _correlation(_log_odds(found.p), _log_odds(probe.p))
        centred = (part.features - part.features.mean(axis=0) for part in (found, probe))
        features_like = _correlation(*(features.ravel() for features in centred))
        holds = mean <= INT8_MEAN_LIMIT and p_like >= INT8_P_CORRELATION and features_like >= INT8_FEATURES_CORRELATION
        told = (
            f"p_parasitized differs by {mean:.2g} on average (limit {INT8_MEAN_LIMIT:g}), the correlation of "
            f"log-odds is {p_like:.2f} (at least {INT8_P_CORRELATION:g}), and that of the features is "
            f"{features_like:.2f} (at least {INT8_FEATURES_CORRELATION:g})"
        )
    else:
        # A temperature below 1 amplifies rounding.
        limit = PARITY_LIMIT * max(1.0, 1 / classifier.metadata.temperature)
        # numpy's maximum keeps what is not a number, which lies within no limit.
        most, features_most = p_apart.max(), _relative(probe.features, found.features)
        holds = most <= limit and features_most <= FEATURES_LIMIT
        told = (
            f"p_parasitized differs by up to {most:.1e} (limit {limit:.0e}) and the features by "
            f"{features_most:.1e} of the largest (limit {FEATURES_LIMIT:.0e})"
        )
    if not holds:
        raise ParityError(
            f"{name} does not compute what the classifier {classifier.metadata.name} computes: on the probe cells "
            f"{told}; {again}"
        )


def parity(reference: Callable[[np.ndarray], Any], other: Callable[[np.ndarray], Any], cells: np.ndarray) -> Parity:
    """Compare two backends (uint8 B×S×S×3 → p_parasitized B and features B×F) on uint8 N×S×S×3, N of 1 or more.

    Raises:
        ValueError: there are no cells.
    """
    if not len(cells):
        raise ValueError("no cell to compare two backends on; give at least one")
    p, features = 0.0, 0.0
    for start in range(0, len(cells), 64):
        batch = np.ascontiguousarray(cells[start : start + 64])
        (p_one, features_one), (p_other, features_other) = reference(batch), other(batch)
        # np.maximum keeps NaN, which max would lose.
        p = np.maximum(p, np.abs(p_one.astype(np.float64) - p_other).max())
        features = np.maximum(features, _relative(features_one.astype(np.float64), features_other))
    return Parity(len(cells), float(p), float(features))


def torch_reader(classifier: Classifier) -> Callable[[np.ndarray], Outputs]:
    """Return what a classifier computes in torch, in float32: uint8 B×S×S×3 → float32 B and float32 B×F."""
    import torch

    from malaria_kedro.inference.calibrated_network import CalibratedNetwork

    network = CalibratedNetwork(classifier).to(memory_format=torch.channels_last)

    def read(cells: np.ndarray) -> Outputs:
        with torch.inference_mode():
            # Copied if it is read-only: torch warns about tensors on such memory.
            p, features = network(torch.from_numpy(np.require(cells, requirements=["C", "W"])))
        return p.numpy(), features.numpy()

    return read


def _relative(reference: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference, as a share of the largest value of the reference."""
    return np.abs(reference - other).max() / max(float(np.abs(reference).max()), np.finfo(np.float32).tiny)


def _log_odds(p: np.ndarray) -> np.ndarray:
    # What float32 tells apart near 1.
    p = p.clip(1e-6, 1 - 1e-6)
    return np.log(p) - np.log1p(-p)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation, -1 to 1: 1 where nothing varies, NaN where something is not a number."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) and np.ptp(other) else 1.0


def _forget_the_source(model: ModelProto) -> None:
    """Remove the exporter's notes for debugging: stack traces with this machine's paths, and module names."""
    graph = model.graph
    model.doc_string = graph.doc_string = ""
    del graph.metadata_props[:]
    for part in (graph.node, graph.input, graph.output, graph.value_info, graph.initializer):
        for thing in part:
            thing.doc_string = ""
            del thing.metadata_props[:]


def _checksum(model: ModelProto, metadata: dict[str, str]) -> str:
    found = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    found.update(model.graph.SerializeToString(deterministic=True))
    return found.hexdigest()
