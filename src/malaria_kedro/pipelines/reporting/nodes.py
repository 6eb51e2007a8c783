"""Nodes of the reporting pipeline: predict once, then derive every table and the report from that table."""

from __future__ import annotations

import logging
import time
from typing import Any

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.evaluation.measurements import (
    ClassifierIdentity,
    Cost,
    MeasuredClassifier,
    Measurement,
    Metrics,
    PredictionCost,
)
from malaria_kedro.parameters import BLOCKS, Evaluation, Training
from malaria_kedro.pipelines.types import Table, VariantReport

logger = logging.getLogger(__name__)

FIGURES = (
    *("confusion_matrix", "roc_curve", "precision_recall_curve", "reliability_diagram", "patients_figure"),
    *("loss_curves", "top_losses", "top_losses_heatmap", "true_positives_heatmap"),
)
# Under this key predictions carry their classifier's identity in their attrs, which parquet keeps.
CLASSIFIER = "classifier"
PATIENT_COUNTS = ["split", "patient_id", "cells", "flagged_cells"]


class ReportingError(MalariaKedroError, ValueError):
    """What is to be combined does not belong to one classifier; the message says what does not, and what to do."""


def predict_cells(
    classifier: Any, databunch: Any, evaluation: Evaluation, training: Training
) -> tuple[Table, PredictionCost]:
    """Predict every cell of validation (and test), and say what it cost; both name the classifier."""
    # torch takes seconds to import; only a run that predicts should wait for it.
    from malaria_kedro.learning import prediction
    from malaria_kedro.learning.hardware import choose_hardware

    databunch.verify()
    started = time.perf_counter()
    predictions = prediction.predict_cells(classifier, databunch, evaluation, training)
    seconds = time.perf_counter() - started
    identity = identify(classifier.card)
    predictions.attrs[CLASSIFIER] = identity.model_dump()
    return predictions, PredictionCost(
        classifier=identity,
        n=len(predictions),
        seconds=round(seconds, 3),
        ms_per_cell=round(1000 * seconds / len(predictions), 4),
        device=choose_hardware(training).name,
    )


def identify(card: dict[str, Any]) -> ClassifierIdentity:
    """Return what tells this classifier from others."""
    selected, calibration = card.get("selected") or {}, card.get("calibration") or {}
    return ClassifierIdentity(
        training_id=card["training_id"],
        stage=selected.get("stage"),
        epoch=selected.get("epoch"),
        temperature=calibration.get("temperature", 1.0),
    )


def check_made_by(found: ClassifierIdentity, what: str, card: dict[str, Any]) -> None:
    """Check that something was made by this classifier.

    Args:
        found: the identity that it carries.
        what: what to call it in the message, in the plural.
        card: of the classifier.

    Raises:
        ReportingError: another one made it, or it does not tell.
    """
    own = identify(card)
    if all(getattr(found, name) == value for name, value in own):
        return
    told = found.model_fields_set >= own.model_fields_set  # files of an earlier version of this project do not tell
    raise ReportingError(
        f"{what} {f'are of {found}' if told else 'do not tell of which classifier they are'}, and the classifier "
        f"{card['name']} is of {own}: make them again with kedro run --pipelines reporting, or load the versions of "
        "one run"
    )


def check_predictions(predictions: Table, card: dict[str, Any]) -> None:
    """Check that a table of predictions was made by this classifier.

    Raises:
        ReportingError: another one made it, or it does not tell.
    """
    found = ClassifierIdentity.model_validate(predictions.attrs.get(CLASSIFIER) or {})
    check_made_by(found, "predictions", card)


def threshold_of(classifier: Any, evaluation: Evaluation) -> float:
    """Return the operating point's threshold of ``p_calibrated``; the general one where the card has none."""
    chosen = (classifier.card.get("calibration") or {}).get("threshold")
    if chosen is None:
        logger.warning(
            "%s has no operating point, so its patients' cells are called at evaluation.threshold, %g",
            classifier.card["name"],
            evaluation.threshold,
        )
        return evaluation.threshold
    return float(chosen)


def summarise_patients(predictions: Table, classifier: Any, evaluation: Evaluation) -> Table:
    """Sum up the cells of each patient, called at the operating point."""
    from malaria_kedro.evaluation import patients

    check_predictions(predictions, classifier.card)
    return patients.patient_table(predictions, threshold=threshold_of(classifier, evaluation), column="p_calibrated")


