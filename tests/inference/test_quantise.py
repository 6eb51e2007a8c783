"""Int8: convolutions in integers, the rest in float, and no use of it where held-out cells say otherwise."""

import sys

import numpy as np
import pytest

from backend_material import SIZE, float_graph, int8_graph, phantom_like_cells, small_classifier
from malaria_kedro.inference.export import check_onnx, onnx_bytes, parity, torch_reader
from malaria_kedro.inference.extras import BackendError
from malaria_kedro.inference.quantise import accept_int8, quantise
from malaria_kedro.learning.classifier import Classifier
from malaria_kedro.learning.network import build_network, cpu_state
from metadata_material import changed
from network_material import shape

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def float_file(tmp_path):
    """The small classifier's float32 graph on disk."""
    path = tmp_path / "small.onnx"
    path.write_bytes(float_graph())
    return path


def int8_reader(cells: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(int8_graph(), providers=["CPUExecutionProvider"])
    return session.run(None, {"cells": cells})


# The graph


def test_every_convolution_has_int8_weights_for_each_channel():
    graph = onnx.load_from_string(int8_graph()).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 6
    for node in convolutions:
        dequantise = made_by[node.input[1]]
        weight, scale = (weights[name] for name in dequantise.input[:2])
        assert weight.data_type == onnx.TensorProto.INT8
        assert list(scale.dims) == [weight.dims[0]]


def test_normalisation_and_head_stay_in_float():
    nodes = list(onnx.load_from_string(int8_graph()).graph.node)
    kinds = [node.op_type for node in nodes]
    entry, pooling = kinds.index("QuantizeLinear"), kinds.index("ReduceMax")
    assert set(kinds[:entry]) - {"DequantizeLinear"} <= {"Transpose", "Cast", "Mul", "Sub"}
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds[pooling:])


def test_where_only_the_mean_of_a_channel_is_seen_the_head_stays_in_float_too(tmp_path):
    slim = shape(pooling="average")
    about = changed(small_classifier().metadata, slim_resnet=slim.model_dump())
    given = Classifier(cpu_state(build_network("slim_resnet", slim_resnet=slim)), about)
    (tmp_path / "float.onnx").write_bytes(onnx_bytes(given))
    quantise(tmp_path / "float.onnx", phantom_like_cells(64, seed=1)[0], tmp_path / "int8.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert "ReduceMax" not in kinds
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds[kinds.index("ReduceMean") :])


def test_the_file_is_less_than_a_third_and_says_that_it_is_int8():
    assert len(int8_graph()) < len(float_graph()) / 3
    made, given = (check_onnx(data, "it") for data in (int8_graph(), float_graph()))
    assert made.int8
    assert made.metadata == given.metadata | {"precision": "int8"}


def test_it_comes_near_to_torch():
    cells, _ = phantom_like_cells(64, seed=2)
    found = parity(torch_reader(small_classifier()), int8_reader, cells)
    assert 0 < found.p < 0.15
    assert found.features < 0.2


def test_it_writes_the_same_bytes_again_and_nothing_beside(float_file, tmp_path):
    path = tmp_path / "made" / "int8.onnx"
    quantise(float_file, phantom_like_cells(64, seed=1)[0], path)
    assert path.read_bytes() == int8_graph()
    assert [file.name for file in path.parent.iterdir()] == ["int8.onnx"]


def test_nothing_of_the_machine_is_in_the_file(tmp_path):
    for trace in (b".py", b"site-packages", str(tmp_path.parent.parent).encode(), b"pre_process"):
        assert trace not in int8_graph()


# What is refused


def test_a_quantised_graph_is_not_quantised_again(tmp_path):
    (tmp_path / "int8.onnx").write_bytes(int8_graph())
    with pytest.raises(BackendError, match="is quantised already"):
        quantise(tmp_path / "int8.onnx", phantom_like_cells()[0][:4], tmp_path / "again.onnx")


