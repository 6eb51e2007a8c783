"""The calls at every threshold: the ROC curve, and counts at round thresholds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from malaria_kedro.evaluation.measurements import CallsAt, ThresholdSweep
from malaria_kedro.evaluation.metrics import cells_of_split
from malaria_kedro.learning.calibration import labels_and_probabilities

# Whole percentages, and a few beyond: where cells are rare, the threshold that matters lies near an end.
THRESHOLDS = (0.001, 0.002, 0.005, *(hundredth / 100 for hundredth in range(1, 100)), 0.995, 0.998, 0.999)


def sweep_thresholds(predictions: pd.DataFrame, split: str, column: str = "p_calibrated") -> ThresholdSweep:
    """Count what is found and what is a false alarm at each of ``THRESHOLDS``, and trace the ROC curve.

    Args:
        predictions: columns split, label and the named one.
        split: whose cells are counted.
        column: p(parasitized), 0-1.

    Raises:
        ValueError: the split has no cell, a label is unknown or a probability is not within 0-1.
    """
    actual, p = labels_and_probabilities(cells_of_split(predictions, split), f"split {split!r}", column)
    found, alarms = np.sort(p[actual]), np.sort(p[~actual])
    both = len(found) and len(alarms)
    corners = np.column_stack(roc_curve(actual, p)[:2]).tolist() if both else []
    return ThresholdSweep(
        split=split,
        n_parasitized=len(found),
        n_uninfected=len(alarms),
        roc=corners,
        calls=[
            CallsAt(
                threshold,
                len(found) - int(np.searchsorted(found, threshold)),
                len(alarms) - int(np.searchsorted(alarms, threshold)),
            )
            for threshold in THRESHOLDS
        ],
    )
