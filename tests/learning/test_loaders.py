"""Loaders: what a batch holds, what may happen to an image, and in which order the cells come."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from fastai.torch_core import TensorImage

from malaria_kedro.learning.loaders import CellLoader, batch_transforms, make_dataloaders, preview_batch
from malaria_kedro.learning.normalisation import IMAGENET_MEAN, IMAGENET_STD
from malaria_kedro.parameters import Augment

STILL = {"flip_horizontal": False, "max_lighting": 0.0}


@pytest.fixture
def image() -> torch.Tensor:
    """One image whose every pixel differs from its neighbours, uint8 3×8×8."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8))


def normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images.float() / 255 - mean) / std


def augmented(image: torch.Tensor, copies: int = 200, **augment) -> torch.Tensor:
    """Return what the training transforms make of many copies of one image."""
    torch.manual_seed(0)
    batch = TensorImage(image.expand(copies, *image.shape).contiguous())
    return batch_transforms("cpu", Augment(**(STILL | augment)))(batch).as_subclass(torch.Tensor)


def symmetries_seen(image: torch.Tensor, copies: int = 200, **augment) -> Counter[str]:
    """Count the symmetries of the square that augmented copies are, exactly; fail where one is none of them."""
    flips = {"as it is": image, "left-right": image.flip(2), "top-bottom": image.flip(1), "both": image.flip(1, 2)}
    known = flips | {f"{name}, transposed": flipped.transpose(1, 2) for name, flipped in flips.items()}
    known = {name: normalised(picture) for name, picture in known.items()}
    seen = Counter()
    for copy in augmented(image, copies, **augment):
        fitting = [name for name, picture in known.items() if torch.equal(copy, picture)]
        assert len(fitting) == 1, "not a symmetry of the square"
        seen[fitting[0]] += 1
    return seen


def test_an_image_that_is_not_augmented_is_scaled_and_normalised_exactly(image):
    made = batch_transforms("cpu")(TensorImage(image[None].clone()))
    assert torch.equal(made.as_subclass(torch.Tensor), normalised(image)[None])


def test_augmentation_with_everything_off_changes_nothing(image):
    assert torch.equal(augmented(image, 2), normalised(image).expand(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        ({"flip_horizontal": True}, {"as it is", "left-right"}),
        ({"flip_vertical": True}, {"as it is", "top-bottom"}),
        ({"flip_horizontal": True, "flip_vertical": True}, {"as it is", "left-right", "top-bottom", "both"}),
        ({"transpose": True}, {"as it is", "as it is, transposed"}),
    ],
    ids=lambda value: "+".join(sorted(value)),
)
def test_flips_and_transposes_do_what_they_are_called(image, augment, expected):
    assert set(symmetries_seen(image, **augment)) == expected


@pytest.mark.parametrize("flip", ["flip_horizontal", "flip_vertical"])
def test_a_transpose_with_a_flip_gives_all_eight_symmetries_as_often_as_each_other(image, flip):
    seen = symmetries_seen(image, 1600, transpose=True, **{flip: True})
    assert len(seen) == 8
    assert list(seen.values()) == pytest.approx([200] * 8, abs=60)


def test_half_of_the_images_are_flipped(image):
    copies = augmented(image, 1000, flip_horizontal=True)
    flipped = sum(torch.equal(copy, normalised(image.flip(2))) for copy in copies)
    assert flipped == pytest.approx(500, abs=60)


def test_lighting_changes_brightness_and_leaves_shapes_alone(image):
    copies = augmented(image, max_lighting=0.4, p_lighting=1.0)
    assert copies.shape == (200, 3, 8, 8)
    assert copies.mean(dim=(1, 2, 3)).std() > 0.05
    assert not torch.allclose(copies[0], copies[1], atol=1e-2)


def test_lighting_happens_to_its_share_of_the_images(image):
    copies = augmented(image, 1000, max_lighting=0.4, p_lighting=0.5)
    # Brightness and contrast are drawn apart: a quarter of the images gets neither.
    untouched = sum(torch.allclose(copy, normalised(image), atol=1e-3) for copy in copies)
    assert untouched == pytest.approx(250, abs=60)


@pytest.mark.parametrize(
    "change", [{"max_rotate": 30.0}, {"max_zoom": 1.5}, {"max_warp": 0.3}], ids=lambda c: next(iter(c))
)
def test_rotation_zoom_and_warp_move_pixels_when_asked_for(image, change):
    copies = augmented(image, 20, p_affine=1.0, **change)
    assert copies.isfinite().all()
    assert not torch.allclose(copies[0], normalised(image), atol=1e-2)


def test_validation_batches_are_never_augmented(phantom_bunch):
    wild = dataclasses.replace(phantom_bunch, augment=Augment(flip_vertical=True, max_rotate=90.0, max_lighting=0.5))
    images, targets = next(iter(make_dataloaders(wild, 64).valid))
    rows = wild.rows("valid")
    expected = normalised(torch.from_numpy(np.array(wild.pixels[rows])).permute(0, 3, 1, 2))
    assert torch.equal(images.as_subclass(torch.Tensor), expected)
    assert targets.tolist() == wild.targets()[rows].tolist()


def test_an_epoch_has_each_training_cell_once_but_for_the_rest_that_fills_no_batch(phantom_bunch):
    loader = CellLoader(phantom_bunch.pixels, np.arange(64), np.arange(43), shuffle=True, drop_last=True, bs=16)
    batches = [targets.tolist() for _, targets in loader]
    assert [len(batch) for batch in batches] == [16, 16]
    assert len(loader) == 2
    assert len({cell for batch in batches for cell in batch}) == 32


def test_a_last_batch_of_one_cell_is_never_trained_on(phantom_bunch):
    # 43 training cells in batches of 14 leave one, which batch normalisation cannot take.
    assert [len(targets) for _, targets in make_dataloaders(phantom_bunch, 14).train] == [14, 14, 14]


def test_a_batch_size_above_the_training_set_makes_one_batch_of_all(phantom_bunch):
    assert [len(targets) for _, targets in make_dataloaders(phantom_bunch, 512).train] == [43]


def test_the_order_follows_from_the_epochs_seed_whatever_was_drawn_before(phantom_bunch):
    def order(seed: int) -> list[int]:
        loader.epoch_seed = seed
        return list(loader.get_idxs())

    loader = make_dataloaders(phantom_bunch, 16).train
    first = order(1)
    torch.manual_seed(99)
    np.random.seed(99)
    other = order(2)
    assert order(1) == first
    assert other != first
    assert sorted(other) == sorted(first) == list(range(43))


def test_pixels_held_on_the_device_give_the_same_batches(phantom_bunch):
    def batch(on_device: bool) -> torch.Tensor:
        loader = make_dataloaders(phantom_bunch, 16, pixels_on_device=on_device).train
        torch.manual_seed(3)
        return next(iter(loader))[0]

    assert torch.equal(batch(False), batch(True))


def test_the_preview_shows_augmented_training_cells_with_their_labels(phantom_bunch):
    images, labels = preview_batch(phantom_bunch, 25, seed=1)
    again, _ = preview_batch(phantom_bunch, 25, seed=1)
    assert images.shape == (25, 32, 32, 3)
    assert images.dtype == np.uint8
    assert set(labels) == {"Parasitized", "Uninfected"}
    assert np.array_equal(images, again)
