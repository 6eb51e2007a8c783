"""The colour baseline: its statistics, and what stain alone predicts."""

import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.evaluation import colour_baseline as baseline
from malaria_kedro.evaluation.colour_baseline import BaselineError, colour_statistics, predict_from_colour
from malaria_kedro.evaluation.metrics import measure


def bunch(pixels: np.ndarray, labels: list[str], splits: list[str]) -> SimpleNamespace:
    ids = [f"cell_{number}" for number in range(len(labels))]
    cells = pd.DataFrame({"cell_id": ids, "patient_id": "C1", "label": labels, "split": splits})
    return SimpleNamespace(
        pixels=pixels, cells=cells, rows=lambda split: np.flatnonzero((cells["split"] == split).to_numpy())
    )


def stained_cells(n: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Draw cells on black of which the parasitized ones have a little more blue."""
    generator = np.random.default_rng(seed)
    parasitized = np.arange(n) % 2 == 0
    colour = np.array([180.0, 120.0, 140.0]) + np.where(parasitized, 1, -1)[:, None] * [0, 0, 12]
    pixels = colour[:, None, None] + generator.normal(0, 10, (n, 8, 8, 1)) + generator.normal(0, 10, (n, 1, 1, 1))
    pixels[:, :, :2] = 0
    return pixels.clip(0, 255).astype(np.uint8), ["Parasitized" if is_so else "Uninfected" for is_so in parasitized]


def splits(train: int, valid: int, test: int = 0) -> list[str]:
    return ["train"] * train + ["valid"] * valid + ["test"] * test


def test_the_statistics_are_those_of_the_pixels_that_are_not_black():
    generator = np.random.default_rng(1)
    pixels = generator.integers(30, 256, (5, 6, 7, 3), dtype=np.uint8)
    surround = generator.random((5, 6, 7)) < 0.4
    pixels[surround] = generator.integers(0, 21, (surround.sum(), 3))
    found = colour_statistics(pixels, np.arange(5))
    assert found.shape == (5, 21)
    assert found.dtype == np.float64
    for cell in range(5):
        inside = pixels[cell][~surround[cell]].astype(float)
        percentiles = np.percentile(inside, baseline.PERCENTILES, axis=0, method="inverted_cdf")
        expected = np.vstack([inside.mean(axis=0), inside.std(axis=0), percentiles])
        assert found[cell] == pytest.approx(expected.T.ravel())


def test_the_surround_counts_for_nothing():
    cell = np.full((1, 6, 6, 3), (180, 120, 140), dtype=np.uint8)
    framed = np.zeros((1, 20, 20, 3), dtype=np.uint8)
    framed[:, 5:11, 8:14] = cell
    assert (colour_statistics(cell, np.arange(1)) == colour_statistics(framed, np.arange(1))).all()


def test_a_dark_pixel_with_one_bright_channel_is_stain():
    pixels = np.zeros((1, 2, 1, 3), dtype=np.uint8)
    pixels[0, 0, 0] = (0, 0, 90)
    red, _, blue = colour_statistics(pixels, np.arange(1)).reshape(3, 7)
    assert (red[0], blue[0]) == (0, 90)


def test_a_cell_that_is_black_throughout_has_zeros():
    assert (colour_statistics(np.zeros((1, 4, 4, 3), dtype=np.uint8), np.arange(1)) == 0).all()


def test_no_cell_has_no_row():
    assert colour_statistics(np.zeros((2, 4, 4, 3), dtype=np.uint8), np.arange(0)).shape == (0, 21)


def test_a_few_cells_at_a_time_give_the_same_statistics(monkeypatch, tmp_path):
    pixels, _ = stained_cells(30)
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    rows = np.array([3, 4, 9, 27, 12])
    at_once = colour_statistics(pixels, rows)
    monkeypatch.setattr(baseline, "BYTES_AT_ONCE", 2 * 8 * 8 * 3)
    assert (colour_statistics(mapped, rows) == at_once).all()


def test_only_a_few_cells_are_read_at_a_time(monkeypatch):
    class Watched:
        shape = (100, 8, 8, 3)

        def __init__(self) -> None:
            self.read: list[int] = []

        def __getitem__(self, rows: np.ndarray) -> np.ndarray:
            self.read.append(len(rows))
            return np.zeros((len(rows), 8, 8, 3), dtype=np.uint8)

    monkeypatch.setattr(baseline, "BYTES_AT_ONCE", 7 * 8 * 8 * 3)
    watched = Watched()
    colour_statistics(watched, np.arange(100))
    assert watched.read == [7] * 14 + [2]


def test_stain_is_found_on_held_out_cells():
    pixels, labels = stained_cells(120)
    predictions = predict_from_colour(bunch(pixels, labels, splits(80, 20, 20)))
    assert list(predictions) == ["cell_id", "patient_id", "split", "label", "p_parasitized", "loss"]
    assert list(predictions["cell_id"]) == [f"cell_{number}" for number in range(80, 120)]
    assert list(predictions["split"]) == ["valid"] * 20 + ["test"] * 20
    found = measure(predictions, threshold=0.5).splits
    assert found["valid"].roc_auc > 0.9
    assert found["test"].roc_auc > 0.9


def test_the_loss_is_the_cross_entropy_of_the_probability():
    pixels, labels = stained_cells(60)
    predictions = predict_from_colour(bunch(pixels, labels, splits(40, 20)))
    right = np.where(
        predictions["label"] == "Parasitized", predictions["p_parasitized"], 1 - predictions["p_parasitized"]
    )
    assert predictions["loss"].to_numpy() == pytest.approx(-np.log(right))


def test_the_rows_keep_the_order_of_the_databunch():
    pixels, labels = stained_cells(40)
    mixed = ["test", "train", "valid", "train"] * 10
    predictions = predict_from_colour(bunch(pixels, labels, mixed))
    assert list(predictions["split"]) == ["test", "valid"] * 10
    assert list(predictions["cell_id"].head(3)) == ["cell_0", "cell_2", "cell_4"]


def test_held_out_cells_teach_nothing():
    pixels, labels = stained_cells(60)
    other = pixels.copy()
    other[50:] = 255 - other[50:]
    first, second = (predict_from_colour(bunch(p, labels, splits(40, 20))) for p in (pixels, other))
    assert (first["p_parasitized"][:10] == second["p_parasitized"][:10]).all()


def test_cells_that_all_look_alike_are_guessed():
    pixels = np.full((40, 4, 4, 3), 150, dtype=np.uint8)
    predictions = predict_from_colour(bunch(pixels, ["Parasitized", "Uninfected"] * 20, splits(20, 20)))
    assert predictions["p_parasitized"].to_numpy() == pytest.approx(0.5)


@pytest.mark.parametrize(("label", "p"), [("Parasitized", 11 / 12), ("Uninfected", 1 / 12)])
def test_one_class_to_train_on_tells_nothing_and_that_is_said(label, p, caplog):
    pixels, labels = stained_cells(14)
    with caplog.at_level(logging.WARNING):
        predictions = predict_from_colour(bunch(pixels, [label] * 10 + labels[10:], splits(10, 4)))
    assert predictions["p_parasitized"].to_numpy() == pytest.approx(p)  # rule of succession: (10 + 1) / (10 + 2)
    assert np.isfinite(predictions["loss"]).all()
    assert f"all 10 training cells are {label.lower()}" in caplog.text


def test_three_cells_are_enough():
    pixels, labels = stained_cells(3)
    predictions = predict_from_colour(bunch(pixels, labels, splits(2, 1)))
    measure(predictions, threshold=0.5)


@pytest.mark.parametrize(("sides", "what"), [(splits(0, 4), "no cell trains"), (splits(4, 0), "no cell is held out")])
def test_a_missing_side_is_named(sides, what):
    pixels, labels = stained_cells(4)
    with pytest.raises(BaselineError, match=f"{what}.*split.valid_pct"):
        predict_from_colour(bunch(pixels, labels, sides))


def test_phantom_cells_of_a_databunch_are_predicted(phantom_bunch):
    predictions = predict_from_colour(phantom_bunch)
    assert sorted(predictions["split"].unique()) == ["test", "valid"]
    assert set(measure(predictions, threshold=0.5).splits) == {"valid", "test"}
