"""The classifier: metadata that explain the weights, and a loader that needs nothing else."""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from image_zoo import png_16, values
from malaria_kedro.cells.decoding import BitDepthError, ImageError
from malaria_kedro.files import sha256_of
from malaria_kedro.learning.checkpoints import CheckpointError, Checkpoints
from malaria_kedro.learning.classifier import (
    ClassifierError,
    export_classifier,
    load_classifier,
    read_classifier,
    write_classifier,
)
from malaria_kedro.learning.databunch import OtherDataError
from malaria_kedro.learning.network import build_network
from malaria_kedro.learning.prediction import predict_cells
from malaria_kedro.parameters import Evaluation
from metadata_material import changed, with_metadata
from network_material import SHAPE, shape

GATE = {"id": "a gate", "n_cells": 60, "refused_share": 0.003}


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    """The small training's classifier on disk, without a gate and with one; tests work on copies."""
    place = tmp_path_factory.mktemp("written")
    calibrated = with_metadata(trained.classifier, calibration={"temperature": 1.2, "threshold": 0.4})
    for name, one in (
        ("plain", trained.classifier),
        ("gated", dataclasses.replace(calibrated, quality_gate=GATE)),
    ):
        (place / name).mkdir()
        write_classifier(one, place / name)
    return place


@pytest.fixture
def folder(written, tmp_path):
    """The small training's classifier on disk."""
    return shutil.copytree(written / "plain", tmp_path, dirs_exist_ok=True)


@pytest.fixture
def gated(written, tmp_path):
    """The same with a quality gate and a calibration."""
    return shutil.copytree(written / "gated", tmp_path / "gated")


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
    assert trained.classifier.metadata.selected.stage == "stage_2"
    state = trained.classifier.state
    assert all(torch.equal(state[key], value) for key, value in trained.stage_2.state.items())


def test_the_epoch_that_select_names_is_exported_with_its_figures(trained, variant_of):
    exported = export(trained, variant=variant_of(select="best_valid_loss"))
    best = trained.history.loc[trained.history["valid_loss"].idxmin()]
    selected = exported.metadata.selected
    assert (selected.stage, selected.epoch, selected.rule) == (best["stage"], best["epoch"], "best_valid_loss")
    assert selected.valid_loss == best["valid_loss"]
    assert selected.accuracy == best["accuracy"]


def test_an_epoch_that_is_gone_cannot_be_exported(trained, tmp_path):
    with pytest.raises(CheckpointError, match="is not there"):
        export(trained, checkpoints=Checkpoints(tmp_path))


def test_weights_cannot_be_exported_under_other_datas_name(trained):
    other = dataclasses.replace(
        trained.bunch, summary=trained.bunch.summary.model_copy(update={"fingerprint": "other"})
    )
    with pytest.raises(OtherDataError, match="stage_2 of small was trained on other data"):
        export(trained, bunch=other)


# The metadata


def test_the_metadata_are_strict_json_and_tell_what_a_user_needs(folder, trained):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    metadata = json.loads((folder / "classifier.json").read_text(), parse_constant=refuse)
    assert (metadata["architecture"], metadata["slim_resnet"]) == ("slim_resnet", SHAPE)
    assert metadata["classes"] == ["Parasitized", "Uninfected"]
    assert metadata["positive_class"] == "Parasitized"
    assert metadata["input"] == {
        "size": 32,
        "resize": "squish, bilinear",
        "channels": "RGB",
        "dtype": "uint8",
        "range": [0, 255],
        "bit_depth": None,
    }
    assert metadata["normalisation"]["mean"] == [0.485, 0.456, 0.406]
    assert metadata["parameters"]["batch_size"] == 16
    assert metadata["parameters"]["augment"] == trained.bunch.augment.model_dump()
    assert metadata["data"]["fingerprint"] == trained.bunch.fingerprint
    assert metadata["data"]["phantom"] is True
    assert metadata["selected"].keys() == {"stage", "epoch", "rule", "valid_loss", "accuracy", "error_rate"}
    assert torch.__version__.startswith(metadata["versions"]["torch"])
    assert metadata["hardware"]["device"] == "cpu"
    assert "Research use only" in metadata["intended_use"]


def test_the_number_of_parameters_is_the_networks(trained):
    network = build_network("slim_resnet", slim_resnet=shape())
    assert trained.classifier.metadata.n_parameters == sum(parameter.numel() for parameter in network.parameters())


