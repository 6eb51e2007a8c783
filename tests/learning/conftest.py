"""Small trainings that many tests share: a small network on the session's phantom cells, once a session."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torchvision

from malaria_kedro.learning import training as training_module
from malaria_kedro.learning.callbacks import SaveEpochs
from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.classifier import Classifier, export_classifier
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.history import TrainedStage, join_histories
from malaria_kedro.learning.training import train_stage
from malaria_kedro.parameters import Training, Variant
from network_material import SMALL_NETWORK


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    # 32 px leave nothing to share out, and the cores of a test machine are often taken.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def training() -> Training:
    """A single CPU thread."""
    return Training(device="cpu", num_threads=1)


def make_variant(*, epochs: tuple[int, int] = (2, 1), **changes: Any) -> Variant:
    """Return a small recipe; ``epochs`` of stage 1 and of stage 2."""
    recipe = {
        "name": "small",
        **SMALL_NETWORK,
        "pretrained": "none",
        "batch_size": 16,
        "seed": 5,
        "stage_1": {"epochs": epochs[0], "lr_max": 1e-3},
        "stage_2": {"epochs": epochs[1], "lr_max": [1e-4, 1e-3]},
    }
    return Variant.model_validate(recipe | changes)


@pytest.fixture(scope="session")
def variant_of():
    """The maker of small recipes."""
    return make_variant


@pytest.fixture
def written_while_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let epochs be written while the next one trains, as where a GPU does."""

    class Overlapping(SaveEpochs):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"overlap": True})

    monkeypatch.setattr(training_module, "SaveEpochs", Overlapping)


@dataclass(frozen=True)
class Trained:
    """Both stages of a small training, and all that came of them."""

    bunch: DataBunch
    variant: Variant
    checkpoints: Checkpoints
    stage_1: TrainedStage
    stage_2: TrainedStage
    history: pd.DataFrame
    batches: pd.DataFrame
    classifier: Classifier


@pytest.fixture(scope="session")
def trained(phantom_bunch: DataBunch, training: Training, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two epochs of stage 1 and one of stage 2, from random weights."""
    variant, checkpoints = make_variant(), Checkpoints(tmp_path_factory.mktemp("trained") / "checkpoints")
    stage_1 = train_stage(phantom_bunch, variant, training, checkpoints)
    stage_2 = train_stage(phantom_bunch, variant, training, checkpoints, stage_1)
    history, batches = join_histories(stage_1, stage_2)
    classifier = export_classifier(phantom_bunch, variant, (stage_1, stage_2), history, checkpoints)
    return Trained(phantom_bunch, variant, checkpoints, stage_1, stage_2, history, batches, classifier)


@pytest.fixture(scope="session")
def torchvision_state() -> dict[str, torch.Tensor]:
    """A torchvision resnet18 as ``model.state_dict()`` gives it, with weights unlike any default."""
    torch.manual_seed(11)
    network = torchvision.models.resnet18(weights=None)
    for key, value in network.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_(std=0.01)
    return network.state_dict()


@pytest.fixture(scope="session")
def torchvision_file(torchvision_state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That state in a .pth file."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision_state, path)
    return path
