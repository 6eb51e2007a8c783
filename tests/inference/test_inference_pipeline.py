"""The pipeline inference: its page is made of one reading, whatever versions it finds on disk."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from kedro.io import AbstractDataset

from backend_material import small_classifier
from malaria_kedro.inference.reader import identify
from malaria_kedro.inference.results import SCHEMA, ReadingRequest, Results, SavedResults, write_part
from malaria_kedro.learning.classifier import read_classifier, write_classifier
from malaria_kedro.parameters import Evaluation, Inference, Report
from malaria_kedro.pipelines.inference import nodes
from malaria_kedro.report.inputs import RunRecord
from malaria_kedro.settings import CONFIG_LOADER_CLASS
from metadata_material import with_metadata

CONF = Path(__file__).parents[2] / "conf"
CALLS = {"C1": ["Parasitized", "Uninfected"], "C2": ["Uninfected", ""], None: ["Parasitized"]}


def classifier_at(folder: Path, **changes) -> Path:
    folder.mkdir()
    classifier = small_classifier()
    write_classifier(with_metadata(classifier, **changes), folder)
    return folder


def rows_of(folder: Path, calls: dict, read_by: Path) -> SavedResults:
    """Return a table of these calls, patient by patient, as the pipeline keeps it."""
    folder.mkdir()
    rows = [
        {"path": f"{patient}_{number}.png", "patient_id": patient, "p_parasitized": 0.9, "call": call}
        for patient, its in calls.items()
        for number, call in enumerate(its)
    ]
    frame = pd.DataFrame(rows).assign(quality="", reason="", width=32, height=32, label=None)
    write_part(folder, 0, pa.Table.from_pandas(frame, SCHEMA, preserve_index=False))
    about = ReadingRequest(
        images=str(folder / "gone"),
        fingerprint="f00d",
        patient_pattern=None,
        classifier=str(read_by),
        classifier_id=f"{identify(read_classifier(read_by))}, graph none",
        backend="torch",
        threshold=0.5,
        gate="off",
        bit_depth=None,
    )
    Results(folder, len(rows), about).write(folder / "rows.parquet", folder / "rows.csv")
    return SavedResults(folder / "rows.parquet")


@pytest.fixture
def read_by(tmp_path) -> Path:
    return classifier_at(tmp_path / "classifier")


@pytest.fixture
def rows(tmp_path, read_by) -> SavedResults:
    return rows_of(tmp_path / "rows", CALLS, read_by)


def from_disk(folder: Path, rows: SavedResults) -> pd.DataFrame:
    """Return the patients of these rows as the catalog gives them to the next node."""
    loader = CONFIG_LOADER_CLASS(str(CONF), base_env="base", default_run_env="base")
    entry = loader["catalog"]["patient_summary"] | {"filepath": str(folder / "patients.csv"), "versioned": False}
    dataset = AbstractDataset.from_config("patient_summary", entry)
    dataset.save(nodes.summarise_new_patients(rows))
    return dataset.load()


RUN = RunRecord(written="now", run=None, version="0.1.0", commit=None)


def page(tmp_path: Path, rows: SavedResults, patients: pd.DataFrame, classifier: Path) -> str:
    blocks = Inference(model="resnet18"), Evaluation(bootstrap_draws=100)
    return nodes.write_inference_report(rows, patients, b"", str(classifier), tmp_path / "work", *blocks, RUN, Report())


def test_the_page_of_one_reading_is_written(tmp_path, rows, read_by, monkeypatch):
    monkeypatch.setattr("malaria_kedro.report.inference_report.write_report", lambda *_, **__: "the page")
    assert page(tmp_path, rows, from_disk(tmp_path, rows), read_by) == "the page"


def test_rows_of_another_classifier_than_the_named_one_are_refused_with_both(tmp_path, rows, read_by):
    other = classifier_at(tmp_path / "other")
    words = f"cell_predictions were read by {read_by}, and classifier_path names {other}: .*kedro run --pipelines inf"
    with pytest.raises(nodes.InferenceError, match=words):
        page(tmp_path, rows, from_disk(tmp_path, rows), other)


def test_a_classifier_that_was_replaced_in_its_folder_is_refused(tmp_path, rows, read_by):
    for file in read_by.iterdir():
        file.unlink()
    read_by.rmdir()
    classifier_at(read_by, training_id="another")
    with pytest.raises(
        nodes.InferenceError, match=f"{read_by} is no longer the .*now has card [0-9a-f]+….*read the images"
    ):
        page(tmp_path, rows, from_disk(tmp_path, rows), read_by)


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        (
            CALLS | {"C1": ["Uninfected", "Uninfected"]},
            "of patient 'C1' it has cells 2, called 2, unreadable 0, parasitized 0, and they have cells 2, called 2, "
            "unreadable 0, parasitized 1;",
        ),
        (CALLS | {"C9": ["Uninfected"]}, "of patient 'C9' it has cells 1, .* and they have cells 0,"),
        ({"C1": CALLS["C1"], "C2": CALLS["C2"]}, "of unknown patients it has cells 0, .* and they have cells 1,"),
    ],
    ids=["other calls", "another patient", "a patient less"],
)
def test_patients_of_other_rows_are_refused(tmp_path, rows, read_by, calls, words):
    others = from_disk(tmp_path, rows_of(tmp_path / "others", calls, read_by))
    with pytest.raises(nodes.InferenceError, match=rf"patient_summary is not of these cell_predictions: {words}"):
        page(tmp_path, rows, others, read_by)