def measure_predictions(
    predictions: Table,
    prediction_cost: PredictionCost,
    patient_table: Table,
    classifier: Any,
    evaluation: Evaluation,
) -> Metrics:
    """Measure everything, split by split, with intervals; say what was measured and what it cost.

    Raises:
        ReportingError: predictions, their cost and their patients do not belong to this classifier.
    """
    from malaria_kedro.evaluation import metrics, patients
    from malaria_kedro.evaluation.bootstrap import Bootstrap

    card, intervals = classifier.card, Bootstrap(evaluation.bootstrap_draws, evaluation.bootstrap_seed)
    check_predictions(predictions, card)
    check_made_by(prediction_cost.classifier, "prediction costs", card)
    chosen = (card.get("calibration") or {}).get("threshold")
    _check_patients(patient_table, predictions, evaluation.threshold if chosen is None else chosen)
    return Metrics(
        classifier=MeasuredClassifier(
            **dict(identify(card)),
            name=card["name"],
            selected=card["selected"],
            versions=card["versions"],
            data_fingerprint=card["data"]["fingerprint"],
            phantom=card["data"]["phantom"],
        ),
        **dict(metrics.measure(predictions, threshold=evaluation.threshold, intervals=intervals)),
        calibration=card.get("calibration"),
        operating_point=(
            None if chosen is None else metrics.measure_at(predictions, threshold=chosen, intervals=intervals)
        ),
        patients={
            split: patients.false_positive_floor(patient_table[patient_table["split"] == split])
            for split in sorted(predictions["split"].unique())
        },
        cost=Cost(
            n_parameters=card.get("n_parameters"),
            weights_bytes=sum(value.nbytes for value in classifier.state.values()),
            train_seconds=card.get("seconds"),
            ms_per_cell=prediction_cost.ms_per_cell,
            device=prediction_cost.device,
        ),
    )


def _check_patients(patient_table: Table, predictions: Table, threshold: float) -> None:
    known = predictions[predictions["patient_id"].notna()]
    flagged = (known["p_calibrated"] >= threshold).groupby([known["split"].astype(str), known["patient_id"]])
    own = {key: (len(cells), cells.sum()) for key, cells in flagged}
    its = {(split, patient): tuple(counts) for split, patient, *counts in patient_table[PATIENT_COUNTS].to_numpy()}
    if its != own:
        told, found = (f"{len(counts)} rows, {sum(n for _, n in counts.values())} flagged" for counts in (its, own))
        raise ReportingError(
            f"patients ({told}) are not those of predictions at {threshold:g} ({found}): make them again with kedro "
            "run --pipelines reporting, or load the versions of one run"
        )


def write_model_card(classifier: Any, metrics: Metrics) -> str:
    """Write the model card with what was measured, intervals and test cells included."""
    from malaria_kedro.report import model_card

    check_made_by(metrics.classifier, "metrics", classifier.card)
    return model_card.write_model_card(classifier.card, metrics)


def gather_section(
    classifier: Any, metrics: Metrics, history: Table, patients: Table, **figures: bytes
) -> VariantReport:
    """Gather what the report says about this variant."""
    from malaria_kedro.report import inputs

    check_made_by(metrics.classifier, "metrics", classifier.card)
    named = {name.removesuffix("_figure"): png for name, png in figures.items()}
    return inputs.gather_variant(classifier.card, metrics, history, named, patients)


def predict_from_colour(databunch: Any) -> Table:
    """Predict the same cells from their colours alone."""
    from malaria_kedro.evaluation import colour_baseline

    return colour_baseline.predict_from_colour(databunch)


def measure_colour_baseline(predictions: Table, evaluation: Evaluation) -> Measurement:
    """Measure what colour alone gives."""
    from malaria_kedro.evaluation import metrics
    from malaria_kedro.evaluation.bootstrap import Bootstrap

    intervals = Bootstrap(evaluation.bootstrap_draws, evaluation.bootstrap_seed)
    return metrics.measure(predictions, threshold=evaluation.threshold, intervals=intervals)


def compare_variants(databunch: Any, colour: Measurement, **sections: VariantReport) -> Table:
    """Put the variants and what colour alone gives side by side."""
    from malaria_kedro.evaluation import comparison

    return comparison.compare_variants(
        [section.card for section in sections.values()],
        [section.metrics for section in sections.values()],
        baseline=colour,
        databunch_summary=databunch.summary,
    )


def write_report(
    databunch: Any,
    batch_preview: bytes,
    model_comparison: Table,
    colour: Measurement,
    parameters: dict[str, Any],
    **sections: VariantReport,
) -> str:
    """Write the page, a section for each variant."""
    from malaria_kedro.report import report

    # Kedro has made typed blocks of those that a node of this run asks for, and left the others as conf/ has them.
    shared = {name: model.model_validate(parameters[name]).model_dump(mode="json") for name, model in BLOCKS.items()}
    return report.write_report(
        list(sections.values()),
        model_comparison,
        databunch.summary,
        figures={"batch_preview": batch_preview},
        parameters=shared,
        baseline=colour,
        listed=databunch.listed,
    )
