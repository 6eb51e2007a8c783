"""The ablation on a handful of cells: every row is a recipe, and the table shows what was found."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from malaria_kedro.cells.phantoms import draw_archive
from malaria_kedro.learning import loaders, training
from malaria_kedro.parameters import Augment, Phantoms, Stage, Variant

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def ablation():
    """The script, imported as scripts import each other."""
    sys.path.insert(0, str(BENCHMARKS))
    import ablation

    yield ablation
    sys.path.remove(str(BENCHMARKS))
    for name in ("ablation", "measuring", "records", "render"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def parameters(ablation):
    """The sprint's parameters, at 32 px and for two epochs."""
    found = ablation.parameters(32)
    stage = found["resnet18"]["stage_1"] | {"epochs": 2, "initial_size": 16}
    return found | {"resnet18": found["resnet18"] | {"stage_1": stage, "batch_size": 16}}


@pytest.fixture(scope="module")
def bunch(ablation, parameters, tmp_path_factory):
    """96 phantom cells of 12 patients."""
    place = tmp_path_factory.mktemp("ablation")
    archive = draw_archive(Phantoms(patients=12, cells_per_patient=8, size=40, seed=3), place / "phantoms.zip")
    return ablation.prepare(archive, place / "data", parameters)


def test_every_row_is_a_recipe_that_differs_in_what_its_name_says(ablation):
    sprint = ablation.parameters(None)
    block, augment = sprint["resnet18"], sprint["augment"]
    recipes = set()
    for row in ablation.ROWS.values():
        changed = block | row.variant | {"stage_1": block["stage_1"] | row.stage_1}
        recipe = (Variant.model_validate(changed), Augment.model_validate(augment | row.augment), row.around)
        recipes.add(repr(recipe))
    assert len(recipes) == len(ablation.ROWS)
    assert Stage.model_validate(block["stage_1"]).initial_size == 32  # so that taking it out changes something


def test_it_judges_the_split_of_the_sprint(bunch):
    assert bunch.summary.strategy == "patient"
    assert set(bunch.summary.shared_patients.values()) == {0}
    assert len(bunch.rows("test"))
    assert len(bunch.rows("valid"))


def test_a_row_is_trained_and_judged_and_repeats_itself(ablation, bunch, parameters):
    first, again, other = (
        ablation.run(ablation.ROWS[name], 1, bunch, parameters)
        for name in (ablation.RECIPE, ablation.RECIPE, "with label smoothing 0.05")
    )
    judged = ["valid", "valid" + ablation.FLIPPED, "test", "test" + ablation.FLIPPED]
    for result in (first, other):
        assert result["processor_seconds"] > 0
        assert all(0 <= result[split][figure] <= 1 for split in judged for figure in ("accuracy", "roc_auc"))
    assert [first[split] for split in judged] == [again[split] for split in judged]
    assert [first[split] for split in judged] != [other[split] for split in judged]


def test_what_the_project_lacks_is_gone_after_its_row(ablation, bunch, parameters):
    before = training.make_learner, loaders.augmentations
    for row in ablation.ROWS.values():
        if row.around:
            with row.around():
                assert (training.make_learner, loaders.augmentations) != before
            assert (training.make_learner, loaders.augmentations) == before


def test_averaged_weights_are_the_moving_average(ablation):
    network = nn.Linear(1, 1, bias=False)
    average = ablation.AverageWeights(0.9)
    average.model = network
    with torch.no_grad():
        network.weight.fill_(1.0)
        average.before_fit()
        for value in (2.0, 3.0):
            network.weight.fill_(value)
            average.after_step()
    average.after_fit()
    assert network.weight.item() == pytest.approx(0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 3)


def test_the_table_shows_means_spread_and_the_difference_by_seed(ablation, tmp_path, capsys):
    def result(row, seed, accuracy):
        judged = {"accuracy": accuracy, "roc_auc": 0.99}
        return {"row": row, "seed": seed, "processor_seconds": 100.0 + seed, "valid": judged, "test": judged}

    without = "without dropout"
    results = [
        result(ablation.RECIPE, 1, 0.96),
        result(ablation.RECIPE, 2, 0.95),
        result(without, 2, 0.945),  # half a point less than the recipe with the same seed
    ]
    ablation.publish(results, "cells.zip", 32, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| the recipe | 2 | 102 | 95.50 % (95.00-96.00) |  | 0.9900 | 95.50 % (95.00-96.00) |"
    assert lines[3] == f"| {without} | 1 | 102 | 94.50 % | −0.50 | 0.9900 | 94.50 % |"
    assert (tmp_path / "ablation.json").exists()


def test_results_of_other_cells_are_not_mixed(ablation, tmp_path, monkeypatch):
    archive = draw_archive(Phantoms(patients=12, cells_per_patient=8, size=40, seed=3), tmp_path / "phantoms.zip")
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"data_fingerprint": "of others", "recipe": {}, "results": []}))
    monkeypatch.setattr(sys, "argv", ["ablation.py", str(archive), str(file), "--size", "32"])
    with pytest.raises(SystemExit, match="holds results of other cells"):
        ablation.main()
