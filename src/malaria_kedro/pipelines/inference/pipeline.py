"""new cells → cell_predictions → patient_summary, new_cells_figure, inference_report."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from malaria_kedro.pipelines import step
from malaria_kedro.pipelines.inference import nodes


def create_pipeline() -> Pipeline:
    """Return the pipeline; it is not part of ``kedro run`` without a name."""
    return Pipeline(
        [
            step(
                nodes.read_new_cells,
                ["inference_classifier", "inference_workspace", "params:inference", "params:source", "params:training"],
                ["cell_predictions", "classifier_path"],
            ),
            step(nodes.summarise_new_patients, "cell_predictions", "patient_summary"),
            step(
                nodes.draw_new_cells,
                ["cell_predictions", "patient_summary", "classifier_path", "params:evaluation", "params:report"],
                "new_cells_figure",
                tags="figures",
            ),
            step(
                nodes.write_inference_report,
                [
                    *("cell_predictions", "patient_summary", "new_cells_figure", "classifier_path"),
                    *("inference_workspace", "params:inference", "params:evaluation", "run_record", "params:report"),
                ],
                "inference_report",
            ),
        ]
    )
