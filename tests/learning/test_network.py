"""The network: its shape, and every way to give it weights to start from (no test reaches the network)."""

import dataclasses
import hashlib
import json
import logging
import os
import pickle
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from malaria_kedro.cells.download import DownloadError
from malaria_kedro.learning.classifier import write_classifier
from malaria_kedro.learning.network import WeightsError, build_network, cpu_state, load_pretrained, splitter
from metadata_material import changed
from network_material import RESNET18_CLASSIFIER, shape


@pytest.fixture
def network() -> nn.Sequential:
    return build_network("resnet18")


@pytest.fixture
def slim() -> nn.Sequential:
    return build_network("slim_resnet", slim_resnet=shape())


@pytest.fixture
def torch_home(monkeypatch, tmp_path):
    """An empty cache; returns where torch keeps its downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def offline(monkeypatch, torch_home):
    """An empty cache and no network."""

    def fail(url, *_, remedy, **__):
        raise DownloadError(f"{url}: the host is unknown. {remedy}")

    monkeypatch.setattr("malaria_kedro.learning.network.download", fail)
    return torch_home


@pytest.fixture
def served(monkeypatch, torch_home, torchvision_file):
    """A server on this machine in place of torchvision's; returns what it answers with, which a test may change."""
    body = bytearray(torchvision_file.read_bytes())
    name = f"resnet18-{hashlib.sha256(body).hexdigest()[:8]}.pth"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    there = SimpleNamespace(DEFAULT=SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/models/{name}"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda arch: there)
    yield body
    server.shutdown()
    thread.join()
    server.server_close()


def test_imagenet_weights_are_downloaded_once(network, served, torch_home, torchvision_state, caplog):
    with caplog.at_level(logging.INFO):
        assert load_pretrained(network, "resnet18", "imagenet") is True
    assert torch.equal(network[0][0].weight, torchvision_state["conv1.weight"])
    assert "going to the network: downloading http://127.0.0.1:" in caplog.text
    kept = [path for path in torch_home.iterdir() if path.suffix != ".lock"]
    assert [path.read_bytes() for path in kept] == [bytes(served)]
    served[:] = b"not asked for again"
    assert load_pretrained(build_network("resnet18"), "resnet18", "imagenet") is True


def test_other_weights_than_torchvisions_are_not_taken(network, served, torch_home):
    served[1000] ^= 1
    with pytest.raises(WeightsError, match=r"expected sha256 \w{8}, got \w{64} .* or set resnet18\.pretrained to"):
        load_pretrained(network, "resnet18", "imagenet")
    assert [path for path in torch_home.iterdir() if path.suffix != ".lock"] == []


def body_output(module: nn.Module) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.inference_mode():
        return module.eval()(torch.randn(2, 3, 32, 32))


def torchvision_body(state: dict[str, torch.Tensor]) -> nn.Module:
    theirs = torchvision.models.resnet18(weights=None)
    theirs.load_state_dict(state)
    return nn.Sequential(*list(theirs.children())[:-2])


def test_it_maps_images_to_two_logits(network):
    assert network.eval()(torch.zeros(3, 3, 32, 32)).shape == (3, 2)


def test_its_parameters_fall_into_early_body_late_body_and_head(network):
    groups = splitter("resnet18")(network)
    assert len(groups) == 3
    assert sum(len(group) for group in groups) == len(list(network.parameters()))
    assert {id(p) for p in groups[-1]} == {id(p) for p in network[1].parameters()}


def test_none_loads_nothing(network):
    before = network.state_dict()["0.0.weight"].clone()
    assert load_pretrained(network, "resnet18", "none") is False
    assert torch.equal(network.state_dict()["0.0.weight"], before)


def test_with_torchvisions_weights_the_body_computes_what_torchvisions_does(
    network, torchvision_file, torchvision_state
):
    assert load_pretrained(network, "resnet18", str(torchvision_file)) is True
    assert torch.equal(body_output(network[0]), body_output(torchvision_body(torchvision_state)))


def test_the_head_stays_as_it_was_built(network, torchvision_file):
    before = {key: value.clone() for key, value in network[1].state_dict().items()}
    load_pretrained(network, "resnet18", str(torchvision_file))
    assert all(torch.equal(value, before[key]) for key, value in network[1].state_dict().items())


def test_safetensors_do_too(network, torchvision_state, tmp_path):
    save_file(torchvision_state, tmp_path / "weights.safetensors")
    load_pretrained(network, "resnet18", str(tmp_path / "weights.safetensors"))
    assert torch.equal(network[0][0].weight, torchvision_state["conv1.weight"])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: {f"module.{key}": value for key, value in s.items()}, id="saved from DataParallel"),
        pytest.param(lambda s: {k: v for k, v in s.items() if not k.startswith("fc.")}, id="without its last layer"),
        pytest.param(
            lambda s: s | {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}, id="of other classes"
        ),
        pytest.param(
            lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")}, id="from old torch"
        ),
    ],
)
def test_a_state_dict_fits(network, torchvision_state, tmp_path, change):
    torch.save(change(torchvision_state), tmp_path / "weights.pth")
    load_pretrained(network, "resnet18", str(tmp_path / "weights.pth"))
    assert torch.equal(network[0][0].weight, torchvision_state["conv1.weight"])


