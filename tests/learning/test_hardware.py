"""Hardware: what `auto` means, and what is refused where it is not there."""

import logging
from types import SimpleNamespace

import pytest
import torch

from malaria_kedro.learning.hardware import DeviceError, choose_hardware, log_hardware, require_device, versions
from malaria_kedro.parameters import Training


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def gpu(monkeypatch):
    """A pretended GPU; returns its abilities, to be changed by a test."""
    able = SimpleNamespace(bf16=True, emulated_bf16=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: able.emulated_bf16 if including_emulation else able.bf16,
    )
    card = SimpleNamespace(name="Pretended GPU", total_memory=24 * 2**30, major=8, minor=6)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    for name in ("benchmark", "deterministic"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    return able


@pytest.mark.usefixtures("no_gpu")
def test_auto_without_a_gpu_is_the_cpu_in_fp32():
    hardware = choose_hardware(Training(num_threads=1))
    assert (hardware.device, hardware.precision, hardware.threads) == ("cpu", "fp32", 1)
    assert hardware.name
    assert "memory_gb" not in hardware.as_dict()


@pytest.mark.usefixtures("no_gpu")
def test_cuda_asked_for_and_not_there_is_refused_with_a_way_out():
    with pytest.raises(DeviceError, match=r"no CUDA GPU can be used here.*nvidia-smi.*training\.device=auto"):
        choose_hardware(Training(device="cuda"))


@pytest.mark.usefixtures("no_gpu")
def test_the_check_before_a_run_refuses_cuda_and_nothing_else():
    require_device("auto")
    require_device("cpu")
    with pytest.raises(DeviceError):
        require_device("cuda")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_reduced_precision_on_the_cpu_is_refused(precision):
    with pytest.raises(DeviceError, match=f"{precision}, which needs a CUDA GPU"):
        choose_hardware(Training(precision=precision))


def test_the_thread_count_is_pinned():
    choose_hardware(Training(device="cpu", num_threads=1))
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("gpu")
def test_auto_with_a_gpu_takes_it_and_says_what_it_is():
    hardware = choose_hardware(Training(num_threads=1))
    assert (hardware.device, hardware.name, hardware.precision) == ("cuda", "Pretended GPU", "bf16")
    assert (hardware.memory_gb, hardware.capability) == (24.0, "8.6")
    assert hardware.as_dict()["device"] == "cuda"
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("precision", "memory_format"),
    [("bf16", "channels_last"), ("fp16", "channels_last"), ("fp32", "contiguous_format")],
)
def test_a_gpu_reads_channels_last_where_it_has_tensor_cores_for_them(precision, memory_format):
    assert choose_hardware(Training(precision=precision, num_threads=1)).memory_format == memory_format


@pytest.mark.usefixtures("gpu")
def test_the_cpu_is_used_when_asked_for_though_a_gpu_is_there():
    assert choose_hardware(Training(device="cpu", num_threads=1)).device == "cpu"


def test_auto_takes_fp16_where_bf16_is_only_emulated(gpu):
    gpu.bf16 = False
    assert choose_hardware(Training(num_threads=1)).precision == "fp16"


def test_bf16_on_a_gpu_without_it_is_refused(gpu):
    gpu.bf16 = gpu.emulated_bf16 = False
    with pytest.raises(DeviceError, match="Pretended GPU does not have"):
        choose_hardware(Training(device="cuda", precision="bf16", num_threads=1))


def test_the_log_names_device_and_precision(caplog):
    with caplog.at_level(logging.INFO):
        log_hardware(choose_hardware(Training(device="cpu", num_threads=1)))
    assert "device cpu" in caplog.text
    assert "precision fp32" in caplog.text


def test_versions_name_what_decides_a_result():
    assert {"python", "torch", "torchvision", "fastai", "malaria-kedro"} <= versions().keys()
