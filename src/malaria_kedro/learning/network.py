"""The network: a residual body under fastai's head, with or without weights to start from."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
import torchvision
from fastai.vision.learner import create_vision_model, model_meta
from filelock import FileLock
from torch import nn
from torchvision.models import get_model_builder

from malaria_kedro.cells.download import DownloadError, download
from malaria_kedro.learning.slim_resnet import build_slim_resnet, split_slim_resnet
from malaria_kedro.learning.tensors import read_tensors
from malaria_kedro.learning.weights import WeightsError, find_weights
from malaria_kedro.names import CLASSES
from malaria_kedro.parameters import SlimResnet

logger = logging.getLogger(__name__)

State = Mapping[str, torch.Tensor]

MOST_BYTES = 1_000_000_000  # of a download; the weights of a resnet50 have a tenth of it


def build_network(arch: str, dropout: float = 0.5, slim_resnet: SlimResnet | None = None) -> nn.Sequential:
    """Return an untrained network: ``[0]`` the convolutional body, ``[1]`` fastai's head with two logits.

    Input float32 B×3×H×W, normalised; output float32 B×2, logits of (Parasitized, Uninfected). ``slim_resnet`` is the
    shape of the architecture of that name, and None with every other one.
    """
    # Without dropout fastai leaves its layers out, and those behind them would have other names in the weights.
    built_with = dropout or 0.5
    if slim_resnet is not None:
        network = build_slim_resnet(slim_resnet, built_with)
    else:
        network = create_vision_model(get_model_builder(arch), len(CLASSES), pretrained=False, ps=built_with)
    for layer in () if dropout else network[1].modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return network


def splitter(arch: str):
    """Return fastai's rule that cuts the parameters into three groups: early body, late body, head."""
    return split_slim_resnet if arch == "slim_resnet" else model_meta[get_model_builder(arch)]["split"]


def cpu_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the weights on the CPU, each with memory of its own."""
    return {key: value.detach().cpu().clone().contiguous() for key, value in network.state_dict().items()}


def load_pretrained(network: nn.Sequential, arch: str, pretrained: str, slim_resnet: SlimResnet | None = None) -> bool:
    """Load weights into a network of this architecture, and return whether there are any (not for ``none``).

    ``pretrained`` is ``imagenet``, ``none``, a torchvision state dict (``.pth``/``.pt`` read weights-only, or
    ``.safetensors``; keys may begin with DataParallel's ``module.``), or the folder of an earlier classifier or of its
    versions, of which the newest counts. A slim_resnet, of this shape, starts from an earlier classifier only.

    Raises:
        WeightsError: there are none, they cannot be downloaded, or they are of another kind, architecture or shape.
    """
    if pretrained == "none":
        return False
    if pretrained == "imagenet":
        _fill_body(network, arch, _imagenet_state(arch), "torchvision's ImageNet weights")
        return True
    path = find_weights(pretrained, arch, slim_resnet)
    state = _read_state(path)
    # With a head it is an earlier network of this project; torchvision has no slim_resnet.
    if slim_resnet is not None or any(key.startswith("1.") for key in state):
        _fill(network, state, str(path))
    else:
        _fill_body(network, arch, state, str(path))
    logger.info("weights to start from: %s", path)
    return True


def check_pretrained(arch: str, pretrained: str, slim_resnet: SlimResnet | None = None) -> None:
    """Raise what `load_pretrained` would; no random state changes."""
    with torch.random.fork_rng(devices=[]):
        load_pretrained(build_network(arch, slim_resnet=slim_resnet), arch, pretrained, slim_resnet)


def _imagenet_state(arch: str) -> State:
    weights = torchvision.models.get_model_weights(arch).DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    by_hand = (
        f"Fetch {weights.url} where there is a network and put it at {cached}, or set {arch}.pretrained to the path of "
        "a torchvision state dict, or to none to train from random weights"
    )
    if not cached.is_file():
        # torchvision names its files by the first digits of their sha256.
        named = re.search(r"-([0-9a-f]{8,})\.", cached.name)
        if named is None:
            raise WeightsError(f"{weights.url} names no sha256, so a download could not be checked. {by_hand}")
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{cached}.lock"):  # all projects of this user share the folder; the second finds the file
                download(weights.url, cached, sha256=named[1], bytes=None, max_bytes=MOST_BYTES, remedy=f"{by_hand}.")
        except (DownloadError, OSError) as error:
            raise WeightsError(
                f"ImageNet weights for {arch} are not on this machine and could not be downloaded: {error}"
            ) from error
    try:
        return _read_state(cached)
    except WeightsError as error:
        raise WeightsError(f"{error}. Delete {cached}. {by_hand}") from error


def _read_state(path: Path) -> State:
    try:
        state = (
            read_tensors(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except PermissionError as error:
        raise WeightsError(
            f"{path} may not be read (permission denied); ask its owner for the right to read it (chmod a+r)"
        ) from error
    except Exception as error:  # safetensors and torch raise many kinds; each means that the file cannot be used
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        # torch's texts advise running whatever the file holds, with whichever error they come.
        if isinstance(error, UnpicklingError) or "weights_only" in str(error):
            reason = "torch did not write it, or it holds more than tensors"
        raise WeightsError(
            f"{path} cannot be read as weights ({reason}); give a .safetensors, or a .pth that holds nothing but a "
            "state dict (torch.save(model.state_dict(), path))"
        ) from error
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items())
    ):
        raise WeightsError(f"{path} is not a plain state dict; save one with torch.save(model.state_dict(), path)")
    if all(key.startswith("module.") for key in state):  # saved from torch's DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _fill_body(network: nn.Sequential, arch: str, state: State, origin: str) -> None:
    body = get_model_builder(arch)(weights=None)
    head = {key: value for key, value in body.state_dict().items() if key.startswith("fc.")}
    # Its last layer is for other classes; ours is the head.
    _fill(body, {key: value for key, value in state.items() if not key.startswith("fc.")} | head, origin)
    # fastai's body is torchvision's children in order, without pooling and last layer.
    network[0].load_state_dict(nn.Sequential(*list(body.children())[:-2]).state_dict())


def _fill(module: nn.Module, state: State, origin: str) -> None:
    own = module.state_dict()
    # Counters that nothing here reads (momentum is fixed), and that files of torch before 0.4.1 lack.
    state = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")} | dict(state)
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
