"""The console command: help at once, errors in a sentence, exit codes. What it reads is tested in whole runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from backend_material import phantom_like_cells, small_classifier
from malaria_kedro.cli.console import main
from malaria_kedro.learning.classifier import write_classifier


def test_help_comes_without_torch():
    code = (
        "import sys; from malaria_kedro.cli.console import main\n"
        "try: main(['predict', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'fastai', 'kedro', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Exit codes" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_is_not_there_is_said_in_a_sentence():
    done = CliRunner().invoke(main, ["predict", "no_such_folder"])
    assert done.exit_code == 1
    assert "no_such_folder is not there" in done.output
    assert "Traceback" not in done.output


def test_what_cannot_be_looked_at_is_not_called_missing(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    done = CliRunner().invoke(main, ["predict", str(tmp_path / "loop" / "cells")])
    assert done.exit_code == 1
    assert "cells cannot be used (" in done.output
    assert "its links lead in a circle" in done.output


def test_a_model_that_may_not_be_looked_into_is_said_in_a_sentence(tmp_path, without_rights):
    (tmp_path / "classifier").mkdir()
    (tmp_path / "cells").mkdir()
    options = ["--model", str(tmp_path / "classifier"), "--out", str(tmp_path / "out")]
    command = ["predict", str(tmp_path / "cells"), *options]
    # Who may read nothing may not read the libraries either: they are imported before.
    assert "holds no classifier" in CliRunner().invoke(main, command).output
    with without_rights(tmp_path / "classifier"):
        done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "cannot be looked at (Permission denied)" in done.output
    assert "Traceback" not in done.output


def test_an_address_is_no_folder_and_told_without_its_secrets():
    done = CliRunner().invoke(main, ["predict", "https://user:s3cret@host/x.zip?token=t0ken"])
    assert done.exit_code == 1
    assert "https:/…@host/x.zip?…" in done.output
    assert not any(secret in done.output for secret in ("user", "s3cret", "t0ken"))


@pytest.mark.parametrize("option", ["--out", "--model"])
def test_a_folder_is_no_address_either(tmp_path, option):
    done = CliRunner().invoke(main, ["predict", str(tmp_path), option, "s3://user:s3cret@bucket/place"])
    assert done.exit_code == 2
    assert "is an address: name a folder of this machine" in done.output
    assert "s3cret" not in done.output


@pytest.mark.parametrize("words", [[""], ["x", "--model", ""], ["x", "--patient-pattern="], ["x", "--out", " "]])
def test_an_empty_word_is_no_default(words):
    done = CliRunner().invoke(main, ["predict", *words])
    assert done.exit_code == 2
    assert "is empty: is a shell variable unset?" in done.output


def test_a_wrong_backend_is_wrong_usage():
    done = CliRunner().invoke(main, ["predict", "x", "--backend", "abacus"])
    assert done.exit_code == 2
    assert "abacus" in done.output


def test_run_is_kedro_run():
    done = subprocess.run(
        [sys.executable, "-m", "malaria_kedro.cli.console", "run", "--help"], capture_output=True, text=True, check=True
    )
    assert "--pipelines" in done.stdout


def test_a_wrong_bit_depth_is_wrong_usage():
    done = CliRunner().invoke(main, ["predict", "x", "--bit-depth", "11"])
    assert done.exit_code == 2
    assert "'8', '10', '12', '14', '16'" in done.output


# --- what it reads, and the test of labelled images -------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A folder with a classifier, 24 labelled cells of four patients, and one that has no label."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "net").mkdir()
    write_classifier(small_classifier(), folder / "net")
    cells, parasitized = phantom_like_cells(24, seed=5)
    for number, (cell, is_parasitized) in enumerate(zip(cells, parasitized, strict=True)):
        place = folder / "test" / ("Parasitized" if is_parasitized else "Uninfected")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cell).save(place / f"C{number % 4}_IMG_1_cell_{number}.png")
    Image.fromarray(cells[0]).save(folder / "one.png")
    return folder


def predicted(lab: Path, out: Path, *sources: str, given: bytes | None = None) -> dict:
    """Read sources in the folder and return what ``--json`` prints."""
    before = os.getcwd()
    os.chdir(lab)
    try:
        words = ["predict", *sources, "--model", "net", "--out", str(out), "--json"]
        done = CliRunner().invoke(main, words, input=given)
    finally:
        os.chdir(before)
    assert done.exit_code in (0, 3), done.output
    return json.loads(done.stdout)


def test_one_image_and_several_sources_are_read(lab, tmp_path):
    assert predicted(lab, tmp_path / "one", "one.png")["images"] == 1
    assert predicted(lab, tmp_path / "several", "one.png", "test/Parasitized", "test/Uninfected")["images"] == 25


@pytest.mark.parametrize("given", [b"one.png\n", b"one.png\0", b"file;label\none.png;1\n"])
def test_a_list_on_standard_input_is_read(lab, tmp_path, given):
    told = predicted(lab, tmp_path, "-", given=given)
    assert told["images"] == 1
    assert (told["metrics"] is not None) == (b"label" in given)


def test_labelled_images_are_an_external_test(lab, tmp_path):
    told = predicted(lab, tmp_path, "test", "one.png")
    measured = told["metrics"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == measured
    assert measured["unlabelled"] == 1
    assert sum(its["images"] for its in measured["labels"].values()) == 24
    assert (measured["called"]["n"], measured["called"]["n_patients"]) == (24, 4)
    assert measured["called"]["bootstrap"]["unit"] == "patient"
    low, high = measured["called"]["intervals"]["accuracy"]
    assert low <= measured["called"]["accuracy"] <= high
    assert predicted(lab, tmp_path, "one.png")["metrics"] is None
    assert not (tmp_path / "metrics.json").exists(), "it would be of other images"


def test_metrics_and_how_good_the_classifier_is_are_printed(lab, tmp_path):
    words = ["predict", str(lab / "test"), "--model", str(lab / "net"), "--out", str(tmp_path)]
    done = CliRunner().invoke(main, words)
    for said in ("sensitivity: ", "specificity: ", "ROC AUC: ", "of 4 patients", "was not measured"):
        assert said in done.stdout


def test_how_labels_were_read_is_told_once(lab, tmp_path):
    words = ["predict", str(lab / "test"), "--model", str(lab / "net"), "--out", str(tmp_path)]
    done = CliRunner().invoke(main, words)
    assert (done.stdout.count("class folder"), done.stderr.count("class folder")) == (0, 1)


def test_notes_are_printed_on_what_is_printed(lab, tmp_path):
    words = ["predict", str(lab / "test/Uninfected"), "--model", str(lab / "net"), "--out", str(tmp_path)]
    printed = CliRunner().invoke(main, words).stdout
    notes = json.loads((tmp_path / "metrics.json").read_text())["notes"]
    undefined = {note.split()[0] for note in notes if "is undefined" in note}
    assert {"sensitivity", "mcc"} <= undefined
    assert {name for name in undefined if f"  {name} is undefined" in printed} == {"sensitivity", "roc_auc"}


def test_json_says_how_good_the_classifier_is(lab, tmp_path):
    told = predicted(lab, tmp_path, "one.png")
    assert told["model"]["measured"] is False
    assert told["warnings"] == []


def test_a_missing_one_of_several_stops_before_anything_is_read(lab, tmp_path):
    done = CliRunner().invoke(main, ["predict", str(lab / "one.png"), "gone.png", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "gone.png is not there" in done.output
    assert not (tmp_path / "out").exists()
