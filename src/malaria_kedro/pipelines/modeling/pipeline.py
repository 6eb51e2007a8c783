"""databunch → stage_1 → stage_2 → classifier: one template, once for each variant."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from malaria_kedro.pipelines.modeling import nodes


def create_pipeline(variants: tuple[str, ...]) -> Pipeline:
    """Return the pipeline that ends in each variant's ``<variant>.classifier``."""
    return sum((_train(variant) for variant in variants), start=Pipeline([]))


def _train(variant: str) -> Pipeline:
    block = f"params:{variant}"
    trained_on = ["databunch", "checkpoints", "run_state", block, "params:training"]
    template = Pipeline(
        [
            node(nodes.summarise_model, ["databunch", block], "model_summary", name="summarise_model"),
            node(nodes.train_stage, trained_on, "stage_1", name="train_stage_1"),
            node(nodes.train_stage, [*trained_on, "stage_1"], "stage_2", name="train_stage_2"),
            node(nodes.join_histories, ["stage_1", "stage_2"], ["history", "batch_history"], name="join_histories"),
            node(
                nodes.export_classifier,
                [
                    *("databunch", "checkpoints", "stage_1", "stage_2", "history"),
                    *(block, "params:training", "params:evaluation"),
                ],
                "classifier",
                name="export_classifier",
            ),
        ],
        tags="train",
    )
    parameters = {block, "params:training", "params:evaluation"}
    return Pipeline(template, namespace=variant, inputs={"databunch", "run_state"}, parameters=parameters)
