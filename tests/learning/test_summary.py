"""The table of layers."""

import pytest
import torch

from malaria_kedro.learning.network import build_network
from malaria_kedro.learning.summary import summarise_network
from network_material import RESNET18, shape


@pytest.fixture(scope="module")
def text(phantom_bunch, variant_of) -> str:
    return summarise_network(phantom_bunch, variant_of(**RESNET18))


def test_the_first_line_names_the_network_and_its_input(text):
    first = text.splitlines()[0]
    assert first.startswith("resnet18: ")
    assert "16 x 3 x 32 x 32" in first


def test_of_a_slim_network_it_names_the_shape(phantom_bunch, variant_of):
    first, *rows = summarise_network(phantom_bunch, variant_of()).splitlines()
    assert first.startswith(f"slim_resnet ({shape()}): ")
    assert any("16 x 16 x 8 x 8" in row for row in rows)  # the second stage: twice the channels, half the image


def test_every_layer_has_a_row_with_its_parameters_and_whether_they_are_trained(text):
    rows = [line.split() for line in text.splitlines()]
    for kind in (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.Linear):
        layers = [layer for layer in build_network("resnet18").modules() if isinstance(layer, kind)]
        counts = [sum(parameter.numel() for parameter in layer.parameters()) for layer in layers]
        found = [row for row in rows if row[:1] == [kind.__name__]]
        assert [(int(row[1]), row[2]) for row in found] == [(count, "True") for count in counts]


def test_output_shapes_and_totals_are_there(text):
    total = sum(parameter.numel() for parameter in build_network("resnet18").parameters())
    assert "16 x 64 x 16 x 16" in text
    assert "16 x 2 " in text
    assert f"Total trainable params: {total:,}" in text


def test_nothing_is_printed(phantom_bunch, variant_of, capfd):
    summarise_network(phantom_bunch, variant_of())
    assert capfd.readouterr().out == ""
