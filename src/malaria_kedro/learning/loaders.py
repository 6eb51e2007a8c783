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
from fastai.vision.augment import RandTransform, aug_transforms
from fastcore.basics import first
from fasttransform import Pipeline

from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.normalisation import IMAGENET_MEAN, IMAGENET_STD
from malaria_kedro.names import CLASSES
from malaria_kedro.parameters import Augment


class CellLoader(DataLoader):
    """A fastai DataLoader that slices whole batches from one array, instead of collating single items.

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
        """Slice the batches from the array."""
        while len(positions := np.fromiter(islice(samps, self.bs), dtype=np.int64)):
            if self.drop_last and len(positions) < self.bs:
                return
            rows = self.rows[positions]
            if isinstance(self.pixels, torch.Tensor):
                batch = self.pixels[torch.from_numpy(rows).to(self.pixels.device)]
            else:
                batch = torch.from_numpy(self.pixels[rows])
            images = TensorImage(batch.permute(0, 3, 1, 2).contiguous())
            yield images, TensorCategory(torch.from_numpy(self.targets[rows]))


class SquareSymmetries(RandTransform):
    """Flips and transposes each training image independently, every symmetry with the same probability.

    It maps TensorImage uint8 B×3×S×S to the same: exactly, and much faster than fastai's ``Dihedral``, which
    interpolates floats.
    """

    order = IntToFloatTensor.order - 1

    def __init__(self, augment: Augment) -> None:
        """Choose the symmetries; a flip and the transpose together generate all eight."""
        super().__init__()
        both = augment.transpose and (augment.flip_horizontal or augment.flip_vertical)
        self.left_right = augment.flip_horizontal or both
        self.top_bottom = augment.flip_vertical or both
        self.transpose = augment.transpose

    def encodes(self, images: TensorImage) -> TensorImage:
        """Draw a symmetry for each image and reorder its pixels."""
        side, device = images.shape[-1], images.device
        places = [torch.arange(side * side, device=device).view(side, side)]
        if self.left_right:
            places += [grid.flip(1) for grid in places]
        if self.top_bottom:
            places += [grid.flip(0) for grid in places]
        if self.transpose:
            places += [grid.T for grid in places]
        drawn = torch.randint(len(places), (len(images),), device=device)
        where = torch.stack(places).flatten(1)[drawn].unsqueeze(1).expand(-1, images.shape[1], -1)
        return TensorImage(images.as_subclass(torch.Tensor).flatten(2).gather(2, where).view(images.shape))


def augmentations(augment: Augment) -> list:
    """Return the batch transforms for the given block: fastai's, but for flips. Each image is drawn for separately.

    All symmetries are equally likely, so each flip that is on happens to half of the images.
    """
    fastais = augment.model_dump(exclude={"flip_horizontal", "flip_vertical", "transpose"})  # under fastai's names
    return [SquareSymmetries(augment), *aug_transforms(do_flip=False, **fastais)]


def batch_transforms(device: torch.device | str, augment: Augment | None = None) -> Pipeline:
    """Return the transforms of a batch: to float in 0-1, augmentation (None = none), ImageNet normalisation.

    They map TensorImage uint8 B×3×H×W to float32 of the same shape, on the device the batch is on.
    """
    normalise = Normalize.from_stats(IMAGENET_MEAN, IMAGENET_STD, cuda=False)
    normalise.mean, normalise.std = normalise.mean.to(device), normalise.std.to(device)
    extra = augmentations(augment) if augment else []
    # fastai applies its lighting transforms to split 0 only, the training set.
    return Pipeline([IntToFloatTensor(), *extra, normalise], split_idx=0 if augment else 1)


def make_dataloaders(
    bunch: DataBunch, batch_size: int, device: torch.device | str = "cpu", *, pixels_on_device: bool = False
) -> DataLoaders:
    """Return fastai ``DataLoaders`` (train, valid) whose batches are made on ``device``, on request of pixels there.

    A training set smaller than ``batch_size`` is one batch.
    """
    device = torch.device(device)
    # Copied: a tensor over a read-only, memory-mapped array would be neither safe nor in memory.
    pixels = torch.from_numpy(np.array(bunch.pixels)).to(device) if pixels_on_device else bunch.pixels
    targets, batch_size = bunch.targets(), min(batch_size, len(bunch.rows("train")))

    def make_loader(split: str, augment: Augment | None, **order: bool) -> CellLoader:
        rows, transforms = bunch.rows(split), batch_transforms(device, augment)
        return CellLoader(pixels, targets, rows, bs=batch_size, device=device, after_batch=transforms, **order)

    loaders = DataLoaders(
        # An incomplete last batch is dropped, as fastai does: one of a single cell would break batch normalisation.
        make_loader("train", bunch.augment, shuffle=True, drop_last=True),
        make_loader("valid", None),
        device=device,
    )
    loaders.vocab, loaders.c = list(CLASSES), len(CLASSES)
    return loaders


def preview_batch(bunch: DataBunch, count: int, *, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return augmented training cells to look at: uint8 N×H×W×3 and their labels; N is ``count`` or all there are."""
    loader = make_dataloaders(bunch, count).train
    loader.epoch_seed = seed
    torch.manual_seed(seed)
    images, targets = first(loader)
    normalise = next(tfm for tfm in loader.after_batch.fs if isinstance(tfm, Normalize))
    shown = normalise.decodes(images).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1)
    return shown.numpy(), [CLASSES[int(target)] for target in targets]
