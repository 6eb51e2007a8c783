"""A classifier that reads files: what it takes along, what it refuses, and that it agrees with itself."""

import dataclasses
import hashlib
import importlib.metadata
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from threadpoolctl import threadpool_info

from backend_material import SIZE, TEMPERATURE, phantom_like_cells, small_classifier
from image_zoo import encoded, png_16
from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.export import onnx_bytes
from malaria_kedro.inference.extras import BackendError
from malaria_kedro.inference.gate import fit_gate
from malaria_kedro.inference.image_statistics import measure_cells
from malaria_kedro.inference.reader import CellPredictor
from malaria_kedro.learning.classifier import write_classifier
from metadata_material import with_metadata


def with_gate(classifier):
    """The classifier with a gate that was fitted on the cells it trained on, by their statistics."""
    cells, _ = phantom_like_cells()
    return dataclasses.replace(classifier, quality_gate=fit_gate(measure_cells(cells)).to_dict())


@pytest.fixture
def model(tmp_path):
    """A classifier's folder, threshold 0.5."""
    folder = tmp_path / "classifier"
    folder.mkdir()
    write_classifier(with_gate(small_classifier()), folder)
    return folder


def rewrite(folder, **changes):
    """Write the classifier anew with other metadata."""
    classifier = with_gate(small_classifier())
    write_classifier(with_metadata(classifier, **changes), folder)


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
    table = CellPredictor(model).table(images).set_index("path")
    assert len(table) == 10
    assert table.loc["text.png", "quality"] == "unreadable"
    assert table.loc["noise.png", "call"] == ""
    assert table.loc["noise.png", "reason"] != ""
    cells = table[table.index.str.startswith("batch_")]
    assert set(cells["call"]) <= {"Parasitized", "Uninfected"}
    assert set(cells["patient_id"]) == {"C1", "C2"}


def test_a_classifier_that_has_only_seen_phantoms_says_so_and_another_does_not(model, caplog):
    for phantom in (False, True):
        data = small_classifier().metadata.data.as_dict() | {"phantom": phantom}
        rewrite(model, data=data)
        CellPredictor(model)
        assert ("trained on phantom cells" in caplog.text) == phantom


def test_it_calls_at_the_threshold_of_the_metadata(model, images):
    for threshold, call in ((1e-9, "Parasitized"), (1 - 1e-9, "Uninfected")):
        rewrite(model, calibration={"temperature": TEMPERATURE, "threshold": threshold})
        reader = CellPredictor(model)
        assert reader.threshold == threshold
        assert set(reader.table(images / "batch_0")["call"]) - {""} == {call}


@pytest.mark.parametrize("gate", ["refuse", "flag", "off"])
def test_the_gate_refuses_flags_or_is_off(model, images, caplog, gate):
    reader = CellPredictor(model, gate=gate)
    table = reader.table(images).set_index("path")
    noise = table.loc["noise.png"]
    assert noise["p_parasitized"] == pytest.approx(float(CellPredictor(model, gate="off").table(images).iloc[0, 2]))
    assert (noise["call"] == "") == (gate == "refuse")
    assert (noise["quality"] == "") == (noise["reason"] == "") == (gate == "off")
    assert table.loc["text.png", ["call", "quality"]].tolist() == ["", "unreadable"]
    assert ("the quality gate only flags" in caplog.text) == (gate == "flag")
    assert caplog.text.count("the quality gate is off") == (2 if gate == "off" else 1)  # once for the comparison


def test_how_the_gate_was_used_is_part_of_the_request_and_told(model, images, tmp_path):
    read = {gate: CellPredictor(model, gate=gate).read(images, tmp_path / "work") for gate in ("refuse", "flag", "off")}
    assert len({found.folder for found in read.values()}) == 3
    assert [found.about.gate for found in read.values()] == ["refuse", "flag", "off"]
    assert read["flag"].about.threshold == 0.5


def test_a_gate_that_is_none_of_the_three_is_refused(model):
    with pytest.raises(ValueError, match="gate is 'maybe': choose one of refuse, flag, off"):
        CellPredictor(model, gate="maybe")


def other_weights(model):
    classifier = with_gate(small_classifier())
    state = {key: value.clone() for key, value in classifier.state.items()}
    state[next(key for key in reversed(state) if key.endswith("weight"))].flatten()[0] += 1e-3
    write_anew(model, dataclasses.replace(classifier, state=state))


