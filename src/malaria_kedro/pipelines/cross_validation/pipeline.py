"""databunch → one network per fold → predictions of every cell, unseen → metrics, label audit, a page."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from malaria_kedro.pipelines.cross_validation import nodes


def create_pipeline() -> Pipeline:
    """Return the pipeline; it is not part of ``kedro run`` without a name."""
    cross_validation, evaluation = "params:cross_validation", "params:evaluation"
    return Pipeline(
        [
            node(
                nodes.cross_validate,
                [
                    *("databunch", "checkpoints", "run_state", "parameters"),
                    *(cross_validation, "params:training", evaluation),
                ],
                ["predictions", "history"],
                name="cross_validate",
                tags="training",
            ),
            node(
                nodes.measure_folds,
                ["predictions", "history", "databunch", "parameters", cross_validation, evaluation],
                "metrics",
                name="measure_folds",
            ),
            node(nodes.draw_folds, ["metrics", evaluation], "folds", name="draw_folds"),
            node(nodes.audit_labels, "predictions", "label_audit", name="audit_labels"),
            node(
                nodes.draw_label_audit,
                ["label_audit", "databunch", evaluation],
                "label_audit_sheet",
                name="draw_label_audit",
            ),
            node(
                nodes.write_report,
                ["metrics", "folds", "label_audit", "label_audit_sheet", "parameters"],
                "report",
                name="write_report",
            ),
        ],
        namespace="cross_validation",
        inputs={"databunch", "run_state"},
        outputs={"label_audit", "label_audit_sheet"},
        parameters={cross_validation, "params:training", evaluation},
    )