# On disk and back


def test_what_is_written_is_what_is_read(folder, trained):
    back = read_classifier(folder)
    assert back.metadata == changed(trained.classifier.metadata, quality_gate=None, no_quality_gate="none was fitted")
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
        size = 16 if tag == "new" else 32
        tagged = with_metadata(trained.classifier, name=tag, input={"size": size, "channels": "RGB"})
        write_classifier(tagged, tmp_path / version / name)
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


def test_a_folder_that_may_not_be_looked_into_is_not_called_empty(tmp_path, without_rights):
    (tmp_path / "classifier").mkdir()
    denied = pytest.raises(
        ClassifierError, match=r"classifier.* cannot be looked at \(Permission denied\).*check the rights"
    )
    with without_rights(tmp_path / "classifier"), denied:
        load_classifier(tmp_path / "classifier")


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
def test_foreign_metadata_are_refused(folder, trained, change):
    (folder / "classifier.json").write_text(json.dumps(trained.classifier.metadata.as_dict() | change))
    with pytest.raises(ClassifierError, match="is not the metadata of a classifier of Parasitized and Uninfected"):
        load_classifier(folder)


@pytest.mark.parametrize("text", ["[]", "null", "not json"])
def test_what_is_no_metadata_at_all_is_refused(folder, text):
    (folder / "classifier.json").write_text(text)
    with pytest.raises(ClassifierError):
        load_classifier(folder)


def test_weights_of_another_network_are_refused(trained):
    other = dataclasses.replace(trained.classifier, state={"0.weight": torch.zeros(2)})
    with pytest.raises(ClassifierError, match="the weights are not those of a slim_resnet \(width 8, "):
        other.network()


# One thing: every part is the one that was written


def rewritten(path, change):
    """Change the JSON of a file in place."""
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9, 1.0])
def test_a_single_wrong_bit_in_the_weights_is_found(gated, place):
    weights = gated / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ClassifierError, match=r"model\.safetensors is damaged, or of another classifier"):
        load_classifier(gated)


def test_exchanged_output_rows_are_found(gated):
    state = load_file(gated / "model.safetensors")
    last = [key for key, value in state.items() if value.shape[:1] == (2,)]
    assert last
    save_file(state | {key: state[key].flip(0).contiguous() for key in last}, gated / "model.safetensors")
    with pytest.raises(ClassifierError, match=r"model\.safetensors is damaged, or of another classifier"):
        load_classifier(gated)


def test_exchanged_rows_whose_file_hash_was_recomputed_are_found(gated):
    state = load_file(gated / "model.safetensors")
    save_file({key: value.flip(0) for key, value in state.items()}, gated / "model.safetensors")

    def recompute(told):
        told["seal"]["parts"]["model.safetensors"] = sha256_of(gated / "model.safetensors")

    rewritten(gated / "classifier.json", recompute)
    with pytest.raises(ClassifierError, match="was changed or damaged after it was written"):
        load_classifier(gated)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("calibration", "temperature", 1.3),
        ("calibration", "threshold", 0.41),
        ("normalisation", "mean", [0.4, 0.4, 0.4]),
        ("normalisation", "std", [0.2, 0.2, 0.2]),
        ("input", "size", 64),
        ("data", "phantom", False),
        ("data", "fingerprint", "other"),
        ("quality_gate", "id", "another gate"),
        ("parameters", "seed", 6),
    ],
)
def test_a_number_that_was_edited_is_found(gated, part, key, value):
    rewritten(gated / "classifier.json", lambda told: told[part].update({key: value}))
    with pytest.raises(ClassifierError, match=r"classifier\.json was changed or damaged after it was written"):
        load_classifier(gated)


def test_a_key_that_was_added_or_removed_is_found(gated):
    rewritten(gated / "classifier.json", lambda told: told.pop("positive_class"))
    with pytest.raises(ClassifierError, match="was changed or damaged"):
        load_classifier(gated)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("quality_gate.json", "the quality gate is missing"),
        ("model.safetensors", "the weights are missing"),
        ("classifier.json", "is not a classifier's folder"),
    ],
)
def test_a_part_that_is_missing_is_named_with_what_to_do(gated, name, said):
    (gated / name).unlink()
    with pytest.raises(ClassifierError, match=rf"{said}.*{name}.*kedro run --pipelines modeling"):
        load_classifier(gated)


