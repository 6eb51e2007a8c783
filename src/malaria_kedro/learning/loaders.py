"""Batches as slices of the pixel array; augmentation and normalisation per batch, on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.data.transforms import IntToFloatTensor, Normalize
from fastai.torch_core import TensorCategory, TensorImage
from fastai.vision.augment import Dihedral, aug_transforms
from fastcore.basics import first
from fasttransform import Pipeline

from malaria_kedro.cells.names import CLASSES
from malaria_kedro.learning.databunch import IMAGENET_MEAN, IMAGENET_STD, DataBunch
from malaria_kedro.parameters import Augment

# fastai's numbers of the symmetries of a square (dihedral_mat): 0 as it is, 1 left and right swapped, 2 top and bottom
# swapped, 4 both, 6 the transpose.
_FLIPS = {(False, False): (0,), (True, False): (0, 1), (False, True): (0, 2), (True, True): (0, 1, 2, 4)}


class CellLoader(DataLoader):
    """A fastai DataLoader that cuts whole batches out of one array, instead of collating single items.

    A batch is ``(TensorImage uint8 B×3×H×W, TensorCategory int64 B)`` before ``after_batch``. The order of a
    shuffled epoch comes from ``epoch_seed`` alone, so that an epoch can be repeated.
    """

    def __init__(self, pixels: np.ndarray | torch.Tensor, targets: np.ndarray, rows: np.ndarray, **kwargs) -> None:
        self.pixels, self.targets, self.rows, self.epoch_seed = pixels, targets, rows, 0
        super().__init__(rows, n=len(rows), num_workers=0, **kwargs)

    def get_idxs(self) -> Iterable[int]:
        """Return positions in ``rows``: ascending, or in the epoch's random order."""
        if not self.shuffle:
            return range(self.n)
        return np.random.default_rng(self.epoch_seed).permutation(self.n)

    def create_batches(self, samps: Iterator[int]) -> Iterator[tuple[TensorImage, TensorCategory]]:
        """Yield one batch after the other."""
        while len(positions := np.fromiter(islice(samps, self.bs), dtype=np.int64)):
            if self.drop_last and len(positions) < self.bs:
                return
            yield self.read(self.rows[positions])

    def read(self, rows: np.ndarray) -> tuple[TensorImage, TensorCategory]:
        """Cut the given rows out of the array."""
        if isinstance(self.pixels, torch.Tensor):
            batch = self.pixels[torch.from_numpy(rows).to(self.pixels.device)]
        else:
            batch = torch.from_numpy(self.pixels[rows])
        images = batch.permute(0, 3, 1, 2).contiguous()
        return TensorImage(images), TensorCategory(torch.from_numpy(self.targets[rows]))


def augmentations(augment: Augment) -> list:
    """Return fastai's batch transforms for the given block; every draw is for each image by itself.

    The symmetries are drawn evenly, so each flip that is on happens to half of the images.
    """
    symmetries = _FLIPS[augment.flip_horizontal, augment.flip_vertical]
    if augment.transpose:  # done after a flip, it turns by 90°; with one flip it generates all eight
        symmetries = (0, 6) if len(symmetries) == 1 else tuple(range(8))
    choices = torch.tensor(symmetries)

    def draw(images: torch.Tensor) -> torch.Tensor:
        return choices.to(images.device)[torch.randint(len(choices), (len(images),), device=images.device)]

    return aug_transforms(
        do_flip=False,
        max_rotate=augment.max_rotate,
        max_zoom=augment.max_zoom,
        max_warp=augment.max_warp,
        max_lighting=augment.max_lighting,
        p_affine=augment.p_affine,
        p_lighting=augment.p_lighting,
        xtra_tfms=[Dihedral(p=1.0, draw=draw)] if len(symmetries) > 1 else None,
    )


def batch_transforms(device: torch.device | str, augment: Augment | None = None) -> Pipeline:
    """Return the transforms of a batch: to float in 0-1, augmentation (None = none), ImageNet normalisation.

    They map TensorImage uint8 B×3×H×W to float32 of the same shape, on the device the batch is on.
    """
    normalise = Normalize.from_stats(IMAGENET_MEAN, IMAGENET_STD, cuda=False)
    normalise.mean, normalise.std = normalise.mean.to(device), normalise.std.to(device)
    extra = augmentations(augment) if augment else []
    # Without a split's number fastai leaves its changes of lighting out: they belong to split 0, the training set.
    return Pipeline([IntToFloatTensor(), *extra, normalise], split_idx=0 if augment else 1)


def make_dataloaders(
    bunch: DataBunch, batch_size: int, device: torch.device | str = "cpu", *, pixels_on_device: bool = False
) -> DataLoaders:
    """Return fastai ``DataLoaders`` (train, valid).

    Args:
        bunch: the cells.
        batch_size: cells a training batch; a smaller training set makes one batch of all.
        device: where batches are augmented, normalised and used.
        pixels_on_device: hold the whole pixel array in the device's memory.
    """
    device = torch.device(device)
    # Copied: a tensor on a read-only, memory-mapped array would be neither safe nor in memory.
    pixels = torch.from_numpy(np.array(bunch.pixels)).to(device) if pixels_on_device else bunch.pixels
    targets = bunch.targets()
    train, valid = bunch.rows("train"), bunch.rows("valid")
    batch_size = min(batch_size, len(train))
    shared = {"device": device, "bs": batch_size}
    loaders = DataLoaders(
        # The rest of an epoch is dropped, as fastai does: a last batch of one cell would break batch normalisation.
        CellLoader(
            pixels,
            targets,
            train,
            shuffle=True,
            drop_last=True,
            after_batch=batch_transforms(device, bunch.augment),
            **shared,
        ),
        CellLoader(pixels, targets, valid, after_batch=batch_transforms(device), **shared),
        device=device,
    )
    loaders.vocab, loaders.c = list(CLASSES), len(CLASSES)
    return loaders


def preview_batch(bunch: DataBunch, count: int, *, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return augmented training cells to look at: uint8 N×H×W×3 and their labels; N is ``count`` or all there are."""
    loader = bunch.dataloaders(count).train
    loader.epoch_seed = seed
    torch.manual_seed(seed)
    images, targets = first(loader)
    normalise = next(tfm for tfm in loader.after_batch.fs if isinstance(tfm, Normalize))
    shown = normalise.decodes(images).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1)
    return shown.numpy(), [CLASSES[int(target)] for target in targets]
