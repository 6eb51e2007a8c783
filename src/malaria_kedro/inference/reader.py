"""A classifier that reads image files: weights, calibration, threshold, quality gate and backend together.

from malaria_kedro.inference.reader import CellPredictor
predictor = CellPredictor("data/06_models/resnet18/classifier")
table = predictor("new_cells")  # or images: paths, Pillow images, uint8 arrays
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import pandas as pd

from malaria_kedro.cells.decoding import BitDepthError, check_bit_depth
from malaria_kedro.cells.parallel import usable_cores
from malaria_kedro.files import temporary_folder
from malaria_kedro.inference.backends import load_predictor, open_classifier
from malaria_kedro.inference.export import ONNX, ONNX_INT8, weights_sha256
from malaria_kedro.inference.extras import BackendError
from malaria_kedro.inference.gate import GateError, QualityGate
from malaria_kedro.inference.results import ReadingRequest, Results
from malaria_kedro.inference.sources import open_images
from malaria_kedro.inference.stream import read_cells
from malaria_kedro.language import N_
from malaria_kedro.learning.soundness import find_doubts
from malaria_kedro.names import NIH_PATIENT_PATTERN
from malaria_kedro.versions import newest_version

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from malaria_kedro.learning.classifier import Classifier

log = logging.getLogger(__name__)

GateChoice = Literal["refuse", "flag", "off"]
Image: TypeAlias = "str | Path | PIL.Image.Image | np.ndarray"
Images: TypeAlias = "Image | Iterable[Image]"
# What computes in each backend; without a given graph, torch makes one for the others.
PACKAGES = {"torch": ("torch",), "onnx": ("onnxruntime", "torch"), "openvino": ("openvino", "torch")}
# What computes the pixels and the gate's statistics.
READING_PACKAGES = ("malaria-kedro", "numpy", "pillow")


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let torch and numpy compute with one thread each meanwhile: as many threads as cores call them."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # The threads of a matrix product spin while they wait for each other, on cores that others need.
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


class CellPredictor:
    """Reads images with one classifier.

    Attributes:
        metadata: the classifier's metadata.
        threshold: the stored operating point; cells with at least this p_parasitized are called parasitized.
        gate: None if the classifier has none or it is off: then only images that cannot be read are refused.
        gate_mode: ``refuse``, ``flag`` or ``off``, as given; ``none`` if the classifier has no gate.
        predictor: the backend.
        threads: number of threads that read cells.
        bit_depth: bits of the values in 16-bit images; None = unknown, and such images are refused.
    """

    def __init__(
        self,
        classifier: Classifier | str | Path,
        *,
        backend: str = "torch",
        precision: str = "float32",
        onnx_path: str | Path | None = None,
        threads: int | None = None,
        bit_depth: int | None = None,
        gate: GateChoice = "refuse",
    ) -> None:
        """Load a classifier.

        Args:
            classifier: a loaded classifier, its folder, or the catalog's folder of its versions, of which the newest is
                loaded.
            backend: ``torch``, ``onnx`` or ``openvino``; the last two are extras.
            precision: ``float32`` or, not for torch, ``int8``.
            onnx_path: the graph; None = the one that the pipeline ``export`` wrote beside the classifier or, for
                float32 only, one that is exported in memory.
            threads: CPU threads that read cells, each from the file to its rows; None = one per core.
            bit_depth: bits of the values in 16-bit images: 8, 10, 12, 14 or 16; None = those of the training images.
            gate: what happens to a cell that does not pass the quality gate: ``refuse`` = it is not called, ``flag`` =
                it is called, with the gate's flags (``quality``) and reason, ``off`` = there is no gate.

        Raises:
            ValueError: ``gate`` has another value.
            BackendError: there is no classifier, it is damaged or foreign or has no threshold, the backend is not
                installed, or there is no graph for it.
        """
        if gate not in get_args(GateChoice):
            raise ValueError(f"gate is {gate!r}: choose one of {', '.join(get_args(GateChoice))}")
        self._classifier = open_classifier(classifier)
        if (folder := self._classifier.folder) is None:
            raise BackendError("this classifier was not read from a folder; write it, and give the folder")
        self.folder, self.metadata = folder, self._classifier.metadata
        name, known = self.metadata.name, self.metadata.input.bit_depth
        try:
            stored = self._classifier.quality_gate
            self.gate = None if stored is None else QualityGate.from_dict(stored)
            self.bit_depth = check_bit_depth(known if bit_depth is None else bit_depth)
        except (GateError, BitDepthError) as error:
            raise BackendError(f"{folder} cannot be used: {error}") from error
        if known is not None and self.bit_depth != known:
            log.warning(
                "16-bit images are read with %d bits, as requested; %s was trained on %d", self.bit_depth, name, known
            )
        self.gate_mode = "none" if self.gate is None and gate != "off" else gate
        if self.gate_mode == "off":
            self.gate = None
            log.warning("the quality gate is off: whatever can be decoded is called, cell or not")
        elif self.gate_mode == "flag":
            log.warning("the quality gate only flags: what does not look like a training cell is called as well")
        elif self.gate_mode == "none":
            why = self.metadata.no_quality_gate or "none was fitted"
            log.warning("%s has no quality gate (%s): whatever can be decoded is called, cell or not", name, why)
        for doubt in find_doubts(self.metadata):
            log.warning("%s %s", name, doubt)
        if self.metadata.threshold is None:
            notes = self.metadata.calibration.notes if self.metadata.calibration else []
            raise BackendError(
                f"{folder} cannot be used: {name} has no threshold to call cells at "
                f"({'; '.join(notes) or 'it was never calibrated'}); validate on cells of both classes (split) and "
                "train again (kedro run --pipelines modeling), or take another version"
            )
        self.threshold = self.metadata.threshold
        int8 = precision == "int8"
        if backend != "torch" and onnx_path is None:
            onnx_path = find_onnx(folder, ONNX_INT8 if int8 else ONNX)
            if int8 and onnx_path is None:
                raise BackendError(
                    f"there is no int8 graph of {name}; write it with kedro run --pipelines export (it is "
                    "written only where int8 changes no result)"
                )
        self._backend = backend
        self.threads = threads or usable_cores()
        self.predictor = load_predictor(
            self._classifier,
            backend,
            onnx_path=onnx_path,
            int8=int8,
            threads=None if backend == "torch" else 1,  # torch's are the whole process's, and set while cells are read
            at_once=self.threads,
        )

    def read(
        self,
        images: Images,
        work: str | Path,
        *,
        patient_pattern: str | None = NIH_PATIENT_PATTERN,
        batch_size: int = 64,
        standard_input: IO[bytes] | None = None,
    ) -> Results:
        """Read every image, and write a row for each into ``work`` as it goes.

        The same call again resumes a run that was killed (images in memory are read anew); see
        ``malaria_kedro.inference.stream.read_cells``.

        Args:
            images: paths of images, folders, zips and lists, Pillow images and uint8 arrays H×W×3 (RGB, 0-255), one or
                many; see ``malaria_kedro.inference.sources.open_images``.
            work: folder for the rows, in parts.
            patient_pattern: a regular expression whose first group in a file's name is the patient; None = unknown.
            batch_size: images per batch.
            standard_input: what the path ``-`` stands for; None = a file's name.

        Raises:
            SourceError: there is nothing to read, or an array is of another shape or type.
            StreamError: another process reads into this folder, or the source has changed since.
        """
        opened = open_images(images, Path(work), patient_pattern=patient_pattern, standard_input=standard_input)
        with opened as found, _one_thread_each():
            read = read_cells(
                found,
                self.predictor,
                self.gate,
                Path(work),
                batch_size=batch_size,
                threshold=self.threshold,
                classifier_id=self.id,
                threads=self.threads,
                bit_depth=self.bit_depth,
                gate_mode="flag" if self.gate_mode == "flag" else "refuse",
            )
        repeats = list(found.repeats)
        if equal := read.count_equal():
            same = N_("images of the same content as an earlier one, each counted: {count}")
            repeats.append(same.format(count=f"{equal:,}"))
            log.warning("%s", repeats[-1])
        about = ReadingRequest(
            images=found.source,
            fingerprint=found.fingerprint,
            patient_pattern=patient_pattern,
            classifier=str(self.folder),
            classifier_id=self.id,
            backend=self.predictor.name,
            threshold=self.threshold,
            gate=self.gate_mode,
            bit_depth=self.bit_depth,
            labels=list(found.remarks),
            repeats=repeats,
        )
        return dataclasses.replace(read, about=about)

    def table(self, images: Images, **options: Any) -> pd.DataFrame:
        """Read images and return all rows in one table, which must fit in memory.

        Args:
            images: as for ``read``; what was in memory is called ``image 0`` and so on, or by its file.
            options: those of ``read``.

        Returns:
            One row per image, in order, with the columns of ``malaria_kedro.inference.results.Results``.
        """
        with temporary_folder() as work:
            return pd.concat(self.read(images, work, **options).frames(), ignore_index=True)

    __call__ = table

    @cached_property
    def id(self) -> str:
        """Text that identifies everything that results depend on; the weights are hashed once.

        These are the weights, the metadata (calibration, threshold, normalisation, input), the gate, the graph as it
        was loaded, and the versions of the packages that compute.
        """
        packages = (f"{name} {_version(name)}" for name in (*PACKAGES[self._backend], *READING_PACKAGES))
        return ", ".join([identify(self._classifier), f"graph {self.predictor.graph}", *packages])


def identify(classifier: Classifier) -> str:
    """Return what identifies a classifier; the ``id`` of each of its readers begins with it."""
    card, gate = (
        hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        for content in (classifier.metadata.as_dict(), classifier.quality_gate)
    )
    return f"weights {weights_sha256(classifier)}, card {card}, gate {gate}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # installed under another name, as builds of OpenVINO and ONNX Runtime are
        return "unknown"


def find_onnx(classifier: Path, name: str) -> Path | None:
    """Return the newest ONNX file of this name that the catalog keeps beside a classifier, or None.

    The catalog has ``<variant>/classifier/<version>/classifier`` and ``<variant>/onnx/<version>/onnx``.
    """
    found = (newest_version(folder.glob(f"onnx/*/[!.]*/{name}"), version_of=2) for folder in classifier.parents[:3])
    return next(filter(None, found), None)


CellReader = CellPredictor  # its former name
