"""Nodes of the reporting pipeline: predict once, then derive every table and the report from that table."""

from __future__ import annotations

import logging
import time
from typing import Any

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.parameters import BLOCKS, Evaluation, Training
from malaria_kedro.pipelines.types import Table

logger = logging.getLogger(__name__)

FIGURES = (
    *("confusion_matrix", "roc_curve", "precision_recall_curve", "reliability_diagram", "patients_figure"),
    *("loss_curves", "top_losses", "top_losses_heatmap", "true_positives_heatmap"),
)
# What the report needs of each variant, in this order.
REPORTED = ("classifier", "metrics", "history", "patients", *FIGURES)
# What a cross-validation leaves, if there was one.
EXTRAS = ("cross_validation_metrics", "cross_validation_folds", "label_audit", "label_audit_sheet")

# Under this key predictions (in their attrs, which parquet keeps), their cost and metrics tell whose they are.
CLASSIFIER = "classifier"
PATIENT_COUNTS = ["split", "patient_id", "cells", "flagged_cells"]


class ReportingError(MalariaKedroError, ValueError):
    """What is to be put together is not of one classifier; the message says what is not, and what to do."""


def predict_cells(
    classifier: Any, databunch: Any, evaluation: Evaluation, training: Training
) -> tuple[Table, dict[str, Any]]:
    """Predict every cell of validation (and test), and say what it cost; both name the classifier."""
    # torch takes seconds to import; only a run that predicts should wait for it.
    from malaria_kedro.learning import prediction
    from malaria_kedro.learning.hardware import choose_hardware

    databunch.verify()
    started = time.perf_counter()
    predictions = prediction.predict_cells(classifier, databunch, evaluation, training)
    seconds = time.perf_counter() - started
    predictions.attrs[CLASSIFIER] = identify(classifier.card)
    return predictions, {
        CLASSIFIER: identify(classifier.card),
        "n": len(predictions),
        "seconds": round(seconds, 3),
        "ms_per_cell": round(1000 * seconds / len(predictions), 4),
        "device": choose_hardware(training).name,
    }


def identify(card: dict[str, Any]) -> dict[str, Any]:
    """Return what tells this classifier from others: its training, the epoch, and how it was calibrated."""
    selected, calibration = card.get("selected") or {}, card.get("calibration") or {}
    return {
        "training_id": card["training_id"],
        "stage": selected.get("stage"),
        "epoch": selected.get("epoch"),
        "temperature": calibration.get("temperature", 1.0),
    }


def check_made_by(made: dict[str, Any], what: str, card: dict[str, Any]) -> None:
    """Check that something is of this classifier.

    Args:
        made: what it carries (of a table, the attrs), with what ``identify`` returned under ``classifier``.
        what: what to call it in the message, in the plural.
        card: of the classifier.

    Raises:
        ReportingError: it is of another one, or does not tell.
    """
    found, own = made.get(CLASSIFIER) or {}, identify(card)
    if all(found.get(key) == value for key, value in own.items()):
        return
    told = found.keys() >= own.keys()  # what an earlier version of this project made does not tell
    raise ReportingError(
        f"{what} {f'are of {_in_words(found)}' if told else 'do not tell of which classifier they are'}, and the "
        f"classifier {card['name']} is of {_in_words(own)}: make them again with kedro run --pipeline reporting, or "
        "load the versions of one run"
    )


def _in_words(identity: dict[str, Any]) -> str:
    training = str(identity.get("training_id"))[:12]
    return (
        f"training {training}, {identity.get('stage')}, epoch {identity.get('epoch')}, temperature "
        f"{identity.get('temperature')}"
    )


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

    check_made_by(predictions.attrs, "predictions", classifier.card)
    return patients.patient_table(predictions, threshold=threshold_of(classifier, evaluation), column="p_calibrated")


def measure_predictions(
    predictions: Table,
    prediction_cost: dict[str, Any],
    patient_table: Table,
    classifier: Any,
    evaluation: Evaluation,
) -> dict[str, Any]:
    """Measure everything, split by split, with intervals; say what was measured and what it cost.

    Raises:
        ReportingError: predictions, their cost and their patients are not of this classifier.
    """
    from malaria_kedro.evaluation import metrics, patients
    from malaria_kedro.evaluation.bootstrap import Bootstrap

    card, intervals = classifier.card, Bootstrap(evaluation.bootstrap_draws, evaluation.bootstrap_seed)
    check_made_by(predictions.attrs, "predictions", card)
    check_made_by(prediction_cost, "prediction costs", card)
    measured = {key: card[key] for key in ("name", "training_id", "selected", "versions")} | identify(card)
    measured |= {"data_fingerprint": card["data"]["fingerprint"], "phantom": card["data"]["phantom"]}
    chosen = (card.get("calibration") or {}).get("threshold")
    _check_patients(patient_table, predictions, evaluation.threshold if chosen is None else chosen)
    return {
        "classifier": measured,
        **metrics.measure(predictions, threshold=evaluation.threshold, intervals=intervals),
        "calibration": card.get("calibration"),
        "operating_point": (
            None if chosen is None else metrics.measure_at(predictions, threshold=chosen, intervals=intervals)
        ),
        "patients": {
            split: patients.false_positive_floor(patient_table[patient_table["split"] == split])
            for split in sorted(predictions["split"].unique())
        },
        "cost": {
            "n_parameters": card.get("n_parameters"),
            "weights_bytes": sum(value.nbytes for value in classifier.state.values()),
            "train_seconds": card.get("seconds"),
            **{key: prediction_cost[key] for key in ("ms_per_cell", "device")},
        },
    }


