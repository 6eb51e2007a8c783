"""The page on new cells."""

import dataclasses
import io
import re

import pandas as pd
import pytest
from PIL import Image
from report_material import RUN, svg

from malaria_kedro.evaluation.bootstrap import Bootstrap
from malaria_kedro.evaluation.new_cells import measure_new_cells
from malaria_kedro.inference.results import ReadingRequest
from malaria_kedro.report.examples import Example
from malaria_kedro.report.inference_report import SECTIONS, write_report
from metadata_material import changed, metadata

METADATA = metadata(
    name="resnet18",
    input={"size": 64},
    training_id="beef",
    data={"phantom": False, "origin": "cell_images.zip", "fingerprint": "f00d"},
    calibration={"temperature": 1.2, "threshold": 0.3, "target_sensitivity": 0.98},
)


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = [
        ("C1_a.png", "C1", 0.99, "Parasitized", "", ""),
        ("C1_b.png", "C1", 0.02, "Uninfected", "exif_rotated", "Exif orientation 6 is not applied"),
        ("<b>x</b>.png", None, 0.9, "", "not_a_cell", "not like a cell: outline is 1.8"),
    ]
    return pd.DataFrame(rows, columns=["path", "patient_id", "p_parasitized", "call", "quality", "reason"])


@pytest.fixture
def patients() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "patient_id": ["C1", None],
            "cells": [2, 1],
            "called": [2, 0],
            "refused": [0, 1],
            "unreadable": [0, 0],
            "parasitized": [1, 0],
            "refused_at_threshold": [0, 1],
            "apparent_parasitaemia": [0.5, float("nan")],
            "apparent_low": [0.5, 0.0],
            "apparent_high": [0.5, 1.0],
        }
    )


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "pink").save(file, format="PNG")
    return file.getvalue()


REQUEST = ReadingRequest("new", "f00d", None, "net/classifier", "weights 1", "torch", 0.3, "refuse", None)


def cells_of(frame) -> list[Example]:
    return [Example(**row) for row in frame.drop(columns="patient_id").to_dict("records")]


def page_of(frame, patients, about=METADATA, request=REQUEST) -> str:
    rows = cells_of(frame)
    examples = {"surest_parasitized": rows[:1], "surest_uninfected": rows[1:2], "least_sure": [], "refused": rows[2:]}
    return write_report([frame], patients, about, examples, {"C1_a.png": png()}, request, RUN, figure=svg())


def test_it_has_every_section_and_counts_what_was_called(frame, patients):
    page = page_of(frame, patients)
    for id_, title in SECTIONS.items():
        if id_ in ("flagged", "metrics"):  # only where the gate flags, or labels are known
            continue
        assert f'id="{id_}"' in page
        assert title in page
    assert "33.3" in page, "the share of images that were not called"
    assert "not_a_cell" in page
    assert "exif_rotated" in page


def test_pictures_lie_inside_and_have_words(frame, patients):
    page = page_of(frame, patients)
    assert page.count("data:image/") == 2
    assert 'alt="C1_a.png: called Parasitized, p(parasitized) 0.9900"' in page
    assert "no picture" in page
    assert 'src="http' not in page


def test_patients_are_shown_as_they_are_and_the_unknown_is_told_from_every_name(frame, patients):
    odd = ["001", "1e5", "NA", "nan", "null", "None", "–", "unknown", "  x"]
    table = pd.concat([patients.head(1)] * len(odd) + [patients.tail(1)], ignore_index=True)
    page = page_of(frame, table.assign(patient_id=pd.Series([*odd, None], dtype="str")))
    assert [f">{name}<" in page for name in odd] == [True] * len(odd)
    assert page.count('<span class="unknown">unknown</span>') == 1


def test_names_of_files_cannot_change_the_page(frame, patients):
    page = page_of(frame, patients)
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;.png" in page


def test_what_trained_on_phantoms_is_said_to_mean_nothing(frame, patients):
    assert "Trained on phantom cells" not in page_of(frame, patients)
    phantom = changed(METADATA, data=METADATA.data.as_dict() | {"phantom": True})
    assert "Trained on phantom cells" in page_of(frame, patients, phantom)


def without_tags(html: str) -> str:
    return re.sub("<[^>]+>", "", html)


def test_bounds_of_the_parasitaemia_and_what_the_gate_refused_are_shown(frame, patients):
    page = page_of(frame, patients)
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    # images, called, parasitized, apparent, lowest, highest, not called, of them unreadable, of them by p parasitized
    assert [[without_tags(cell) for cell in row] for row in rows[1:]] == [
        ["C1", "2", "2", "1", "50.0\u00a0%", "50.0\u00a0%", "50.0\u00a0%", "0", "0", "0"],
        ["unknown", "1", "0", "0", "–", "0.0\u00a0%", "100.0\u00a0%", "1", "0", "1"],
    ]
    assert "p(parasitized) = 0.9000" in page, "of the image that was not called"


@pytest.mark.parametrize(
    ("gate", "words"),
    [("refuse", "is not called"), ("flag", "only flags"), ("off", "gate is off"), ("none", "has no quality gate")],
)
def test_the_page_tells_what_the_gate_did(frame, patients, gate, words):
    assert words in page_of(frame, patients, request=dataclasses.replace(REQUEST, gate=gate))


def test_patients_are_called_what_they_are_called(frame, patients):
    ids = ["001", "NA", "null", "1e5", "True", "<i>x</i>"]
    many = pd.concat([patients.iloc[:1]] * len(ids), ignore_index=True).assign(patient_id=pd.Series(ids, dtype="str"))
    page = page_of(frame, many)
    names = [without_tags(name) for name in re.findall(r'<th scope="row">(.*?)</th>', page)]
    assert names == [*ids[:-1], "&lt;i&gt;x&lt;/i&gt;"]


def test_labelled_images_are_measured_on_the_page(frame, patients):
    about = dataclasses.replace(REQUEST, labels=["1 images: <b>'1'</b> is taken for Parasitized"])
    labelled = frame.assign(label=["Parasitized", "Uninfected", "Parasitized"])
    measured = measure_new_cells([labelled], about, Bootstrap(draws=20))
    page = write_report([frame], patients, METADATA, {"refused": []}, None, about, RUN, measured, figure=svg())
    assert 'id="metrics"' in page
    assert 'id="metrics"' not in page_of(frame, patients)
    assert "Sensitivity" in page
    assert "1 of 1" in page
    assert "&lt;b&gt;&#39;1&#39;&lt;/b&gt; is taken for Parasitized" in page


def test_the_page_tells_how_good_its_classifier_is_and_what_speaks_against_it(frame, patients):
    assert "was not measured" in page_of(frame, patients)
    scores = {"split": "valid", "n_parasitized": 40, "n_uninfected": 50, "sensitivity": 0.98, "specificity": 0.8}
    page = page_of(frame, patients, changed(METADATA, at_threshold=scores))
    assert "200 false alarms per 1,000" in page
    assert "specificity under 90" in page


def test_a_page_without_pictures_says_why(frame, patients):
    page = write_report([frame], patients, METADATA, {"refused": cells_of(frame)[2:]}, None, REQUEST, RUN, figure=svg())
    assert "have changed since they were read" in page
    assert "have changed since they were read" not in page_of(frame, patients)


def test_a_classifier_without_calibration_says_so_by_a_dash(frame, patients):
    page = page_of(frame, patients, changed(METADATA, calibration=None))
    assert "<dt>Temperature</dt><dd>–</dd>" in page
