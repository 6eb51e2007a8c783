"""One call for every backend: the same cells give the same probabilities, and what does not belong is refused."""

import dataclasses
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from backend_material import FEATURES, SIZE, float_graph, int8_graph, phantom_like_cells, small_classifier
from malaria_kedro.inference import backends
from malaria_kedro.inference.backends import BackendError, load_predictor
from malaria_kedro.inference.export import check_onnx, parity, seal
from malaria_kedro.inference.extras import ParityError, import_openvino
from malaria_kedro.learning.classifier import Classifier, read_classifier, write_classifier
from malaria_kedro.learning.probe import CELLS

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
try:
    import_openvino()
except BackendError:
    pytest.skip("openvino is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the classifier, small.onnx and small-int8.onnx."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "classifier").mkdir()
    write_classifier(small_classifier(), folder / "classifier")
    (folder / "small.onnx").write_bytes(float_graph())
    (folder / "small-int8.onnx").write_bytes(int8_graph())
    return folder


@pytest.fixture(scope="module")
def whole(files):
    """The small classifier as it is read from its folder, with what it computes for the probe cells."""
    return read_classifier(files / "classifier")


@pytest.fixture(scope="module")
def load(files, whole):
    """Load the small classifier into a backend, from its file."""

    def loaded(kind):
        backend, int8 = kind.split()[0], kind.endswith("int8")
        path = None if backend == "torch" else files / ("small-int8.onnx" if int8 else "small.onnx")
        return load_predictor(whole, backend, onnx_path=path, int8=int8, threads=1)

    return loaded


MAKERS = {"onnx": "_onnx_session", "openvino": "_openvino_model"}
KINDS = ["torch", "onnx", "openvino", "onnx int8", "openvino int8"]


# What a predictor does


@pytest.mark.parametrize("kind", KINDS)
def test_a_predictor_tells_its_name_and_size(load, kind):
    predictor = load(kind)
    assert (predictor.name, predictor.size, predictor.width) == (kind, SIZE, FEATURES)
    assert predictor.batch >= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 3, 130])
