"""The variants side by side, with the numbers that the tutorial reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from malaria_kedro.evaluation.measurements import CrossValidationMetrics, Measurement, Metrics, SplitMetrics
from malaria_kedro.language import N_
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.learning.metadata import ClassifierMetadata, Recipe

CITED_SOURCE = "tutorial (fastai v1, 2019), cited"

_SCORES = ("accuracy", "error_rate", "sensitivity", "specificity", "roc_auc")
_COLUMNS = {
    **dict.fromkeys(("variant", "source", "data", "split_strategy", "split"), "str"),
    **{"n": "Int64", **dict.fromkeys(_SCORES, "float64")},
    **{"epochs": "str", "selected_stage": "str", "selected_epoch": "Int64"},
    **{"n_parameters": "Int64", "train_seconds": "float64"},
}

# What the tutorial prints: ImageNet weights, 128 px, 80/20 random split of the 27,558 cells (5,511 for validation).
_CITED = (
    (N_("resnet34, 10 frozen epochs"), "10", 0.964),
    (N_("resnet18, 10 frozen epochs"), "10", 0.961),
    (N_("resnet18, 10 frozen + 30 unfrozen epochs"), "10 + 30", 0.970),
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
        baseline: what ``measure`` found of the predictions from colour.
        databunch_summary: of the same cells.

    Returns:
        Columns variant, source (``this run`` or cited), data, split_strategy, split, n, accuracy, error_rate,
        sensitivity, specificity, roc_auc, epochs (stage 1 + stage 2), selected_stage, selected_epoch, n_parameters,
        train_seconds. What a source does not report is missing.
    """
    rows = [
        _measured(
            metadata.name,
            data_name(metadata.data.phantom, metadata.data.origin),
            metadata.data.strategy,
            split,
            values,
            epochs=_epochs(metadata.parameters),
            selected_stage=metadata.selected.stage,
            selected_epoch=metadata.selected.epoch,
            n_parameters=metadata.n_parameters,
            train_seconds=metadata.seconds,
        )
        for metadata, measured in zip(classifiers, metrics, strict=True)
        for split, values in measured.splits.items()
    ]
    if baseline and databunch_summary:
        data = data_name(databunch_summary.phantom, databunch_summary.origin)
        rows += [
            _measured(N_("colour statistics, logistic regression"), data, databunch_summary.strategy, split, values)
            for split, values in baseline.splits.items()
        ]
    return _with_cited(rows)


def compare_folds(found: CrossValidationMetrics) -> pd.DataFrame:
    """Put a cross-validation's protocols, all cells together, beside the tutorial's rows; see ``compare_variants``."""
    return _with_cited(
        _measured(
            N_("{name}, {n}-fold cross-validation").format(name=found.variant, n=found.folds),
            data_name(found.phantom, found.origin),
            *(strategy, N_("out of fold"), protocol.pooled),
            epochs=str(found.epochs),
            train_seconds=found.train_seconds[strategy],
        )
        for strategy, protocol in found.protocols.items()
    )


def _measured(
    variant: str, data: str, strategy: str | None, split: str, values: SplitMetrics, **about: Any
) -> dict[str, Any]:
    named = {"variant": variant, "source": "this run", "data": data, "split_strategy": strategy, "split": split}
    return named | values.model_dump(include={"n", *_SCORES}) | about


def _with_cited(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    same = {"source": CITED_SOURCE, "data": N_("NIH, other random split"), "split_strategy": "random", "split": "valid"}
    cited = [
        {"variant": variant, **same, "n": 5511, "accuracy": accuracy, "epochs": epochs}
        for variant, epochs, accuracy in _CITED
    ]
    return pd.DataFrame([*rows, *cited], columns=list(_COLUMNS)).astype(_COLUMNS)


def data_name(phantom: bool | None, origin: str | None) -> str:
    """Name the cells; phantoms are called phantoms wherever a score stands beside them."""
    return N_("phantom cells, not blood") if phantom else origin or N_("unknown origin")


def _epochs(recipe: Recipe) -> str | None:
    return " + ".join(str(stage.epochs) for stage in (recipe.stage_1, recipe.stage_2) if stage and stage.epochs) or None
