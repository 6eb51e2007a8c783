"""On a CUDA GPU: the same exactness and the same words as on a CPU, and results that agree. Skipped without one."""

import numpy as np
import pandas as pd
import pytest
import torch

from malaria_kedro.learning.checkpoints import Checkpoints, tensors_sha256
from malaria_kedro.learning.hardware import choose_hardware
from malaria_kedro.learning.history import TrainingError
from malaria_kedro.learning.interruption import RunState, UnfinishedError
from malaria_kedro.learning.loaders import make_dataloaders
from malaria_kedro.learning.network import build_network
from malaria_kedro.learning.prediction import predict_rows
from malaria_kedro.learning.training import make_learner, train_stage
from malaria_kedro.parameters import Training
from network_material import RESNET18

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")


@pytest.fixture(autouse=True)
def _as_it_was():
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def on_gpu(**changes) -> Training:
    return Training.model_validate({"device": "cuda", "precision": "bf16", "pixels_on_device": True} | changes)


def train(bunch, variant, training, folder, *, stop: bool = False):
    """Train both stages as a process would; with ``stop``, every epoch in a run of its own."""
    checkpoints = Checkpoints(folder)
    settings = training.model_copy(update={"epochs_per_run": 1 if stop else None})
    while True:
        shared = {"run_state": RunState()}
        try:
            stage_1 = train_stage(bunch, variant, settings, checkpoints, **shared)
            return stage_1, train_stage(bunch, variant, settings, checkpoints, stage_1, **shared)
        except UnfinishedError:
            continue


def assert_same_bits(one, other) -> None:
    for mine, yours in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(mine.batches, yours.batches, check_exact=True)
        assert tensors_sha256(mine.state) == tensors_sha256(yours.state)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_an_epoch_a_run_ends_as_one_run_does(phantom_bunch, variant_of, tmp_path, torchvision_file, precision):
    variant = variant_of(epochs=(2, 2), pretrained=str(torchvision_file), **RESNET18)
    whole = train(phantom_bunch, variant, on_gpu(precision=precision), tmp_path / "whole")
    pieces = train(phantom_bunch, variant, on_gpu(precision=precision), tmp_path / "pieces", stop=True)
    assert_same_bits(whole, pieces)
    assert [session.first_epoch for session in pieces[0].description.sessions] == [1, 2]


def test_images_that_grow_are_trained_on_exactly_too(phantom_bunch, variant_of, tmp_path):
    variant = variant_of(stage_1={"epochs": 2, "lr_max": 1e-3, "initial_size": 16})
    whole = train(phantom_bunch, variant, on_gpu(), tmp_path / "whole")
    assert_same_bits(whole, train(phantom_bunch, variant, on_gpu(), tmp_path / "pieces", stop=True))


def test_what_it_ran_on_is_recorded(phantom_bunch, variant_of, tmp_path):
    stage, _ = train(phantom_bunch, variant_of(epochs=(1, 0)), on_gpu(), tmp_path)
    hardware = stage.description.hardware
    assert hardware.name == torch.cuda.get_device_name(0)
    assert (hardware.device, hardware.precision) == ("cuda", "bf16")
    assert hardware.memory_format == "channels_last"
    assert hardware.memory_gb > 0
    assert stage.description.identity.hardware.as_dict() == {
        "device": "cuda",
        "precision": "bf16",
        "memory_format": "channels_last",
    }
    assert all(value.device.type == "cpu" and value.is_contiguous() for value in stage.state.values())


def test_the_network_is_read_and_trained_in_channels_last(phantom_bunch, variant_of):
    variant = variant_of(**RESNET18)
    network = build_network(variant.arch)
    learner = make_learner(phantom_bunch, network, variant, variant.stage_1, choose_hardware(on_gpu()), on_gpu(), [])
    with learner.no_logging(), learner.no_bar():
        learner.fit(1, 1e-3)
    weight = network[0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert learner.opt.state[weight]["grad_avg"].stride() == weight.stride()


def test_batches_from_the_gpus_memory_are_those_from_the_file(phantom_bunch):
    def epoch(*, pixels_on_device: bool):
        dls = make_dataloaders(phantom_bunch, 16, "cuda", pixels_on_device=pixels_on_device)
        dls.train.epoch_seed = 3
        torch.manual_seed(3)
        return [images for images, _ in dls.train]

    for one, other in zip(epoch(pixels_on_device=True), epoch(pixels_on_device=False), strict=True):
        assert one.device.type == "cuda"
        assert torch.equal(one, other)


def test_losses_in_full_precision_are_the_cpus(phantom_bunch, variant_of, training, tmp_path):
    """Without random draws: those of a GPU are others."""
    variant = variant_of(epochs=(1, 0), dropout=0.0)
    plain = phantom_bunch.augment.model_copy(update={"flip_horizontal": False, "max_lighting": 0.0})
    bunch = type(phantom_bunch)(
        phantom_bunch.pixels, phantom_bunch.cells, plain, phantom_bunch.summary, phantom_bunch.pixels_path
    )
    gpu, _ = train(bunch, variant, on_gpu(precision="fp32"), tmp_path / "gpu")
    cpu, _ = train(bunch, variant, training, tmp_path / "cpu")
    np.testing.assert_allclose(gpu.batches["train_loss"], cpu.batches["train_loss"], rtol=1e-3)


def test_predictions_are_the_cpus(trained, training):
    rows = np.arange(len(trained.bunch.cells))
    tables = [
        predict_rows(trained.classifier.network(), trained.bunch, rows, 16, settings)
        for settings in (training, on_gpu(precision="auto"))
    ]
    difference = (tables[0]["p_parasitized"] - tables[1]["p_parasitized"]).abs().max()
    assert difference < 1e-5


def test_a_full_memory_suggests_a_batch_size(phantom_bunch, variant_of, tmp_path):
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-5)
    try:
        with pytest.raises(TrainingError, match=r"GPU's memory"):
            train(phantom_bunch, variant_of(**RESNET18 | {"arch": "resnet152"}), on_gpu(), tmp_path)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
