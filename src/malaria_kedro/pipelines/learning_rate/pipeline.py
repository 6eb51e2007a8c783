"""databunch → learning_rate_curve and learning_rate_suggestion, once for each variant."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from malaria_kedro.pipelines.learning_rate import nodes


def create_pipeline(variants: tuple[str, ...]) -> Pipeline:
    """Return the pipeline; it is not part of ``kedro run`` without a name."""
    return sum((_search(variant) for variant in variants), start=Pipeline([]))


def _search(variant: str) -> Pipeline:
    blocks = ("training", "learning_rate", "evaluation", "report")
    parameters = [f"params:{variant}", *(f"params:{block}" for block in blocks)]
    outputs = ["learning_rate_curve", "learning_rate_suggestion"]
    template = [
        node(nodes.find_learning_rate, ["databunch", *parameters], outputs, name="find_learning_rate", tags="train")
    ]
    return Pipeline(template, namespace=variant, inputs="databunch", parameters=set(parameters))