def write_anew(model, classifier):
    for file in model.iterdir():
        file.unlink()
    write_classifier(classifier, model)


def other_metadata(**changes):
    classifier = with_gate(small_classifier())
    return lambda model: write_anew(model, with_metadata(classifier, **changes))


def other_gate(model):
    classifier = with_gate(small_classifier())
    cells, _ = phantom_like_cells(96, seed=3)
    gate = fit_gate(measure_cells(cells)).to_dict()
    write_anew(model, dataclasses.replace(classifier, quality_gate=gate))


CHANGES = {
    "weights": other_weights,
    "temperature": other_metadata(calibration={"temperature": 1.8, "threshold": 0.5}),
    "threshold": other_metadata(calibration={"temperature": 1.7, "threshold": 0.3}),
    "normalisation": other_metadata(normalisation={"scale": 1 / 255, "mean": [0.5] * 3, "std": [0.25] * 3}),
    "size": other_metadata(input={"size": 40, "channels": "RGB", "dtype": "uint8", "range": [0, 255]}),
    "gate": other_gate,
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_classifier_is_everything_that_it_computes_with(model, what):
    before = CellPredictor(model).id
    assert CellPredictor(model).id == before
    CHANGES[what](model)
    assert CellPredictor(model).id != before


def test_another_graph_is_another_classifier(model, tmp_path):
    ids = [CellPredictor(model).id, CellPredictor(model, backend="onnx").id]
    graph = tmp_path / "model.onnx"
    graph.write_bytes(onnx_bytes(with_gate(small_classifier())))
    ids += [CellPredictor(model, backend="onnx", onnx_path=graph).id for _ in range(2)]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 3
    assert hashlib.sha256(graph.read_bytes()).hexdigest() in ids[2]
    assert f"onnxruntime {importlib.metadata.version('onnxruntime')}" in ids[2]
    assert f"torch {importlib.metadata.version('torch')}" in ids[0]


def test_a_graph_that_is_overwritten_after_it_was_loaded_is_not_the_one_that_reads(model, tmp_path):
    graph = tmp_path / "model.onnx"
    graph.write_bytes(onnx_bytes(with_gate(small_classifier())))
    loaded = hashlib.sha256(graph.read_bytes()).hexdigest()
    reader = CellPredictor(model, backend="onnx", onnx_path=graph)
    graph.write_bytes(b"another")
    assert reader.predictor.graph == loaded
    assert f"graph {loaded}" in reader.id


@pytest.mark.parametrize("calibration", [None, {"temperature": 1.5}, {"temperature": 1.5, "threshold": None}], ids=str)
def test_without_a_threshold_nothing_is_called(model, calibration):
    rewrite(model, calibration=calibration)
    with pytest.raises(BackendError, match="small has no threshold to call cells at"):
        CellPredictor(model)


def test_a_gate_that_was_deleted_is_missed(model):
    (model / "quality_gate.json").unlink()
    with pytest.raises(BackendError, match=r"the quality gate is missing: .*quality_gate\.json; restore the folder"):
        CellPredictor(model)


def test_that_there_is_no_gate_is_said(tmp_path, caplog):
    write_classifier(small_classifier(), tmp_path)
    CellPredictor(tmp_path)
    assert "small has no quality gate (none was fitted)" in caplog.text


def test_without_a_gate_only_what_cannot_be_read_is_refused(tmp_path, images):
    folder = tmp_path / "bare"
    folder.mkdir()
    write_classifier(small_classifier(), folder)
    reader = CellPredictor(folder)
    assert reader.gate is None
    table = reader.table(images)
    assert table.loc[table["call"] == "", "path"].tolist() == ["text.png"]


def test_it_reads_as_predicting_on_the_array_does(model, images):
    reader = CellPredictor(model)
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

    reader, seen = CellPredictor(model, threads=2), []
    read = reader.predictor.read
    reader.predictor = dataclasses.replace(reader.predictor, read=lambda cells: seen.append(others()) or read(cells))
    before = others()
    reader.table(images, batch_size=2)
    assert set(map(str, seen)) == {str((1, {1}))}
    assert others() == before


def test_the_number_of_threads_changes_no_row(model, images):
    alone, many = (CellPredictor(model, threads=threads).table(images, batch_size=3) for threads in (1, 4))
    pd.testing.assert_frame_equal(alone, many)


def test_onnx_agrees_with_torch(model, images):
    by_torch, by_onnx = CellPredictor(model).table(images), CellPredictor(model, backend="onnx").table(images)
    pd.testing.assert_series_equal(by_torch["call"], by_onnx["call"])
    np.testing.assert_allclose(
        by_torch["p_parasitized"].to_numpy(dtype=float), by_onnx["p_parasitized"].to_numpy(dtype=float), atol=1e-4
    )


def test_a_killed_reading_continues_with_the_same_call(model, images, tmp_path):
    reader = CellPredictor(model)
    first = pd.concat(reader.read(images, tmp_path / "work").frames())
    (part,) = (tmp_path / "work").glob("part-*.parquet")
    before = part.stat().st_mtime_ns
    again = pd.concat(reader.read(images, tmp_path / "work").frames())
    pd.testing.assert_frame_equal(first, again)
    assert part.stat().st_mtime_ns == before


def test_int8_without_a_graph_says_how_to_get_one(model):
    with pytest.raises(BackendError, match="kedro run --pipelines export"):
        CellPredictor(model, backend="onnx", precision="int8")


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
        CellPredictor(model)
    assert str(model) in str(caught.value)


def test_a_folder_that_may_not_be_looked_into_is_not_called_empty(tmp_path, without_rights):
    (tmp_path / "classifier").mkdir()
    denied = pytest.raises(
        BackendError, match=r"classifier.* cannot be looked at \(Permission denied\).*check the rights"
    )
    with without_rights(tmp_path / "classifier"), denied:
        CellPredictor(tmp_path / "classifier")


def test_a_folder_without_a_classifier_is_refused(tmp_path):
    with pytest.raises(BackendError, match="holds no classifier"):
        CellPredictor(tmp_path)


# --- images in memory, and several sources --------------------------------------------------------------------------


def arrays():
    return list(phantom_like_cells(4, seed=5)[0])


def test_files_pillow_images_and_arrays_give_the_same_rows(model, images):
    predictor = CellPredictor(model)
    paths = sorted((images / "batch_0").iterdir())
    by_file = predictor(paths)
    opened = [Image.open(path) for path in paths]
    held = [np.asarray(image) for image in opened]
    for given in (opened, held, np.stack(held), iter(held)):
        pd.testing.assert_frame_equal(
            predictor(given).drop(columns=["path", "patient_id"]), by_file.drop(columns=["path", "patient_id"])
        )
    assert predictor(opened)["patient_id"].tolist() == by_file["patient_id"].tolist() == ["C1"] * 4
    assert predictor(held)["path"].tolist() == [f"image {number}" for number in range(4)]


def test_one_image_is_one_row_whatever_it_is(model, images):
    predictor, path = CellPredictor(model), next((images / "batch_1").iterdir())
    rows = [predictor(given) for given in (path, str(path), Image.open(path), np.asarray(Image.open(path)))]
    assert [len(table) for table in rows] == [1] * 4
    assert len({float(table["p_parasitized"].iloc[0]) for table in rows}) == 1
    assert {tuple(table.columns) for table in rows} == {tuple(predictor(images).columns)}


def test_paths_and_images_in_memory_may_be_mixed(model, images):
    cell = arrays()[0]
    table = CellPredictor(model)([cell, images / "text.png", images / "batch_0", cell])
    assert len(table) == 7
    assert table["path"].tolist()[0] == "image 0"
    assert table["path"].tolist()[-1] == "image 3"
    assert table["quality"].tolist()[1] == "unreadable"


def test_a_damaged_or_tiny_image_in_memory_is_a_row(model, images):
    with Image.open(next((images / "batch_0").iterdir())) as whole:
        path = images / "cut.jpg"
        whole.save(path)
    path.write_bytes(path.read_bytes()[:-200])
    table = CellPredictor(model)([Image.open(path), np.zeros((3, 3, 3), np.uint8)])
    assert table["quality"].tolist() == ["unreadable", "too_small"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((32, 32, 3), np.float32), r"image 0 is float32 \(32, 32, 3\): an array must be uint8 H×W×3"),
        (np.zeros((32, 32), np.uint8), r"image 0 is uint8 \(32, 32\)"),
        ([np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 4), np.uint8)], r"image 1 is uint8 \(32, 32, 4\)"),
        (torch.zeros((3, 32, 32), dtype=torch.uint8), r"image 0 is torch\.uint8 \(3, 32, 32\)"),
        (np.zeros((2, 3, 32, 32), np.uint8), r"image 0 is uint8 \(3, 32, 32\)"),
        (5, "image 0 is of type int: give paths"),
        (b"png", "image 0 is of type bytes"),
        ([None], "image 0 is of type NoneType"),
        ([], "no image is given"),
    ],
    ids=["float", "grey", "RGBA", "tensor", "channels first", "number", "bytes", "None", "nothing"],
)
def test_what_is_no_image_is_refused_in_one_sentence(model, given, words):
    with pytest.raises(SourceError, match=words) as caught:
        CellPredictor(model)(given)
    assert "\n" not in str(caught.value)


