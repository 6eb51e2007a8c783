"""Which cells a person should look at, chosen in one pass."""

import pandas as pd
import pytest

from backend_material import small_classifier
from malaria_kedro.inference.sources import open_images
from malaria_kedro.report.examples import choose_examples, picture_examples
from odd_images import png


@pytest.fixture
def frames() -> list[pd.DataFrame]:
    """Seven images in two parts; the threshold is 0.3."""
    rows = [
        ("a", "Parasitized", 0.99),
        ("b", "Uninfected", 0.01),
        ("c", "Parasitized", 0.31),
        ("d", "", None),
        ("e", "Parasitized", 0.999),
        ("f", "Uninfected", 0.2),
        ("g", "", None),
    ]
    table = pd.DataFrame(rows, columns=["path", "call", "p_parasitized"]).assign(flags="", reason="")
    return [table.iloc[:4], table.iloc[4:]]


CARD = {"calibration": {"threshold": 0.3}}


def names(found):
    return {kind: [row["path"] for row in rows] for kind, rows in found.items()}


def test_the_surest_the_least_sure_and_the_refused_are_chosen(frames):
    assert names(choose_examples(frames, CARD, 2)) == {
        "surest_parasitized": ["e", "a"],
        "surest_uninfected": ["b", "f"],
        "least_sure": ["c", "f"],
        "refused": ["d", "g"],
    }


def test_of_the_refused_those_with_the_largest_p_come_first(frames):
    told = [frame.assign(p_parasitized=frame["p_parasitized"].astype(float)) for frame in frames]
    told[1].loc[told[1]["path"] == "g", "p_parasitized"] = 0.8
    assert names(choose_examples(told, CARD, 1))["refused"] == ["g"]


def test_called_cells_with_a_flag_are_chosen_where_the_gate_flags(frames):
    told = pd.concat(frames).reset_index(drop=True)
    told.loc[[1, 2], "flags"] = "blurred"
    assert names(choose_examples([told], CARD, 5, flagged=True))["flagged"] == ["c", "b"]
    assert "flagged" not in choose_examples([told], CARD, 5)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(png(number, 32))
    return folder


def pictures_of(source, work, **options):
    examples = {"refused": [{"path": "0.png", "call": ""}, {"path": "1.png", "call": ""}]}
    return picture_examples(examples, source, work, small_classifier(), heat_maps=False, **options)


def test_pictures_are_of_the_files_that_were_read(source, tmp_path, caplog):
    with open_images(source, tmp_path / "work", patient_pattern="(C)") as images:
        read = {"fingerprint": images.fingerprint, "patient_pattern": "(C)"}
    assert set(pictures_of(source, tmp_path / "work", **read)) == {"0.png", "1.png"}
    (source / "1.png").write_bytes(png(77, 32))
    assert pictures_of(source, tmp_path / "work", **read) is None
    assert "has changed since its images were read" in caplog.text


def test_without_the_files_there_are_no_pictures(source, tmp_path, caplog):
    assert pictures_of(source / "gone", tmp_path / "work") is None
    assert "is not there" in caplog.text


def test_it_does_not_matter_where_parts_end(frames):
    together = [pd.concat(frames)]
    one_by_one = [pd.concat(frames).iloc[[i]] for i in range(7)]
    for count in (1, 2, 9):
        assert names(choose_examples(together, CARD, count)) == names(choose_examples(one_by_one, CARD, count))


def test_of_nothing_there_are_no_examples(frames):
    assert names(choose_examples([frames[0].head(0)], CARD, 3)) == {
        "surest_parasitized": [],
        "surest_uninfected": [],
        "least_sure": [],
        "refused": [],
    }
