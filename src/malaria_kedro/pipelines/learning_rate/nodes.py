"""From a DataBunch to a curve of loss against learning rate, and the rates that it suggests."""

from __future__ import annotations

from typing import Any

from malaria_kedro.language import _, written_in
from malaria_kedro.parameters import Evaluation, LearningRateFinder, Report, Training, Variant
from malaria_kedro.pipelines.types import DataBunch


def find_learning_rate(
    databunch: DataBunch,
    variant: Variant,
    training: Training,
    learning_rate: LearningRateFinder,
    evaluation: Evaluation,
    report: Report,
) -> tuple[Any, dict[str, float]]:
    """Run fastai's finder on an untrained network of this variant, and draw what it saw."""
    # torch and fastai take seconds to import; only a run that searches should wait for them.
    from malaria_kedro.figures.style import Look
    from malaria_kedro.figures.training import draw_learning_rate_curve
    from malaria_kedro.learning import learning_rate as finder

    curve = finder.find_learning_rate(databunch, variant, training, learning_rate)
    with written_in(report.language):
        title = _("{name}: learning-rate search").format(name=variant.name)
        look = Look(evaluation.figure_style, title, databunch.phantom)
        figure = draw_learning_rate_curve(curve.rates, curve.losses, curve.suggestions, look)
    return figure, curve.suggestions
