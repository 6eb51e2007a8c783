"""The variants side by side, with the numbers that the tutorial reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from malaria_kedro.evaluation.measurements import CrossValidationMetrics, Measurement, Metrics, SplitMetrics
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.learning.metadata import ClassifierMetadata, Recipe

THIS_RUN = "this run"
CITED_SOURCE = "tutorial (fastai v1, 2019), cited"
PHANTOM_DATA = "phantom cells, not blood"
COLOUR_BASELINE = "colour statistics, logistic regression"
OUT_OF_FOLD = "out of fold"

_METRICS = ("accuracy", "error_rate", "sensitivity", "specificity", "roc_auc")
_COLUMNS = (
    *("variant", "source", "data", "split_strategy", "split", "n"),
    *_METRICS,
    *("epochs", "selected_stage", "selected_epoch", "n_parameters", "train_seconds"),
)
_WHOLE_NUMBERS = ("n", "selected_epoch", "n_parameters")
_DECIMALS = (*_METRICS, "train_seconds")

# What the tutorial prints: ImageNet weights, 128 px, 80/20 random split of the 27,558 cells (5,511 for validation).
_CITED = (
    ("resnet34, 10 frozen epochs", "10", 0.964),
    ("resnet18, 10 frozen epochs", "10", 0.961),
    ("resnet18, 10 frozen + 30 unfrozen epochs", "10 + 30", 0.970),
)


def compare_variants(
    classifiers: list[ClassifierMetadata],
    metrics: list[Metrics],
    *,
    baseline: Measurement | None = None,
    databunch_summary: DataBunchSummary | None = None,
) -> pd.DataFrame:
    """Put variants side by side: a row for each variant and split, what colour alone gives, then the tutorial's rows.

    Args:
        classifiers: their metadata.
        metrics: what was measured of them, in the same order.
        baseline: what ``measure`` found of the predictions from colour, on the cells of ``databunch_summary``.
        databunch_summary: what those cells are.

    Returns:
        Columns variant, source (``this run`` or cited), data, split_strategy, split, n, accuracy, error_rate,
        sensitivity, specificity, roc_auc, epochs (stage 1 + stage 2), selected_stage, selected_epoch, n_parameters,
        train_seconds. What a source does not report is missing.
    """
    rows = [
        {
            "variant": metadata.name,
            "data": data_name(metadata.data.phantom, metadata.data.origin),
            "split_strategy": metadata.data.strategy,
            "split": split,
            **_scores(values),
            "epochs": _epochs(metadata.parameters),
            "selected_stage": metadata.selected.stage,
            "selected_epoch": metadata.selected.epoch,
            "n_parameters": metadata.n_parameters,
            "train_seconds": metadata.seconds,
        }
        for metadata, measured in zip(classifiers, metrics, strict=True)
        for split, values in measured.splits.items()
    ]
    if baseline and databunch_summary:
        rows += [
            {
                "variant": COLOUR_BASELINE,
                "data": data_name(databunch_summary.phantom, databunch_summary.origin),
                "split_strategy": databunch_summary.strategy,
                "split": split,
                **_scores(values),
            }
            for split, values in baseline.splits.items()
        ]
    return _with_cited(rows)


def compare_folds(found: CrossValidationMetrics) -> pd.DataFrame:
    """Put a cross-validation's protocols, all cells together, beside the tutorial's rows; see ``compare_variants``."""
    return _with_cited(
        {
            "variant": f"{found.variant}, {found.folds}-fold cross-validation",
            "data": data_name(found.phantom, found.origin),
            "split_strategy": strategy,
            "split": OUT_OF_FOLD,
            **_scores(protocol.pooled),
            "epochs": str(found.epochs),
            "train_seconds": found.train_seconds[strategy],
        }
        for strategy, protocol in found.protocols.items()
    )


def _scores(values: SplitMetrics) -> dict[str, float | None]:
    return {"n": values.n} | {name: values.score(name) for name in _METRICS}


def _with_cited(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    cited = [
        {
            "variant": variant,
            "source": CITED_SOURCE,
            "data": "NIH, other random split",
            "split_strategy": "random",
            "split": "valid",
            "n": 5511,
            "accuracy": accuracy,
            "epochs": epochs,
        }
        for variant, epochs, accuracy in _CITED
    ]
    table = pd.DataFrame([*({"source": THIS_RUN} | row for row in rows), *cited], columns=list(_COLUMNS))
    return table.astype(dict.fromkeys(_WHOLE_NUMBERS, "Int64") | dict.fromkeys(_DECIMALS, "float64"))


def data_name(phantom: bool | None, origin: str | None) -> str:
    """Name the cells; phantoms are called phantoms wherever a score stands beside them."""
    return PHANTOM_DATA if phantom else origin or "unknown origin"


def _epochs(recipe: Recipe) -> str | None:
    return " + ".join(str(stage.epochs) for stage in (recipe.stage_1, recipe.stage_2) if stage and stage.epochs) or None
