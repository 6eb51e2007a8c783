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
from malaria_kedro.evaluation.stored_metrics import identify
from malaria_kedro.learning.metadata import ClassifierMetadata
from malaria_kedro.parameters import BLOCKS, Evaluation, Report, Training
from malaria_kedro.pipelines.types import RunRecord, Table, VariantReport

logger = logging.getLogger(__name__)

# Under this key predictions carry their classifier's identity in their attrs, which parquet keeps.
CLASSIFIER = "classifier"


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
    identity = identify(classifier.metadata)
    predictions.attrs[CLASSIFIER] = identity.model_dump()
    return predictions, PredictionCost(
        classifier=identity,
        n=len(predictions),
        seconds=round(seconds, 3),
        ms_per_cell=round(1000 * seconds / len(predictions), 4),
        device=choose_hardware(training).name,
    )


def check_made_by(found: ClassifierIdentity, what: str, metadata: ClassifierMetadata) -> None:
    """Check the identity that something carries (``what``, in the plural) against the classifier's.

    Raises:
        ReportingError: another one made it, or it does not tell.
    """
    own = identify(metadata)
    if all(getattr(found, name) == value for name, value in own):
        return
    told = found.model_fields_set >= own.model_fields_set  # files of an earlier version of this project do not tell
    raise ReportingError(
        f"{what} {f'are of {found}' if told else 'do not tell of which classifier they are'}, and the classifier "
        f"{metadata.name} is of {own}: make them again with kedro run --pipelines reporting, or load the versions of "
        "one run"
    )


def check_predictions(predictions: Table, metadata: ClassifierMetadata) -> None:
    """Check that a table of predictions was made by this classifier; raises as ``check_made_by`` does."""
    found = ClassifierIdentity.model_validate(predictions.attrs.get(CLASSIFIER) or {})
    check_made_by(found, "predictions", metadata)


def summarise_patients(predictions: Table, classifier: Any, evaluation: Evaluation) -> Table:
    """Sum up the cells of each patient, called at the operating point; without one, at the general threshold."""
    from malaria_kedro.evaluation import patients

    metadata, threshold = classifier.metadata, classifier.metadata.threshold
    check_predictions(predictions, metadata)
    if threshold is None:
        threshold = evaluation.threshold
        told = "%s has no operating point, so its patients' cells are called at evaluation.threshold, %g"
        logger.warning(told, metadata.name, threshold)
    return patients.patient_table(predictions, threshold=threshold, column="p_calibrated")


def measure_predictions(
    predictions: Table, prediction_cost: PredictionCost, patient_table: Table, classifier: Any, evaluation: Evaluation
) -> Metrics:
    """Measure everything, split by split, with intervals; say what was measured and what it cost.

    Raises:
        ReportingError: predictions, their cost and their patients do not belong to this classifier.
    """
    from malaria_kedro.evaluation import metrics, patients
    from malaria_kedro.evaluation.bootstrap import Bootstrap

    metadata, intervals = classifier.metadata, Bootstrap(evaluation.bootstrap_draws, evaluation.bootstrap_seed)
    check_predictions(predictions, metadata)
    check_made_by(prediction_cost.classifier, "prediction costs", metadata)
    chosen = metadata.threshold
    _check_patients(patient_table, predictions, evaluation.threshold if chosen is None else chosen)
    return Metrics(
        classifier=MeasuredClassifier(
            **dict(identify(metadata)),
            name=metadata.name,
            selected=metadata.selected,
            versions=metadata.versions,
            data_fingerprint=metadata.data.fingerprint,
            phantom=metadata.data.phantom,
        ),
        **dict(metrics.measure(predictions, threshold=evaluation.threshold, intervals=intervals)),
        calibration=metadata.calibration,
        operating_point=(
            None if chosen is None else metrics.measure_at(predictions, threshold=chosen, intervals=intervals)
        ),
        patients={
            split: patients.false_positive_floor(patient_table[patient_table["split"] == split])
            for split in sorted(predictions["split"].unique())
        },
        cost=Cost(
            n_parameters=metadata.n_parameters,
            weights_bytes=sum(value.nbytes for value in classifier.state.values()),
            train_seconds=metadata.seconds,
            ms_per_cell=prediction_cost.ms_per_cell,
            device=prediction_cost.device,
        ),
    )


def _check_patients(patient_table: Table, predictions: Table, threshold: float) -> None:
    known = predictions[predictions["patient_id"].notna()]
    flagged = (known["p_calibrated"] >= threshold).groupby([known["split"].astype(str), known["patient_id"]])
    own = {key: (len(cells), cells.sum()) for key, cells in flagged}
    counted = patient_table[["split", "patient_id", "cells", "flagged_cells"]].to_numpy()
    its = {(split, patient): tuple(counts) for split, patient, *counts in counted}
    if its != own:
        told, found = (f"{len(counts)} rows, {sum(n for _, n in counts.values())} flagged" for counts in (its, own))
        raise ReportingError(
            f"patients ({told}) are not those of predictions at {threshold:g} ({found}): make them again with kedro "
            "run --pipelines reporting, or load the versions of one run"
        )


def write_model_card(classifier: Any, metrics: Metrics) -> str:
    """Write the model card with what was measured, intervals and test cells included."""
    from malaria_kedro.report import model_card

    check_made_by(metrics.classifier, "metrics", classifier.metadata)
    return model_card.write_model_card(classifier.metadata, metrics)


def gather_section(
    classifier: Any, predictions: Table, metrics: Metrics, history: Table, patients: Table, **figures: bytes
) -> VariantReport:
    """Gather what the report says about this variant."""
    from malaria_kedro.evaluation.thresholds import sweep_thresholds
    from malaria_kedro.report import inputs

    check_predictions(predictions, classifier.metadata)
    check_made_by(metrics.classifier, "metrics", classifier.metadata)
    named = {name.removesuffix("_figure"): png for name, png in figures.items()}
    return inputs.gather_variant(
        classifier.metadata,
        metrics,
        history,
        named,
        patients,
        version=classifier.folder and classifier.folder.parent.name,
        sweep=sweep_thresholds(predictions, metrics.main_split),
    )


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
        [section.metadata for section in sections.values()],
        [section.metrics for section in sections.values()],
        baseline=colour,
        databunch_summary=databunch.summary,
    )


def write_report(
    databunch: Any,
    batch_preview: bytes,
    model_comparison: Table,
    colour: Measurement,
    roc_curves: bytes,
    parameters: dict[str, Any],
    run_record: RunRecord,
    report: Report,
    **sections: VariantReport,
) -> str:
    """Write the page, with the variants side by side."""
    from malaria_kedro.report.report import write_report as write_page

    # Kedro has made typed blocks of those that a node of this run asks for, and left the others as conf/ has them.
    return write_page(
        list(sections.values()),
        model_comparison,
        databunch.summary,
        run=run_record,
        roc_curves=roc_curves,
        batch_preview=batch_preview,
        parameters={name: block.model_validate(parameters[name]) for name, block in BLOCKS.items()},
        baseline=colour,
        listed=databunch.listed,
        untrained=[name for name in parameters if name not in BLOCKS and name not in sections],
        language=report.language,
    )
