"""Index, pixel array, inference and preprocessing agree on every image: what it is, or that it is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from image_zoo import ACCEPTED, zoo
from malaria_kedro.cells.decoding import ImageError, decode_cell
from malaria_kedro.cells.index import inspect_cell
from malaria_kedro.inference.decoding import decode_image
from malaria_kedro.learning.classifier import load_classifier, write_classifier
from malaria_kedro.learning.metadata import Normalisation

BITS = 12
ZOO = zoo()


@pytest.fixture(scope="module")
def preprocess(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    write_classifier(trained.classifier, folder)
    return load_classifier(folder, bit_depth=BITS)[1]


def pixels_of(found: torch.Tensor, normalise: Normalisation) -> np.ndarray:
    """Return what went into the normalisation, uint8 S×S×3."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (normalise.mean, normalise.std))
    return ((found[0] * std + mean) / normalise.scale).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("name", sorted(ZOO))
@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged Exif data and large images
def test_all_four_agree_on_what_an_image_is(name: str, preprocess, trained, tmp_path: Path) -> None:
    size = trained.classifier.metadata.input.size
    path = tmp_path / name
    path.write_bytes(ZOO[name])
    inspected, read = inspect_cell(path), decode_image(ZOO[name], size, bit_depth=BITS)
    if name in ACCEPTED:
        assert (inspected.excluded, inspected.quality) == ("", ";".join(read.flags))
        assert (inspected.width, inspected.height) == (read.width, read.height)
        assert np.array_equal(decode_cell(path, size, BITS), read.pixels)
        assert np.array_equal(pixels_of(preprocess(path), trained.classifier.metadata.normalisation), read.pixels)
        return
    assert read.pixels is None
    if name != "deep beyond.png":  # one image does not tell how deep the set is
        assert inspected.excluded == f"{read.flags[0]}: {read.reason}"
    for refuse in (lambda: decode_cell(path, size, BITS), lambda: preprocess(path)):
        with pytest.raises(ImageError) as caught:
            refuse()
        assert str(caught.value) == f"{path}: {read.reason}"


def test_an_image_that_is_used_otherwise_than_it_may_be_meant_is_remarked_on(preprocess, tmp_path, caplog) -> None:
    (tmp_path / "rotated.jpg").write_bytes(ZOO["rotated.jpg"])
    preprocess(tmp_path / "rotated.jpg")
    assert f"{tmp_path / 'rotated.jpg'}: Exif orientation 6 is not applied" in caplog.text
