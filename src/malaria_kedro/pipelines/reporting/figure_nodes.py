"""The figures of a variant, each from the one table of predictions; matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import Any

from malaria_kedro.evaluation.measurements import Metrics
from malaria_kedro.parameters import Evaluation, Training
from malaria_kedro.pipelines.reporting.nodes import check_made_by, check_predictions
from malaria_kedro.pipelines.types import Figure, Table, VariantReport


def draw_confusion_matrix(predictions: Table, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw actual against predicted classes."""
    from malaria_kedro.figures import confusion_matrix

    check_predictions(predictions, classifier.metadata)
    look = _look(classifier, evaluation, "confusion matrix")
    return confusion_matrix.draw_confusion_matrix(predictions, look, threshold=evaluation.threshold)


def draw_loss_curves(batch_history: Table, history: Table, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw training and validation loss over batches."""
    from malaria_kedro.figures import training

    return training.draw_loss_curves(batch_history, history, _look(classifier, evaluation, "loss while training"))


def draw_roc_curve(predictions: Table, metrics: Metrics, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw sensitivity against false alarms."""
    return _draw_curve("ROC", predictions, metrics, classifier, _look(classifier, evaluation, "ROC curve"))


def draw_roc_curves(databunch: Any, evaluation: Evaluation, **sections: VariantReport) -> Figure:
    """Draw the ROC curves of all variants over each other."""
    from malaria_kedro.figures import curves
    from malaria_kedro.figures.style import Look

    measured = {name: section for name, section in sections.items() if section.sweep}
    return curves.draw_roc_curves(
        {name: section.sweep for name, section in measured.items()},
        {name: section.metrics for name, section in measured.items()},
        {name: section.operating_point for name, section in measured.items() if section.operating_point},
        Look(evaluation.figure_style, "ROC curves", databunch.phantom),
    )


def draw_precision_recall_curve(
    predictions: Table, metrics: Metrics, classifier: Any, evaluation: Evaluation
) -> Figure:
    """Draw precision against sensitivity."""
    look = _look(classifier, evaluation, "precision and recall")
    return _draw_curve("PRECISION_RECALL", predictions, metrics, classifier, look)


def draw_reliability_diagram(predictions: Table, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw what the probabilities are worth, before and after calibration."""
    from malaria_kedro.figures import curves

    check_predictions(predictions, classifier.metadata)
    look = _look(classifier, evaluation, "reliability")
    return curves.draw_reliability_diagram(predictions, look, classifier.metadata.calibration)


def draw_patients(patient_table: Table, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw one point per patient."""
    from malaria_kedro.figures import patients

    return patients.draw_patients(patient_table, _look(classifier, evaluation, "patients"))


def draw_top_losses(predictions: Table, databunch: Any, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw the validation cells that the network gets most wrong."""
    from malaria_kedro.figures import cells

    check_predictions(predictions, classifier.metadata)
    look = _look(classifier, evaluation, "greatest losses in validation")
    threshold, count = evaluation.threshold, evaluation.top_losses
    return cells.draw_top_losses(predictions, databunch, look, threshold=threshold, count=count)


def draw_top_losses_heatmap(
    predictions: Table, databunch: Any, classifier: Any, evaluation: Evaluation, training: Training
) -> Figure:
    """Draw the same cells, each beside what speaks for its call."""
    from malaria_kedro.figures import cells

    check_predictions(predictions, classifier.metadata)
    rows = cells.worst_cells(predictions, evaluation.top_losses)
    title = "greatest losses in validation, with heat maps"
    return _draw_heat_maps(rows, databunch, classifier, evaluation, training, title)


def draw_true_positives_heatmap(
    predictions: Table, databunch: Any, classifier: Any, evaluation: Evaluation, training: Training
) -> Figure:
    """Draw parasitized cells that were found, the surest of each patient first, each beside its heat map."""
    from malaria_kedro.figures import heat_maps

    check_predictions(predictions, classifier.metadata)
    rows = heat_maps.true_positives(predictions, threshold=evaluation.threshold, count=evaluation.top_losses)
    title = "parasites found in validation, with heat maps"
    return _draw_heat_maps(rows, databunch, classifier, evaluation, training, title)


def _draw_curve(name: str, predictions: Table, metrics: Metrics, classifier: Any, look: Any) -> Figure:
    from malaria_kedro.figures import curves

    check_predictions(predictions, classifier.metadata)
    check_made_by(metrics.classifier, "metrics", classifier.metadata)
    return curves.draw_curve(getattr(curves, name), predictions, metrics, look, metrics.operating_point)


def _draw_heat_maps(
    rows: Table, databunch: Any, classifier: Any, evaluation: Evaluation, training: Training, title: str
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
    look = _look(classifier, evaluation, title)
    return draw_heat_maps(rows, images, maps, look, threshold=evaluation.threshold)


def _look(classifier: Any, evaluation: Evaluation, title: str) -> Any:
    from malaria_kedro.figures.style import Look

    metadata = classifier.metadata
    return Look(evaluation.figure_style, f"{metadata.name}: {title}", metadata.data.phantom)
