"""What a card must tell, and which of many versions is the newest."""

import hashlib
import json

import pytest

from malaria_kedro.learning.card import CARD, WEIGHTS, newest_classifier, read_card, seal_card

GOOD = {
    "classes": ["Parasitized", "Uninfected"],
    "architecture": "resnet18",
    "input": {"size": 64},
    "normalisation": {"scale": 1 / 255, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    "data": {"fingerprint": "f"},
}


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


def sealed(card) -> dict:
    """The card with a seal that fits it, whatever it says."""
    probe = {"cells": 1, "p_parasitized": [0.5], "features": [[0.0]]}
    made = seal_card(GOOD, {WEIGHTS: "0"}, probe)
    # As one who edits the card and recomputes the seal would.
    content = card | {"seal": {key: value for key, value in made["seal"].items() if key != "sha256"}}
    sha256 = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return content | {"seal": content["seal"] | {"sha256": sha256}}


def test_a_good_card_is_read_without_its_seal(tmp_path):
    (tmp_path / CARD).write_text(json.dumps(sealed(GOOD)))
    assert read_card(tmp_path / CARD) == GOOD


def test_a_card_without_a_seal_is_refused(tmp_path):
    (tmp_path / CARD).write_text(json.dumps(GOOD))
    with pytest.raises(ValueError, match="has no seal"):
        read_card(tmp_path / CARD)


def test_new_keys_are_free_and_sealed(tmp_path):
    more = GOOD | {"input": {"size": 64, "bit_depth": 12}, "site": "a"}
    (tmp_path / CARD).write_text(json.dumps(sealed(more)))
    assert read_card(tmp_path / CARD) == more
    (tmp_path / CARD).write_text(json.dumps(sealed(more) | {"site": "b"}))
    with pytest.raises(ValueError, match="was changed or damaged"):
        read_card(tmp_path / CARD)


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
    ],
)
def test_a_number_out_of_bounds_is_named_though_the_seal_was_recomputed(tmp_path, change, named):
    (tmp_path / CARD).write_text(json.dumps(sealed(GOOD | change)))
    with pytest.raises(ValueError, match=named):
        read_card(tmp_path / CARD)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["temperature", "threshold"])
def test_what_is_not_a_number_is_refused(tmp_path, number, key):
    text = json.dumps(sealed(GOOD | {"calibration": {"temperature": 1.5, "threshold": 0.5} | {key: 0.123}}))
    (tmp_path / CARD).write_text(text.replace("0.123", number))
    with pytest.raises(ValueError, match=rf"{number} is no number|calibration\.{key} is inf"):
        read_card(tmp_path / CARD)


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / CARD).write_text(json.dumps(sealed(GOOD)).replace('"size"', '"size": 32, "size"'))
    with pytest.raises(ValueError, match="'size' is there twice"):
        read_card(tmp_path / CARD)


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
def test_what_is_no_json_is_named_with_the_remedy(tmp_path, damage):
    (tmp_path / CARD).write_bytes(damage(json.dumps(sealed(GOOD))))
    with pytest.raises(ValueError, match=rf"{CARD} is damaged: it is no JSON .*export the classifier again"):
        read_card(tmp_path / CARD)


@pytest.mark.parametrize("seal", [None, "seal", {}, {"format": 2}], ids=str)
def test_a_seal_that_is_none_is_refused(tmp_path, seal):
    (tmp_path / CARD).write_text(json.dumps(GOOD | {"seal": seal}))
    with pytest.raises(ValueError, match="its seal is none"):
        read_card(tmp_path / CARD)


def test_a_card_that_tells_of_a_gate_which_the_seal_does_not_bind_is_refused(tmp_path):
    (tmp_path / CARD).write_text(json.dumps(sealed(GOOD | {"quality_gate": {"id": "g"}})))
    with pytest.raises(ValueError, match="contradicts itself"):
        read_card(tmp_path / CARD)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"classes": ["Uninfected", "Parasitized"]}, "not the card of a classifier"),
        ({"architecture": "vgg16"}, "'vgg16'"),
        ({"input": {}}, "'size' is missing"),
        ({"normalisation": {"scale": 1, "mean": [0.5], "std": [0.2]}}, "normalisation"),
        ({"data": {}}, "'fingerprint' is missing"),
    ],
)
def test_another_card_is_refused_with_what_is_wrong(tmp_path, change, named):
    (tmp_path / CARD).write_text(json.dumps(GOOD | change))
    with pytest.raises(ValueError, match=named):
        read_card(tmp_path / CARD)
