"""The variants side by side, with the numbers that the tutorial reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from malaria_kedro.evaluation.measurements import CrossValidationMetrics, Measurement, Metrics, SplitMetrics
from malaria_kedro.learning.databunch_summary import DataBunchSummary

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


def recipe_of(card: dict[str, Any]) -> dict[str, Any]:
    """Return the variant's own parameters of a classifier's card: the block that names an ``arch``."""
    parameters = card.get("parameters", {})
    return next((b for b in (parameters, *parameters.values()) if isinstance(b, dict) and "arch" in b), {})


def compare_variants(
    cards: list[dict[str, Any]],
    metrics: list[Metrics],
    *,
    baseline: Measurement | None = None,
    databunch_summary: DataBunchSummary | None = None,
) -> pd.DataFrame:
    """Put variants side by side: a row for each variant and split, what colour alone gives, then the tutorial's rows.

    Args:
        cards: the classifiers' cards.
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
            "variant": card["name"],
            "data": data_name(card["data"].get("phantom"), card["data"].get("origin")),
            "split_strategy": card["data"].get("strategy"),
            "split": split,
            **_scores(values),
            "epochs": _epochs(recipe_of(card)),
            "selected_stage": card["selected"]["stage"],
            "selected_epoch": card["selected"]["epoch"],
            "n_parameters": card.get("n_parameters"),
            "train_seconds": card.get("seconds"),
        }
        for card, measured in zip(cards, metrics, strict=True)
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


def _epochs(recipe: dict[str, Any]) -> str | None:
    trained = [str(stage["epochs"]) for stage in (recipe.get("stage_1"), recipe.get("stage_2")) if stage]
    return " + ".join(epochs for epochs in trained if epochs != "0") or None
