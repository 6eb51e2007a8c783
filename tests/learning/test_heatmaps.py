"""Heat maps: where the evidence is, in whatever way a cell lies, and nothing where there is none."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from malaria_kedro.learning.heatmaps import heat_maps, paint_over
from malaria_kedro.learning.network import build_network
from network_material import shape

PARASITIZED, UNINFECTED = 0, 1


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    torch.manual_seed(3)
    return build_network("slim_resnet", slim_resnet=shape()).eval()


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """Two cells of noise, 32 px."""
    return np.random.default_rng(5).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


class DarkOrPale(nn.Module):
    """Log-odds of parasitized: how much darker than pale a cell is, anywhere."""

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        dark = (-cells).relu().mean(dim=(1, 2, 3))
        return torch.stack([20 * dark, torch.zeros_like(dark)], dim=1)


@pytest.fixture(scope="module")
def spot_finder() -> nn.Module:
    return DarkOrPale()


def pale_cell(*spots: tuple[int, int], size: int = 64) -> np.ndarray:
    """A pale cell, uint8 1×S×S×3, with dark spots of 8 px."""
    image = np.full((1, size, size, 3), 230, dtype=np.uint8)
    for row, column in spots:
        image[0, row - 4 : row + 4, column - 4 : column + 4] = 30
    return image


@pytest.mark.parametrize("place", [(10, 10), (20, 44), (52, 30)])
def test_the_hottest_point_is_on_the_spot_that_decides(spot_finder, place):
    (map_,) = heat_maps(spot_finder, pale_cell(place), np.array([PARASITIZED]))
    assert np.abs(np.subtract(np.unravel_index(map_.argmax(), map_.shape), place)).max() <= 4


def test_a_map_has_the_size_of_its_image_and_the_unit_of_log_odds(spot_finder):
    cells = pale_cell((32, 32))
    maps = heat_maps(spot_finder, cells, np.array([PARASITIZED]))
    assert maps.shape == (1, 64, 64)
    assert maps.dtype == np.float32
    with torch.inference_mode():
        dark, painted = (
            float(spot_finder((torch.from_numpy(c).permute(0, 3, 1, 2) / 255 - 0.45) / 0.225)[0, 0])
            for c in (cells, paint_over(cells))
        )
    # Patches that cover half of the spot take half of it.
    assert 0.4 * (dark - painted) < maps.max() < 1.1 * (dark - painted)


def test_what_speaks_against_a_class_is_not_on_its_map(spot_finder):
    assert heat_maps(spot_finder, pale_cell((32, 32)), np.array([UNINFECTED])).max() == 0


def test_nothing_that_speaks_for_a_class_is_a_map_of_zeros(spot_finder):
    assert heat_maps(spot_finder, pale_cell(), np.array([PARASITIZED])).max() == 0
    black = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    assert heat_maps(spot_finder, black, np.array([PARASITIZED])).max() == 0


def test_a_mirrored_cell_has_the_mirrored_map(spot_finder):
    cells = pale_cell((20, 44))
    maps = heat_maps(spot_finder, cells, np.array([PARASITIZED]))
    mirrored = heat_maps(spot_finder, np.ascontiguousarray(cells[:, :, ::-1]), np.array([PARASITIZED]))
    np.testing.assert_allclose(mirrored, maps[:, :, ::-1], atol=1e-4)


def test_a_cell_is_painted_over_in_its_own_colour_and_what_is_black_stays_black():
    image = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    image[0, 2:6, 2:6] = (200, 120, 130)
    image[0, 3, 3] = (90, 20, 120)
    (painted,) = paint_over(image)
    assert (painted[2:6, 2:6] == (200, 120, 130)).all()
    assert painted[0].max() == 0


def test_the_batch_size_changes_nothing(network, noise):
    classes = np.array([0, 1])
    one_by_one = heat_maps(network, noise, classes, batch_size=1)
    np.testing.assert_allclose(one_by_one, heat_maps(network, noise, classes), atol=1e-3)


def test_the_network_is_left_as_it_was(network, noise):
    before = copy.deepcopy(network.state_dict())
    heat_maps(network, noise, np.zeros(2, dtype=np.int64))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_no_images_have_no_maps(network):
    nothing = heat_maps(network, np.zeros((0, 64, 64, 3), dtype=np.uint8), np.zeros(0, dtype=np.int64))
    assert nothing.shape == (0, 64, 64)
