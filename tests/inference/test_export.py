"""The ONNX file: one graph that needs no preprocessing, says what it is, and computes what torch computes."""

import hashlib
import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend_material import FEATURES, SIZE, TEMPERATURE, float_graph, phantom_like_cells, small_classifier
from malaria_kedro.inference import export
from malaria_kedro.inference.export import (
    Parity,
    check_onnx,
    check_origin,
    check_probe,
    export_onnx,
    onnx_bytes,
    parity,
    read_onnx,
    torch_reader,
    weights_sha256,
)
from malaria_kedro.inference.extras import BackendError, ParityError
from malaria_kedro.learning.calibration import apply_temperature
from malaria_kedro.learning.classifier import Classifier, write_classifier
from malaria_kedro.learning.network import build_network, cpu_state
from malaria_kedro.learning.probe import probe_cells
from metadata_material import changed, with_metadata
from network_material import RESNET18_CLASSIFIER, shape

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "cell_images.zip"


@pytest.fixture
def ready_graph(monkeypatch):
    """Export without tracing the network once more."""
    monkeypatch.setattr(export, "onnx_bytes", lambda classifier: float_graph())


CELLS = phantom_like_cells()[0][:12]


def small_with(**changes) -> Classifier:
    return with_metadata(small_classifier(), **changes)


def run(data: bytes, cells: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"cells": cells})


# The graph


def test_the_graph_reads_uint8_cells_and_gives_probability_and_features():
    graph = onnx.load_from_string(float_graph()).graph
    shapes = {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in [*graph.input, *graph.output]
    }
    assert shapes == {
        "cells": (onnx.TensorProto.UINT8, ["batch", SIZE, SIZE, 3]),
        "p_parasitized": (onnx.TensorProto.FLOAT, ["batch"]),
        "features": (onnx.TensorProto.FLOAT, ["batch", FEATURES]),
    }


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_batch_gives_what_torch_gives(count):
    cells, _ = phantom_like_cells()
    assert parity(torch_reader(small_classifier()), lambda batch: run(float_graph(), batch), cells[:count]).holds


def test_the_probability_is_the_softmax_at_the_calibrated_temperature():
    import torch

    cells, _ = phantom_like_cells()
    normalise = small_classifier().metadata.normalisation
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (normalise.mean, normalise.std))
    logits = small_classifier().network()((torch.from_numpy(cells[:16]).permute(0, 3, 1, 2) / 255 - mean) / std)
    expected = (logits.double() / TEMPERATURE).softmax(dim=1)[:, 0].numpy()
    np.testing.assert_allclose(torch_reader(small_classifier())(cells[:16])[0], expected, atol=1e-5)


def test_the_features_are_what_the_head_sees_behind_its_concat_pooling():
    import torch

    cells, _ = phantom_like_cells()
    normalise = small_classifier().metadata.normalisation
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (normalise.mean, normalise.std))
    body, head = small_classifier().network()
    pooled = head[:2](body((torch.from_numpy(cells[:4]).permute(0, 3, 1, 2) / 255 - mean) / std))
    np.testing.assert_allclose(torch_reader(small_classifier())(cells[:4])[1], pooled.numpy(), atol=1e-4)


def test_a_classifier_that_was_never_calibrated_has_temperature_one():
    cells, _ = phantom_like_cells()
    calibrated, plain = (torch_reader(c)(cells[:16])[0] for c in (small_classifier(), small_with(calibration=None)))
    np.testing.assert_allclose(calibrated, apply_temperature(plain, TEMPERATURE), atol=1e-3)
    assert np.abs(calibrated - plain).max() > 0.01


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), "hot", None])
def test_metadata_with_a_temperature_that_is_none_cannot_be_made(temperature):
    with pytest.raises(ValueError, match=r"calibration\.temperature"):
        small_with(calibration={"temperature": temperature})


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(BackendError, match="not those of a resnet18"):
        torch_reader(small_with(**RESNET18_CLASSIFIER))