def _check_patients(patient_table: Table, predictions: Table, threshold: float) -> None:
    known = predictions[predictions["patient_id"].notna()]
    flagged = (known["p_calibrated"] >= threshold).groupby([known["split"].astype(str), known["patient_id"]])
    own = {key: (len(cells), cells.sum()) for key, cells in flagged}
    its = {(split, patient): tuple(counts) for split, patient, *counts in patient_table[PATIENT_COUNTS].to_numpy()}
    if its != own:
        told, found = (f"{len(counts)} rows, {sum(n for _, n in counts.values())} flagged" for counts in (its, own))
        raise ReportingError(
            f"patients ({told}) are not those of predictions at {threshold:g} ({found}): make them again with kedro "
            "run --pipeline reporting, or load the versions of one run"
        )


def write_model_card(classifier: Any, metrics: dict[str, Any]) -> str:
    """Write the model card with what was measured, intervals and test cells included."""
    from malaria_kedro.report import model_card

    check_made_by(metrics, "metrics", classifier.card)
    return model_card.write_model_card(classifier.card, metrics)


def predict_from_colour(databunch: Any) -> Table:
    """Predict the same cells from their colours alone."""
    from malaria_kedro.evaluation import colour_baseline

    return colour_baseline.predict_from_colour(databunch)


def measure_colour_baseline(predictions: Table, evaluation: Evaluation) -> dict[str, Any]:
    """Measure what colour alone gives."""
    from malaria_kedro.evaluation import metrics
    from malaria_kedro.evaluation.bootstrap import Bootstrap

    intervals = Bootstrap(evaluation.bootstrap_draws, evaluation.bootstrap_seed)
    return metrics.measure(predictions, threshold=evaluation.threshold, intervals=intervals)


def compare_variants(databunch: Any, colour: dict[str, Any], folds: dict[str, Any] | None, *parts: Any) -> Table:
    """Put all side by side; ``parts`` are all classifiers, then all metrics."""
    from malaria_kedro.evaluation import comparison

    half = len(parts) // 2
    cards, metrics = [classifier.card for classifier in parts[:half]], list(parts[half:])
    for card, measured in zip(cards, metrics, strict=True):
        check_made_by(measured, "metrics", card)
    return comparison.compare_variants(
        cards,
        metrics,
        baseline=colour,
        databunch_summary=databunch.summary,
        cross_validation=_of_these_cells(folds, databunch),
    )


def write_report(
    databunch: Any,
    batch_preview: bytes,
    model_comparison: Table,
    colour: dict[str, Any],
    parameters: dict[str, Any],
    *parts: Any,
) -> str:
    """Write the page; ``parts`` are what ``EXTRAS`` names, then what ``REPORTED`` names, variant after variant."""
    from malaria_kedro.report import report
    from malaria_kedro.report.inputs import ReportExtras, VariantReport

    extras, of_variants = dict(zip(EXTRAS, parts, strict=False)), parts[len(EXTRAS) :]
    folds = _of_these_cells(extras["cross_validation_metrics"], databunch)
    if folds is None:  # what was made with them is then of other cells too
        extras = dict.fromkeys(EXTRAS)
    pictures = {"folds": extras["cross_validation_folds"], "label_audit_sheet": extras["label_audit_sheet"]}
    entries = [
        dict(zip(REPORTED, of_variants[i : i + len(REPORTED)], strict=True))
        for i in range(0, len(of_variants), len(REPORTED))
    ]
    for entry in entries:
        check_made_by(entry["metrics"], "metrics", entry["classifier"].card)
    # Kedro has made typed blocks of those that a node of this run asks for, and left the others as conf/ has them.
    shared = {name: model.model_validate(parameters[name]).model_dump(mode="json") for name, model in BLOCKS.items()}
    return report.write_report(
        [
            VariantReport(
                entry["classifier"].card,
                entry["metrics"],
                entry["history"],
                {figure.removesuffix("_figure"): entry[figure] for figure in FIGURES},
                patients=entry["patients"],
            )
            for entry in entries
        ],
        model_comparison,
        databunch.summary,
        figures={"batch_preview": batch_preview},
        parameters=shared,
        extras=ReportExtras(
            cross_validation=folds,
            label_audit=extras["label_audit"],
            baseline=colour,
            figures={name: png for name, png in pictures.items() if png is not None},
        ),
        listed=databunch.listed,
    )


def _of_these_cells(folds: dict[str, Any] | None, databunch: Any) -> dict[str, Any] | None:
    """Return the metrics of a cross-validation if it was made with the cells at hand, and with their labels."""
    if folds is None:
        return None
    pixels, labels = databunch.summary.pixels_fingerprint, databunch.summary.labels_sha256
    if folds["data_fingerprint"] != pixels:
        other, its, own = "of other cells", folds["data_fingerprint"], pixels
    elif folds.get("labels_sha256") != labels:
        other, its, own = "with other labels", folds.get("labels_sha256") or "unknown", labels or "unknown"
    else:
        return folds
    logger.warning(
        "the cross-validation on disk is %s (%s) than this databunch (%s), so the report leaves it and its label audit "
        "out; run the pipeline cross_validation again",
        other,
        its[:12],
        own[:12],
    )
    return None
