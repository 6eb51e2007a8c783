"""The classifier: a card that explains the weights, and a loader that needs nothing else."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from image_zoo import png_16, values
from malaria_kedro.cells.decoding import BitDepthError, ImageError
from malaria_kedro.learning.checkpoints import CheckpointError, Checkpoints
from malaria_kedro.learning.classifier import (
    Classifier,
    ClassifierError,
    export_classifier,
    load_classifier,
    read_classifier,
    write_classifier,
)
from malaria_kedro.learning.network import build_network
from malaria_kedro.learning.prediction import predict_cells
from malaria_kedro.parameters import Evaluation


@pytest.fixture
def folder(trained, tmp_path):
    """The small training's classifier on disk."""
    write_classifier(trained.classifier, tmp_path)
    return tmp_path


def export(trained, **changes):
    return export_classifier(
        changes.get("bunch", trained.bunch),
        changes.get("variant", trained.variant),
        (trained.stage_1, trained.stage_2),
        trained.history,
        changes.get("checkpoints", trained.checkpoints),
    )


# Export


def test_last_exports_the_weights_that_the_last_stage_ended_with(trained):
    assert trained.classifier.card["selected"]["stage"] == "stage_2"
    state = trained.classifier.state
    assert all(torch.equal(state[key], value) for key, value in trained.stage_2.state.items())


def test_the_epoch_that_select_names_is_exported_with_its_figures(trained, variant_of):
    exported = export(trained, variant=variant_of(select="best_valid_loss"))
    best = trained.history.loc[trained.history["valid_loss"].idxmin()]
    selected = exported.card["selected"]
    assert (selected["stage"], selected["epoch"], selected["rule"]) == (best["stage"], best["epoch"], "best_valid_loss")
    assert selected["valid_loss"] == best["valid_loss"]
    assert selected["accuracy"] == best["accuracy"]


def test_an_epoch_that_is_gone_cannot_be_exported(trained, tmp_path):
    with pytest.raises(CheckpointError, match="is not there"):
        export(trained, checkpoints=Checkpoints(tmp_path))


def test_weights_cannot_be_exported_under_other_datas_name(trained):
    other = dataclasses.replace(trained.bunch, summary=trained.bunch.summary | {"fingerprint": "other"})
    with pytest.raises(ClassifierError, match="stage_2 of small trained on other data"):
        export(trained, bunch=other)


# The card


def test_the_card_is_strict_json_and_tells_what_a_user_needs(folder, trained):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    card = json.loads((folder / "classifier.json").read_text(), parse_constant=refuse)
    assert card["architecture"] == "resnet18"
    assert card["classes"] == ["Parasitized", "Uninfected"]
    assert card["positive_class"] == "Parasitized"
    assert card["input"] == {
        "size": 32,
        "resize": "squish, bilinear",
        "channels": "RGB",
        "dtype": "uint8",
        "range": [0, 255],
        "bit_depth": None,
    }
    assert card["normalisation"]["mean"] == [0.485, 0.456, 0.406]
    assert card["parameters"]["batch_size"] == 16
    assert card["parameters"]["augment"] == trained.bunch.augment.model_dump()
    assert card["data"]["fingerprint"] == trained.bunch.fingerprint
    assert card["data"]["phantom"] is True
    assert card["selected"].keys() == {"stage", "epoch", "rule", "valid_loss", "accuracy", "error_rate"}
    assert torch.__version__.startswith(card["versions"]["torch"])
    assert card["hardware"]["device"] == "cpu"
    assert "Research use only" in card["intended_use"]


def test_the_number_of_parameters_is_the_networks(trained):
    network = build_network("resnet18")
    assert trained.classifier.card["n_parameters"] == sum(parameter.numel() for parameter in network.parameters())


# On disk and back


def test_what_is_written_is_what_is_read(folder, trained):
    back = read_classifier(folder)
    assert back.card == trained.classifier.card
    assert all(torch.equal(back.state[key], value) for key, value in trained.classifier.state.items())


def test_the_loaded_network_is_ready_to_predict(folder):
    network, _ = load_classifier(folder)
    assert type(network) is torch.nn.Sequential
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("kind", ["path", "name", "picture", "array"])
def test_three_lines_give_the_probability_of_the_prediction_table(folder, trained, training, tmp_path, kind):
    table = predict_cells(trained.classifier, trained.bunch, Evaluation(), training)
    number = int(np.flatnonzero(trained.bunch.cells["cell_id"] == table["cell_id"].iloc[3])[0])
    pixels = np.array(trained.bunch.pixels[number])
    path = tmp_path / "cell.png"
    Image.fromarray(pixels).save(path)
    cell = {"path": path, "name": str(path), "picture": Image.fromarray(pixels), "array": pixels}[kind]

    network, preprocess = load_classifier(folder)
    p_parasitized = network(preprocess(cell)).softmax(dim=1)[0, 0].item()

    assert p_parasitized == pytest.approx(table["p_parasitized"].iloc[3], abs=1e-5)


