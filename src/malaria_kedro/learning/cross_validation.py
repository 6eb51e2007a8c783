"""k-fold cross-validation of one variant: every cell is predicted by a network that has not seen it."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pandas as pd

from malaria_kedro.cells.folds import fold_cells
from malaria_kedro.cells.splits import shared_patients, shared_pictures
from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.databunch import DataBunch, fingerprint_of
from malaria_kedro.learning.interruption import RunState
from malaria_kedro.learning.prediction import predict_rows
from malaria_kedro.learning.training import make_network, train_stage
from malaria_kedro.parameters import CrossValidation, Training, Variant

logger = logging.getLogger(__name__)


def cross_validate(
    bunch: DataBunch,
    variant: Variant,
    training: Training,
    cross_validation: CrossValidation,
    checkpoints: Checkpoints,
    *,
    batch_size: int,
    run_state: RunState | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train a network for each fold and predict the cells that it has not seen.

    A fold's network is that of its last epoch: the held-out cells choose nothing. Each fold is a training of its own
    among the checkpoints, so that the same call resumes where another one was interrupted. The split of ``bunch`` plays
    no part; ``batch_size``, the cells per forward pass, changes no result.

    Returns:
        One row per cell, strategy and seed: ``strategy``, ``seed``, ``fold``, ``cell_id``, ``patient_id``, ``label``,
        ``p_parasitized`` (0-1), ``loss`` (nats); and one row per epoch: ``strategy``, ``seed``, ``fold`` and the
        columns of a history.

    Raises:
        FoldError: the cells cannot be divided into these folds.
        What ``malaria_kedro.learning.training.train_stage`` raises.
    """
    predictions, histories, run_state = [], [], run_state or RunState()
    for strategy in cross_validation.strategies:
        for seed in cross_validation.seeds:
            fold_of = fold_cells(bunch.cells, strategy=strategy, folds=cross_validation.folds, seed=seed)
            for fold in range(1, cross_validation.folds + 1):
                of_fold: dict[str, str | int] = {"strategy": strategy, "seed": seed, "fold": fold}
                part = hold_out(bunch, fold_of == fold, of_fold)
                logger.info(
                    "%s, %s fold %d of %d (seed %d): %d cells train, %d are held out; %d of %d patients shared, "
                    "%d pictures shared",
                    *(variant.name, strategy, fold, cross_validation.folds, seed),
                    *((fold_of != fold).sum(), (fold_of == fold).sum()),
                    *(shared_patients(part.cells).get("train/valid", 0), part.cells["patient_id"].nunique()),
                    shared_pictures(part.cells).get("train/valid", 0),
                )
                stage_1 = train_stage(part, variant, training, checkpoints, run_state=run_state)
                last = train_stage(part, variant, training, checkpoints, stage_1, run_state=run_state)
                network, _ = make_network(variant, last)
                held_out = predict_rows(network, part, part.rows("valid"), batch_size, training)
                predictions.append(_label(held_out.drop(columns="split"), of_fold))
                histories += [_label(stage.history, of_fold) for stage in (stage_1, last) if len(stage.history)]
    return pd.concat(predictions, ignore_index=True), pd.concat(histories, ignore_index=True)


def _label(table: pd.DataFrame, of_fold: dict[str, str | int]) -> pd.DataFrame:
    return pd.DataFrame(of_fold, index=table.index).join(table)


def hold_out(bunch: DataBunch, held_out: np.ndarray, cross_validation: dict[str, str | int]) -> DataBunch:
    """Return the same cells with other splits, those of a fold: the held out (bool, N) validate, all others train."""
    cells = bunch.cells.assign(split=np.where(held_out, "valid", "train"))
    summary = bunch.summary.model_copy(
        update={
            "fingerprint": fingerprint_of(bunch.summary.pixels_fingerprint, cells[["cell_id", "label", "split"]]),
            "strategy": cross_validation["strategy"],
            "split": cross_validation,
        }
    )
    return replace(bunch, cells=cells, summary=summary)
