"""Tables of epochs and batches, and the choice of the epoch that is exported."""

import pandas as pd
import pytest

from malaria_kedro.learning.history import (
    BATCH_TYPES,
    HISTORY_TYPES,
    TrainingError,
    as_table,
    choose_epoch,
)


def test_history_has_a_row_an_epoch_and_batches_a_row_a_batch(trained):
    assert list(trained.history.columns) == list(HISTORY_TYPES)
    assert list(trained.batches.columns) == list(BATCH_TYPES)
    assert list(zip(trained.history["stage"], trained.history["epoch"], strict=True)) == [
        ("stage_1", 1),
        ("stage_1", 2),
        ("stage_2", 1),
    ]
    assert trained.stage_1.batches["batch"].tolist() == [1, 2, 3, 4]


def test_batches_count_on_through_both_stages(trained):
    assert trained.batches["batch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert trained.batches["stage"].tolist() == ["stage_1"] * 4 + ["stage_2"] * 2


@pytest.mark.parametrize("epochs", [0, 1])
def test_tables_keep_their_types_without_rows_too(trained, epochs):
    history, batches = trained.stage_1.history.iloc[:epochs], trained.stage_1.batches.iloc[:epochs]
    if not epochs:
        history, batches = as_table([], HISTORY_TYPES), as_table([], BATCH_TYPES)
    assert pd.api.types.is_string_dtype(history["stage"])
    assert pd.api.types.is_string_dtype(batches["stage"])
    assert {str(kind) for kind in history.dtypes.iloc[1:]} == {"int64", "float64"}
    assert {str(kind) for kind in batches.dtypes.iloc[1:]} == {"int64", "float64"}


HISTORY = pd.DataFrame(
    [
        ("stage_1", 1, 0.5, 0.80),
        ("stage_1", 2, 0.2, 0.90),
        ("stage_2", 1, 0.3, 0.95),
        ("stage_2", 2, 0.2, 0.95),
        ("stage_2", 3, 0.4, 0.93),
    ],
    columns=["stage", "epoch", "valid_loss", "accuracy"],
)


@pytest.mark.parametrize(
    ("select", "chosen"),
    [
        ("last", ("stage_2", 3)),
        ("best_valid_loss", ("stage_1", 2)),
        ("best_accuracy", ("stage_2", 1)),
        (2, ("stage_2", 2)),
    ],
)
def test_select_takes_the_earliest_that_fits(select, chosen):
    assert choose_epoch(HISTORY, select) == chosen


def test_a_number_is_of_the_last_stage_that_trained():
    assert choose_epoch(HISTORY[HISTORY["stage"] == "stage_1"], 1) == ("stage_1", 1)


def test_an_epoch_that_was_not_trained_is_refused():
    with pytest.raises(TrainingError, match="select is epoch 4, but stage_2 has the epochs 1 to 3"):
        choose_epoch(HISTORY, 4)