def test_any_number_of_cells_is_read(load, kind, count):
    p, features = load(kind)(phantom_like_cells()[0][:count])
    assert (p.dtype, p.shape) == (np.float32, (count,))
    assert (features.dtype, features.shape) == (np.float32, (count, FEATURES))
    assert ((p >= 0) & (p <= 1)).all()


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
@pytest.mark.parametrize("threads", [None, 3])
def test_float_backends_agree_with_torch(files, load, kind, threads):
    cells, _ = phantom_like_cells()
    predictor = load_predictor(small_classifier(), kind, onnx_path=files / "small.onnx", threads=threads)
    found = parity(load("torch"), predictor, cells)
    assert found.holds, found.sentence
    assert found.features < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_cells_probability_does_not_depend_on_the_cells_beside_it(load, kind):
    cells, _ = phantom_like_cells()
    predictor = load(kind)
    together, features = predictor(cells[:70])
    np.testing.assert_allclose(predictor(cells[65:66])[0], together[65:66], atol=1e-5)
    np.testing.assert_allclose(predictor(cells[65:66])[1], features[65:66], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_threads_that_call_at_the_same_time_get_their_own_answers(files, kind, at_once):
    cells, _ = phantom_like_cells()
    backend, int8 = kind.removesuffix(" int8"), kind.endswith("int8")
    path = None if kind == "torch" else files / ("small-int8.onnx" if int8 else "small.onnx")
    predictor = load_predictor(small_classifier(), backend, onnx_path=path, int8=int8, threads=1, at_once=at_once)
    batches = [cells[start : start + 5] for start in range(0, 60, 5)]
    alone = [predictor(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for (p, features), expected in zip(pool.map(predictor, batches * 3), alone * 3, strict=True):
            np.testing.assert_array_equal(p, expected[0])
            np.testing.assert_array_equal(features, expected[1])


@pytest.mark.parametrize("kind", KINDS)
def test_earlier_results_stay_when_the_next_cells_are_read(load, kind):
    cells, _ = phantom_like_cells()
    predictor = load(kind)
    p, features = predictor(cells[:8])
    kept = p.copy(), features.copy()
    predictor(cells[8:16])
    assert np.array_equal(p, kept[0])
    assert np.array_equal(features, kept[1])


@pytest.mark.parametrize("kind", KINDS)
def test_cells_that_lie_apart_in_memory_or_cannot_be_written_are_read(load, kind):
    cells, _ = phantom_like_cells()
    predictor = load(kind)
    mirrored = cells[:4, :, ::-1]
    frozen = mirrored.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(predictor(mirrored)[0], predictor(frozen)[0])


@pytest.mark.parametrize(
    "cells",
    [
        np.zeros((2, SIZE, SIZE, 3), np.float32),
        np.zeros((2, 3, SIZE, SIZE), np.uint8),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((2, 64, 64, 3), np.uint8),
    ],
    ids=["float", "channels first", "one cell", "another size"],
)
def test_cells_of_another_kind_are_refused(load, cells):
    with pytest.raises(BackendError, match=r"cells must be uint8 B×32×32×3, RGB; these are"):
        load("torch")(cells)


def test_without_a_file_the_graph_is_made_in_memory(monkeypatch):
    monkeypatch.setattr(backends, "onnx_bytes", lambda classifier: float_graph())
    cells, _ = phantom_like_cells()
    assert parity(load_predictor(small_classifier()), load_predictor(small_classifier(), "onnx"), cells[:8]).holds


# Where the classifier comes from


def test_a_classifiers_folder_is_read(files, load):
    cells, _ = phantom_like_cells()
    for given in (files / "classifier", str(files / "classifier")):
        assert np.array_equal(load_predictor(given)(cells[:4])[0], load("torch")(cells[:4])[0])


def test_a_folder_that_may_not_be_looked_into_is_not_called_empty(tmp_path, without_rights):
    (tmp_path / "classifier").mkdir()
    denied = pytest.raises(
        BackendError, match=r"classifier.* cannot be looked at \(Permission denied\).*check the rights"
    )
    with without_rights(tmp_path / "classifier"), denied:
        load_predictor(tmp_path / "classifier")


def test_a_folder_without_a_classifier_is_refused(tmp_path):
    with pytest.raises(BackendError, match="holds no classifier, nor versions"):
        load_predictor(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "classifier.json"])
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_damaged_classifier_is_refused(files, tmp_path, name, backend):
    for file in (files / "classifier").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 100 if file.name == name else None])
    with pytest.raises(BackendError, match="is damaged or of another kind"):
        load_predictor(tmp_path, backend)


# What is refused


def test_an_unknown_backend_is_refused():
    with pytest.raises(BackendError, match="'tensorrt' is unknown; choose one of torch, onnx, openvino"):
        load_predictor(small_classifier(), "tensorrt")


def test_no_threads_are_refused():
    with pytest.raises(BackendError, match="threads is 0; give 1 or more"):
        load_predictor(small_classifier(), threads=0)


def test_torch_has_no_int8():
    with pytest.raises(BackendError, match="give backend onnx or openvino"):
        load_predictor(small_classifier(), int8=True)


