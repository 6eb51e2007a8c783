"""From a DataBunch to one variant's classifier.

torch and fastai take seconds to import, so a node imports them when it runs; the types that come from there
(Checkpoints, TrainedStage, Classifier) are Any here, because Kedro resolves the hints to find the parameter blocks.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from malaria_kedro.parameters import Evaluation, Training, Variant
from malaria_kedro.pipelines.types import DataBunch, Table

logger = logging.getLogger(__name__)


def summarise_model(databunch: DataBunch, variant: Variant) -> str:
    """List the network's layers with output shapes, parameters and whether they are trained."""
    from malaria_kedro.learning.summary import summarise_network

    return summarise_network(databunch, variant)


def train_stage(
    databunch: DataBunch, checkpoints: Any, run_state: Any, variant: Variant, training: Training, stage_1: Any = None
) -> Any:
    """Train stage 1 or, given its result, stage 2."""
    from malaria_kedro.learning import training as learning

    return learning.train_stage(databunch, variant, training, checkpoints, stage_1, run_state=run_state)


def join_histories(stage_1: Any, stage_2: Any) -> tuple[Table, Table]:
    """Put both stages' epochs and batches into one table each, and say where validation loss turned."""
    from malaria_kedro.evaluation.metrics import overfitting_onset
    from malaria_kedro.learning import history as histories

    history, batches = histories.join_histories(stage_1, stage_2)
    if onset := overfitting_onset(history):
        logger.info("%s: %s", stage_1.description.variant, onset.sentence)
    return history, batches


def export_classifier(
    databunch: DataBunch,
    checkpoints: Any,
    stage_1: Any,
    stage_2: Any,
    history: Table,
    variant: Variant,
    training: Training,
    evaluation: Evaluation,
) -> Any:
    """Take the epoch that ``select`` names, calibrate it on validation, and fit its quality gate on training cells."""
    from malaria_kedro.evaluation.bootstrap import Bootstrap
    from malaria_kedro.evaluation.metrics import measure, measure_at_threshold
    from malaria_kedro.inference.gate import FEWEST_CELLS
    from malaria_kedro.inference.training_gate import fit_training_gate
    from malaria_kedro.learning import classifier
    from malaria_kedro.learning.calibration import calibrate, describe_calibration
    from malaria_kedro.learning.prediction import predict_rows
    from malaria_kedro.learning.soundness import describe_scores, find_doubts

    databunch.verify()  # the metadata name the data by its fingerprint
    exported = classifier.export_classifier(databunch, variant, (stage_1, stage_2), history, checkpoints)
    predictions = predict_rows(exported.network(), databunch, databunch.rows("valid"), evaluation.batch_size, training)
    name, chosen = exported.metadata.name, exported.metadata.selected
    calibration = calibrate(predictions, evaluation.target_sensitivity)
    gate = fit_training_gate(name, databunch)
    found: dict[str, Any] = {"calibration": calibration}
    intervals = Bootstrap(evaluation.bootstrap_draws, evaluation.bootstrap_seed)
    if scores := measure_at_threshold(predictions, calibration, intervals):
        found["at_threshold"] = scores
    if not gate:
        cells = len(databunch.rows("train"))
        found["no_quality_gate"] = f"{cells} training cells tell no limits, at least {FEWEST_CELLS} are needed"
    logger.info(
        "%s: exported epoch %d of %s (select: %s), validation accuracy %.4f",
        *(name, chosen.epoch, chosen.stage, chosen.rule, chosen.accuracy),
    )
    logger.info("%s: %s", name, describe_calibration(calibration))
    metadata = exported.metadata.model_copy(update=found)
    logger.info("%s: %s", name, describe_scores(metadata))
    for doubt in find_doubts(metadata):
        logger.warning("%s %s", name, doubt)
    return replace(
        exported,
        metadata=metadata,
        quality_gate=gate,
        metrics=measure(predictions, threshold=evaluation.threshold),
    )