def test_imagenet_is_read_from_torchs_cache_without_a_network(network, offline, torchvision_file, torchvision_state):
    offline.mkdir(parents=True)
    name = torchvision.models.ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
    shutil.copy(torchvision_file, offline / name)
    assert load_pretrained(network, "resnet18", "imagenet") is True
    assert torch.equal(network[0][0].weight, torchvision_state["conv1.weight"])


def test_imagenet_offline_says_which_file_goes_where_and_what_else_would_do(network, offline):
    with pytest.raises(WeightsError) as caught:
        load_pretrained(network, "resnet18", "imagenet")
    message, url = str(caught.value), torchvision.models.ResNet18_Weights.DEFAULT.url
    assert url in message
    assert str(offline / url.rsplit("/", 1)[1]) in message
    assert "the host is unknown" in message
    assert "resnet18.pretrained" in message
    assert "none" in message


def test_a_damaged_file_in_torchs_cache_is_to_be_deleted(network, offline):
    offline.mkdir(parents=True)
    (offline / torchvision.models.ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]).write_bytes(b"half a download")
    with pytest.raises(WeightsError, match=r"cannot be read as weights.*Delete .*Fetch https://"):
        load_pretrained(network, "resnet18", "imagenet")


def test_an_earlier_classifier_is_continued_head_and_all(network, trained, tmp_path):
    state = cpu_state(build_network("resnet18"))
    metadata = changed(trained.classifier.metadata, **RESNET18_CLASSIFIER)
    write_classifier(dataclasses.replace(trained.classifier, state=state, metadata=metadata), tmp_path)
    assert load_pretrained(network, "resnet18", str(tmp_path)) is True
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_of_a_classifiers_versions_the_newest_is_taken(slim, trained, tmp_path):
    other = {key: torch.zeros_like(value) for key, value in trained.classifier.state.items()}
    for version, state in (("2026-01-01T00.00.00.000Z", other), ("2026-02-01T00.00.00.000Z", trained.classifier.state)):
        folder = tmp_path / "classifier" / version / "classifier"
        folder.mkdir(parents=True)
        write_classifier(dataclasses.replace(trained.classifier, state=state), folder)
    killed = tmp_path / "classifier" / "2026-03-01T00.00.00.000Z" / ".classifier.part"
    killed.mkdir(parents=True)
    save_file(other, killed / "model.safetensors")
    assert load_pretrained(slim, "slim_resnet", str(tmp_path / "classifier"), shape()) is True
    assert all(torch.equal(value, trained.classifier.state[key]) for key, value in slim.state_dict().items())


@pytest.mark.parametrize("name", ["model.safetensors", "classifier.json"])
def test_a_classifier_that_was_changed_is_not_trained_on(slim, trained, tmp_path, name):
    write_classifier(trained.classifier, tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[-9] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightsError, match="is not the folder of a classifier"):
        load_pretrained(slim, "slim_resnet", str(tmp_path), shape())
    with pytest.raises(WeightsError, match="is not the folder of a classifier"):
        load_pretrained(slim, "slim_resnet", str(tmp_path / "model.safetensors"), shape())


def test_weights_that_may_not_be_read_are_said_to_be_forbidden(network, torchvision_file, tmp_path, without_rights):
    save_file(torch.load(torchvision_file), tmp_path / "weights.safetensors")
    with (
        without_rights(tmp_path / "weights.safetensors"),
        pytest.raises(WeightsError, match=r"weights\.safetensors may not be read \(permission denied\)"),
    ):
        load_pretrained(network, "resnet18", str(tmp_path / "weights.safetensors"))


def test_a_folder_of_weights_that_may_not_be_looked_into_is_not_called_missing(network, tmp_path, without_rights):
    (tmp_path / "classifier").mkdir()
    denied = pytest.raises(WeightsError, match=r"pretrained is .*, but .* cannot be looked at \(Permission denied\)")
    with without_rights(tmp_path / "classifier"), denied:
        load_pretrained(network, "resnet18", str(tmp_path / "classifier"))
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(WeightsError, match=r"pretrained is .*loop"):
        load_pretrained(network, "resnet18", str(loop))


def test_a_classifier_of_another_architecture_is_named(network, trained, tmp_path):
    write_classifier(trained.classifier, tmp_path)
    with pytest.raises(WeightsError, match="holds a slim_resnet, but arch is resnet18; set arch to slim_resnet"):
        load_pretrained(network, "resnet18", str(tmp_path))


