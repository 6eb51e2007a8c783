"""One pass over the cells that did not train: the table that every figure of a report is derived from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.learning.calibration import apply_temperature
from malaria_kedro.learning.classifier import Classifier
from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.learning.hardware import choose_hardware
from malaria_kedro.learning.loaders import CellLoader, batch_transforms
from malaria_kedro.parameters import Evaluation, Training


class PredictionError(MalariaKedroError, ValueError):
    """Cells cannot be predicted; the message says why and what to do."""


def predict_cells(classifier: Classifier, bunch: DataBunch, evaluation: Evaluation, training: Training) -> pd.DataFrame:
    """Predict every validation and test cell once.

    Returns:
        The columns of ``predict_rows`` and ``p_calibrated`` (float64, 0-1: with the temperature of the classifier's
        metadata), in the order of the DataBunch.

    Raises:
        OtherDataError: the classifier was trained on other cells, another split or another image size.
        PredictionError: there is no cell to judge it on, or the GPU's memory is full.
    """
    metadata = classifier.metadata
    bunch.require(
        metadata.data.fingerprint,
        f"classifier {metadata.name}",
        "cells that it trained on may be among those to judge",
    )
    rows = np.flatnonzero(bunch.cells["split"] != "train")
    if not len(rows):
        raise PredictionError("no cell is held out: every one trains; raise split.valid_pct or split.test_pct")
    predictions = predict_rows(classifier.network(), bunch, rows, evaluation.batch_size, training)
    return predictions.assign(p_calibrated=apply_temperature(predictions["p_parasitized"], metadata.temperature))


def predict_rows(
    network: nn.Module, bunch: DataBunch, rows: np.ndarray, batch_size: int, training: Training
) -> pd.DataFrame:
    """Predict the given rows of a DataBunch with a network, in evaluation mode.

    Returns:
        Columns ``cell_id``, ``patient_id``, ``split``, ``label``, ``p_parasitized`` (float64, 0-1) and ``loss``
        (cross-entropy of the cell, nats).

    Raises:
        PredictionError: the GPU's memory is full.
    """
    device, targets = torch.device(choose_hardware(training).device), bunch.targets()
    loader = CellLoader(bunch.pixels, targets, rows, bs=batch_size, device=device, after_batch=batch_transforms(device))
    network = network.eval().to(device)
    logits = []
    try:
        with torch.inference_mode():
            for images, _ in tqdm(loader, desc="predict", unit="batch", leave=False, disable=None):
                logits.append(network(images.as_subclass(torch.Tensor)).cpu())
    except torch.OutOfMemoryError as error:
        raise PredictionError(
            f"the GPU's memory is full with batches of {batch_size}; try "
            f"evaluation.batch_size={max(1, batch_size // 2)}"
        ) from error
    # In double precision, so that a confident prediction does not round to a loss of exactly zero.
    log_p = torch.cat(logits).double().log_softmax(dim=1)
    cells = bunch.cells.iloc[rows][["cell_id", "patient_id", "split", "label"]].reset_index(drop=True)
    loss = -log_p.gather(1, torch.from_numpy(targets[rows])[:, None])[:, 0].numpy()
    return cells.assign(p_parasitized=log_p[:, 0].exp().numpy(), loss=loss)
