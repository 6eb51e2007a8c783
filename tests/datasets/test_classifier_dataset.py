"""An exported classifier on disk: versioned, previewed by its metadata, and refused when damaged."""

import json

import pytest
import torch
from kedro.io import DatasetError, Version

from malaria_kedro.datasets.classifier_dataset import ClassifierDataset, InferenceClassifierDataset
from malaria_kedro.learning.classifier import Classifier, load_classifier
from malaria_kedro.learning.network import build_network
from metadata_material import changed, metadata, with_metadata
from network_material import SMALL_CLASSIFIER, shape


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(
        build_network("slim_resnet", slim_resnet=shape()).state_dict(),
        metadata(
            **SMALL_CLASSIFIER,
            selected={"stage": "stage_1", "epoch": 1, "rule": "last", "valid_loss": 0.6, "accuracy": 0.7},
        ),
    )


def dataset(tmp_path, save: str | None = None) -> ClassifierDataset:
    return ClassifierDataset(filepath=str(tmp_path / "classifier"), version=Version(None, save))


def test_a_classifier_comes_back_as_it_was(tmp_path, classifier):
    dataset(tmp_path, "2026-01").save(classifier)
    loaded = dataset(tmp_path).load()
    assert loaded.metadata == changed(classifier.metadata, quality_gate=None, no_quality_gate="none was fitted")
    assert all(torch.equal(loaded.state[key], value) for key, value in classifier.state.items())


def test_a_model_card_lies_beside_the_weights(tmp_path, classifier):
    dataset(tmp_path, "2026-01").save(classifier)
    text = (tmp_path / "classifier" / "2026-01" / "classifier" / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    assert "\nlicense: apache-2.0\n" in text.split("\n---\n")[0]
    assert "Research use only" in text


def test_the_catalogs_folder_is_what_the_small_loader_takes(tmp_path, classifier):
    dataset(tmp_path, "2026-01").save(classifier)
    network, _ = load_classifier(tmp_path / "classifier")
    assert torch.equal(network[0][0][0].weight, classifier.state["0.0.0.weight"])


def test_kedro_viz_is_shown_the_newest_metadata(tmp_path, classifier):
    dataset(tmp_path, "2026-01").save(classifier)
    dataset(tmp_path, "2026-02").save(with_metadata(classifier, name="newer"))
    assert json.loads(dataset(tmp_path).preview())["name"] == "newer"


def test_it_exists_once_it_is_saved(tmp_path, classifier):
    assert not dataset(tmp_path).exists()
    dataset(tmp_path, "2026-01").save(classifier)
    assert dataset(tmp_path).exists()


@pytest.mark.parametrize("name", ["model.safetensors", "classifier.json"])
def test_one_that_was_changed_is_refused(tmp_path, classifier, name):
    dataset(tmp_path, "2026-01").save(classifier)
    path = tmp_path / "classifier" / "2026-01" / "classifier" / name
    path.write_bytes(path.read_bytes().replace(b"0.2", b"0.3").replace(b"running_mean", b"running_Mean"))
    with pytest.raises(DatasetError, match=name):
        dataset(tmp_path).load()


def test_others_may_read_every_file(tmp_path, classifier):
    dataset(tmp_path, "2026-01").save(classifier)
    files = list((tmp_path / "classifier" / "2026-01" / "classifier").iterdir())
    assert {path.name: path.stat().st_mode & 0o044 for path in files} == dict.fromkeys(
        ("model.safetensors", "classifier.json", "README.md"), 0o044
    )


def test_a_damaged_one_is_refused(tmp_path, classifier):
    dataset(tmp_path, "2026-01").save(classifier)
    (tmp_path / "classifier" / "2026-01" / "classifier" / "classifier.json").write_text("{")
    with pytest.raises(DatasetError, match="is damaged"):
        dataset(tmp_path).load()


# The one that reads new cells


def for_inference(tmp_path, chosen: str | None = None, load: str | None = None) -> InferenceClassifierDataset:
    return InferenceClassifierDataset(
        filepath=str(tmp_path / "classifier"), load_version=chosen, version=Version(load, None)
    )


@pytest.mark.parametrize(
    ("chosen", "load", "version"),
    [
        (None, None, "2026-02"),
        ("2026-01", None, "2026-01"),
        (None, "2026-01", "2026-01"),
        ("2026-01", "2026-02", "2026-02"),
    ],
    ids=["the newest", "the parameter's", "--load-versions'", "--load-versions before the parameter"],
)
def test_new_cells_are_read_by_the_version_that_is_asked_for(tmp_path, classifier, chosen, load, version):
    for made in ("2026-01", "2026-02"):
        dataset(tmp_path, made).save(with_metadata(classifier, name=made))
    loaded = for_inference(tmp_path, chosen, load).load()
    assert loaded.metadata.name == version
    assert loaded.folder == tmp_path / "classifier" / version / "classifier"


def test_a_missing_version_is_named_with_those_that_are_there(tmp_path, classifier):
    dataset(tmp_path, "2026-01").save(classifier)
    with pytest.raises(DatasetError, match=r"no classifier in .*1999.*; versions are 2026-01"):
        for_inference(tmp_path, "1999").load()


def test_without_any_version_the_error_says_to_train_first(tmp_path):
    with pytest.raises(DatasetError, match=r"no classifier in .*classifier; train one first: kedro run"):
        for_inference(tmp_path).load()


def test_without_any_version_the_error_names_a_variant_that_is_trained(tmp_path, classifier):
    (tmp_path / "resnet18" / "classifier").mkdir(parents=True)
    dataset(tmp_path / "resnet34", "2026-01").save(classifier)
    with pytest.raises(DatasetError, match=r"inference\.model=resnet34"):
        for_inference(tmp_path / "resnet18").load()


@pytest.mark.parametrize("chosen", [None, "2026-01"])
def test_versions_that_may_not_be_looked_into_are_not_called_missing(tmp_path, classifier, without_rights, chosen):
    dataset(tmp_path, "2026-01").save(classifier)
    with without_rights(tmp_path / "classifier"), pytest.raises(DatasetError, match="Permission denied"):
        for_inference(tmp_path, chosen).load()
