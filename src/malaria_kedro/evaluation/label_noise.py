"""The label audit: which cells may carry the wrong label, by networks that have not seen them. It changes no data."""

from __future__ import annotations

import numpy as np
import pandas as pd

from malaria_kedro.evaluation.fold_metrics import average_seeds
from malaria_kedro.learning.calibration import labels_and_probabilities
from malaria_kedro.names import CLASSES


def audit_labels(predictions: pd.DataFrame) -> pd.DataFrame:
    """Rank cells by how little their label is believed (confident learning, Northcutt et al. 2021, JAIR 70).

    Args:
        predictions: out-of-fold: cell_id, patient_id, label, p_parasitized (0-1), loss. Where a cell has several (from
            protocols or seeds), their mean log-odds count.

    Returns:
        One row per cell, the most suspicious first: ``cell_id``, ``audit_rank`` (from 1), ``patient_id``,
        ``given_label``, ``suggested_label`` (what the networks say), ``score`` (quality of the label, 0-1; low is
        suspicious), ``p_parasitized``, ``is_issue`` (among the labels estimated to be wrong).

    Raises:
        ValueError: for an unknown label or a p_parasitized that is not a number from 0 to 1.
    """
    from cleanlab.filter import find_label_issues  # scikit-learn behind it takes a second to import
    from cleanlab.rank import get_label_quality_scores

    cells = average_seeds(predictions)
    actual, p = labels_and_probabilities(cells, "the out-of-fold predictions")
    given = np.where(actual, 0, 1)  # the order of CLASSES
    probabilities = np.column_stack([p, 1 - p])
    score = get_label_quality_scores(given, probabilities, method="self_confidence")
    both = bool(actual.any() and not actual.all())  # with one class alone nothing can be estimated
    issue = find_label_issues(given, probabilities, n_jobs=1) if both else np.zeros(len(cells), dtype=bool)
    # Where the networks agree with the label, it is not suspected, whatever the estimate of numbers says.
    suggested = probabilities.argmax(axis=1)
    table = pd.DataFrame(
        {
            "cell_id": cells["cell_id"],
            "patient_id": cells["patient_id"],
            "given_label": cells["label"].astype("str"),
            "suggested_label": pd.Series([CLASSES[number] for number in suggested], dtype="str"),
            "score": score,
            "p_parasitized": p,
            "is_issue": issue & (suggested != given),
        }
    )
    table = table.sort_values(["score", "cell_id"], ignore_index=True)
    table.insert(1, "audit_rank", np.arange(1, len(table) + 1))
    return table
