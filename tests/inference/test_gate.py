"""The quality gate: cells pass, what is none is refused with a reason, and nothing but training cells decides."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import non_cells
from malaria_kedro.cells.folds import fold_cells
from malaria_kedro.cells.phantoms import phantom_cell
from malaria_kedro.inference.gate import (
    ALL,
    BLANK,
    BLURRED,
    NOT_A_CELL,
    UNLIKE_TRAINING,
    GateError,
    QualityGate,
    count_refused,
    differ_by_chance,
    fit_gate,
)
from malaria_kedro.inference.image_statistics import STATISTICS, measure_cells
from malaria_kedro.names import is_image_name, patient_of
from malaria_kedro.parameters import Phantoms

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
RECIPE = Phantoms(patients=50, cells_per_patient=20, size=60, seed=11)
real_cells = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real cells are not at hand ({DATA})")


def table(images: list[np.ndarray]) -> pd.DataFrame:
    """Measure images of any size, each by itself."""
    return pd.concat([pd.DataFrame(measure_cells(image[None])) for image in images], ignore_index=True)


def refused(verdicts: list) -> float:
    return float(np.mean([bool(flags) for flags, _ in verdicts]))


@pytest.fixture(scope="module")
def trained_on() -> pd.DataFrame:
    """Statistics of 480 phantom cells of 40 patients."""
    return table([phantom_cell(RECIPE, patient, index).image for patient in range(1, 41) for index in range(12)])


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Labels of the same cells."""
    return np.array([phantom_cell(RECIPE, patient, index).label for patient in range(1, 41) for index in range(12)])


@pytest.fixture(scope="module")
def others() -> list[np.ndarray]:
    """200 phantom cells of 10 other patients."""
    return [phantom_cell(RECIPE, patient, index).image for patient in range(41, 51) for index in range(20)]


@pytest.fixture(scope="module")
def gate(trained_on: pd.DataFrame) -> QualityGate:
    return fit_gate(trained_on)


def test_other_patients_cells_pass(gate, others):
    assert refused(gate.judge(table(others))) <= 0.03


@pytest.mark.parametrize("side", [32, 50, 128])
def test_they_pass_at_another_size_too(gate, others, side):
    copies = [np.asarray(Image.fromarray(cell).resize((side, side))) for cell in others]
    assert refused(gate.judge(table(copies))) <= 0.05


@pytest.mark.parametrize("name", [*non_cells.KINDS, "cells of another stain"])
def test_what_is_no_cell_is_refused_with_a_reason(gate, others, name):
    kind = {**non_cells.KINDS, **non_cells.HARD_KINDS}[name]
    images = non_cells.draw_kind(kind, others, 60, seed=1)
    verdicts = gate.judge(table(images))
    assert refused(verdicts) >= 0.98
    for flags, reason in verdicts:
        assert set(flags) <= {BLANK, BLURRED, NOT_A_CELL, UNLIKE_TRAINING}
        assert bool(reason) == bool(flags)


@pytest.mark.parametrize("name", ["photographs", "text", "noise", "charts", "several cells"])
def test_what_is_not_cut_out_as_one_cell_is_not_called_one(gate, others, name):
    verdicts = gate.judge(table(non_cells.draw_kind(non_cells.KINDS[name], others, 60, seed=1)))
    assert np.mean([flags == (UNLIKE_TRAINING,) for flags, _ in verdicts]) <= 0.1


def turned(cell: np.ndarray, hue: int) -> np.ndarray:
    """Return a cell in other colours: its hues turned by so many of 256."""
    planes = list(Image.fromarray(cell).convert("HSV").split())
    planes[0] = planes[0].point([(level + hue) % 256 for level in range(256)])
    return np.asarray(Image.merge("HSV", planes).convert("RGB"))