@pytest.mark.parametrize("architecture", ["resnet18", "average", "max"])
def test_other_networks_are_exported_too(architecture):
    import torch

    torch.manual_seed(2)
    slim = None if architecture == "resnet18" else shape(pooling=architecture)
    named = RESNET18_CLASSIFIER if slim is None else {"slim_resnet": slim.model_dump()}
    network = build_network("resnet18" if slim is None else "slim_resnet", slim_resnet=slim)
    classifier = Classifier(cpu_state(network), changed(small_classifier().metadata, **named))
    data = onnx_bytes(classifier)
    assert parity(torch_reader(classifier), lambda batch: run(data, batch), CELLS).holds
    assert torch_reader(classifier)(CELLS)[1].shape == (12, 1024 if slim is None else 16)


# The file


def test_the_same_classifier_gives_the_same_bytes():
    assert onnx_bytes(small_classifier()) == float_graph()


def test_nothing_of_the_machine_is_in_the_file():
    model = onnx.load_from_string(float_graph())
    for weights in model.graph.initializer:
        weights.ClearField("raw_data")  # any three bytes are among a million numbers
    said = model.SerializeToString()
    for trace in (
        b".py",
        b"site-packages",
        b"File ",
        str(Path(__file__).parents[2]).encode(),
        str(Path.home()).encode(),
    ):
        assert trace not in said


def test_the_metadata_says_what_the_file_is(tmp_path):
    metadata = check_onnx(float_graph(), "it").metadata
    write_classifier(small_classifier(), tmp_path)
    assert metadata["weights_sha256"] == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert (metadata["name"], metadata["training_id"]) == ("small", "a training")
    assert "never a diagnosis" in metadata["intended_use"]
    assert (metadata["size"], metadata["temperature"]) == (str(SIZE), str(TEMPERATURE))
    assert metadata["precision"] == "float32"


def test_what_is_written_is_read_and_replaces_the_older_file(ready_graph, tmp_path):
    path = tmp_path / "new" / "small.onnx"
    path.parent.mkdir()
    path.write_bytes(b"older")
    assert export_onnx(small_classifier(), path, phantom_like_cells()[0][:8]).holds
    assert read_onnx(path).data == float_graph()
    assert [file.name for file in path.parent.iterdir()] == ["small.onnx"]


def test_a_graph_that_disagrees_with_torch_is_not_written(ready_graph, tmp_path):
    hotter = small_with(calibration={"temperature": 5.0})  # the ready graph has another temperature
    with pytest.raises(BackendError, match=r"is not written, because it disagrees with torch: on 12 cells"):
        export_onnx(hotter, tmp_path / "small.onnx", CELLS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_extra_is_named(monkeypatch, tmp_path, module):
    if module == "onnxruntime":
        monkeypatch.setattr(export, "onnx_bytes", lambda classifier: float_graph())
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(BackendError, match=rf'{module} cannot be imported.*pip install "malaria-kedro\[onnx\]"'):
        export_onnx(small_classifier(), tmp_path / "small.onnx", CELLS)


# Damaged and foreign files


def test_a_file_that_is_not_there_is_said_to_be(tmp_path):
    with pytest.raises(BackendError, match=r"cannot be read as an ONNX file.*kedro run --pipelines export"):
        read_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"not a graph" * 50], ids=["empty", "a picture", "text"])
def test_what_is_no_onnx_file_is_refused(tmp_path, data):
    (tmp_path / "small.onnx").write_bytes(data)
    with pytest.raises(BackendError, match="not an ONNX file"):
        read_onnx(tmp_path / "small.onnx")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_file_cut_short_is_refused(share):
    with pytest.raises(BackendError, match=r"cut\.onnx is"):
        check_onnx(float_graph()[: int(share * len(float_graph()))], "cut.onnx")