def test_the_model_card_may_be_completed_by_hand(gated):
    (gated / "README.md").write_text("Ours.")
    assert read_classifier(gated).quality_gate == GATE


@pytest.mark.parametrize("name", ["quality_gate.json", "classifier.json", "model.safetensors"])
def test_a_part_of_another_classifier_is_named(gated, trained, tmp_path, name):
    other = tmp_path / "other"
    other.mkdir()
    state = trained.classifier.state | {"0.0.0.weight": trained.classifier.state["0.0.0.weight"] * 2}
    write_classifier(dataclasses.replace(trained.classifier, state=state, quality_gate=GATE | {"id": "other"}), other)
    (gated / name).write_bytes((other / name).read_bytes())
    with pytest.raises(ClassifierError, match="damaged, or of another classifier"):
        load_classifier(gated)


def test_a_gate_beside_a_classifier_that_has_none_is_refused(folder):
    (folder / "quality_gate.json").write_text(json.dumps(GATE))
    with pytest.raises(ClassifierError, match=r"quality_gate\.json does not belong to this classifier"):
        load_classifier(folder)


# 16-bit images


@pytest.fixture
def deep(tmp_path):
    """A cell as a camera of 12 bits saves it, and its upper eight bits."""
    array = values(12, 3)
    (tmp_path / "deep.png").write_bytes(png_16(array))
    return tmp_path / "deep.png", (array >> 4).astype(np.uint8)


def test_the_card_tells_the_bit_depth_and_the_preprocessing_uses_it(trained, tmp_path, deep):
    bunch = dataclasses.replace(trained.bunch, summary=trained.bunch.summary.model_copy(update={"bit_depth": 12}))
    classifier = export(trained, bunch=bunch)
    assert classifier.metadata.input.bit_depth == 12
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


def test_a_classifier_without_a_gate_says_so_and_is_whole(folder):
    told = json.loads((folder / "classifier.json").read_text())
    assert (told["quality_gate"], told["no_quality_gate"]) == (None, "none was fitted")
    assert read_classifier(folder).quality_gate is None


def test_a_classifier_of_an_earlier_version_is_refused_with_what_to_do(gated):
    rewritten(gated / "classifier.json", lambda told: told.pop("seal"))
    with pytest.raises(ClassifierError, match=r"has no seal.*export it again.*kedro run --pipelines modeling"):
        load_classifier(gated)


def test_of_versions_one_that_lost_its_weights_is_not_passed_over(gated, trained, tmp_path):
    for version in ("2026-01", "2026-02"):
        (tmp_path / "v" / version / "c").mkdir(parents=True)
        write_classifier(trained.classifier, tmp_path / "v" / version / "c")
    (tmp_path / "v" / "2026-02" / "c" / "model.safetensors").unlink()
    with pytest.raises(ClassifierError, match=r"the weights are missing: .*2026-02"):
        load_classifier(tmp_path / "v")


def test_what_is_read_can_be_written_again(gated, tmp_path):
    (tmp_path / "copy").mkdir()
    write_classifier(read_classifier(gated), tmp_path / "copy")
    for name in ("model.safetensors", "classifier.json", "quality_gate.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (gated / name).read_bytes()


def test_a_network_that_diverged_is_not_written(trained, tmp_path):
    state = {
        key: torch.full_like(value, torch.nan) if value.is_floating_point() else value
        for key, value in trained.classifier.state.items()
    }
    with pytest.raises(
        ClassifierError, match="cannot be exported: the network of small gives values that are not numbers"
    ):
        write_classifier(dataclasses.replace(trained.classifier, state=state), tmp_path)


# Rights


def test_others_may_read_every_file_of_an_export(gated):
    # shutil.copytree copies the rights, too.
    assert {path.name: path.stat().st_mode & 0o044 for path in gated.iterdir()} == dict.fromkeys(
        ("model.safetensors", "classifier.json", "quality_gate.json"), 0o044
    )


@pytest.mark.parametrize("name", ["model.safetensors", "classifier.json", "quality_gate.json"])
def test_a_file_that_may_not_be_read_is_said_to_be_forbidden(gated, without_rights, name):
    with without_rights(gated / name), pytest.raises(ClassifierError, match=rf"{name} may not be read \(permission"):
        load_classifier(gated)
