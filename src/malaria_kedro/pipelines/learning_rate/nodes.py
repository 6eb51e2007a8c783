"""From a DataBunch to a curve of loss against learning rate, and the rates that it suggests."""

from __future__ import annotations

from typing import Any

from malaria_kedro.learning.databunch import DataBunch
from malaria_kedro.parameters import Evaluation, RateSearch, Training, Variant


def search_rate(
    databunch: DataBunch,
    variant: Variant,
    training: Training,
    rate_search: RateSearch,
    evaluation: Evaluation,
    name: str,
) -> tuple[Any, dict[str, float]]:
    """Run fastai's finder on an untrained network of this variant, and draw what it saw."""
    from malaria_kedro.learning import rate_search as finder
    from malaria_kedro.learning.rate_search import draw_rate_curve

    curve = finder.search_rate(databunch, name, variant, training, rate_search)
    figures = evaluation.figures
    return draw_rate_curve(curve, title=name, size=figures.learning_rate, dpi=figures.dpi), curve.suggestions
