"""OnnxDataset: the graphs and what is known of them, in one folder."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from kedro.io import DatasetError

from malaria_kedro.datasets.onnx_dataset import ABOUT, OnnxDataset
from malaria_kedro.inference.export import FORMAT, ONNX, ONNX_INT8, Parity, seal
from malaria_kedro.inference.onnx_graphs import OnnxDescription, OnnxGraphs
from malaria_kedro.inference.quantise import Acceptance


@pytest.fixture
def dataset(tmp_path: Path) -> OnnxDataset:
    return OnnxDataset(filepath=str(tmp_path / "net" / "onnx"))


def graph_in(precision: str) -> bytes:
    """A graph without a node, sealed as the project's own are."""
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    return seal(empty, {"format": FORMAT, "precision": precision})


FLOAT32, INT8 = graph_in("float32"), graph_in("int8")


def graphs_of(int8: bytes | None) -> OnnxGraphs:
    verdict = Acceptance(int8 is not None, 0.0, None, "int8 is as told")
    about = OnnxDescription("net", "beef", "f00d", False, {"size": "32"}, Parity(4, 1e-6, 1e-5), verdict)
    return OnnxGraphs(FLOAT32, int8, about)


@pytest.mark.parametrize("int8", [INT8, None], ids=["with int8", "without"])
def test_it_loads_what_was_saved(dataset: OnnxDataset, int8: bytes | None) -> None:
    dataset.save(graphs_of(int8))
    assert dataset.load() == graphs_of(int8)
    files = {path.name for path in dataset.load_path.iterdir()}
    assert files == {ABOUT, "model.onnx"} | ({"model.int8.onnx"} if int8 else set())


def test_an_int8_graph_of_before_is_gone_once_it_is_not_accepted(dataset: OnnxDataset) -> None:
    dataset.save(graphs_of(INT8))
    dataset.save(graphs_of(None))
    assert dataset.load().int8 is None


def test_a_description_that_is_damaged_is_named(dataset: OnnxDataset) -> None:
    dataset.save(graphs_of(None))
    (dataset.load_path / ABOUT).write_text("{}")
    with pytest.raises(DatasetError, match="onnx"):
        dataset.load()


@pytest.mark.parametrize("name", [ONNX, ONNX_INT8])
@pytest.mark.parametrize("content", [b"", b"garbage", FLOAT32[:-5], None], ids=["empty", "garbage", "cut", "gone"])
def test_a_graph_that_is_damaged_is_named_with_the_command(dataset: OnnxDataset, name, content) -> None:
    dataset.save(graphs_of(INT8))
    file = dataset.load_path / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert str(file) in str(caught.value)
    assert "kedro run --pipelines export" in str(caught.value)


def test_kedro_viz_shows_what_is_known_of_them(dataset: OnnxDataset) -> None:
    dataset.save(graphs_of(None))
    assert "int8 is as told" in str(dataset.preview())
