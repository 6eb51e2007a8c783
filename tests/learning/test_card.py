"""What a card must tell, and which of many versions is the newest."""

import json

import pytest

from malaria_kedro.learning.card import CARD, WEIGHTS, newest_classifier, read_card

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


def test_a_good_card_is_read(tmp_path):
    (tmp_path / CARD).write_text(json.dumps(GOOD))
    assert read_card(tmp_path / CARD) == GOOD


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
