"""The network: a torchvision residual body under fastai's head, with or without weights to start from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from fastai.vision.learner import create_vision_model, model_meta
from safetensors.torch import load_file
from torch import nn

from malaria_kedro.cells.names import CLASSES

logger = logging.getLogger(__name__)

State = Mapping[str, torch.Tensor]


class WeightsError(ValueError):
    """Weights cannot be found, read or fitted; the message says what is wrong and how to supply them."""


def build_network(arch: str, dropout: float = 0.5) -> nn.Sequential:
    """Return an untrained network: ``[0]`` the convolutional body, ``[1]`` fastai's head with two logits.

    Input float32 B×3×H×W, normalised; output float32 B×2, logits of (Parasitized, Uninfected).
    """
    return create_vision_model(_architecture(arch), len(CLASSES), pretrained=False, ps=dropout)


def splitter(arch: str):
    """Return fastai's rule that cuts the parameters into three groups: early body, late body, head."""
    return model_meta[_architecture(arch)]["split"]


def load_pretrained(network: nn.Sequential, arch: str, pretrained: str) -> bool:
    """Fill the network from ImageNet, a file or an earlier classifier.

    Args:
        network: of :func:`build_network`; changed in place.
        arch: its architecture.
        pretrained: ``imagenet``, ``none``, a torchvision state dict (``.pth``/``.pt`` read weights-only, or
            ``.safetensors``), or the folder of an earlier classifier.

    Returns:
        Whether weights were loaded (False for ``none``).

    Raises:
        WeightsError: not found, no network, not a state dict, or of another architecture.
    """
    if pretrained == "none":
        return False
    if pretrained == "imagenet":
        _fill_body(network, arch, _imagenet_state(arch), "torchvision's ImageNet weights")
        return True
    path = _find_weights(Path(pretrained))
    if path.name == "model.safetensors":
        _check_card(path.with_name("classifier.json"), arch)
    state = _read_state(path)
    if any(key.startswith("1.") for key in state):  # the head is there: an earlier network of this project
        _fill(network, state, str(path))
    else:
        _fill_body(network, arch, state, str(path))
    logger.info("weights to start from: %s", path)
    return True


def _architecture(arch: str):
    return getattr(torchvision.models, arch)


def _imagenet_state(arch: str) -> State:
    weights = torchvision.models.get_model_weights(arch).DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not cached.is_file():
        logger.info("going to the network for ImageNet weights: %s (kept as %s)", weights.url, cached)
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError
        raise WeightsError(
            f"ImageNet weights for {arch} are not on this machine and could not be downloaded ({error}). Fetch "
            f"{weights.url} where there is a network and put it at {cached}, or set {arch}.pretrained to the path of "
            "a torchvision state dict, or to none to train from random weights"
        ) from error


def _find_weights(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir():
        # A classifier's folder, or the catalog's folder of its versions: the newest one counts.
        for found in (path / "model.safetensors", *sorted(path.glob("*/*/model.safetensors"), reverse=True)):
            if found.is_file():
                return found
        raise WeightsError(f"{path} has no model.safetensors: it is not the folder of a classifier")
    raise WeightsError(
        f"pretrained is {str(path)!r}: neither imagenet, none, nor an existing file or folder; relative paths start "
        "at the project's root"
    )


def _check_card(card: Path, arch: str) -> None:
    if card.is_file() and (found := json.loads(card.read_text()).get("architecture")) != arch:
        raise WeightsError(f"{card.parent} holds a {found}, but arch is {arch}; set arch to {found} or take another")


def _read_state(path: Path) -> State:
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # safetensors and torch raise many kinds; each means that the file cannot be used
        raise WeightsError(
            f"{path} cannot be read as weights ({str(error).splitlines()[0]}); give a .safetensors, or a .pth that "
            "holds nothing but a state dict (torch.save(model.state_dict(), path))"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no plain state dict; save one with torch.save(model.state_dict(), path)")
    return state


def _fill_body(network: nn.Sequential, arch: str, state: State, origin: str) -> None:
    body = _architecture(arch)(weights=None)
    head = {key: value for key, value in body.state_dict().items() if key.startswith("fc.")}
    # Their last layer tells other classes apart; ours is the head.
    _fill(body, {key: value for key, value in state.items() if not key.startswith("fc.")} | head, origin)
    # fastai's body is torchvision's children in order, without pooling and last layer.
    network[0].load_state_dict(nn.Sequential(*list(body.children())[:-2]).state_dict())


def _fill(module: nn.Module, state: State, origin: str) -> None:
    own = module.state_dict()
    problems = [f"missing {key}" for key in own.keys() - state.keys()]
    problems += [f"unknown {key}" for key in state.keys() - own.keys()]
    problems += [
        f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise WeightsError(f"{origin} does not fit this architecture: {shown}")
    module.load_state_dict(state)
