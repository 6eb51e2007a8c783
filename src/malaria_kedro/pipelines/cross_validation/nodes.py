"""Nodes of the cross-validation: predict every cell unseen, measure the folds, audit the labels."""

from __future__ import annotations

from typing import Any

from malaria_kedro.evaluation.measurements import CrossValidationMetrics
from malaria_kedro.language import _, written_in
from malaria_kedro.parameters import CrossValidation, Evaluation, Report, Training, Variant
from malaria_kedro.pipelines.types import Figure, RunRecord, Table


def cross_validate(
    databunch: Any,
    checkpoints: Any,
    run_state: Any,
    parameters: dict[str, Any],
    cross_validation: CrossValidation,
    training: Training,
    evaluation: Evaluation,
) -> tuple[Table, Table]:
    """Train one network per fold; return what it predicts of the cells it has not seen, and every epoch."""
    # torch takes seconds to import; only a run that trains should wait for it.
    from malaria_kedro.learning.cross_validation import cross_validate as train_folds

    # Kedro has made typed blocks of those that a node of this run asks for, and left the others as conf/ has them.
    variant = Variant.model_validate(parameters[cross_validation.variant])
    databunch.verify()
    return train_folds(
        databunch,
        variant,
        training,
        cross_validation,
        checkpoints,
        batch_size=evaluation.batch_size,
        run_state=run_state,
    )


def measure_folds(
    predictions: Table,
    history: Table,
    databunch: Any,
    parameters: dict[str, Any],
    cross_validation: CrossValidation,
    evaluation: Evaluation,
) -> CrossValidationMetrics:
    """Measure each fold, their mean and spread, and all cells together; say what was measured."""
    from malaria_kedro.evaluation import fold_metrics
    from malaria_kedro.evaluation.bootstrap import Bootstrap

    measured = fold_metrics.measure_folds(
        predictions,
        threshold=evaluation.threshold,
        intervals=Bootstrap(evaluation.bootstrap_draws, evaluation.bootstrap_seed),
    )
    return CrossValidationMetrics(
        variant=cross_validation.variant,
        architecture=Variant.model_validate(parameters[cross_validation.variant]).arch,
        folds=cross_validation.folds,
        seeds=list(cross_validation.seeds),
        phantom=databunch.phantom,
        origin=databunch.summary.origin,
        data_fingerprint=databunch.summary.pixels_fingerprint,
        labels_sha256=databunch.summary.labels_sha256,
        image_size=databunch.image_size,
        epochs=int(history.groupby(["strategy", "seed", "fold"]).size().max()),
        train_seconds={
            str(strategy): round(float(rows["seconds"].sum()), 1) for strategy, rows in history.groupby("strategy")
        },
        **dict(measured),
    )


def draw_folds(metrics: CrossValidationMetrics, evaluation: Evaluation, report: Report) -> Figure:
    """Draw what each fold reached."""
    from malaria_kedro.figures import folds, style

    with written_in(report.language):
        title = _("{variant}: {folds}-fold cross-validation").format(variant=metrics.variant, folds=metrics.folds)
        return folds.draw_folds(metrics.protocols, style.Look(evaluation.figure_style, title, metrics.phantom))


def audit_labels(predictions: Table) -> Table:
    """Rank the cells by how little their label is believed, the least first; nothing is changed."""
    from malaria_kedro.evaluation import label_noise

    return label_noise.audit_labels(predictions)


def draw_label_audit(label_audit: Table, databunch: Any, evaluation: Evaluation, report: Report) -> Figure:
    """Draw the cells whose labels are believed least."""
    from malaria_kedro.figures import label_audit as sheet
    from malaria_kedro.figures.style import Look

    with written_in(report.language):
        look = Look(evaluation.figure_style, _("Labels to review"), databunch.phantom)
        return sheet.draw_label_audit(label_audit, databunch, look, count=evaluation.label_audit_cells)


def write_report(
    metrics: CrossValidationMetrics,
    folds: bytes,
    label_audit: Table,
    label_audit_sheet: bytes,
    parameters: dict[str, Any],
    run_record: RunRecord,
    report: Report,
) -> str:
    """Write the page: the folds, the label audit, and what was trained on which cells."""
    from malaria_kedro.report import cross_validation_report

    recipe = Variant.model_validate(parameters[metrics.variant])
    return cross_validation_report.write_report(
        metrics,
        label_audit,
        recipe,
        run_record,
        folds=folds,
        label_audit_sheet=label_audit_sheet,
        language=report.language,
    )
