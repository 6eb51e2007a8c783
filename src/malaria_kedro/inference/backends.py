"""The same classifier by torch, ONNX Runtime or OpenVINO: uint8 cells in, calibrated probabilities and features out.

from malaria_kedro.inference.backends import load_predictor
predict = load_predictor("data/06_models/resnet18/classifier", "openvino", onnx_path="resnet18.onnx")
p_parasitized, features = predict(cells)
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from malaria_kedro.inference.export import (
    INPUT,
    OUTPUTS,
    OnnxFile,
    check_onnx,
    check_origin,
    check_probe,
    onnx_bytes,
    read_onnx,
    torch_reader,
)
from malaria_kedro.inference.extras import BackendError, import_extra, import_openvino, openvino_core

if TYPE_CHECKING:
    from openvino import InferRequest

    from malaria_kedro.learning.classifier import Classifier

__all__ = ["BACKENDS", "BackendError", "Predictor", "load_predictor", "open_classifier"]

BACKENDS = ("torch", "onnx", "openvino")
# Pixels per call, those of 64 cells of 64 px: the activations of more do not fit into the core's caches.
BATCH_PIXELS = 64 * 64 * 64


@dataclass(frozen=True)
class Predictor:
    """A classifier in one backend: call it with uint8 B×S×S×3 (RGB), any B."""

    name: str  # of the backend, such as ``torch``, ``onnx`` or ``openvino int8``
    size: int  # S, pixels per side
    width: int  # F, the number of features
    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] = field(repr=False)
    graph: str = "none"  # sha256 of the ONNX file as it was loaded; ``in memory`` if the graph was made anew

    @property
    def batch(self) -> int:
        """How many cells go through the network together; a call may have fewer or more."""
        return max(1, BATCH_PIXELS // self.size**2)

    def __call__(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return p_parasitized, float32 B (0-1, calibrated), and the features, float32 B×F.

        Raises:
            BackendError: the cells are of another type or shape.
        """
        if cells.dtype != np.uint8 or cells.ndim != 4 or cells.shape[1:] != (self.size, self.size, 3):
            raise BackendError(
                f"cells must be uint8 B×{self.size}×{self.size}×3, RGB; these are {cells.dtype} {cells.shape}"
            )
        p, features = np.empty(len(cells), np.float32), np.empty((len(cells), self.width), np.float32)
        # In the backend's own batches, so that memory does not grow with the call.
        for start in range(0, len(cells), self.batch):
            part = slice(start, start + self.batch)
            p[part], features[part] = self.read(np.ascontiguousarray(cells[part]))
        return p, features


