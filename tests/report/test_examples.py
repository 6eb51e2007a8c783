"""Which cells a person should look at, chosen in one pass."""

import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest

from backend_material import small_classifier
from malaria_kedro.inference.results import ReadingRequest
from malaria_kedro.inference.sources import open_images
from malaria_kedro.report.examples import Example, choose_examples, picture_examples
from metadata_material import metadata
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
    table = pd.DataFrame(rows, columns=["path", "call", "p_parasitized"]).assign(quality="", reason="")
    return [table.iloc[:4], table.iloc[4:]]


METADATA = metadata(calibration={"threshold": 0.3})


def names(found):
    return {kind: [cell.path for cell in cells] for kind, cells in found.items()}


def test_the_surest_the_least_sure_and_the_refused_are_chosen(frames):
    assert names(choose_examples(frames, METADATA, 2)) == {
        "surest_parasitized": ["e", "a"],
        "surest_uninfected": ["b", "f"],
        "least_sure": ["c", "f"],
        "refused": ["d", "g"],
    }


def test_of_the_refused_those_with_the_largest_p_come_first(frames):
    told = [frame.assign(p_parasitized=frame["p_parasitized"].astype(float)) for frame in frames]
    told[1].loc[told[1]["path"] == "g", "p_parasitized"] = 0.8
    assert names(choose_examples(told, METADATA, 1))["refused"] == ["g"]


def test_called_cells_with_a_flag_are_chosen_where_the_gate_flags(frames):
    told = pd.concat(frames).reset_index(drop=True)
    told.loc[[1, 2], "quality"] = "blurred"
    assert names(choose_examples([told], METADATA, 5, flagged=True))["flagged"] == ["c", "b"]
    assert "flagged" not in choose_examples([told], METADATA, 5)


@pytest.fixture(params=["folder", "list", "zip"])
def source(tmp_path, request):
    """Three images, of which two are examples."""
    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(number, 32))
    if request.param == "list":
        (folder / "list.csv").write_text("path\n0.png\n1.png\n2.png\n")
        return folder / "list.csv"
    if request.param == "zip":
        return Path(shutil.make_archive(str(tmp_path / "new"), "zip", folder))
    return folder


def read(source, work) -> ReadingRequest:
    with open_images(source, work, patient_pattern="(C)") as images:
        return ReadingRequest(str(source), images.fingerprint, "(C)", "", "", "torch", 0.5, "refuse", None)


def pictures_of(about, work):
    examples = {"refused": [Example(f"{number}.png", "", 0.5, "", "") for number in range(2)]}
    return picture_examples(examples, about, work, small_classifier(), heat_maps=False)


def test_pictures_are_of_the_files_that_were_read(source, tmp_path, caplog):
    about = read(source, tmp_path / "work")
    assert set(pictures_of(about, tmp_path / "work")) == {"0.png", "1.png"}
    if source.suffix == ".zip":
        source.write_bytes(source.read_bytes()[:-1] + b" ")
    else:
        (tmp_path / "new" / "1.png").write_bytes(png(77, 32))
    assert pictures_of(about, tmp_path / "work") is None
    assert "has changed since its images were read" in caplog.text


def test_no_folder_is_walked_again_for_pictures(source, tmp_path, monkeypatch):
    about = read(source, tmp_path / "work")
    monkeypatch.setattr("os.scandir", None)
    assert set(pictures_of(about, tmp_path / "work")) == {"0.png", "1.png"}


def test_an_image_that_cannot_be_read_has_no_picture(tmp_path):
    (tmp_path / "list.csv").write_text("path\nmissing.png\n1.png\n")
    (tmp_path / "1.png").write_bytes(png(1, 32))
    about = read(tmp_path / "list.csv", tmp_path / "work")
    examples = {"refused": [Example(name, "", 0.5, "", "") for name in ("missing.png", "1.png")]}
    found = picture_examples(examples, about, tmp_path / "work", small_classifier(), heat_maps=False)
    assert set(found) == {"1.png"}


def test_without_the_files_there_are_no_pictures(source, tmp_path, caplog):
    about = read(source, tmp_path / "work")
    assert pictures_of(dataclasses.replace(about, images=str(tmp_path / "gone")), tmp_path / "work") is None
    assert "is not there" in caplog.text


def test_without_the_listing_there_are_no_pictures(tmp_path, caplog):
    (tmp_path / "0.png").write_bytes(png(0, 32))
    about = read(tmp_path, tmp_path / "work")
    assert pictures_of(about, tmp_path / "other") is None
    assert "read the images again" in caplog.text


def test_it_does_not_matter_where_parts_end(frames):
    together = [pd.concat(frames)]
    one_by_one = [pd.concat(frames).iloc[[i]] for i in range(7)]
    for count in (1, 2, 9):
        assert names(choose_examples(together, METADATA, count)) == names(choose_examples(one_by_one, METADATA, count))


def test_of_nothing_there_are_no_examples(frames):
    assert names(choose_examples([frames[0].head(0)], METADATA, 3)) == {
        "surest_parasitized": [],
        "surest_uninfected": [],
        "least_sure": [],
        "refused": [],
    }
