"""The figures of a variant, each from the one table of predictions; matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import Any

from malaria_kedro.evaluation.measurements import Metrics
from malaria_kedro.language import _, written_in
from malaria_kedro.parameters import Evaluation, Report, Training
from malaria_kedro.pipelines.reporting.nodes import check_made_by, check_predictions
from malaria_kedro.pipelines.types import Figure, Table, VariantReport


def draw_confusion_matrix(predictions: Table, classifier: Any, evaluation: Evaluation, report: Report) -> Figure:
    """Draw actual against predicted classes."""
    from malaria_kedro.figures import confusion_matrix

    check_predictions(predictions, classifier.metadata)
    with written_in(report.language):
        look = _look(classifier, evaluation, _("confusion matrix"))
        return confusion_matrix.draw_confusion_matrix(predictions, look, threshold=evaluation.threshold)


def draw_loss_curves(
    batch_history: Table, history: Table, classifier: Any, evaluation: Evaluation, report: Report
) -> Figure:
    """Draw training and validation loss over batches."""
    from malaria_kedro.figures import training

    with written_in(report.language):
        look = _look(classifier, evaluation, _("loss while training"))
        return training.draw_loss_curves(batch_history, history, look)


def draw_roc_curve(
    predictions: Table, metrics: Metrics, classifier: Any, evaluation: Evaluation, report: Report
) -> Figure:
    """Draw sensitivity against false alarms."""
    with written_in(report.language):
        look = _look(classifier, evaluation, _("ROC curve"))
        return _draw_curve("ROC", predictions, metrics, classifier, look)


def draw_roc_curves(databunch: Any, evaluation: Evaluation, report: Report, **sections: VariantReport) -> Figure:
    """Draw the ROC curves of all variants over each other."""
    from malaria_kedro.figures import curves
    from malaria_kedro.figures.style import Look

    measured = {name: section for name, section in sections.items() if section.sweep}
    with written_in(report.language):
        return curves.draw_roc_curves(
            {name: section.sweep for name, section in measured.items()},
            {name: section.metrics for name, section in measured.items()},
            {name: section.operating_point for name, section in measured.items() if section.operating_point},
            Look(evaluation.figure_style, _("ROC curves"), databunch.phantom),
        )


def draw_precision_recall_curve(
    predictions: Table, metrics: Metrics, classifier: Any, evaluation: Evaluation, report: Report
) -> Figure:
    """Draw precision against sensitivity."""
    with written_in(report.language):
        look = _look(classifier, evaluation, _("precision and recall"))
        return _draw_curve("PRECISION_RECALL", predictions, metrics, classifier, look)


def draw_reliability_diagram(predictions: Table, classifier: Any, evaluation: Evaluation, report: Report) -> Figure:
    """Draw what the probabilities are worth, before and after calibration."""
    from malaria_kedro.figures import curves

    check_predictions(predictions, classifier.metadata)
    with written_in(report.language):
        look = _look(classifier, evaluation, _("reliability"))
        return curves.draw_reliability_diagram(predictions, look, classifier.metadata.calibration)


def draw_patients(patient_table: Table, classifier: Any, evaluation: Evaluation, report: Report) -> Figure:
    """Draw one point per patient."""
    from malaria_kedro.figures import patients

    with written_in(report.language):
        return patients.draw_patients(patient_table, _look(classifier, evaluation, _("patients")))


def draw_top_losses(
    predictions: Table, databunch: Any, classifier: Any, evaluation: Evaluation, report: Report
) -> Figure:
    """Draw the validation cells that the network gets most wrong."""
    from malaria_kedro.figures import cells

    check_predictions(predictions, classifier.metadata)
    threshold, count = evaluation.threshold, evaluation.top_losses
    with written_in(report.language):
        look = _look(classifier, evaluation, _("greatest losses in validation"))
        return cells.draw_top_losses(predictions, databunch, look, threshold=threshold, count=count)


def draw_top_losses_heatmap(
    predictions: Table, databunch: Any, classifier: Any, evaluation: Evaluation, training: Training, report: Report
) -> Figure:
    """Draw the same cells, each beside what speaks for its call."""
    from malaria_kedro.figures import cells

    check_predictions(predictions, classifier.metadata)
    rows = cells.worst_cells(predictions, evaluation.top_losses)
    with written_in(report.language):
        look = _look(classifier, evaluation, _("greatest losses in validation, with heat maps"))
        return _draw_heat_maps(rows, databunch, classifier, evaluation, training, look)


def draw_true_positives_heatmap(
    predictions: Table, databunch: Any, classifier: Any, evaluation: Evaluation, training: Training, report: Report
) -> Figure:
    """Draw parasitized cells that were found, the surest of each patient first, each beside its heat map."""
    from malaria_kedro.figures import heat_maps

    check_predictions(predictions, classifier.metadata)
    rows = heat_maps.true_positives(predictions, threshold=evaluation.threshold, count=evaluation.top_losses)
    with written_in(report.language):
        look = _look(classifier, evaluation, _("parasites found in validation, with heat maps"))
        return _draw_heat_maps(rows, databunch, classifier, evaluation, training, look)


def _draw_curve(name: str, predictions: Table, metrics: Metrics, classifier: Any, look: Any) -> Figure:
    from malaria_kedro.figures import curves

    check_predictions(predictions, classifier.metadata)
    check_made_by(metrics.classifier, "metrics", classifier.metadata)
    return curves.draw_curve(getattr(curves, name), predictions, metrics, look, metrics.operating_point)


def _draw_heat_maps(
    rows: Table, databunch: Any, classifier: Any, evaluation: Evaluation, training: Training, look: Any
) -> Figure:
    # torch takes seconds to import; only a run that looks into a network should wait for it.
    from malaria_kedro.evaluation.metrics import called_parasitized
    from malaria_kedro.figures.cells import images_of
    from malaria_kedro.figures.heat_maps import draw_heat_maps
    from malaria_kedro.learning.hardware import choose_hardware
    from malaria_kedro.learning.heatmaps import heat_maps

    images = images_of(rows, databunch)
    classes = (~called_parasitized(rows, evaluation.threshold)).astype("int64")  # 0 is parasitized
    maps = heat_maps(classifier.network(), images, classes, device=choose_hardware(training).device)
    return draw_heat_maps(rows, images, maps, look, threshold=evaluation.threshold)


def _look(classifier: Any, evaluation: Evaluation, title: str) -> Any:
    from malaria_kedro.figures.style import Look

    metadata = classifier.metadata
    title = _("{name}: {figure}").format(name=metadata.name, figure=title)
    return Look(evaluation.figure_style, title, metadata.data.phantom)
