"""The metadata of a small classifier that tests make up, and changes of such metadata."""

from __future__ import annotations

import dataclasses
from typing import Any

from malaria_kedro.learning.classifier import Classifier
from malaria_kedro.learning.metadata import ClassifierMetadata
from malaria_kedro.names import CLASSES

SMALLEST = {
    "name": "small",
    "architecture": "resnet18",
    "classes": list(CLASSES),
    "input": {"size": 32, "channels": "RGB"},
    "normalisation": {"scale": 1 / 255, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    "data": {"fingerprint": "f"},
}


def metadata(**changes: Any) -> ClassifierMetadata:
    """Return the metadata of a small classifier, with other values for the given keys."""
    return ClassifierMetadata.model_validate(SMALLEST | changes)


def changed(metadata: ClassifierMetadata, **changes: Any) -> ClassifierMetadata:
    """Return the same metadata with other values for the given keys, validated anew."""
    return ClassifierMetadata.model_validate(metadata.as_dict() | changes)


def with_metadata(classifier: Classifier, **changes: Any) -> Classifier:
    """Return the same classifier with other values for the given keys of its metadata."""
    return dataclasses.replace(classifier, metadata=changed(classifier.metadata, **changes))
