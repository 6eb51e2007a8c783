"""What reporting does, a step a function: predict once, then derive everything from that table."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from malaria_kedro.interpretation import comparison, figures, metrics, report
from malaria_kedro.parameters import BLOCKS, Evaluation, Training

# What the report needs of each variant, in this order.
REPORTED = ("classifier", "metrics", "history", "confusion_matrix", "loss_curves", "top_losses")
REPORTED_FIGURES = ("confusion_matrix", "loss_curves", "top_losses")


def predict_cells(classifier: Any, databunch: Any, evaluation: Evaluation, training: Training) -> pd.DataFrame:
    """Predict every cell of validation (and test): cell_id, patient_id, split, label, p_parasitized, loss."""
    # torch takes seconds to import; only a run that predicts should wait for it.
    from malaria_kedro.learning import prediction

    return prediction.predict_cells(classifier, databunch, evaluation, training)


def measure_predictions(predictions: pd.DataFrame, classifier: Any, evaluation: Evaluation) -> dict[str, Any]:
    """Measure accuracy, sensitivity, specificity and the rest, split by split; say what was measured."""
    card = classifier.card
    measured = {key: card[key] for key in ("name", "training_id", "selected", "versions")}
    measured |= {"data_fingerprint": card["data"]["fingerprint"], "phantom": card["data"]["phantom"]}
    return {"classifier": measured, **metrics.measure(predictions, threshold=evaluation.threshold)}


def draw_confusion_matrix(predictions: pd.DataFrame, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw actual against predicted classes."""
    return figures.draw_confusion_matrix(
        predictions,
        threshold=evaluation.threshold,
        size=evaluation.figures.confusion_matrix,
        dpi=evaluation.figures.dpi,
        title=f"{classifier.card['name']}: confusion matrix",
        phantom=classifier.card["data"]["phantom"],
    )


def draw_loss_curves(
    batch_history: pd.DataFrame, history: pd.DataFrame, classifier: Any, evaluation: Evaluation
) -> Figure:
    """Draw training and validation loss over batches."""
    return figures.draw_loss_curves(
        batch_history,
        history,
        size=evaluation.figures.loss_curves,
        dpi=evaluation.figures.dpi,
        title=f"{classifier.card['name']}: loss while training",
        phantom=classifier.card["data"]["phantom"],
    )


def draw_top_losses(predictions: pd.DataFrame, databunch: Any, classifier: Any, evaluation: Evaluation) -> Figure:
    """Draw the validation cells that the network gets most wrong."""
    return figures.draw_top_losses(
        predictions,
        databunch,
        threshold=evaluation.threshold,
        count=evaluation.top_losses,
        size=evaluation.figures.top_losses,
        dpi=evaluation.figures.dpi,
        title=f"{classifier.card['name']}: greatest losses in validation",
    )


def compare_variants(*parts: Any) -> pd.DataFrame:
    """Put the variants and the tutorial side by side; ``parts`` are all classifiers, then all metrics."""
    half = len(parts) // 2
    return comparison.compare_variants([classifier.card for classifier in parts[:half]], list(parts[half:]))


def write_report(
    databunch: Any, batch_preview: bytes, model_comparison: pd.DataFrame, parameters: dict[str, Any], *parts: Any
) -> str:
    """Write the page; ``parts`` are what ``REPORTED`` names, variant after variant."""
    variants = [
        dict(zip(REPORTED, parts[i : i + len(REPORTED)], strict=True)) for i in range(0, len(parts), len(REPORTED))
    ]
    entries = [
        report.VariantReport(v["classifier"].card, v["metrics"], v["history"], {f: v[f] for f in REPORTED_FIGURES})
        for v in variants
    ]
    # Kedro has made typed blocks of those that a node of this run asks for, and left the others as conf/ has them.
    shared = {name: model.model_validate(parameters[name]).model_dump(mode="json") for name, model in BLOCKS.items()}
    pictures = {"batch_preview": batch_preview}
    return report.write_report(entries, model_comparison, databunch.summary, figures=pictures, parameters=shared)
