"""The reporting pipeline: one template per variant, then the comparison and the report."""

from __future__ import annotations

import warnings

from kedro.pipeline import Pipeline, node

from malaria_kedro.pipelines.reporting import figure_nodes, nodes


def create_pipeline(variants: tuple[str, ...]) -> Pipeline:
    """Report on these model variants, each in its own namespace."""
    return sum((_report_on_variant(variant) for variant in variants), _report_on_all(variants))


def _report_on_variant(variant: str) -> Pipeline:
    classifier, evaluation, training, report = "classifier", "params:evaluation", "params:training", "params:report"
    # Each figure with its inputs; the function draw_<figure> draws it.
    drawn = {
        "confusion_matrix": ["predictions", classifier, evaluation, report],
        "roc_curve": ["predictions", "metrics", classifier, evaluation, report],
        "precision_recall_curve": ["predictions", "metrics", classifier, evaluation, report],
        "reliability_diagram": ["predictions", classifier, evaluation, report],
        "loss_curves": ["batch_history", "history", classifier, evaluation, report],
        "top_losses": ["predictions", "databunch", classifier, evaluation, report],
        "top_losses_heatmap": ["predictions", "databunch", classifier, evaluation, training, report],
        "true_positives_heatmap": ["predictions", "databunch", classifier, evaluation, training, report],
    }
    measured = Pipeline(
        [
            node(
                nodes.predict_cells,
                [classifier, "databunch", evaluation, training],
                ["predictions", "prediction_cost"],
                name="predict_cells",
            ),
            node(
                nodes.summarise_patients, ["predictions", classifier, evaluation], "patients", name="summarise_patients"
            ),
            node(
                nodes.measure_predictions,
                ["predictions", "prediction_cost", "patients", classifier, evaluation],
                "metrics",
                name="measure_predictions",
            ),
            node(
                nodes.gather_section,
                {
                    name: name
                    for name in (
                        "classifier",
                        "predictions",
                        "metrics",
                        "history",
                        "patients",
                        *drawn,
                        "patients_figure",
                    )
                },
                "report_section",
                name="gather_section",
            ),
            node(nodes.write_model_card, [classifier, "metrics"], "model_card", name="write_model_card"),
        ],
        tags="evaluate",
    )
    figures = Pipeline(
        [
            node(
                figure_nodes.draw_patients,
                ["patients", classifier, evaluation, report],
                "patients_figure",
                name="draw_patients",
            ),
            *(
                node(getattr(figure_nodes, f"draw_{figure}"), inputs, figure, name=f"draw_{figure}")
                for figure, inputs in drawn.items()
            ),
        ],
        namespace="figures",
        prefix_datasets_with_namespace=False,
        tags="figures",
    )
    return Pipeline(
        [measured, figures],
        namespace=variant,
        inputs="databunch",
        parameters={evaluation, training, report},
    )


def _report_on_all(variants: tuple[str, ...]) -> Pipeline:
    sections = {variant: f"{variant}.report_section" for variant in variants}
    colour = "colour_baseline_metrics"
    of_the_page = ("databunch", "batch_preview", "model_comparison", "roc_curves", "parameters", "run_record")
    with warnings.catch_warnings():
        # Here the dots are what Kedro warns they should be: the namespaces of the variants.
        warnings.filterwarnings("ignore", "One or more dataset names contain '.'")
        measured = Pipeline(
            [
                node(nodes.predict_from_colour, "databunch", "colour_baseline", name="predict_from_colour"),
                node(
                    nodes.measure_colour_baseline,
                    ["colour_baseline", "params:evaluation"],
                    colour,
                    name="measure_colour_baseline",
                ),
                node(
                    nodes.compare_variants,
                    {"databunch": "databunch", "colour": colour, **sections},
                    "model_comparison",
                    name="compare_variants",
                ),
                node(
                    nodes.write_report,
                    {name: name for name in of_the_page} | {"colour": colour, "report": "params:report", **sections},
                    "report",
                    name="write_report",
                ),
            ],
            tags="evaluate",
        )
        figures = Pipeline(
            [
                node(
                    figure_nodes.draw_roc_curves,
                    {
                        "databunch": "databunch",
                        "evaluation": "params:evaluation",
                        "report": "params:report",
                        **sections,
                    },
                    "roc_curves",
                    name="draw_roc_curves",
                )
            ],
            namespace="figures",
            prefix_datasets_with_namespace=False,
            tags="figures",
        )
        return Pipeline([measured, figures], namespace="reporting", prefix_datasets_with_namespace=False)