def load_predictor(
    classifier: Classifier | str | Path,
    backend: str = "torch",
    *,
    onnx_path: str | Path | None = None,
    int8: bool = False,
    threads: int | None = None,
    at_once: int = 1,
) -> Predictor:
    """Load a classifier into a backend, on the CPU.

    Args:
        classifier: it, its folder, or the catalog's folder of its versions (the newest is taken).
        backend: ``torch``, ``onnx`` (ONNX Runtime) or ``openvino``.
        onnx_path: the file that ``export_onnx`` or ``quantise`` wrote; without one the graph is made in memory. Not
            for torch.
        int8: whether that file is quantised.
        threads: CPU threads of a call; as many as torch uses when None. For torch it sets those of the whole process.
        at_once: how many threads are expected to call it at the same time; OpenVINO gets so many times ``threads``.

    Raises:
        BackendError: the backend is unknown or not installed; the classifier or the ONNX file is missing, damaged or
            of another kind; the file was made from another classifier, is quantised where it should not be, or
            computes something else for the probe cells.
    """
    if backend not in BACKENDS:
        raise BackendError(f"backend {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise BackendError(f"threads is {threads}; give 1 or more, or None for as many as torch uses")
    if backend == "torch":
        if int8 or onnx_path is not None:
            raise BackendError(
                "torch reads the classifier itself; for int8 or an ONNX file give backend onnx or openvino"
            )
        return _torch_predictor(open_classifier(classifier), threads)
    # Before the graph, which takes long.
    if backend == "openvino":
        import_openvino()
    else:
        import_extra("onnxruntime", "onnx")
    found = open_classifier(classifier)
    file, name = _onnx_file(found, onnx_path, int8)
    import torch

    threads = threads or torch.get_num_threads()
    try:
        read, width = _onnx_session(file, threads) if backend == "onnx" else _openvino_model(file, threads, at_once)
        graph = "in memory" if onnx_path is None else hashlib.sha256(file.data).hexdigest()
        predictor = Predictor(f"{backend} int8" if int8 else backend, file.size, width, read, graph)
        # Cells go through now, so that a graph that does not run, or is another network's, is found before the first
        # file is read, and so that one thread sets up what a runtime sets up at its first call: OpenVINO's Python
        # side deadlocks where two do it at once.
        again = f"export the classifier again (kedro run --pipelines export), and do not load {name}"
        check_probe(predictor, found, name, int8=int8, again=again)
    except BackendError:
        raise
    except Exception as error:  # both runtimes raise classes of their own; each means that the graph cannot be used
        why = str(error).partition("\n")[0] or type(error).__name__
        raise BackendError(
            f"{name} cannot be loaded by {backend} ({why}); export the classifier again, or install "
            f'another version of it (pip install --upgrade "malaria-kedro[{backend}]")'
        ) from error
    return predictor


def open_classifier(given: Classifier | str | Path) -> Classifier:
    """Return a classifier, which is read where its folder is given, or the catalog's folder of its versions.

    Raises:
        BackendError: there is none, or it is damaged or of another kind.
    """
    from malaria_kedro.learning.classifier import ClassifierError, read_classifier
    from malaria_kedro.learning.metadata import newest_classifier

    if not isinstance(given, str | Path):
        return given
    try:
        if (found := newest_classifier(Path(given))) is not None:
            return read_classifier(found)
    except OSError as error:
        raise BackendError(str(error)) from error
    except ClassifierError as error:
        raise BackendError(f"{found} cannot be used: {error}") from error
    raise BackendError(
        f"{given} holds no classifier, nor versions of one; give the folder that kedro run --pipelines modeling writes "
        "(data/06_models/<variant>/classifier)"
    )


def _onnx_file(classifier: Classifier, path: str | Path | None, int8: bool) -> tuple[OnnxFile, str]:
    """Return the ONNX file, checked to be this classifier's, and its name for messages."""
    if path is None:
        if int8:
            raise BackendError(
                "an int8 graph is quantised with real training cells and cannot be made here; give onnx_path, the file "
                "that malaria_kedro.inference.quantise.quantise writes"
            )
        name = f"the ONNX graph of {classifier.metadata.name}"
        return check_onnx(onnx_bytes(classifier), name), name
    file = read_onnx(Path(path))
    check_origin(file, classifier, str(path))
    if file.int8 != int8:
        raise BackendError(
            f"{path} is a graph in {file.metadata['precision']}, but int8={int8} was asked for; set int8={file.int8} "
            "or give the other file"
        )
    return file, str(path)


def _torch_predictor(classifier: Classifier, threads: int | None) -> Predictor:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    size = classifier.metadata.input.size
    read = torch_reader(classifier)
    # A cell goes through now, so that wrong weights are found before the first file is read.
    width = read(np.zeros((1, size, size, 3), np.uint8))[1].shape[1]
    predictor = Predictor("torch", size, width, read)
    if classifier.probe is not None:
        again = "install another version of torch, or export the classifier again (kedro run --pipelines modeling)"
        check_probe(predictor, classifier, f"torch {torch.__version__}", again=again)
    return predictor


def _onnx_session(file: OnnxFile, threads: int) -> tuple[Callable, int]:
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # which Windows builds have
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that wait for work would spin on the cores that decode the next cells.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file.data, options, providers=["CPUExecutionProvider"])
    width = session.get_outputs()[1].shape[1]
    return lambda cells: session.run(OUTPUTS, {INPUT: cells}), width


def _openvino_model(file: OnnxFile, threads: int, at_once: int) -> tuple[Callable, int]:
    core = openvino_core()
    compiled = core.compile_model(
        core.read_model(file.data, b""),
        "CPU",
        {
            # Several pieces at a time, each on its own thread, are faster than all threads on one piece.
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": threads * at_once,
            "NUM_STREAMS": threads * at_once,
            # By default it computes in bfloat16 where the CPU can, and parity with torch is lost.
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )
    width = compiled.output(1).partial_shape[1].get_length()
    own = threading.local()  # a request serves one call at a time

    def read(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not hasattr(own, "requests"):
            own.requests = [compiled.create_infer_request() for _ in range(threads)]
        p, features = np.empty(len(cells), np.float32), np.empty((len(cells), width), np.float32)
        piece = max(1, -(-len(cells) // threads))
        running: list[tuple[InferRequest, slice]] = []
        try:
            for request, start in zip(own.requests, range(0, len(cells), piece), strict=False):
                part = slice(start, start + piece)
                request.start_async({0: cells[part]}, share_inputs=True)
                running.append((request, part))
        finally:
            for request, _ in running:
                request.wait()
        for request, part in running:
            # Copied: the next call overwrites the request's tensors.
            p[part], features[part] = request.get_output_tensor(0).data, request.get_output_tensor(1).data
        return p, features

    return read, width