@pytest.mark.parametrize("change", [{"width": 12}, {"stages": [1, 2]}, {"stem": "plain"}, {"pooling": "max"}], ids=str)
def test_a_classifier_of_another_shape_is_named_with_both_shapes(trained, tmp_path, change):
    write_classifier(trained.classifier, tmp_path)
    other = shape(**change)
    with pytest.raises(WeightsError, match="set its slim_resnet to that shape") as caught:
        load_pretrained(build_network("slim_resnet", slim_resnet=other), "slim_resnet", str(tmp_path), other)
    assert f"holds a slim_resnet ({shape()}), but the variant is a slim_resnet ({other})" in str(caught.value)


def test_a_slim_network_does_not_start_from_a_resnet18(slim, torchvision_file):
    with pytest.raises(WeightsError, match="does not fit this architecture"):
        load_pretrained(slim, "slim_resnet", str(torchvision_file), shape())


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"classes": ["cat", "dog"]})])
def test_a_folder_with_a_foreign_card_is_refused(network, tmp_path, text):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "classifier.json").write_text(text)
    with pytest.raises(WeightsError, match="is not the folder of a classifier"):
        load_pretrained(network, "resnet18", str(tmp_path))


def test_weights_of_another_architecture_are_refused_key_by_key(torchvision_file):
    with pytest.raises(WeightsError, match=r"does not fit this architecture: missing layer.*and \d+ more"):
        load_pretrained(build_network("resnet34"), "resnet34", str(torchvision_file))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"encoder.weight": torch.zeros(2)}, id="foreign keys"),
        pytest.param({"conv1.weight": torch.zeros(1)}, id="one key of another shape"),
    ],
)
def test_a_state_dict_of_something_else_is_refused(network, tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="does not fit this architecture"):
        load_pretrained(network, "resnet18", str(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    "content", [{"epoch": 3, "state_dict": {}}, [1, 2], {}], ids=["a checkpoint", "a list", "empty"]
)
def test_what_is_no_plain_state_dict_is_refused(network, tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="not a plain state dict"):
        load_pretrained(network, "resnet18", str(tmp_path / "weights.pth"))


def test_a_pickled_model_is_refused_and_nothing_in_it_is_run(network, tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=r"cannot be read as weights .*holds more than tensors") as caught:
        load_pretrained(network, "resnet18", str(tmp_path / "model.pth"))
    assert "weights_only" not in str(caught.value)


def test_an_archive_that_torch_would_run_is_refused_without_its_advice(network, tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "model.pth")
    with pytest.raises(WeightsError, match="cannot be read as weights") as caught:
        load_pretrained(network, "resnet18", str(tmp_path / "model.pth"))
    assert "weights_only" not in str(caught.value)


def test_a_pipe_is_refused_and_not_waited_for(network, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="pipe', but it is a pipe"):
        load_pretrained(network, "resnet18", str(tmp_path / "pipe"))


@pytest.mark.parametrize(("given", "place"), [("~/body.pth", "home"), ("body.pth", "here")])
def test_a_path_starts_at_home_or_where_the_command_is_run(network, tmp_path, monkeypatch, given, place):
    (tmp_path / place).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / place / "body.pth")
    assert load_pretrained(network, "resnet18", given)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_is_never_executed(network, tmp_path):
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap(str(tmp_path / "sprung")), protocol=2))
    with pytest.raises(WeightsError):
        load_pretrained(network, "resnet18", str(tmp_path / "trap.pth"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all" * 10], ids=["empty", "garbage"])
def test_a_file_that_is_no_weights_is_refused(network, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_pretrained(network, "resnet18", str(tmp_path / name))


def test_a_path_that_is_not_there_is_refused_with_what_would_do(network):
    with pytest.raises(WeightsError, match=r"'nowhere\.pth': neither imagenet, none, nor an existing file"):
        load_pretrained(network, "resnet18", "nowhere.pth")


def test_a_folder_without_weights_is_refused(network, tmp_path):
    with pytest.raises(WeightsError, match="not the folder of a classifier"):
        load_pretrained(network, "resnet18", str(tmp_path))


@pytest.mark.parametrize("slim", [None, shape()], ids=["resnet18", "slim_resnet"])
def test_without_dropout_the_weights_have_the_same_names_and_nothing_is_dropped(slim):
    arch = "resnet18" if slim is None else "slim_resnet"
    network = build_network(arch, 0.0, slim)
    assert network.state_dict().keys() == build_network(arch, 0.5, slim).state_dict().keys()
    dropping = [layer.p for layer in network.modules() if isinstance(layer, torch.nn.Dropout)]
    assert dropping == [0.0] * (2 if slim is None else 1)