def test_a_cell_of_any_size_and_mode_is_squished_to_the_input(folder):
    _, preprocess = load_classifier(folder)
    made = preprocess(Image.new("RGBA", (90, 41), "red"))
    assert made.shape == (1, 3, 32, 32)
    assert made.dtype == torch.float32


@pytest.mark.parametrize("array", [np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8)], ids=["float", "channels first"])
def test_an_array_of_another_kind_is_refused(folder, array):
    _, preprocess = load_classifier(folder)
    with pytest.raises(ClassifierError, match="must be uint8 H×W×3"):
        preprocess(array)


def test_of_several_versions_the_newest_whole_one_is_loaded(trained, tmp_path):
    for version, name, tag in (("2026-01", "c", "old"), ("2026-02", "c", "new"), ("2026-03", ".c.part", "half")):
        (tmp_path / version / name).mkdir(parents=True)
        card = trained.classifier.card | {"name": tag, "input": {"size": 16 if tag == "new" else 32, "channels": "RGB"}}
        write_classifier(Classifier(trained.classifier.state, card), tmp_path / version / name)
    _, preprocess = load_classifier(tmp_path)
    assert preprocess(Image.new("RGB", (20, 20))).shape == (1, 3, 16, 16)


def test_it_needs_no_kedro():
    code = (
        "import sys, malaria_kedro.learning.classifier;"
        "sys.exit(', '.join(m for m in sys.modules if m.split('.')[0] == 'kedro') or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr.strip()) == (0, "")


# What is refused


@pytest.mark.parametrize("name", ["model.safetensors", "classifier.json"])
def test_a_damaged_file_is_refused(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(ClassifierError, match="is damaged or of another kind"):
        load_classifier(folder)


def test_a_folder_with_one_file_missing_is_refused(folder):
    (folder / "classifier.json").unlink()
    with pytest.raises(ClassifierError, match="is not a classifier's folder"):
        load_classifier(folder)


def test_a_folder_without_a_classifier_is_refused(tmp_path):
    with pytest.raises(ClassifierError, match="has neither"):
        load_classifier(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["cat", "dog"]},
        {"architecture": "vgg16"},
        {"architecture": None},
        {"input": {}},
        {"normalisation": {"scale": 1, "mean": [0], "std": [1]}},
        {"data": None},
    ],
    ids=str,
)
def test_a_foreign_card_is_refused(folder, trained, change):
    (folder / "classifier.json").write_text(json.dumps(trained.classifier.card | change))
    with pytest.raises(ClassifierError, match="is not the card of a classifier of Parasitized and Uninfected"):
        load_classifier(folder)


@pytest.mark.parametrize("text", ["[]", "null", "not json"])
def test_what_is_no_card_at_all_is_refused(folder, text):
    (folder / "classifier.json").write_text(text)
    with pytest.raises(ClassifierError):
        load_classifier(folder)


def test_weights_of_another_network_are_refused(folder):
    save_file({"0.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(ClassifierError, match="the weights are not those of a resnet18"):
        load_classifier(folder)


# 16-bit images


@pytest.fixture
def deep(tmp_path):
    """A cell as a camera of 12 bits saves it, and its upper eight bits."""
    array = values(12, 3)
    (tmp_path / "deep.png").write_bytes(png_16(array))
    return tmp_path / "deep.png", (array >> 4).astype(np.uint8)


def test_the_card_tells_the_bit_depth_and_the_preprocessing_uses_it(trained, tmp_path, deep):
    bunch = dataclasses.replace(trained.bunch, summary=trained.bunch.summary | {"bit_depth": 12})
    classifier = export(trained, bunch=bunch)
    assert classifier.card["input"]["bit_depth"] == 12
    write_classifier(classifier, tmp_path)
    _, preprocess = load_classifier(tmp_path)
    path, pixels = deep
    assert torch.equal(preprocess(path), preprocess(pixels))


def test_a_bit_depth_may_be_given(folder, deep):
    _, preprocess = load_classifier(folder, bit_depth=12)
    path, pixels = deep
    assert torch.equal(preprocess(path), preprocess(pixels))


def test_without_a_bit_depth_a_16_bit_image_is_refused(folder, deep):
    _, preprocess = load_classifier(folder)
    with pytest.raises(ImageError, match=r"deep\.png: its 16-bit values have no known depth.*bit_depth="):
        preprocess(deep[0])


def test_what_is_no_bit_depth_is_refused(folder):
    with pytest.raises(BitDepthError, match="a bit depth of 11 is none"):
        load_classifier(folder, bit_depth=11)
