"""The exported classifier: weights with metadata, and a loader that needs no Kedro.

from malaria_kedro.learning.classifier import load_classifier
network, preprocess = load_classifier("data/06_models/resnet18/classifier")
p_parasitized = network(preprocess("cell.png")).softmax(dim=1)[0, 0].item()
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import nn

from malaria_kedro.cells.decoding import check_bit_depth, decode_cell
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import sha256_of
from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.history import TrainedStage, choose_epoch
from malaria_kedro.learning.metadata import (
    EXPORT_AGAIN,
    GATE,
    METADATA,
    WEIGHTS,
    ClassifierMetadata,
    GateSummary,
    InputFormat,
    Normalisation,
    Recipe,
    SelectedEpoch,
    check_classifier,
    check_metadata,
    newest_classifier,
    seal_metadata,
)
from malaria_kedro.learning.network import build_network
from malaria_kedro.learning.normalisation import IMAGENET_MEAN, IMAGENET_STD, normalise
from malaria_kedro.learning.probe import Probe, measure_probe
from malaria_kedro.learning.tensors import read_tensors, write_tensors
from malaria_kedro.names import CLASSES
from malaria_kedro.parameters import Variant

log = logging.getLogger(__name__)

INTENDED_USE = "Research use only. Not a medical device, and never a diagnosis."


class ClassifierError(MalariaKedroError, ValueError):
    """A classifier cannot be exported, read or used; the message says what is wrong with it."""


@dataclass(frozen=True)
class Classifier:
    """Weights and the metadata that explain them to a machine and to a person."""

    state: dict[str, torch.Tensor] = field(repr=False)  # the weights, by name
    metadata: ClassifierMetadata
    # What ``malaria_kedro.inference.gate.QualityGate.to_dict`` gives; None = none was fitted.
    quality_gate: dict[str, Any] | None = field(default=None, repr=False)
    # What the network computed for the probe cells when it was exported; None before it is written.
    probe: Probe | None = field(default=None, repr=False)
    # The ``Measurement`` at export (of a room above this one), for the model card; not read back.
    metrics: Any = field(default=None, repr=False)
    folder: Path | None = None  # where it was read from

    def network(self) -> nn.Sequential:
        """Build the network with these weights, in evaluation mode: float32 B×3×S×S → logits B×2.

        Raises:
            ClassifierError: the weights are not those of the architecture in the metadata.
        """
        network = build_network(self.metadata.architecture, slim_resnet=self.metadata.slim_resnet)
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            raise ClassifierError(
                f"the weights are not those of a {self.metadata.network}, which the metadata name: {error}"
            ) from error
        return network.eval().requires_grad_(False)


def export_classifier(
    bunch: DataBunch,
    variant: Variant,
    stages: tuple[TrainedStage, TrainedStage],
    history: pd.DataFrame,
    checkpoints: Checkpoints,
) -> Classifier:
    """Take the weights of the epoch that ``variant.select`` names, and describe them.

    ``stages`` are both, in order, of which one may have no epochs; ``history`` has the epochs of both.

    Raises:
        OtherDataError: the stages trained on other cells, or on other splits of them, than ``bunch`` has.
        CheckpointError: the chosen epoch's weights are gone or are another training's.
    """
    stage, epoch = choose_epoch(history, variant.select)
    description = stages[1 if stage == "stage_2" else 0].description
    bunch.require(
        description.data_fingerprint,
        f"{stage} of {description.variant}",
        "the classifier would name data that it was not trained on",
    )
    state = checkpoints.of(stage, description.training_id).weights(epoch)
    chosen = history[(history["stage"] == stage) & (history["epoch"] == epoch)].iloc[0]
    recipe = description.parameters | {"select": variant.select, "augment": description.augment}
    scores = {score: float(chosen[score]) for score in ("valid_loss", "accuracy", "error_rate")}
    return Classifier(
        state,
        ClassifierMetadata(
            name=description.variant,
            architecture=variant.arch,
            slim_resnet=variant.slim_resnet,
            pretrained=variant.pretrained,
            classes=list(CLASSES),
            positive_class="Parasitized",
            intended_use=INTENDED_USE,
            input=InputFormat(
                size=bunch.image_size,
                resize="squish, bilinear",
                channels="RGB",
                dtype="uint8",
                range=[0, 255],
                bit_depth=bunch.summary.bit_depth,
            ),
            normalisation=Normalisation(scale=1 / 255, mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD)),
            output="logits, in the order of classes",
            parameters=Recipe.model_validate(recipe),
            data=bunch.summary,
            selected=SelectedEpoch(stage=stage, epoch=epoch, rule=str(variant.select), **scores),
            seconds=sum(part.description.seconds for part in stages),
            n_parameters=sum(
                value.numel()
                for key, value in state.items()
                if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
            ),
            hardware=description.hardware,
            versions=description.versions,
            training_id=description.training_id,
            sessions=description.sessions,
        ),
    )


def write_classifier(classifier: Classifier, folder: Path) -> ClassifierMetadata:
    """Write weights, metadata and, where there is one, the quality gate into an existing folder, and seal them.

    Returns:
        The metadata as written, without their seal; where there is no gate, they say so, and why.

    Raises:
        ClassifierError: a number of the metadata is out of bounds or missing, or the network gives values that are not
            numbers.
    """
    # One entry only: of several, safetensors writes them in any order, and the same weights would not be the same file.
    write_tensors(classifier.state, folder / WEIGHTS, metadata={"format": "pt"})
    content, parts = classifier.metadata.as_dict(), {WEIGHTS: sha256_of(folder / WEIGHTS)}
    why_none = content.pop("no_quality_gate", "none was fitted")
    if (gate := classifier.quality_gate) is None:
        content |= {"quality_gate": None, "no_quality_gate": why_none}
    else:
        (folder / GATE).write_text(json.dumps(gate, allow_nan=False) + "\n", encoding="utf-8")
        parts[GATE] = sha256_of(folder / GATE)
        content["quality_gate"] = {key: gate[key] for key in GateSummary.model_fields if key in gate}
    try:
        metadata = check_metadata(content, METADATA)
        text = seal_metadata(metadata, parts, measure_probe(classifier.network(), metadata).record())
    except ValueError as error:
        raise ClassifierError(f"{classifier.metadata.name} cannot be exported: {error}") from error
    (folder / METADATA).write_text(text, encoding="utf-8")
    return metadata


def read_classifier(folder: Path) -> Classifier:
    """Read a classifier's folder, once every part of it is found to be the one that was written.

    Raises:
        ClassifierError: a part is missing, damaged, changed, without a seal, of something else, or may not be read.
    """
    try:
        metadata, seal = check_classifier(folder)
        gate = json.loads((folder / GATE).read_text(encoding="utf-8")) if GATE in seal.parts else None
        probe = Probe.from_record(seal.probe)
        return Classifier(read_tensors(folder / WEIGHTS), metadata, gate, probe, folder=folder)
    except PermissionError as error:
        raise ClassifierError(
            f"{error.filename or folder} may not be read (permission denied); ask its owner for the right to read the "
            f"whole folder (chmod -R a+rX {folder})"
        ) from error
    except OSError as error:
        raise ClassifierError(f"{folder} is not a classifier's folder: {error}; {EXPORT_AGAIN}") from error
    except (ValueError, SafetensorError) as error:
        raise ClassifierError(f"{folder} is damaged or of another kind: {error}") from error


def load_classifier(
    folder: str | Path, *, bit_depth: int | None = None
) -> tuple[nn.Sequential, Callable[[str | Path | Image.Image | np.ndarray], torch.Tensor]]:
    """Load a network and its preprocessing, ready for use.

    Args:
        folder: a classifier's folder, or the catalog's folder of its versions, of which the newest is loaded.
        bit_depth: bits of the values in 16-bit images: 8, 10, 12, 14 or 16; None = those of the training images.

    Returns:
        The network (float32 B×3×S×S → logits B×2, in the order of ``classes``) in evaluation mode, and a function
        that turns an image file, a Pillow image or a uint8 H×W×3 array (RGB) into its input, float32 1×3×S×S. It
        accepts and refuses (``ImageError``) the same images as ``malaria_kedro.cells.decoding.open_image``.

    Raises:
        ClassifierError: there is no classifier, or it is damaged or of another kind.
        BitDepthError: the bit depth is none of these.
    """
    try:
        found = newest_classifier(Path(folder))
    except OSError as error:
        raise ClassifierError(str(error)) from error
    if found is None:
        raise ClassifierError(f"{folder} has neither {WEIGHTS} nor versions that have one")
    classifier = read_classifier(found)
    size = classifier.metadata.input.size
    depth = check_bit_depth(classifier.metadata.input.bit_depth if bit_depth is None else bit_depth)

    def preprocess(image: str | Path | Image.Image | np.ndarray) -> torch.Tensor:
        if isinstance(image, np.ndarray) and (image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3):
            raise ClassifierError(f"an array must be uint8 H×W×3, RGB; this one is {image.dtype} {image.shape}")
        remark = partial(log.warning, "%s: %s", image if isinstance(image, str | Path) else "an image")
        pixels = torch.from_numpy(decode_cell(image, size, depth, remark=remark))
        return normalise(pixels.permute(2, 0, 1).float(), classifier.metadata.normalisation)[None]

    return classifier.network(), preprocess
