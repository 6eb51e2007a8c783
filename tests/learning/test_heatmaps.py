"""Heat maps: where the evidence is, in whatever way a cell lies."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from malaria_kedro.learning.heatmaps import HeatMapError, heat_maps, hottest_points, stage_for
from malaria_kedro.learning.network import build_network

PARASITIZED, UNINFECTED = 0, 1


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    torch.manual_seed(3)
    return build_network("resnet18").eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Three cells of noise, 64 px."""
    return np.random.default_rng(5).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


class DarkSpots(nn.Module):
    """A stage of two channels that light up where an image is dark (0) and where it is bright (1)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        brightness = images.mean(dim=1, keepdim=True)
        return torch.cat([(-brightness).relu(), brightness.relu()], dim=1)


@pytest.fixture(scope="module")
def spot_finder() -> nn.Sequential:
    """A network that calls parasitized what is dark, with one place for four pixels, as a resnet's first stage."""
    stem = [nn.AvgPool2d(4), nn.Identity(), nn.Identity(), nn.Identity()]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Sequential(*stem, DarkSpots()), head)


def test_a_map_is_as_large_as_its_image_and_peaks_at_one(network, images):
    maps = heat_maps(network, images, np.array([0, 1, 0]))
    assert maps.shape == (3, 64, 64)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max(axis=(1, 2)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("place", [(10, 10), (20, 44), (52, 30)])
def test_the_hottest_point_is_where_the_evidence_is(spot_finder, place):
    image = np.full((1, 64, 64, 3), 250, dtype=np.uint8)
    row, column = place
    image[0, row - 4 : row + 4, column - 4 : column + 4] = 20
    (point,) = hottest_points(heat_maps(spot_finder, image, np.array([PARASITIZED]), stage=1))
    assert np.abs(point - place).max() <= 4


def test_each_class_has_evidence_of_its_own(spot_finder):
    image = np.full((1, 64, 64, 3), 250, dtype=np.uint8)
    image[0, 28:36, 28:36] = 20
    dark = heat_maps(spot_finder, image, np.array([PARASITIZED]), stage=1)
    bright = heat_maps(spot_finder, image, np.array([UNINFECTED]), stage=1)
    assert dark[0, 32, 32] == 1
    assert bright[0, 32, 32] < 0.1
    assert bright[0, 8, 8] > 0.5


def test_a_turned_cell_has_the_turned_map(network, images):
    classes = np.zeros(3, dtype=np.int64)
    maps = heat_maps(network, images, classes)
    for turned, turn in (
        (images[:, :, ::-1], lambda m: m[:, :, ::-1]),
        (images.transpose(0, 2, 1, 3), lambda m: m.transpose(0, 2, 1)),
    ):
        found = heat_maps(network, np.ascontiguousarray(turned), classes)
        np.testing.assert_allclose(found, turn(maps), atol=1e-3)


def test_nothing_that_speaks_for_a_class_is_a_map_of_zeros(spot_finder):
    image = np.full((1, 64, 64, 3), 250, dtype=np.uint8)
    stage = heat_maps(spot_finder, image, np.array([PARASITIZED]), stage=1)
    # The black ground around the cell is dark, but it is no part of the map.
    assert stage[0, 16:48, 16:48].max() < 0.01


def test_the_batch_size_changes_nothing(network, images):
    classes = np.array([0, 1, 1])
    np.testing.assert_allclose(
        heat_maps(network, images, classes, batch_size=1), heat_maps(network, images, classes), atol=1e-3
    )


def test_the_network_is_left_as_it_was(network, images):
    before = copy.deepcopy(network.state_dict())
    network.requires_grad_(False)
    heat_maps(network, images, np.zeros(3, dtype=np.int64))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_no_images_have_no_maps(network):
    nothing = heat_maps(network, np.zeros((0, 64, 64, 3), dtype=np.uint8), np.zeros(0, dtype=np.int64))
    assert nothing.shape == (0, 64, 64)


@pytest.mark.parametrize(("size", "stage"), [(24, 1), (48, 1), (64, 1), (96, 1), (128, 2), (256, 3), (512, 4)])
def test_the_stage_is_the_deepest_with_sixteen_places(size, stage):
    assert stage_for(size) == stage


@pytest.mark.parametrize(
    ("images", "classes", "said"),
    [
        (np.zeros((1, 64, 64, 3), dtype=np.float32), np.zeros(1, dtype=np.int64), "float32"),
        (np.zeros((1, 64, 32, 3), dtype=np.uint8), np.zeros(1, dtype=np.int64), r"\(1, 64, 32, 3\)"),
        (np.zeros((2, 64, 64, 3), dtype=np.uint8), np.zeros(1, dtype=np.int64), "each of 2 images"),
        (np.zeros((1, 64, 64, 3), dtype=np.uint8), np.array([2]), "class, 0 or 1"),
    ],
)
def test_other_shapes_and_classes_are_refused(network, images, classes, said):
    with pytest.raises(HeatMapError, match=said):
        heat_maps(network, images, classes)
