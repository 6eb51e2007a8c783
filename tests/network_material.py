"""The network of tests in which the architecture decides nothing, and those of the tutorial where it does."""

from __future__ import annotations

from typing import Any

from malaria_kedro.parameters import SlimResnet

SHAPE: dict[str, Any] = {"width": 8, "stages": [1, 1], "stem": "strided", "pooling": "both"}
# As a variant has it: some 6,000 weights, where a resnet18 has eleven million and a checkpoint of 141 MB.
SMALL_NETWORK: dict[str, Any] = {"arch": "slim_resnet", "slim_resnet": SHAPE}
RESNET18: dict[str, Any] = {"arch": "resnet18", "slim_resnet": None}
# As a classifier's metadata have them.
SMALL_CLASSIFIER: dict[str, Any] = {"architecture": "slim_resnet", "slim_resnet": SHAPE}
RESNET18_CLASSIFIER: dict[str, Any] = {"architecture": "resnet18", "slim_resnet": None}


def shape(**changes: Any) -> SlimResnet:
    """Return that shape, with other values for the given keys."""
    return SlimResnet.model_validate(SHAPE | changes)
