"""The quality gate of a classifier, fitted on cells that it trained on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from malaria_kedro.inference.gate import FEWEST_CELLS, fit_gate
from malaria_kedro.inference.image_statistics import measure_cells

if TYPE_CHECKING:
    from malaria_kedro.learning.classifier import Classifier
    from malaria_kedro.learning.databunch import DataBunch

logger = logging.getLogger(__name__)

# More training cells would not move the limits beyond what new patients differ by, and would take longer.
CELLS = 8000
# Of the training cells; of new patients' cells twice as many and more are outside, and 1 % is what a user may lose.
REFUSED_SHARE = 0.003
BATCH = 256


def fit_training_gate(classifier: Classifier, bunch: DataBunch, device: str = "cpu") -> dict[str, Any] | None:
    """Fit the gate on training cells, evenly drawn from the table; their labels are not looked at.

    Statistics and features are those of the cells at the network's size, as reading new cells measures them.

    Args:
        classifier: weights and card.
        bunch: the cells that it trained on.
        device: where the network computes the features.

    Returns:
        What ``QualityGate.to_dict`` gives, or None where there are too few training cells to tell a limit.
    """
    from malaria_kedro.inference.export import torch_reader

    rows = bunch.rows("train")
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), CELLS)).astype(int)]
    if len(rows) < FEWEST_CELLS:
        logger.warning(
            "%s has no quality gate: %d training cells tell no limits, at least %d are needed",
            classifier.card["name"],
            len(rows),
            FEWEST_CELLS,
        )
        return None
    read, statistics, features = torch_reader(classifier, device), [], []
    for start in range(0, len(rows), BATCH):
        cells = np.asarray(bunch.pixels[rows[start : start + BATCH]])
        statistics.append(pd.DataFrame(measure_cells(cells)))
        features.append(read(cells)[1])
    gate = fit_gate(pd.concat(statistics, ignore_index=True), np.concatenate(features), refused_share=REFUSED_SHARE)
    return gate.to_dict()