def speckled(cell: np.ndarray) -> np.ndarray:
    """Return a cell full of dark spots, as none in training is."""
    rows, columns = np.mgrid[: cell.shape[0], : cell.shape[1]]
    spots = ((rows // 5 + columns // 5) % 2 == 0) & (cell.max(axis=2) > 20)
    return np.where(spots[..., None], (90, 30, 120), cell).astype(np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        lambda cell: turned(cell, 85),
        lambda cell: turned(cell, 128),
        speckled,
        lambda cell: np.where(cell.max(axis=2, keepdims=True) > 20, 255 - cell, 0),
    ],
    ids=["green", "cyan", "full of spots", "inverted"],
)
def test_what_is_plainly_a_cell_is_called_unlike_training(gate, others, change):
    strange = [np.ascontiguousarray(change(cell)) for cell in others[:60]]
    verdicts = gate.judge(table(strange))
    assert np.mean([flags == (UNLIKE_TRAINING,) for flags, _ in verdicts]) >= 0.95
    assert not any(NOT_A_CELL in flags for flags, _ in verdicts)
    assert all(reason.startswith("unlike the training cells: ") for flags, reason in verdicts if flags)


def test_a_blurred_cell_is_called_blurred(gate, others):
    verdicts = gate.judge(table(non_cells.draw_kind(non_cells.blurred_cell, others, 60, seed=2)))
    assert np.mean([flags == (BLURRED,) for flags, _ in verdicts]) > 0.9
    assert "its outline is" in verdicts[0][1]


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 150, 160)])
def test_an_image_of_one_colour_is_called_blank(gate, colour):
    [(flags, reason)] = gate.judge(table([np.full((60, 60, 3), colour, np.uint8)]))
    assert flags == (BLANK,)
    assert "brightness varies by 0.0 grey levels" in reason


def test_noise_is_called_no_cell(gate):
    [(flags, reason)] = gate.judge(table([np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)]))
    assert flags == (NOT_A_CELL,)
    assert "in training cells" in reason


def test_a_reason_names_the_value_and_what_is_usual(gate, others):
    [(flags, reason)] = gate.judge(table(others[:1]).assign(coverage=0.01))
    assert flags == (NOT_A_CELL,)
    assert reason.startswith("not like a cell: coverage is 0.01, in training cells 0.")


def test_each_image_is_judged_by_itself(gate, others):
    statistics = table([*others[:20], np.zeros((60, 60, 3), np.uint8), *others[20:30]])
    one_by_one = [gate.judge(statistics.iloc[[i]])[0] for i in range(len(statistics))]
    assert gate.judge(statistics) == one_by_one
    assert gate.judge({name: values.to_numpy() for name, values in statistics.items()}) == one_by_one


@pytest.mark.parametrize("name", ["contrast", "coverage", "red_green", "edge_width"])
def test_what_is_not_a_number_does_not_pass(gate, others, name):
    [(flags, _)] = gate.judge(table(others[:1]).assign(**{name: float("nan")}))
    assert flags


def test_no_image_is_no_verdict(gate):
    assert gate.judge(measure_cells(np.empty((0, 60, 60, 3), np.uint8))) == []


def test_no_more_than_the_asked_share_of_the_training_cells_is_refused(trained_on):
    shares = [refused(fit_gate(trained_on, refused_share=share).judge(trained_on)) for share in (0.005, 0.02, 0.05)]
    assert shares == sorted(shares)
    for found, asked in zip(shares, (0.005, 0.02, 0.05), strict=True):
        assert found <= asked + 1 / len(trained_on)


def test_a_few_wrong_images_among_the_training_cells_move_little(trained_on, others):
    wrong = table(non_cells.draw_kind(non_cells.photograph, others, 2, seed=3))
    gate = fit_gate(pd.concat([trained_on, wrong], ignore_index=True), refused_share=0.01)
    assert refused(gate.judge(table(others))) <= 0.03
    assert refused(gate.judge(table(non_cells.draw_kind(non_cells.photograph, others, 40, seed=4)))) >= 0.95


def test_the_same_cells_give_the_same_gate(trained_on, gate):
    assert fit_gate(trained_on).id == gate.id
    assert fit_gate(trained_on.iloc[:-1]).id != gate.id


def test_a_parasite_makes_no_cell_strange(trained_on, labels, others):
    is_sick = np.array([phantom_cell(RECIPE, p, i).label for p in range(41, 51) for i in range(20)]) == "Parasitized"
    gate = fit_gate(trained_on, labels=labels)
    away = gate.distances(table(others))
    assert np.median(away[is_sick]) < 1.25 * np.median(away[~is_sick])


