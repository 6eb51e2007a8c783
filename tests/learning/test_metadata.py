"""What a classifier's metadata must tell, and which of many versions is the newest."""

import hashlib
import json
from pathlib import Path

import pytest

from malaria_kedro.learning.metadata import (
    METADATA,
    WEIGHTS,
    ProbeRecord,
    newest_classifier,
    read_metadata,
    seal_metadata,
)
from metadata_material import metadata
from network_material import RESNET18_CLASSIFIER, SHAPE, SMALL_CLASSIFIER

RECORDED = Path(__file__).parents[1] / "recorded_classifier.json"
GOOD = metadata().as_dict()


def version(folder, name: str, kind: str = "classifier"):
    made = folder / name / kind
    made.mkdir(parents=True)
    (made / WEIGHTS).touch()
    return made


def test_a_folder_with_weights_is_itself_the_newest(tmp_path):
    assert newest_classifier(version(tmp_path, "1")) == tmp_path / "1" / "classifier"


def test_of_versions_the_newest_counts(tmp_path):
    version(tmp_path, "2026-01-01T00.00.00.000Z")
    assert newest_classifier(tmp_path) is not None
    assert newest_classifier(tmp_path) != version(tmp_path, "2026-02-01T00.00.00.000Z")
    assert newest_classifier(tmp_path).parent.name == "2026-02-01T00.00.00.000Z"


def test_what_a_killed_writing_left_does_not_count(tmp_path):
    version(tmp_path, "2026-01-01", ".classifier.part")
    assert newest_classifier(tmp_path) is None


@pytest.mark.parametrize("place", [".", "2026-01-01T00.00.00.000Z", "2026-01-01T00.00.00.000Z/classifier"])
@pytest.mark.parametrize("left", [0, 0o444])
def test_of_a_folder_that_may_not_be_looked_into_no_newest_is_guessed(tmp_path, without_rights, place, left):
    for name in ("2026-01-01T00.00.00.000Z", "2026-02-01T00.00.00.000Z"):
        version(tmp_path / "versions", name)
    denied = pytest.raises(PermissionError, match=r"cannot be looked at .*, so it is not known which classifier")
    with without_rights(tmp_path / "versions" / place, left), denied:
        newest_classifier(tmp_path / "versions")


def sealed(content: dict) -> dict:
    """The content with a seal that fits it, whatever it says."""
    probe = ProbeRecord(cells=1, p_parasitized=[0.5], features=[[0.0]])
    made = json.loads(seal_metadata(metadata(), {WEIGHTS: "0"}, probe))
    # As one who edits the metadata and recomputes the seal would.
    content = content | {"seal": {key: value for key, value in made["seal"].items() if key != "sha256"}}
    sha256 = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return content | {"seal": content["seal"] | {"sha256": sha256}}


def test_good_metadata_are_read_without_their_seal(tmp_path):
    (tmp_path / METADATA).write_text(json.dumps(sealed(GOOD)))
    assert read_metadata(tmp_path / METADATA)[0] == metadata()


def test_a_recorded_file_is_read_and_sealed_again_byte_for_byte():
    content = json.loads(RECORDED.read_text(encoding="utf-8"))
    again = seal_metadata(
        read_metadata(RECORDED)[0], content["seal"]["parts"], ProbeRecord.model_validate(content["seal"]["probe"])
    )
    assert again.encode() == RECORDED.read_bytes()


def test_the_shape_is_written_for_a_slim_network_only():
    assert metadata(**SMALL_CLASSIFIER).as_dict()["slim_resnet"] == SHAPE
    assert "slim_resnet" not in metadata(**RESNET18_CLASSIFIER).as_dict()


def test_a_network_in_words_has_its_shape():
    assert metadata(architecture="resnet34").network == "resnet34"
    assert metadata(**SMALL_CLASSIFIER).network == "slim_resnet (width 8, stages [1, 1], stem strided, pooling both)"


def test_metadata_without_a_seal_are_refused(tmp_path):
    (tmp_path / METADATA).write_text(json.dumps(GOOD))
    with pytest.raises(ValueError, match="has no seal"):
        read_metadata(tmp_path / METADATA)


