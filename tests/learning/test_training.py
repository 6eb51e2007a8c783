"""Training: what a stage changes, what it writes down, and how it fails."""

import dataclasses
import gc
import logging
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from torch.nn.functional import cross_entropy

from malaria_kedro.learning import training as training_module
from malaria_kedro.learning.checkpoints import CheckpointError, Checkpoints
from malaria_kedro.learning.databunch import OtherDataError
from malaria_kedro.learning.description import Hardware
from malaria_kedro.learning.history import TrainingError, choose_epoch, join_histories
from malaria_kedro.learning.interruption import UnfinishedError
from malaria_kedro.learning.loaders import make_dataloaders
from malaria_kedro.learning.network import WeightsError, build_network
from malaria_kedro.learning.training import describe_stage, explained, train_stage
from malaria_kedro.parameters import Augment, Training
from network_material import RESNET18, SHAPE, shape

State = dict[str, torch.Tensor]

CPU = Hardware(device="cpu", name="a CPU", precision="fp32", threads=2)


def changed(before: State, after: State) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def with_splits(bunch, **counts: int):
    """Return the DataBunch with so many cells on each side, and no others."""
    sides = [side for side, count in counts.items() for _ in range(count)]
    cells = bunch.cells.iloc[: len(sides)].assign(split=sides)
    return dataclasses.replace(bunch, cells=cells, pixels=bunch.pixels[: len(sides)])


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


@pytest.fixture(scope="module")
def fine_tuned(phantom_bunch, variant_of, training, torchvision_file, tmp_path_factory):
    """From torchvision's weights: the state before, after stage 1, after stage 2."""
    kept = Checkpoints(tmp_path_factory.mktemp("fine_tuned"))
    recipe = variant_of(epochs=(1, 1), pretrained=str(torchvision_file), **RESNET18)
    skipped = variant_of(epochs=(0, 1), pretrained=str(torchvision_file), **RESNET18)
    before = train_stage(phantom_bunch, skipped, training, kept)
    stage_1 = train_stage(phantom_bunch, recipe, training, kept)
    stage_2 = train_stage(phantom_bunch, recipe, training, kept, stage_1)
    return before, stage_1, stage_2


# What is trained


def test_with_weights_stage_1_changes_the_head_and_batch_norm_only(fine_tuned):
    before, after, _ = fine_tuned
    network = build_network("resnet18")
    norms = {
        f"{name}.{key}"
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)
        for key in layer.state_dict()
    }
    moved = changed(before.state, after.state)
    assert {key for key in moved if key.startswith("0.")} <= norms
    assert {key for key in after.state if key.startswith("1.")} <= moved
    assert any(key in norms for key in moved)


def test_stage_2_changes_every_layer(fine_tuned):
    _, stage_1, stage_2 = fine_tuned
    assert changed(stage_1.state, stage_2.state) == stage_2.state.keys()


def test_without_weights_stage_1_changes_every_layer_and_says_so(
    phantom_bunch, variant_of, training, checkpoints, caplog
):
    start = train_stage(phantom_bunch, variant_of(epochs=(0, 1)), training, checkpoints)
    with caplog.at_level(logging.INFO):
        after = train_stage(phantom_bunch, variant_of(epochs=(1, 0)), training, checkpoints)
    assert changed(start.state, after.state) == after.state.keys()
    assert "small: no weights to start from, so stage_1 trains the whole network" in caplog.text


def test_a_stage_without_epochs_hands_its_start_on(phantom_bunch, variant_of, training, checkpoints, trained):
    skipped = train_stage(phantom_bunch, variant_of(epochs=(2, 0)), training, checkpoints, trained.stage_1)
    assert not changed(trained.stage_1.state, skipped.state)
    assert skipped.history.empty
    assert not checkpoints.folder.exists()


def test_stage_2_can_train_where_stage_1_has_no_epochs(phantom_bunch, variant_of, training, checkpoints):
    variant = variant_of(epochs=(0, 1))
    start = train_stage(phantom_bunch, variant, training, checkpoints)
    stage_2 = train_stage(phantom_bunch, variant, training, checkpoints, start)
    history, _ = join_histories(start, stage_2)
    assert changed(start.state, stage_2.state)
    assert choose_epoch(history, "last") == ("stage_2", 1)


# What is written down


def test_validation_figures_are_those_of_the_epochs_weights(trained):
    images, targets = next(iter(make_dataloaders(trained.bunch, 16).valid))
    network = build_network("slim_resnet", slim_resnet=shape()).eval()
    network.load_state_dict(trained.stage_2.state)
    with torch.inference_mode():
        logits = network(images.as_subclass(torch.Tensor))
    row, targets = trained.stage_2.history.iloc[0], targets.as_subclass(torch.Tensor)
    assert row["valid_loss"] == pytest.approx(cross_entropy(logits, targets).item(), rel=1e-4)
    assert row["accuracy"] == pytest.approx((logits.argmax(1) == targets).float().mean().item())
    assert row["accuracy"] + row["error_rate"] == pytest.approx(1)