def test_a_stronger_stain_than_that_of_any_training_patient_is_not_refused_for_one_colour(trained_on, labels):
    gate = fit_gate(trained_on, labels=labels)
    for name in ("red_green", "blue_green"):
        assert gate.highest[name] > trained_on[name].mean() + 3 * trained_on[name].std()


def test_each_limit_tells_what_lies_outside(gate, others):
    images = table([others[0], others[0], others[1]])
    images.loc[1, "red_green"] = 9.0
    outside = gate.outside(images)
    assert outside["red_green"].tolist() == [False, True, False]
    assert outside["distance"].tolist() == [False, True, False]
    refused_by_any = np.any(list(outside.values()), axis=0)
    assert refused_by_any.tolist() == [bool(flags) for flags, _ in gate.judge(images)]


def test_a_rare_class_is_not_refused_more_than_the_common_one(trained_on, labels):
    rare = np.flatnonzero(labels == "Parasitized")[::3]
    kept = np.sort(np.concatenate([rare, np.flatnonzero(labels == "Uninfected")]))
    gate = fit_gate(trained_on.iloc[kept], labels=labels[kept], refused_share=0.05)
    found = count_refused(gate.judge(trained_on.iloc[kept]), labels[kept])
    shares = {label: n / of for label, (n, of) in found.items()}
    assert found["Parasitized"][1] == len(rare)
    assert abs(shares["Parasitized"] - shares["Uninfected"]) <= 0.05


def test_classes_of_which_one_has_too_few_cells_are_taken_as_one(trained_on, labels):
    few = np.sort(
        np.concatenate([np.flatnonzero(labels == "Parasitized")[:20], np.flatnonzero(labels == "Uninfected")])
    )
    assert list(fit_gate(trained_on.iloc[few], labels=labels[few]).classes) == [ALL]
    assert list(fit_gate(trained_on, labels=labels).classes) == ["Parasitized", "Uninfected"]


def test_refusals_are_counted_by_class():
    verdicts = [((), ""), ((BLANK,), "blank"), ((), ""), ((NOT_A_CELL,), "no"), ((), "")]
    counted = count_refused(verdicts, ["Uninfected", "Uninfected", "Parasitized", "Parasitized", "Parasitized"])
    assert counted == {"Parasitized": (1, 3), "Uninfected": (1, 2)}


def test_a_difference_between_classes_is_told_from_chance():
    assert differ_by_chance({"Parasitized": (74, 12154), "Uninfected": (20, 11666)}) < 1e-6
    assert differ_by_chance({"Parasitized": (4, 900), "Uninfected": (3, 900)}) == pytest.approx(1.0)
    assert differ_by_chance({"Parasitized": (4, 900)}) == 1.0


def test_a_stored_gate_judges_as_the_one_that_was_stored(gate, others):
    read = QualityGate.from_dict(json.loads(json.dumps(gate.to_dict())))
    assert read.id == gate.id
    statistics = table([*others[:40], *non_cells.draw_kind(non_cells.chart, others, 3, seed=5)])
    assert read.judge(statistics) == gate.judge(statistics)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"limit": 1e9}, "does not match its id"),
        ({"limit": "far"}, "damaged"),
        ({"usual": None}, "damaged"),
        ({"classes": {}}, "damaged"),
        ({"refused": {"train": 3}}, "damaged"),
        ({"format": 2}, "format 2, and this version reads 3; export the classifier again"),
    ],
)
def test_a_damaged_gate_is_not_read(gate, change, message):
    with pytest.raises(GateError, match=message):
        QualityGate.from_dict(gate.to_dict() | change)


def test_what_is_no_gate_is_not_read():
    with pytest.raises(GateError, match="format list"):
        QualityGate.from_dict([])


