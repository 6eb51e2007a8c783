"""The figures of a variant, each from the one table of predictions."""

from __future__ import annotations

from typing import Any, TypedDict

from malaria_kedro.evaluation.measurements import Metrics
from malaria_kedro.parameters import Evaluation, StyleName, Training
from malaria_kedro.pipelines.reporting import nodes
from malaria_kedro.pipelines.types import Figure, Table


class FigureOptions(TypedDict):
    """What every figure of a variant is given."""

    style: StyleName
    title: str
    phantom: bool


def draw_confusion_matrix(predictions: Table, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw actual against predicted classes."""
    from malaria_kedro.figures import confusion_matrix

    nodes.check_predictions(predictions, classifier.metadata)
    return confusion_matrix.draw_confusion_matrix(
        predictions,
        threshold=evaluation.threshold,
        **_options(classifier, evaluation, "confusion matrix"),
    )


def draw_loss_curves(batch_history: Table, history: Table, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw training and validation loss over batches."""
    from malaria_kedro.figures import training

    return training.draw_loss_curves(batch_history, history, **_options(classifier, evaluation, "loss while training"))


def draw_roc_curve(predictions: Table, metrics: Metrics, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw sensitivity against false alarms."""
    from malaria_kedro.figures import curves

    nodes.check_predictions(predictions, classifier.metadata)
    nodes.check_made_by(metrics.classifier, "metrics", classifier.metadata)
    return curves.draw_roc_curve(
        predictions, metrics, metrics.operating_point, **_options(classifier, evaluation, "ROC curve")
    )


def draw_precision_recall_curve(
    predictions: Table, metrics: Metrics, classifier: Any, evaluation: Evaluation
) -> Figure:
    """Draw precision against sensitivity."""
    from malaria_kedro.figures import curves

    nodes.check_predictions(predictions, classifier.metadata)
    nodes.check_made_by(metrics.classifier, "metrics", classifier.metadata)
    return curves.draw_precision_recall_curve(
        predictions,
        metrics,
        metrics.operating_point,
        **_options(classifier, evaluation, "precision and recall"),
    )


def draw_reliability_diagram(predictions: Table, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw what the probabilities are worth, before and after calibration."""
    from malaria_kedro.figures import curves

    nodes.check_predictions(predictions, classifier.metadata)
    return curves.draw_reliability_diagram(
        predictions,
        classifier.metadata.calibration,
        **_options(classifier, evaluation, "reliability"),
    )


def draw_patients(patient_table: Table, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw one point per patient."""
    from malaria_kedro.figures import patients

    return patients.draw_patients(patient_table, **_options(classifier, evaluation, "patients"))


def draw_top_losses(predictions: Table, databunch: Any, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw the validation cells that the network gets most wrong."""
    from malaria_kedro.figures import cells

    nodes.check_predictions(predictions, classifier.metadata)
    return cells.draw_top_losses(
        predictions,
        databunch,
        threshold=evaluation.threshold,
        count=evaluation.top_losses,
        style=evaluation.figure_style,
        title=f"{classifier.metadata.name}: greatest losses in validation",
    )


def draw_top_losses_heatmap(
    predictions: Table, databunch: Any, classifier: Any, evaluation: Evaluation, training: Training
) -> Figure:
    """Draw the same cells, each beside what speaks for its call."""
    from malaria_kedro.figures import cells

    nodes.check_predictions(predictions, classifier.metadata)
    rows = cells.worst_cells(predictions, evaluation.top_losses)
    title = "greatest losses in validation, with heat maps"
    return _draw_heat_maps(rows, databunch, classifier, evaluation, training, title)


def draw_true_positives_heatmap(
    predictions: Table, databunch: Any, classifier: Any, evaluation: Evaluation, training: Training
) -> Figure:
    """Draw parasitized cells that were found, the surest of each patient first, each beside its heat map."""
    from malaria_kedro.figures import heat_maps

    nodes.check_predictions(predictions, classifier.metadata)
    rows = heat_maps.true_positives(predictions, threshold=evaluation.threshold, count=evaluation.top_losses)
    title = "parasites found in validation, with heat maps"
    return _draw_heat_maps(rows, databunch, classifier, evaluation, training, title)


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
    return draw_heat_maps(
        *(rows, images, maps),
        threshold=evaluation.threshold,
        **_options(classifier, evaluation, title),
    )


def _options(classifier: Any, evaluation: Evaluation, title: str) -> FigureOptions:
    return {
        "style": evaluation.figure_style,
        "title": f"{classifier.metadata.name}: {title}",
        "phantom": classifier.metadata.data.phantom,
    }