def test_labels_are_a_column_of_the_rows(model, images):
    (images / "batch_0").rename(images / "Parasitized")
    table = CellPredictor(model)(images).set_index("path")
    assert (table["label"] == "Parasitized").tolist() == table.index.str.startswith("Parasitized/").tolist()
    assert table["label"].isna().sum() == 6


# --- 16-bit images --------------------------------------------------------------------------------------------------


@pytest.fixture
def deep(tmp_path):
    """Four cells as a camera of 12 bits saves them, and the same ones in 8 bits."""
    for number, cell in enumerate(phantom_like_cells(4, seed=5)[0]):
        for name, data in (("deep", png_16(cell.astype(np.uint16) << 4)), ("plain", encoded(cell))):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{number}.png").write_bytes(data)
    return tmp_path


def with_depth(model, bit_depth):
    rewrite(model, input=small_classifier().metadata.input.as_dict() | {"bit_depth": bit_depth})
    return model


def test_16_bit_images_are_read_with_the_depth_that_the_classifier_was_trained_with(model, deep):
    reader = CellPredictor(with_depth(model, 12))
    assert reader.bit_depth == 12
    pd.testing.assert_frame_equal(reader.table(deep / "deep"), reader.table(deep / "plain"))


def test_a_depth_that_is_given_wins_and_is_said(model, deep, caplog):
    reader = CellPredictor(with_depth(model, 16), bit_depth=12)
    pd.testing.assert_frame_equal(reader.table(deep / "deep"), reader.table(deep / "plain"))
    assert "16-bit images are read with 12 bits" in caplog.text