def test_every_epoch_is_kept_and_the_last_is_the_stages(trained):
    for stage, epochs in ((trained.stage_1, 2), (trained.stage_2, 1)):
        name, identity = stage.description.stage, stage.description.training_id
        states = [trained.checkpoints.of(name, identity).weights(epoch) for epoch in range(1, epochs + 1)]
        assert not changed(states[-1], stage.state)
        assert epochs == 1 or changed(states[0], states[1])


# Determinism


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(
    phantom_bunch, variant_of, training, trained, checkpoints
):
    torch.manual_seed(12345)
    np.random.seed(12345)
    stage_1 = train_stage(phantom_bunch, variant_of(), training, checkpoints)
    torch.rand(7)
    stage_2 = train_stage(phantom_bunch, variant_of(), training, checkpoints, stage_1)
    for again, first in ((stage_1, trained.stage_1), (stage_2, trained.stage_2)):
        assert not changed(again.state, first.state)
        pd.testing.assert_frame_equal(
            again.history.drop(columns="seconds"), first.history.drop(columns="seconds"), check_exact=True
        )
        pd.testing.assert_frame_equal(again.batches, first.batches, check_exact=True)
        assert again.description.training_id == first.description.training_id


def test_another_seed_gives_other_weights(phantom_bunch, variant_of, training, trained, checkpoints):
    other = train_stage(phantom_bunch, variant_of(seed=6), training, checkpoints)
    assert changed(other.state, trained.stage_1.state)


# What a training's id stands for


def test_a_training_is_known_by_the_keys_it_always_had(phantom_bunch, variant_of):
    # Otherwise what was trained before a key got another name would not be resumed.
    told = describe_stage(phantom_bunch, variant_of(), "stage_1", CPU, torch.nn.Linear(1, 1), pretrained=False)
    stage = {"epochs", "lr_max", "pct_start", "weight_decay", "first_size", "full_size_from"}
    assert set(told.identity.recipe["stage_1"]) == stage
    assert set(told.stage_parameters.as_dict()) == stage - {"first_size", "full_size_from"} | {
        "initial_size",
        "full_size_after",
    }


def identity(bunch, variant, stage="stage_1", *, start=0.0, hardware=CPU, pretrained=False) -> str:
    network = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(network.weight, start)
    torch.nn.init.constant_(network.bias, 0)
    return describe_stage(bunch, variant, stage, hardware, network, pretrained=pretrained).training_id


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 8},
        {"seed": 6},
        {"dropout": 0.1},
        RESNET18,
        RESNET18 | {"arch": "resnet34"},
        {"slim_resnet": SHAPE | {"width": 12}},
        {"slim_resnet": SHAPE | {"stages": [2, 1]}},
        {"slim_resnet": SHAPE | {"stem": "pooled"}},
        {"slim_resnet": SHAPE | {"pooling": "max"}},
        {"stage_1": {"epochs": 3, "lr_max": 1e-3}},
        {"stage_1": {"epochs": 2, "lr_max": 2e-3}},
        {"stage_1": {"epochs": 2, "lr_max": 1e-3, "weight_decay": 0.1}},
    ],
    ids=str,
)
def test_a_change_of_the_recipe_is_another_training(phantom_bunch, variant_of, change):
    assert identity(phantom_bunch, variant_of(**change)) != identity(phantom_bunch, variant_of())


def test_a_resnet_of_torchvision_is_known_without_the_keys_of_a_slim_one(phantom_bunch, variant_of):
    told = describe_stage(
        phantom_bunch, variant_of(**RESNET18), "stage_1", CPU, torch.nn.Linear(1, 1), pretrained=False
    )
    assert told.identity.recipe.keys() == {"arch", "batch_size", "dropout", "seed", "stage_1"}
    assert "slim_resnet" not in told.parameters


@pytest.mark.parametrize(
    "change",
    [{"select": 1}, {"pretrained": "elsewhere/the_same_weights.pth"}, {"stage_2": {"epochs": 9, "lr_max": 1e-3}}],
    ids=["select", "path of the weights", "stage after"],
)
def test_what_does_not_touch_the_weights_is_the_same_training(phantom_bunch, variant_of, change):
    assert identity(phantom_bunch, variant_of(**change)) == identity(phantom_bunch, variant_of())


def test_other_cells_augmentation_start_freezing_or_hardware_is_another_training(phantom_bunch, variant_of):
    other_cells = dataclasses.replace(
        phantom_bunch, summary=phantom_bunch.summary.model_copy(update={"fingerprint": "other"})
    )
    other_augment = dataclasses.replace(phantom_bunch, augment=Augment(max_rotate=10.0))
    ids = [
        identity(phantom_bunch, variant_of()),
        identity(other_cells, variant_of()),
        identity(other_augment, variant_of()),
        identity(phantom_bunch, variant_of(), start=1.0),
        identity(phantom_bunch, variant_of(), pretrained=True),
        identity(phantom_bunch, variant_of(), hardware=CPU.model_copy(update={"threads": 3})),
    ]
    assert len(set(ids)) == len(ids)


