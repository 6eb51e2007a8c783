"""Whatever makes a classifier or a number checks all pixels first: loading has looked at a sample only."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from malaria_kedro.cells.pixels import PixelError
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.parameters import CrossValidation, Evaluation, Training, Variant
from malaria_kedro.pipelines.cross_validation.nodes import cross_validate
from malaria_kedro.pipelines.export.nodes import export_onnx
from malaria_kedro.pipelines.modeling.nodes import export_classifier
from malaria_kedro.pipelines.reporting.nodes import predict_cells
from metadata_material import metadata
from network_material import SMALL_NETWORK

TRAINING, EVALUATION = Training(device="cpu", num_threads=1), Evaluation()
RECIPE = {
    "name": "small",
    **SMALL_NETWORK,
    "pretrained": "none",
    "batch_size": 16,
    "seed": 5,
    "stage_1": {"epochs": 1, "lr_max": 1e-3},
    "stage_2": {"epochs": 0, "lr_max": 1e-3},
}


@pytest.fixture
def changed(phantom_bunch: DataBunch) -> DataBunch:
    """The phantoms with one flipped bit."""
    pixels = np.array(phantom_bunch.pixels)
    pixels[31, 16, 16, 1] ^= 1
    return dataclasses.replace(phantom_bunch, pixels=pixels)


def of(bunch: DataBunch) -> SimpleNamespace:
    """Return what a node sees of a classifier that these cells trained."""
    return SimpleNamespace(metadata=metadata(data={"fingerprint": bunch.fingerprint}))


@pytest.mark.parametrize(
    "work",
    [
        lambda bunch: export_classifier(
            bunch, None, None, None, None, Variant.model_validate(RECIPE), TRAINING, EVALUATION
        ),
        lambda bunch: export_onnx(of(bunch), bunch),
        lambda bunch: predict_cells(of(bunch), bunch, EVALUATION, TRAINING),
        lambda bunch: cross_validate(
            bunch, None, None, {"small": RECIPE}, CrossValidation(variant="small", folds=2), TRAINING, EVALUATION
        ),
    ],
    ids=["export_classifier", "export_onnx", "predict_cells", "cross_validate"],
)
def test_changed_pixels_are_refused_before_anything_is_made_of_them(changed, work):
    with pytest.raises(PixelError, match=r"is not the array that was decoded .*run the pipeline data_engineering"):
        work(changed)