@pytest.mark.parametrize("told", [True, False], ids=["null", "without the key"])
def test_without_a_depth_16_bit_images_are_rows_that_name_the_remedy(model, deep, told):
    table = CellPredictor(with_depth(model, None) if told else model).table(deep)
    refused = table["path"].str.startswith("deep/")
    assert refused.sum() == 4
    assert set(table.loc[refused, "quality"]) == {"unreadable"}
    assert table.loc[refused, "reason"].str.contains("malaria-kedro predict --bit-depth", regex=False).all()
    assert not table.loc[~refused, "quality"].str.contains("unreadable").any()


def test_a_depth_that_is_too_small_refuses_the_images(model, deep):
    table = CellPredictor(model, bit_depth=8).table(deep / "deep")
    assert set(table["quality"]) == {"unreadable"}
    assert table["reason"].str.contains("is beyond 8 bits", regex=False).all()


@pytest.mark.parametrize(("stored", "given"), [(9, None), (12, 11)])
def test_what_is_no_depth_is_refused(model, stored, given):
    with pytest.raises(BackendError, match="give one of 8, 10, 12, 14, 16"):
        CellPredictor(with_depth(model, stored), bit_depth=given)


def test_what_is_there_more_than_once_is_told(model, images, tmp_path, caplog):
    first = sorted(images.rglob("*.png"))[0]
    (tmp_path / "list.csv").write_text(f"path\n{first}\n{first}\ncopy.png\n")
    shutil.copy(first, tmp_path / "copy.png")
    with caplog.at_level("WARNING"):
        found = CellPredictor(model).read(tmp_path / "list.csv", tmp_path / "work")
    assert len(found) == 2
    assert [sentence.rpartition(": ")[2] for sentence in found.about.repeats] == ["1", "1"]
    assert all(sentence in caplog.text for sentence in found.about.repeats)