def test_new_keys_are_free_and_sealed(tmp_path):
    more = GOOD | {"input": {"size": 64, "bit_depth": 12}, "site": "a"}
    (tmp_path / METADATA).write_text(json.dumps(sealed(more)))
    assert read_metadata(tmp_path / METADATA)[0].as_dict() == more
    (tmp_path / METADATA).write_text(json.dumps(sealed(more) | {"site": "b"}))
    with pytest.raises(ValueError, match="was changed or damaged"):
        read_metadata(tmp_path / METADATA)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"calibration": {"temperature": 1e300}}, r"calibration\.temperature is 1e\+300"),
        ({"calibration": {"temperature": 0}}, r"calibration\.temperature is 0"),
        ({"calibration": {"temperature": -1.0}}, r"calibration\.temperature is -1\.0"),
        ({"calibration": {"temperature": "1.5"}}, r"calibration\.temperature is '1\.5'"),
        ({"calibration": {"temperature": True}}, r"calibration\.temperature is True"),
        ({"calibration": {"temperature": None}}, r"calibration\.temperature is None"),
        ({"calibration": {"temperature": 1, "threshold": 0}}, r"calibration\.threshold is 0"),
        ({"calibration": {"temperature": 1, "threshold": 1}}, r"calibration\.threshold is 1"),
        ({"calibration": {"temperature": 1, "threshold": 1.5}}, r"calibration\.threshold is 1\.5"),
        ({"calibration": {"temperature": 1, "threshold": "0.5"}}, r"calibration\.threshold is '0\.5'"),
        ({"calibration": [1, 0.5]}, r"calibration is \[1, 0\.5\]"),
        ({"input": {"size": 0}}, r"input\.size is 0"),
        ({"input": {"size": 10**6}}, r"input\.size is 1000000"),
        ({"input": {"size": 64.0}}, r"input\.size is 64\.0"),
        ({"input": {"size": 64, "channels": "BGR"}}, r"input\.channels is 'BGR'"),
        ({"normalisation": GOOD["normalisation"] | {"std": [0.2, 0, 0.2]}}, r"normalisation\.std\.1 is 0"),
        ({"normalisation": GOOD["normalisation"] | {"mean": [1e300] * 3}}, r"normalisation\.mean\.0 is 1e\+300"),
        ({"normalisation": GOOD["normalisation"] | {"scale": 0}}, r"normalisation\.scale is 0"),
        ({"positive_class": "Uninfected"}, "positive_class is 'Uninfected'"),
        ({"quality_gate": "none"}, "quality_gate is 'none'"),
        (SMALL_CLASSIFIER | {"slim_resnet": SHAPE | {"width": 100_000}}, r"slim_resnet\.width is 100000"),
        (SMALL_CLASSIFIER | {"slim_resnet": SHAPE | {"stages": [2, 100_000]}}, r"slim_resnet\.stages\.1 is 100000"),
        (SMALL_CLASSIFIER | {"slim_resnet": SHAPE | {"stages": [1] * 99}}, r"slim_resnet\.stages is \[1, 1"),
        (SMALL_CLASSIFIER | {"slim_resnet": SHAPE | {"activation": "gelu"}}, r"slim_resnet\.activation is 'gelu'"),
        (SMALL_CLASSIFIER | {"slim_resnet": {"width": 8}}, "'stages' is missing"),
        (SMALL_CLASSIFIER | {"slim_resnet": None}, "slim_resnet is None .*architecture is slim_resnet"),
        ({"architecture": "slim_resnet"}, "slim_resnet is None .*architecture is slim_resnet"),
        (SMALL_CLASSIFIER | {"architecture": "resnet18"}, "slim_resnet is {'width': 8.* .*architecture is resnet18"),
    ],
)
def test_a_number_out_of_bounds_is_named_though_the_seal_was_recomputed(tmp_path, change, named):
    (tmp_path / METADATA).write_text(json.dumps(sealed(GOOD | change)))
    with pytest.raises(ValueError, match=named):
        read_metadata(tmp_path / METADATA)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["temperature", "threshold"])
def test_what_is_not_a_number_is_refused(tmp_path, number, key):
    text = json.dumps(sealed(GOOD | {"calibration": {"temperature": 1.5, "threshold": 0.5} | {key: 0.123}}))
    (tmp_path / METADATA).write_text(text.replace("0.123", number))
    with pytest.raises(ValueError, match=rf"{number} is not a number|calibration\.{key} is inf"):
        read_metadata(tmp_path / METADATA)


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / METADATA).write_text(json.dumps(sealed(GOOD)).replace('"size"', '"size": 32, "size"'))
    with pytest.raises(ValueError, match="'size' is there twice"):
        read_metadata(tmp_path / METADATA)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text.encode()[:-1],
        lambda text: text.replace(":", "8", 1).encode(),
        lambda text: text.encode("utf-16"),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: b"[" * 100_000,
    ],
    ids=["empty", "cut off", "a flipped bit", "UTF-16", "a byte-order mark", "nested too deeply"],
)
def test_what_is_not_json_is_named_with_the_remedy(tmp_path, damage):
    (tmp_path / METADATA).write_bytes(damage(json.dumps(sealed(GOOD))))
    with pytest.raises(ValueError, match=rf"{METADATA} is damaged: it is not JSON .*export the classifier again"):
        read_metadata(tmp_path / METADATA)


@pytest.mark.parametrize("seal", [None, "seal", {}, {"format": 2}], ids=str)
def test_what_is_not_a_seal_is_refused(tmp_path, seal):
    (tmp_path / METADATA).write_text(json.dumps(GOOD | {"seal": seal}))
    with pytest.raises(ValueError, match="its seal is not valid"):
        read_metadata(tmp_path / METADATA)


def test_metadata_that_tell_of_a_gate_which_the_seal_does_not_bind_are_refused(tmp_path):
    (tmp_path / METADATA).write_text(json.dumps(sealed(GOOD | {"quality_gate": {"id": "g"}})))
    with pytest.raises(ValueError, match="contradicts itself"):
        read_metadata(tmp_path / METADATA)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"classes": ["Uninfected", "Parasitized"]}, "is not the metadata of a classifier"),
        ({"architecture": "vgg16"}, "'vgg16'"),
        ({"input": {}}, "'size' is missing"),
        ({"normalisation": {"scale": 1, "mean": [0.5], "std": [0.2]}}, "normalisation"),
        ({"data": {}}, "'fingerprint' is missing"),
    ],
)
def test_other_metadata_are_refused_with_what_is_wrong(tmp_path, change, named):
    (tmp_path / METADATA).write_text(json.dumps(GOOD | change))
    with pytest.raises(ValueError, match=named):
        read_metadata(tmp_path / METADATA)