@pytest.mark.parametrize(("backend", "module"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_extra_is_named(monkeypatch, files, backend, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=rf'pip install "malaria-kedro\[{backend}\]"'):
        load_predictor(small_classifier(), backend, onnx_path=files / "small.onnx")


def test_int8_needs_a_file():
    with pytest.raises(BackendError, match="quantised with real training cells"):
        load_predictor(small_classifier(), "onnx", int8=True)


@pytest.mark.parametrize(("name", "int8"), [("small.onnx", True), ("small-int8.onnx", False)])
def test_a_file_in_another_precision_than_asked_for_is_refused(files, name, int8):
    with pytest.raises(BackendError, match=f"set int8={not int8}"):
        load_predictor(small_classifier(), "onnx", onnx_path=files / name, int8=int8)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_file_of_another_classifier_is_refused(files, backend):
    state = small_classifier().state | {"0.0.0.weight": small_classifier().state["0.0.0.weight"] * 2}
    other = Classifier(state, small_classifier().metadata)
    with pytest.raises(BackendError, match="was not made from the classifier small: its weights_sha256"):
        load_predictor(other, backend, onnx_path=files / "small.onnx")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_graph_that_the_runtime_cannot_load_is_refused(monkeypatch, files, backend):
    import onnx

    model = onnx.load_from_string(float_graph())
    next(node for node in model.graph.node if node.op_type == "Conv").op_type = "Unheard"
    (path := files / "unheard.onnx").write_bytes(seal(model, check_onnx(float_graph(), "it").metadata))
    with pytest.raises(BackendError, match=rf"unheard\.onnx cannot be loaded by {backend} \("):
        load_predictor(small_classifier(), backend, onnx_path=path)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_loading_reads_the_probe_so_that_no_two_threads_make_the_first_call(monkeypatch, files, backend):
    make, calls = getattr(backends, MAKERS[backend]), []

    def watched(*given):
        read, width = make(*given)
        return lambda cells: calls.append((threading.current_thread(), cells.shape)) or read(cells), width

    monkeypatch.setattr(backends, MAKERS[backend], watched)
    load_predictor(small_classifier(), backend, onnx_path=files / "small.onnx")
    assert calls == [(threading.current_thread(), (CELLS, SIZE, SIZE, 3))]


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_graph_that_loads_and_does_not_run_is_refused(monkeypatch, files, backend):
    def fails(_cells):
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr(backends, MAKERS[backend], lambda *_: (fails, FEATURES))
    with pytest.raises(BackendError, match=rf"cannot be loaded by {backend} \(no kernel for this\)"):
        load_predictor(small_classifier(), backend, onnx_path=files / "small.onnx")


# Another network under this one's name: the metadata fit, the numbers do not


def resealed(data: bytes, change) -> bytes:
    """The graph changed, its metadata copied and its checksum made anew, as no damage would."""
    import onnx

    model = onnx.load_from_string(data)
    change(model.graph, onnx)
    return seal(model, check_onnx(data, "it").metadata)


def exchange_outputs(graph, onnx) -> None:
    """p becomes 1 - p."""
    node = next(node for node in graph.node if "p_parasitized" in node.output)
    node.output[list(node.output).index("p_parasitized")] = "other"
    graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "one"))
    graph.node.append(onnx.helper.make_node("Sub", ["one", "other"], ["p_parasitized"]))


def constant(graph, onnx) -> None:
    """P becomes p times 0, whatever the cell."""
    node = next(node for node in graph.node if "p_parasitized" in node.output)
    node.output[list(node.output).index("p_parasitized")] = "other"
    graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0), "nought"))
    graph.node.append(onnx.helper.make_node("Mul", ["nought", "other"], ["p_parasitized"]))


def other_features(graph, onnx) -> None:
    """The features, which the quality gate looks at, become others; p stays."""
    node = next(node for node in graph.node if "features" in node.output)
    node.output[list(node.output).index("features")] = "other"
    for reader in graph.node:
        for number, name in enumerate(reader.input):
            if name == "features":
                reader.input[number] = "other"
    graph.initializer.append(onnx.numpy_helper.from_array(np.arange(FEATURES)[::-1].copy(), "backwards"))
    graph.node.append(onnx.helper.make_node("Gather", ["other", "backwards"], ["features"], axis=1))


@pytest.mark.parametrize("change", [exchange_outputs, constant, other_features])
@pytest.mark.parametrize("kind", ["onnx", "openvino", "onnx int8", "openvino int8"])
def test_a_graph_that_computes_something_else_is_refused_whatever_its_metadata_say(whole, tmp_path, kind, change):
    backend, int8 = kind.split()[0], kind.endswith("int8")
    (path := tmp_path / "strange.onnx").write_bytes(resealed(int8_graph() if int8 else float_graph(), change))
    with pytest.raises(ParityError, match=r"strange\.onnx does not compute what the classifier small computes"):
        load_predictor(whole, backend, onnx_path=path, int8=int8, threads=1)


def test_for_a_classifier_in_memory_torch_tells_what_it_should_compute(tmp_path):
    (path := tmp_path / "strange.onnx").write_bytes(resealed(float_graph(), exchange_outputs))
    with pytest.raises(ParityError, match=r"strange\.onnx does not compute what the classifier small computes"):
        load_predictor(small_classifier(), "onnx", onnx_path=path, threads=1)