@pytest.mark.parametrize(
    "cells",
    [
        np.zeros((4, SIZE, SIZE, 3), np.float32),
        np.zeros((4, 3, SIZE, SIZE), np.uint8),
        np.zeros((4, 64, 64, 3), np.uint8),
        np.zeros((0, SIZE, SIZE, 3), np.uint8),
    ],
    ids=["float", "channels first", "another size", "none"],
)
def test_calibration_cells_of_another_kind_are_refused(float_file, tmp_path, cells):
    with pytest.raises(BackendError, match=r"calibration cells must be uint8 N×32×32×3"):
        quantise(float_file, cells, tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()


def test_a_damaged_graph_is_refused(float_file, tmp_path):
    float_file.write_bytes(float_graph()[:1000])
    with pytest.raises(BackendError, match="damaged"):
        quantise(float_file, phantom_like_cells()[0][:4], tmp_path / "int8.onnx")


def test_a_missing_extra_is_named(monkeypatch, float_file, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(BackendError, match=r"malaria-kedro\[onnx\]"):
        quantise(float_file, phantom_like_cells()[0][:4], tmp_path / "int8.onnx")


# Acceptance


def accept(float_p, int8_p, parasitized):
    return accept_int8(float_p, int8_p, np.where(parasitized, "Parasitized", "Uninfected"))


@pytest.fixture
def judged():
    """2,000 cells of both classes with probabilities that are right but for 100, and which are parasitized."""
    parasitized = np.arange(2000) % 2 == 0
    p = np.where(parasitized, 0.9, 0.1) + np.linspace(-0.05, 0.05, 2000)
    p[:100] = 1 - p[:100]
    return p, parasitized


def test_the_same_probabilities_are_accepted(judged):
    p, parasitized = judged
    found = accept(p, p, parasitized)
    assert found.accepted
    assert (found.accuracy_change_points, found.auc_change) == (0, 0)
    assert found.sentence == (
        "int8 is accepted: on 2000 held-out cells accuracy changes by +0.000 points, from 95.00 % to 95.00 % "
        "(limit 0.1), and AUC by +0.00000 (limit 0.0005)"
    )


@pytest.mark.parametrize(("lost", "accepted"), [(1, True), (2, True), (3, False)])
def test_accuracy_may_change_by_a_tenth_of_a_point(judged, lost, accepted):
    p, parasitized = judged
    worse = p.copy()
    uninfected = np.flatnonzero(~parasitized)[-lost:]
    worse[uninfected] = 0.5  # called parasitized, and still below every parasitized cell that is found
    found = accept(p, worse, parasitized)
    assert found.accuracy_change_points == pytest.approx(-100 * lost / 2000)
    assert found.accepted is accepted


def test_a_change_of_the_auc_alone_is_enough_to_refuse(judged):
    p, parasitized = judged
    worse = p.copy()
    worse[parasitized & (p < 0.5)] = 0.0
    found = accept(p, worse, parasitized)
    assert found.accuracy_change_points == 0
    assert found.auc_change < -0.0005
    assert not found.accepted
    assert found.sentence.startswith("int8 is not accepted: ")


def test_a_graph_that_is_better_by_more_is_another_classifier_too(judged):
    p, parasitized = judged
    better = p.copy()
    better[:10] = 1 - better[:10]
    assert accept(p, better, parasitized).accuracy_change_points == 0.5
    assert not accept(p, better, parasitized).accepted


def test_cells_of_one_class_accept_nothing(judged):
    p, parasitized = judged
    found = accept(p[parasitized], p[parasitized], parasitized[parasitized])
    assert not found.accepted
    assert found.auc_change is None
    assert "there is no AUC, because every cell is of one class" in found.sentence


@pytest.mark.parametrize("change", ["lengths", "not a number", "unknown label"])
def test_what_cannot_be_judged_is_refused(judged, change):
    p, parasitized = judged
    labels = np.where(parasitized, "Parasitized", "Uninfected")
    given = {
        "lengths": (p, p[1:], labels),
        "not a number": (p, np.where(parasitized, p, np.nan), labels),
        "unknown label": (p, p, np.where(parasitized, "cat", "dog")),
    }[change]
    with pytest.raises(ValueError, match=r"same length|not a number|labels"):
        accept_int8(*given)
