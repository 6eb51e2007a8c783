"""Images that grow: which size an epoch has, and that nothing else changes."""

import pytest
import torch

from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.interruption import UnfinishedError
from malaria_kedro.learning.progressive_resizing import size_of_epoch
from malaria_kedro.learning.training import train_stage
from malaria_kedro.parameters import Stage


@pytest.mark.parametrize(
    ("recipe", "sizes"),
    [
        ({"epochs": 4}, [64, 64, 64, 64]),
        ({"epochs": 4, "initial_size": 32}, [32, 32, 64, 64]),
        ({"epochs": 5, "initial_size": 48, "full_size_after": 0.6}, [48, 48, 48, 64, 64]),
        ({"epochs": 4, "initial_size": 32, "full_size_after": 0.0}, [64, 64, 64, 64]),
        ({"epochs": 2, "initial_size": 128}, [64, 64]),
    ],
)
def test_images_are_small_first_and_full_in_the_end(recipe, sizes):
    stage = Stage(lr_max=1e-3, **recipe)
    assert [size_of_epoch(stage, 64, epoch) for epoch in range(stage.epochs)] == sizes


def test_small_images_are_trained_on_and_full_ones_validated(
    phantom_bunch, variant_of, training, tmp_path, monkeypatch
):
    seen = []
    forward = torch.nn.Conv2d.forward

    def spy(layer, images):
        if layer.in_channels == 3:
            seen.append((layer.training, images.shape[-1]))
        return forward(layer, images)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", spy)
    variant = variant_of(stage_1={"epochs": 2, "lr_max": 1e-3, "initial_size": 16})
    train_stage(phantom_bunch, variant, training, Checkpoints(tmp_path))
    assert {size for training_, size in seen if training_} == {16, 32}
    assert {size for training_, size in seen if not training_} == {32}


def test_a_training_that_goes_on_ends_in_the_same_bits(phantom_bunch, variant_of, training, tmp_path):
    variant = variant_of(stage_1={"epochs": 3, "lr_max": 1e-3, "initial_size": 16})
    whole = train_stage(phantom_bunch, variant, training, Checkpoints(tmp_path / "whole"))
    parts = Checkpoints(tmp_path / "parts")
    sittings = training.model_copy(update={"epochs_per_run": 1})
    for _ in range(2):
        with pytest.raises(UnfinishedError):
            train_stage(phantom_bunch, variant, sittings, parts)
    again = train_stage(phantom_bunch, variant, sittings, parts)
    assert all(torch.equal(value, again.state[key]) for key, value in whole.state.items())
