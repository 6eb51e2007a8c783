"""The table of layers."""

import pytest

from malaria_kedro.learning.network import build_network
from malaria_kedro.learning.summary import summarise_network


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return summarise_network("resnet18", 0.5, 32, 16).splitlines()


def test_the_first_line_names_the_network_and_its_input(lines):
    assert lines[0] == "resnet18: input 16 × 3 × 32 × 32"


def test_the_layers_parameters_add_up_to_the_networks(lines):
    network = build_network("resnet18")
    total = sum(parameter.numel() for parameter in network.parameters())
    assert sum(int(line.split()[-1].replace(",", "")) for line in lines[2:-1]) == total
    assert lines[-1].startswith(f"{total:,} parameters")


def test_every_layer_with_parameters_has_a_row(lines):
    layers = {name for name, module in build_network("resnet18").named_modules() if not list(module.children())}
    assert {line.split()[0] for line in lines[2:-1]} == layers


def test_shapes_begin_with_the_batch_size(lines):
    assert "16 × 64 × 16 × 16" in lines[2]
    assert "16 × 2 " in lines[-2]