@pytest.mark.parametrize("int8", [False, True])
def test_a_graph_of_other_weights_is_refused_whatever_its_metadata_say(whole, tmp_path, int8):
    random = np.random.default_rng(0)

    def other_weights(graph, onnx):
        for tensor in graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.ndim == 4:
                values = random.permutation(values.ravel()).reshape(values.shape)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    (path := tmp_path / "other.onnx").write_bytes(resealed(int8_graph() if int8 else float_graph(), other_weights))
    with pytest.raises(ParityError, match=r"other\.onnx does not compute"):
        load_predictor(whole, "onnx", onnx_path=path, int8=int8, threads=1)


def test_torch_computes_what_it_computed_at_export(whole):
    exchanged = dataclasses.replace(whole, probe=dataclasses.replace(whole.probe, p=1 - whole.probe.p))
    with pytest.raises(ParityError, match=r"torch .* does not compute what the classifier small computes"):
        load_predictor(exchanged)


def test_a_graph_made_with_another_quality_gate_is_refused(files):
    other = dataclasses.replace(small_classifier(), quality_gate={"id": "another gate"})
    with pytest.raises(BackendError, match="its quality_gate is none, the classifier's is another gate"):
        load_predictor(other, "onnx", onnx_path=files / "small.onnx")


# What it leaves behind

CHILDREN = """
import gc, multiprocessing, signal, subprocess, sys, threading
from pathlib import Path
import numpy as np
import torch
from malaria_kedro.inference.backends import load_predictor

def square(number):
    return number**2

def start_children():
    assert subprocess.run([sys.executable, "-c", "import time; time.sleep(0.2)"]).returncode == 0
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.map(square, [2]) == [4]
    cells = torch.zeros(4, 2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(cells), num_workers=2)
    assert len(list(loader)) == 4

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    start_children()  # which leaves a handler for SIGCHLD
    assert signal.getsignal(signal.SIGCHLD) not in (signal.SIG_DFL, signal.SIG_IGN)
    for name, int8 in (("small.onnx", False), ("small-int8.onnx", True)):
        box = [load_predictor(folder / "classifier", "openvino", onnx_path=folder / name, int8=int8, threads=1)]
        box[0](np.zeros((3, %d, %d, 3), np.uint8))
        # The last reference falls in another thread than the one that loaded OpenVINO.
        dropping = threading.Thread(target=lambda: (box.clear(), gc.collect()))
        dropping.start()
        dropping.join()
        start_children()
        if sys.platform == "linux":
            assert "intel_cpu_plugin" in Path("/proc/self/maps").read_text()
    print("ended")
"""


def test_a_process_that_has_read_with_openvino_starts_children_and_ends_cleanly(files, tmp_path):
    (script := tmp_path / "children.py").write_text(CHILDREN % (SIZE, SIZE))
    found = subprocess.run(
        [sys.executable, str(script), str(files)], capture_output=True, text=True, check=False, timeout=300
    )
    assert (found.returncode, found.stdout) == (0, "ended\n"), found.stderr[-2000:]


# What it keeps to itself


def test_openvino_reaches_for_no_network_and_writes_nothing(files, tmp_path):
    code = f"""
import sys
from concurrent.futures import ThreadPoolExecutor

def watch(event, what):
    writes = event == "open" and isinstance(what[1], str) and set(what[1]) & set("wa+")
    if writes or event.startswith(("socket.connect", "socket.getaddrinfo", "urllib", "subprocess")):
        print(event, what)

sys.addaudithook(watch)
from malaria_kedro.inference.backends import _openvino_model
from malaria_kedro.inference.export import read_onnx
import numpy as np
read, _ = _openvino_model(read_onnx({str(files / "small.onnx")!r}), 1, 1)
read(np.zeros((1, {SIZE}, {SIZE}, 3), np.uint8))
"""
    home = {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ":".join(filter(None, sys.path))}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=home)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_importing_the_room_imports_nothing_heavy():
    code = (
        "import sys; from malaria_kedro.inference import backends, export, quantise;"
        "print({'torch', 'fastai', 'onnx', 'onnxruntime', 'openvino', 'kedro'} & sys.modules.keys() or '')"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