@pytest.mark.parametrize(
    ("cells", "share", "message"),
    [(20, 0.005, "20 training cells"), (480, 0.0, "refused_share is 0.0"), (480, 0.5, "refused_share is 0.5")],
)
def test_what_cannot_be_fitted_is_named(trained_on, cells, share, message):
    with pytest.raises(GateError, match=message):
        fit_gate(trained_on.iloc[:cells], refused_share=share)


def test_training_cells_without_all_statistics_are_named(trained_on):
    with pytest.raises(GateError, match="lack coverage"):
        fit_gate(trained_on.drop(columns="coverage"))
    with pytest.raises(GateError, match="not a finite number"):
        fit_gate(trained_on.assign(coverage=np.inf))
    with pytest.raises(GateError, match="9 labels for 480 cells"):
        fit_gate(trained_on, labels=["Parasitized"] * 9)


def read_cells(archive: str, every: int) -> list[tuple[str, np.ndarray]]:
    """Return every so manieth cell of an archive, its patient first."""
    with zipfile.ZipFile(DATA / archive) as file:
        names = sorted(name for name in file.namelist() if is_image_name(name))[::every]
        return [
            (patient_of(name), np.asarray(Image.open(io.BytesIO(file.read(name))).convert("RGB"))) for name in names
        ]


@pytest.fixture(scope="module")
def real() -> tuple[QualityGate, list[np.ndarray]]:
    """A gate fitted on real cells, and cells of other patients, small and at full size."""
    small, large = read_cells("cell_images.zip", 8), read_cells("cell_images_fullsize.zip", 1)
    patients = sorted({patient for patient, _ in small})
    held_out = set(patients[::4])
    gate = fit_gate(table([image for patient, image in small if patient not in held_out]))
    return gate, [image for patient, image in [*small, *large] if patient in held_out]


@real_cells
def test_at_most_one_in_a_hundred_real_cells_is_refused(real):
    gate, held_out = real
    assert len(held_out) > 500
    assert refused(gate.judge(table(held_out))) <= 0.01


@real_cells
def test_the_sick_are_refused_no_more_than_the_healthy():
    # More are refused than a gate of a classifier refuses, so that chance is no reason.
    cells = read_cells("cell_images.zip", 3)
    patients = np.array([patient for patient, _ in cells])
    with zipfile.ZipFile(DATA / "cell_images.zip") as file:
        names = sorted(name for name in file.namelist() if is_image_name(name))[::3]
    labels = np.array([Path(name).parent.name for name in names])
    index = pd.DataFrame({"cell_id": [Path(name).stem for name in names], "label": labels, "patient_id": patients})
    fold = fold_cells(index, strategy="patient", folds=5, seed=42)
    statistics = pd.DataFrame(measure_cells(np.stack([image for _, image in cells])))
    found = {"Parasitized": np.zeros(2, int), "Uninfected": np.zeros(2, int)}
    for number in range(1, 6):
        gate = fit_gate(statistics[fold != number], labels=labels[fold != number], refused_share=0.02)
        verdicts = gate.judge(statistics[fold == number])
        for label, counts in count_refused(verdicts, labels[fold == number]).items():
            found[label] += counts
    (sick, n_sick), (healthy, n_healthy) = found.values()
    assert n_sick + n_healthy == len(cells)
    assert 1 / 1.5 < (sick / n_sick) / (healthy / n_healthy) < 1.5


@real_cells
@pytest.mark.parametrize("name", [*non_cells.KINDS, "cells of another stain"])
def test_at_most_two_in_a_hundred_of_a_kind_pass_among_real_cells(real, name):
    gate, held_out = real
    kind = {**non_cells.KINDS, **non_cells.HARD_KINDS}[name]
    images = non_cells.draw_kind(kind, held_out, 100, seed=6)
    assert refused(gate.judge(table(images))) >= 0.98


@real_cells
def test_about_the_asked_share_of_real_training_cells_is_refused():
    statistics = table([image for _, image in read_cells("cell_images.zip", 12)])
    assert refused(fit_gate(statistics, refused_share=0.02).judge(statistics)) == pytest.approx(0.02, abs=0.01)


def test_every_statistic_has_a_usual_range(gate):
    assert list(gate.usual) == list(STATISTICS)
    assert all(low <= high for low, high in gate.usual.values())
