"""The benchmark of the quality gate on phantoms: every class is counted, over one fold or all of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from malaria_kedro.cells.phantoms import draw_archive
from malaria_kedro.parameters import Phantoms

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CLASSES = ["Parasitized", "Uninfected"]


@pytest.fixture(scope="module")
def quality_gate():
    """The script, imported as scripts import each other."""
    sys.path.insert(0, str(BENCHMARKS))
    import quality_gate

    yield quality_gate
    sys.path.remove(str(BENCHMARKS))
    for name in ("quality_gate", "non_cells"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def report(quality_gate, tmp_path_factory) -> dict:
    """What five folds over 240 phantoms of 20 patients write."""
    place = tmp_path_factory.mktemp("gate")
    archive = draw_archive(Phantoms(patients=20, cells_per_patient=12, size=50, seed=3), place / "phantoms.zip")
    command = ["quality_gate.py", str(archive), "--all-folds", "--per-kind", "1", "--json", str(place / "gate.json")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        quality_gate.main()
    return json.loads((place / "gate.json").read_text(encoding="utf-8"))


def test_every_cell_is_judged_once_by_a_gate_that_has_not_seen_its_patient(report):
    assert [gate["fold"] for gate in report["gates"]] == [1, 2, 3, 4, 5]
    assert sum(gate["patients"] for gate in report["gates"]) == 20
    real = report["rows"][0]
    assert real["n"] == 240
    assert [real["by_class"]["refused"][label][1] for label in CLASSES] == [120, 120]


def test_refusals_are_reported_by_class_fold_and_limit(report):
    for row in report["rows"]:
        if not row["real"]:
            continue
        classes = row["by_class"]
        for label in CLASSES:
            refused, n = classes["refused"][label]
            assert (refused, n) == tuple(
                sum(fold.get(label, (0, 0))[side] for fold in classes["folds"]) for side in (0, 1)
            )
            assert max(row["outside"].get(label, {}).values(), default=0) <= refused
        assert sum(refused for refused, _ in classes["refused"].values()) == round(row["refused"] * row["n"])
        assert sum(row["flags"].values()) == round(row["refused"] * row["n"])


def test_a_ratio_has_an_interval_over_patients(quality_gate):
    labels, patients = CLASSES * 50, [f"C{i // 5}" for i in range(100)]
    refused = np.arange(100) % 10 < 3  # of a patient's five cells three, or none
    found = quality_gate.by_class(refused, labels, patients, [refused[:50], refused[50:]])
    assert found["refused"] == {"Parasitized": (20, 50), "Uninfected": (10, 50)}
    assert found["ratio"] == pytest.approx(2.0)
    low, high = found["ratio_interval"]
    assert low <= 2.0 <= high
    assert 0 < found["p"] < 0.1
    assert [fold["Parasitized"] for fold in found["folds"]] == [(10, 25), (10, 25)]


def test_without_a_refusal_of_the_healthy_there_is_no_ratio(quality_gate):
    refused = np.array([True, False, False, False])
    found = quality_gate.by_class(refused, CLASSES * 2, ["C1", "C1", "C2", "C2"], [refused])
    assert found["ratio"] is None
    json.dumps(found, allow_nan=False)
