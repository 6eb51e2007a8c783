"""A classifier that reads files: what it takes along, what it refuses, and that it agrees with itself."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from backend_material import SIZE, phantom_like_cells, small_classifier
from PIL import Image
from threadpoolctl import threadpool_info

from malaria_kedro.inference.extras import BackendError
from malaria_kedro.inference.gate import fit_gate
from malaria_kedro.inference.image_statistics import measure
from malaria_kedro.inference.reader import CellReader
from malaria_kedro.learning.classifier import write_classifier


def with_gate(classifier):
    """The classifier with a gate that was fitted on the cells it trained on, by their statistics."""
    cells, _ = phantom_like_cells()
    return dataclasses.replace(classifier, quality_gate=fit_gate([measure(cell) for cell in cells]).to_dict())


@pytest.fixture
def model(tmp_path):
    """A classifier's folder, threshold 0.5."""
    folder = tmp_path / "classifier"
    folder.mkdir()
    write_classifier(with_gate(small_classifier()), folder)
    return folder


def rewrite(folder, **card):
    """Write the classifier anew with another card."""
    classifier = with_gate(small_classifier())
    write_classifier(dataclasses.replace(classifier, card=classifier.card | card), folder)


@pytest.fixture
def images(tmp_path):
    """Eight cells of two patients in sub-folders, a page of noise and a file that is no image."""
    folder = tmp_path / "new"
    for number, cell in enumerate(phantom_like_cells(8, seed=5)[0]):
        place = folder / f"batch_{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cell).save(place / f"C{number % 2 + 1}_IMG_1_cell_{number}.png")
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    (folder / "text.png").write_text("no image")
    return folder


def test_every_image_is_a_row_and_what_is_no_cell_is_not_called(model, images):
    table = CellReader(model).table(images).set_index("path")
    assert len(table) == 10
    assert table.loc["text.png", "flags"] == "unreadable"
    assert table.loc["noise.png", "call"] == ""
    assert table.loc["noise.png", "reason"] != ""
    cells = table[table.index.str.startswith("batch_")]
    assert set(cells["call"]) <= {"Parasitized", "Uninfected"}
    assert set(cells["patient_id"]) == {"C1", "C2"}


def test_a_classifier_that_has_only_seen_phantoms_says_so_and_another_does_not(model, caplog):
    for phantom in (False, True):
        data = small_classifier().card["data"] | {"phantom": phantom}
        rewrite(model, data=data)
        CellReader(model)
        assert ("trained on phantom cells" in caplog.text) == phantom


def test_it_calls_at_the_threshold_of_the_card(model, images):
    for threshold, call in ((1e-9, "Parasitized"), (1 - 1e-9, "Uninfected")):
        rewrite(model, calibration=small_classifier().card["calibration"] | {"threshold": threshold})
        reader = CellReader(model)
        assert reader.threshold == threshold
        assert set(reader.table(images / "batch_0")["call"]) - {""} == {call}


@pytest.mark.parametrize("calibration", [None, {"temperature": 1.5}, {"temperature": 1.5, "threshold": None}], ids=str)
def test_without_a_threshold_nothing_is_called(model, calibration):
    rewrite(model, calibration=calibration)
    with pytest.raises(BackendError, match="small has no threshold to call cells at"):
        CellReader(model)


def test_a_gate_that_was_deleted_is_missed(model):
    (model / "quality_gate.json").unlink()
    with pytest.raises(BackendError, match=r"the quality gate is missing: .*quality_gate\.json; restore the folder"):
        CellReader(model)


def test_that_there_is_no_gate_is_said(tmp_path, caplog):
    write_classifier(small_classifier(), tmp_path)
    CellReader(tmp_path)
    assert "small has no quality gate (none was fitted)" in caplog.text


def test_without_a_gate_only_what_cannot_be_read_is_refused(tmp_path, images):
    folder = tmp_path / "bare"
    folder.mkdir()
    write_classifier(small_classifier(), folder)
    reader = CellReader(folder)
    assert reader.gate is None
    table = reader.table(images)
    assert table.loc[table["call"] == "", "path"].tolist() == ["text.png"]


def test_it_reads_as_predicting_on_the_array_does(model, images):
    reader = CellReader(model)
    table = reader.table(images / "batch_0").sort_values("path")
    cells = np.stack([np.asarray(Image.open(images / "batch_0" / path)) for path in table["path"]])
    p, _ = reader.predictor(cells)
    called = table["p_parasitized"].notna().to_numpy()
    assert called.any()
    np.testing.assert_allclose(table["p_parasitized"].to_numpy(dtype=float)[called], p[called], atol=1e-6)


def test_each_thread_computes_by_itself_while_cells_are_read(model, images):
    def others():
        pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        return torch.get_num_threads(), set(pools)

    reader, seen = CellReader(model, threads=2), []
    read = reader.predictor.read
    reader.predictor = dataclasses.replace(reader.predictor, read=lambda cells: seen.append(others()) or read(cells))
    before = others()
    reader.table(images, batch_size=2)
    assert set(map(str, seen)) == {str((1, {1}))}
    assert others() == before


def test_the_number_of_threads_changes_no_row(model, images):
    alone, many = (CellReader(model, threads=threads).table(images, batch_size=3) for threads in (1, 4))
    pd.testing.assert_frame_equal(alone, many)


def test_onnx_agrees_with_torch(model, images):
    by_torch, by_onnx = CellReader(model).table(images), CellReader(model, backend="onnx").table(images)
    pd.testing.assert_series_equal(by_torch["call"], by_onnx["call"])
    np.testing.assert_allclose(
        by_torch["p_parasitized"].to_numpy(dtype=float), by_onnx["p_parasitized"].to_numpy(dtype=float), atol=1e-4
    )


def test_a_killed_reading_continues_with_the_same_call(model, images, tmp_path):
    reader = CellReader(model)
    first = pd.concat(reader.read(images, tmp_path / "work").frames())
    (part,) = (tmp_path / "work").glob("part-*.parquet")
    before = part.stat().st_mtime_ns
    again = pd.concat(reader.read(images, tmp_path / "work").frames())
    pd.testing.assert_frame_equal(first, again)
    assert part.stat().st_mtime_ns == before


def test_int8_without_a_graph_says_how_to_get_one(model):
    with pytest.raises(BackendError, match="kedro run --pipeline export"):
        CellReader(model, backend="onnx", precision="int8")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b"not weights"),
        ("classifier.json", b"{"),
        ("classifier.json", b'{"classes": ["cat", "dog"]}'),
        ("quality_gate.json", b"[1, 2]"),
        ("quality_gate.json", b'{"format": "another"}'),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_with_its_folder(model, file, content):
    (model / file).write_bytes(content)
    with pytest.raises(BackendError, match="cannot be used") as caught:
        CellReader(model)
    assert str(model) in str(caught.value)


def test_a_folder_without_a_classifier_is_refused(tmp_path):
    with pytest.raises(BackendError, match="holds no classifier"):
        CellReader(tmp_path)
