"""A cross-validation in numbers: each fold, their mean and spread, all cells together."""

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.evaluation.bootstrap import Bootstrap
from malaria_kedro.evaluation.fold_metrics import average_seeds, measure_folds, shared_patients
from malaria_kedro.evaluation.measurements import FoldMeasurement

FEW_DRAWS = Bootstrap(draws=100)


def predictions(*, strategies=("patient",), seeds=(42,), folds=2, patients=8, each=6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    cells = pd.DataFrame(
        {
            "cell_id": [f"c{number:03}" for number in range(patients * each)],
            "patient_id": [f"C{number // each}" for number in range(patients * each)],
            "label": ["Parasitized" if number % 2 else "Uninfected" for number in range(patients * each)],
        }
    )
    tables = []
    for strategy in strategies:
        for seed in seeds:
            p = np.where(cells["label"] == "Parasitized", 0.7, 0.3) + rng.uniform(-0.28, 0.28, len(cells))
            number = np.arange(len(cells)) // each if strategy == "patient" else np.arange(len(cells))
            right = np.where(cells["label"] == "Parasitized", p, 1 - p)
            tables.append(
                cells.assign(
                    strategy=strategy, seed=seed, fold=number % folds + 1, p_parasitized=p, loss=-np.log(right)
                )
            )
    return pd.concat(tables, ignore_index=True)


def test_mean_and_spread_are_those_of_the_folds():
    found = measure_folds(predictions(folds=4), threshold=0.5, intervals=FEW_DRAWS).protocols["patient"]
    accuracies = [fold.accuracy for fold in found.folds]
    assert len(accuracies) == 4
    assert found.mean.accuracy == pytest.approx(np.mean(accuracies))
    assert found.sd.accuracy == pytest.approx(np.std(accuracies, ddof=1))


def test_all_cells_together_have_intervals_by_patients():
    pooled = measure_folds(predictions(), threshold=0.5, intervals=FEW_DRAWS).protocols["patient"].pooled
    assert pooled.n == 48
    assert pooled.bootstrap.unit == "patient"
    low, high = pooled.intervals["accuracy"]
    assert low <= pooled.accuracy <= high


def test_both_protocols_stand_side_by_side_and_say_who_is_shared():
    found = measure_folds(predictions(strategies=("patient", "random")), threshold=0.5, intervals=FEW_DRAWS).protocols
    assert list(found) == ["patient", "random"]
    assert (found["patient"].shared_patients, found["random"].shared_patients) == (0, 8)


def test_seeds_are_folds_of_their_own_and_one_prediction_a_cell_together():
    found = measure_folds(predictions(seeds=(1, 2)), threshold=0.5, intervals=FEW_DRAWS).protocols["patient"]
    assert [(fold.seed, fold.fold) for fold in found.folds] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert found.n == 48


def test_the_average_is_that_of_log_odds_with_its_own_loss():
    table = pd.DataFrame(
        {
            "cell_id": ["a", "a", "b"],
            "patient_id": ["C1", "C1", "C2"],
            "label": ["Parasitized", "Parasitized", "Uninfected"],
            "p_parasitized": [0.9, 0.5, 0.2],
            "loss": [0.1, 0.7, 0.2],
        }
    )
    found = average_seeds(table)
    assert found["p_parasitized"].tolist() == pytest.approx([0.75, 0.2])  # odds 9 and 1: their mean is 3
    assert found["loss"].tolist() == pytest.approx([-np.log(0.75), -np.log(0.8)])


def test_single_predictions_keep_their_last_digit():
    table = predictions()
    assert average_seeds(table)["p_parasitized"].tolist() == table.sort_values("cell_id")["p_parasitized"].tolist()


def test_unknown_patients_are_not_counted():
    assert shared_patients(predictions().assign(patient_id=None)) is None


def test_a_fold_of_one_class_is_noted_and_the_json_is_strict():
    table = predictions(folds=2)
    table.loc[table["fold"] == 1, "label"] = "Uninfected"
    found = measure_folds(table, threshold=0.5, intervals=FEW_DRAWS)
    assert FoldMeasurement.model_validate_json(found.model_dump_json(exclude_unset=True)) == found
    assert found.protocols["patient"].folds[0].sensitivity is None
    assert any(note.startswith("patient, seed 42, fold 1: sensitivity is undefined") for note in found.notes)
    assert found.protocols["patient"].sd.sensitivity is None  # of one fold alone there is no spread


def test_no_prediction_is_an_error():
    with pytest.raises(ValueError, match="run the pipeline cross_validation again"):
        measure_folds(predictions().head(0), threshold=0.5, intervals=FEW_DRAWS)