# Sizes


def test_a_batch_size_above_the_training_set_warns_and_trains(phantom_bunch, variant_of, training, checkpoints, caplog):
    variant = variant_of(epochs=(1, 0), batch_size=512)
    stage = train_stage(phantom_bunch, variant, training, checkpoints)
    assert len(stage.batches) == 1
    assert "small.batch_size is 512, but there are only 43 training cells: one batch" in caplog.text


def test_an_ended_training_leaves_no_learner_in_memory(phantom_bunch, variant_of, training, checkpoints, monkeypatch):
    made = []
    make = training_module.make_learner
    monkeypatch.setattr(
        training_module, "make_learner", lambda *args: made.append(weakref.ref(learner := make(*args))) or learner
    )
    gc.disable()
    try:
        train_stage(phantom_bunch, variant_of(epochs=(1, 0)), training, checkpoints)
        assert [learner() for learner in made] == [None]
    finally:
        gc.enable()


def test_a_rest_of_one_cell_trains(phantom_bunch, variant_of, training, checkpoints):
    variant = variant_of(epochs=(1, 0), batch_size=42)
    assert len(train_stage(phantom_bunch, variant, training, checkpoints).batches) == 1


@pytest.mark.parametrize("counts", [{"train": 1, "valid": 4}, {"train": 4, "test": 4}], ids=["train", "valid"])
def test_too_few_cells_are_refused_before_any_work(phantom_bunch, variant_of, training, checkpoints, counts):
    with pytest.raises(TrainingError, match=r"needs at least \d; give it more cells"):
        train_stage(with_splits(phantom_bunch, **counts), variant_of(), training, checkpoints)


# Failures


def test_a_full_gpu_becomes_a_suggestion(phantom_bunch, variant_of, training, checkpoints, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Learner, "fit_one_cycle", full)
    with pytest.raises(TrainingError, match=r"memory is full with batches of 16; try small\.batch_size=8"):
        train_stage(phantom_bunch, variant_of(), training, checkpoints)


def test_a_gpu_too_small_for_the_pixels_becomes_a_suggestion(phantom_bunch, variant_of, checkpoints, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("malaria_kedro.learning.training.make_dataloaders", full)
    training = Training(device="cpu", num_threads=1, pixels_on_device=True)
    with pytest.raises(TrainingError, match=r"does not hold the pixel array.*training\.pixels_on_device=false"):
        train_stage(phantom_bunch, variant_of(), training, checkpoints)


def test_an_epoch_that_cannot_be_written_stops_the_training(phantom_bunch, variant_of, training, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("malaria_kedro.learning.checkpoints.write_tensors", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        train_stage(phantom_bunch, variant_of(), training, Checkpoints(tmp_path))


def test_weights_that_are_not_there_stop_before_training(phantom_bunch, variant_of, training, checkpoints):
    with pytest.raises(WeightsError):
        train_stage(phantom_bunch, variant_of(pretrained="nowhere.pth"), training, checkpoints)
    assert not checkpoints.folder.exists()


def test_stage_2_refuses_a_stage_1_that_saw_other_cells(trained, training, checkpoints):
    other = dataclasses.replace(
        trained.bunch, summary=trained.bunch.summary.model_copy(update={"fingerprint": "other"})
    )
    with pytest.raises(OtherDataError, match="stage_1 of small was trained on other data"):
        train_stage(other, trained.variant, training, checkpoints, trained.stage_1)


def test_stage_2_refuses_a_stage_1_of_another_architecture(trained, variant_of, training, checkpoints):
    with pytest.raises(
        TrainingError, match=r"stage_1 trained a slim_resnet \(width 8, .*\), but small is a resnet18 now"
    ):
        train_stage(trained.bunch, variant_of(**RESNET18), training, checkpoints, trained.stage_1)


def test_stage_2_refuses_a_stage_1_of_another_shape(trained, variant_of, training, checkpoints):
    wider = variant_of(slim_resnet=SHAPE | {"width": 12})
    with pytest.raises(TrainingError, match="train it again") as caught:
        train_stage(trained.bunch, wider, training, checkpoints, trained.stage_1)
    told = f"trained a slim_resnet ({shape()}), but small is a slim_resnet ({shape(width=12)}) now"
    assert told in str(caught.value)


class Stops(Callback):
    """Raises an error of the project's in an event of fastai's."""

    def before_fit(self) -> None:
        raise UnfinishedError("stopped as asked", 143)


def test_a_stop_is_told_in_the_project_s_own_words():
    with pytest.raises(UnfinishedError) as caught, explained("resnet18", 64):
        Stops()("before_fit")
    assert (str(caught.value), caught.value.exit_code) == ("stopped as asked", 143)


def test_too_little_memory_suggests_a_smaller_batch():
    told = r"another 2\.5 MB with batches of 64; try resnet18\.batch_size=32"
    with pytest.raises(TrainingError, match=told), explained("resnet18", 64):
        raise RuntimeError("you tried to allocate 2500000 bytes. Error code 12 (Cannot allocate memory)")