def test_a_single_wrong_bit_among_the_weights_is_found():
    data = bytearray(float_graph())
    data[len(data) // 2] ^= 1
    with pytest.raises(BackendError, match="is damaged"):
        check_onnx(bytes(data), "it")


def test_metadata_that_was_changed_is_found():
    changed = float_graph().replace(b"float32", b"float64")
    with pytest.raises(BackendError, match="is damaged"):
        check_onnx(changed, "it")


def test_another_programs_onnx_file_is_refused():
    model = onnx.load_from_string(float_graph())
    del model.metadata_props[:]
    with pytest.raises(BackendError, match="is not an ONNX file of this project"):
        check_onnx(model.SerializeToString(), "it")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calibration": {"temperature": 2.0}}, "its temperature is 1.7, the classifier's is 2.0"),
        ({"input": {"size": 64}}, "its size is 32, the classifier's is 64"),
    ],
    ids=["temperature", "size"],
)
def test_a_file_of_another_card_is_refused(changes, said):
    with pytest.raises(BackendError, match=f"was not made from the classifier small: {said}"):
        check_origin(check_onnx(float_graph(), "it"), small_with(**changes), "it")


def test_a_file_of_other_weights_is_refused():
    state = dict(small_classifier().state)
    state["0.0.0.weight"] = state["0.0.0.weight"] * 1.001
    other = Classifier(state, small_classifier().metadata)
    assert weights_sha256(other) != weights_sha256(small_classifier())
    with pytest.raises(BackendError, match="its weights_sha256 is"):
        check_origin(check_onnx(float_graph(), "it"), other, "it")


# Parity


def answers(p: np.ndarray, features: np.ndarray):
    """A backend that gives these numbers for whatever cells."""
    return lambda cells: (p, features)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("what", ["p", "features"])
def test_what_is_not_a_number_is_not_what_the_classifier_computes(int8, what):
    p, features = torch_reader(small_classifier())(probe_cells(SIZE))
    check_probe(answers(p, features), small_classifier(), "it", int8=int8, again="again")
    (p if what == "p" else features)[3] = np.nan
    with pytest.raises(ParityError, match=r"it does not compute .* nan.*; again"):
        check_probe(answers(p, features), small_classifier(), "it", int8=int8, again="again")


def test_exchanged_outputs_have_the_opposite_log_odds():
    p, features = torch_reader(small_classifier())(probe_cells(SIZE))
    with pytest.raises(ParityError, match=r"the correlation of log-odds is -1\.00"):
        check_probe(answers(1 - p, features), small_classifier(), "it", int8=True, again="again")


def made_up(p: float, feature: float = 1.0):
    return lambda cells: (np.full(len(cells), p, np.float32), np.full((len(cells), 3), feature, np.float32))


def test_parity_is_the_largest_difference_over_all_batches():
    cells = CELLS.repeat(10, axis=0)
    found = parity(made_up(0.5, 2.0), made_up(0.25, 1.0), cells)
    assert found == Parity(120, 0.25, 0.5)
    assert not found.holds
    assert "on 120 cells p_parasitized differs by at most 2.5e-01 (limit 1e-04)" in found.sentence


def test_what_is_not_a_number_is_never_parity():
    assert not parity(made_up(0.5), made_up(float("nan")), CELLS).holds


def test_parity_on_no_cell_is_refused():
    with pytest.raises(ValueError, match="no cell to compare"):
        parity(made_up(0), made_up(0), CELLS[:0])


@pytest.mark.skipif(not REAL.is_file(), reason=f"the real cells are not at hand ({REAL})")
def test_parity_holds_on_real_cells():
    with zipfile.ZipFile(REAL) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")][::400]
        cells = np.stack(
            [np.asarray(Image.open(BytesIO(archive.read(name))).convert("RGB").resize((SIZE, SIZE))) for name in names]
        )
    found = parity(torch_reader(small_classifier()), lambda batch: run(float_graph(), batch), cells)
    assert found.holds, found.sentence


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BackendError, match="it is a pipe, a socket or a device"):
        export.read_onnx(tmp_path / "pipe")
