"""The reporting pipeline: one template a variant, then the comparison and the report."""

from __future__ import annotations

import warnings

from kedro.pipeline import Pipeline, node

from malaria_kedro.pipelines.reporting import nodes


def create_pipeline(variants: tuple[str, ...]) -> Pipeline:
    """Report on these model variants, each in its own namespace."""
    return sum((_report_on(variant) for variant in variants), _bring_together(variants))


def _report_on(variant: str) -> Pipeline:
    model, looks = "classifier", "params:evaluation"
    return Pipeline(
        [
            node(
                nodes.predict_cells, [model, "databunch", looks, "params:training"], "predictions", name="predict_cells"
            ),
            node(nodes.measure_predictions, ["predictions", model, looks], "metrics", name="measure_predictions"),
            node(
                nodes.draw_confusion_matrix,
                ["predictions", model, looks],
                "confusion_matrix",
                name="draw_confusion_matrix",
            ),
            node(
                nodes.draw_loss_curves,
                ["batch_history", "history", model, looks],
                "loss_curves",
                name="draw_loss_curves",
            ),
            node(
                nodes.draw_top_losses,
                ["predictions", "databunch", model, looks],
                "top_losses",
                name="draw_top_losses",
            ),
        ],
        namespace=variant,
        inputs="databunch",
        parameters={"params:evaluation", "params:training"},
    )


def _bring_together(variants: tuple[str, ...]) -> Pipeline:
    classifiers, metrics = ([f"{variant}.{name}" for variant in variants] for name in ("classifier", "metrics"))
    reported = [f"{variant}.{name}" for variant in variants for name in nodes.REPORTED]
    shared = ["databunch", "batch_preview", "model_comparison", "parameters"]
    with warnings.catch_warnings():
        # Here the dots are what Kedro warns they should be: the namespaces of the variants.
        warnings.filterwarnings("ignore", "One or more dataset names contain '.'")
        return Pipeline(
            [
                node(nodes.compare_variants, [*classifiers, *metrics], "model_comparison", name="compare_variants"),
                node(nodes.write_report, [*shared, *reported], "report", name="write_report"),
            ]
        )
