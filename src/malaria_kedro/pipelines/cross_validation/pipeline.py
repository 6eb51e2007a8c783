"""databunch → one network per fold → predictions of every cell, unseen → metrics, label audit, a page."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from malaria_kedro.pipelines import step
from malaria_kedro.pipelines.cross_validation import nodes


def create_pipeline() -> Pipeline:
    """Return the pipeline; it is not part of ``kedro run`` without a name."""
    cross_validation, training, evaluation = "params:cross_validation", "params:training", "params:evaluation"
    report = "params:report"
    return Pipeline(
        [
            step(
                nodes.cross_validate,
                ["databunch", "checkpoints", "run_state", "parameters", cross_validation, training, evaluation],
                ["predictions", "history"],
                tags="train",
            ),
            step(
                nodes.measure_folds,
                ["predictions", "history", "databunch", "parameters", cross_validation, evaluation],
                "metrics",
                tags="evaluate",
            ),
            step(nodes.draw_folds, ["metrics", evaluation, report], "folds", tags="figures"),
            step(nodes.audit_labels, "predictions", "label_audit", tags="evaluate"),
            step(
                nodes.draw_label_audit,
                ["label_audit", "databunch", evaluation, report],
                "label_audit_sheet",
                tags="figures",
            ),
            step(
                nodes.write_report,
                ["metrics", "folds", "label_audit", "label_audit_sheet", "parameters", "run_record", report],
                "report",
                tags="evaluate",
            ),
        ],
        namespace="cross_validation",
        inputs={"databunch", "run_record", "run_state"},
        outputs={"label_audit", "label_audit_sheet"},
        parameters={cross_validation, training, evaluation, report},
    )
