"""Cross-validation: every cell is predicted once, by a network that has not seen it, and fold by fold it can go on."""

import logging

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.learning import cross_validation
from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.cross_validation import cross_validate, hold_out
from malaria_kedro.learning.interruption import UnfinishedError
from malaria_kedro.parameters import CrossValidation

FOLDING = CrossValidation(variant="small", folds=2, strategies=("patient", "random"), seeds=(42,))


def validate(bunch, variant, training, folder, folding=FOLDING):
    return cross_validate(bunch, variant, training, folding, Checkpoints(folder), batch_size=16)


@pytest.fixture(scope="module")
def variant(variant_of):
    return variant_of(epochs=(1, 1), select="best_valid_loss")


@pytest.fixture(scope="module")
def validated(phantom_bunch, variant, training, tmp_path_factory):
    """Predictions and history of two folds, patient-disjoint and at random."""
    return validate(phantom_bunch, variant, training, tmp_path_factory.mktemp("folds"))


def test_every_cell_is_predicted_once_by_each_protocol(validated, phantom_bunch):
    predictions, _ = validated
    for _, table in predictions.groupby("strategy"):
        assert sorted(table["cell_id"]) == sorted(phantom_bunch.cells["cell_id"])
    assert predictions["p_parasitized"].between(0, 1).all()


def test_a_patients_cells_are_in_one_fold_only_where_patients_decide(validated):
    predictions, _ = validated
    folds = predictions.groupby(["strategy", "patient_id"])["fold"].nunique()
    assert (folds["patient"] == 1).all()
    assert (folds["random"] > 1).any()


def test_every_epoch_of_every_fold_is_in_the_history(validated):
    _, history = validated
    assert history.groupby(["strategy", "seed", "fold"])["stage"].apply(list).tolist() == [["stage_1", "stage_2"]] * 4


def test_broken_off_it_goes_on_with_the_fold_and_ends_the_same(validated, phantom_bunch, variant, training, tmp_path):
    limited = training.model_copy(update={"epochs_per_run": 3})
    runs = 0
    while True:
        runs += 1
        try:
            predictions, history = validate(phantom_bunch, variant, limited, tmp_path)
            break
        except UnfinishedError:
            assert runs < 4
    assert runs == 3  # eight epochs, three a run
    pd.testing.assert_frame_equal(predictions, validated[0], check_exact=True)
    pd.testing.assert_frame_equal(
        history.drop(columns="seconds"), validated[1].drop(columns="seconds"), check_exact=True
    )


def test_a_fold_is_judged_by_its_last_epoch_whatever_select_says(
    validated, phantom_bunch, variant_of, training, tmp_path
):
    last = variant_of(epochs=(1, 1), select="last")
    predictions, _ = validate(phantom_bunch, last, training, tmp_path)
    pd.testing.assert_frame_equal(predictions, validated[0], check_exact=True)


def test_the_split_of_the_databunch_plays_no_part(phantom_bunch):
    held_out = np.arange(len(phantom_bunch.cells)) % 2 == 0
    other = cross_validation.replace(phantom_bunch, cells=phantom_bunch.cells.assign(split="test"))
    one, two = (hold_out(bunch, held_out, {"strategy": "random"}) for bunch in (phantom_bunch, other))
    assert one.fingerprint == two.fingerprint
    assert one.cells["split"].tolist() == ["valid" if held else "train" for held in held_out]


def test_other_sides_have_another_fingerprint(phantom_bunch):
    held_out = np.arange(len(phantom_bunch.cells)) % 2 == 0
    one, two = (hold_out(phantom_bunch, side, {"strategy": "random"}) for side in (held_out, ~held_out))
    assert one.fingerprint != two.fingerprint


def test_a_fold_does_not_take_the_others_for_trainings_that_it_replaces(
    phantom_bunch, variant, training, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    validate(phantom_bunch, variant, training, tmp_path)
    assert sum("fold 2 of 2" in message for message in caplog.messages) == 2
    assert [message for message in caplog.messages if "starts afresh" in message] == []
