"""The words of every page, asserted once: what a reader sees, against a file that a person has read.

To renew the files after a change of words, and then to read the difference::

    RENEW_SNAPSHOTS=1 python -m pytest tests/report/test_snapshots.py; git diff tests/report/snapshots
"""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from report_material import RUN, entry, folds, folds_html, full_entry, full_html, html_of, png, summary, svg

from malaria_kedro.inference.results import ReadingRequest
from malaria_kedro.language import Language
from malaria_kedro.report import inference_report
from malaria_kedro.report.examples import Example
from malaria_kedro.report.model_card import write_model_card
from metadata_material import changed

SNAPSHOTS = Path(__file__).with_name("snapshots")
LINES = {"title", "h1", "h2", "h3", "p", "li", "tr", "dt", "dd", "caption", "figcaption", "summary", "pre", "img"}


class Words(HTMLParser):
    """What a page says: a line per paragraph or row, its cells between bars, pictures by their words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.silent = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.silent = tag in ("style", "script")
        if tag in LINES:
            self.words.append("\n")
        if tag in ("td", "th"):
            self.words.append("| ")
        if tag == "img":
            self.words.append(f"[{dict(attrs)['alt']}]\n")

    def handle_data(self, data):
        if not self.silent:
            self.words.append(data.replace("\n", " "))


def words_of(page: str) -> str:
    text = "".join(Words(page).words) if page.startswith("<!DOCTYPE") else page
    # Of a long number, the last digits are those of a processor.
    text = re.sub(r"\d+\.\d{5,}", lambda found: f"{float(found[0]):.4f}", text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def new_cells(language: Language = "en") -> str:
    rows = [
        ("C1_a.png", "C1", 0.99, "Parasitized", "", ""),
        ("C1_b.png", "C1", 0.02, "Uninfected", "exif_rotated", "Exif orientation 6 is not applied"),
        ("x.png", None, 0.9, "", "not_a_cell", "not like a cell: outline is 1.8"),
    ]
    frame = pd.DataFrame(rows, columns=["path", "patient_id", "p_parasitized", "call", "quality", "reason"])
    counts = {"cells": 2, "called": 2, "refused": 0, "unreadable": 0, "parasitized": 1, "refused_at_threshold": 0}
    shares = {"apparent_parasitaemia": 0.5, "apparent_low": 0.5, "apparent_high": 0.5}
    first, second, third = (Example(**row) for row in frame.drop(columns="patient_id").to_dict("records"))
    examples = {"surest_parasitized": [first], "surest_uninfected": [second], "least_sure": [], "refused": [third]}
    request = ReadingRequest("new", "f00d", None, "net/classifier", "weights 1", "torch", 0.3, "refuse", None)
    found = {"temperature": 1.2, "threshold": 0.3, "target_sensitivity": 0.98}
    read_by = changed(full_entry().metadata, training_id="beef", calibration=found)
    patients = pd.DataFrame([{"patient_id": "C1"} | counts | shares])
    return inference_report.write_report(
        [frame], patients, read_by, examples, {"C1_a.png": png()}, request, RUN, figure=svg(), language=language
    )


def phantoms(language: Language = "en") -> str:
    return html_of(entry(data=summary(phantom=True)), data=summary(phantom=True, strategy="random"), language=language)


def phantom_card() -> str:
    one = entry(data=summary(phantom=True))
    return write_model_card(one.metadata, one.metrics)


PAGES = {
    "report": full_html,
    "report_of_phantoms": phantoms,
    "cross_validation": folds_html,
    "cross_validation_of_phantoms": lambda: folds_html(folds(phantom=True)),
    "inference": new_cells,
    "model_card": lambda: write_model_card(full_entry().metadata, full_entry().metrics),
    "model_card_of_phantoms": phantom_card,
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_says_what_was_read_and_approved(name):
    file, found = SNAPSHOTS / f"{name}.txt", words_of(PAGES[name]())
    if os.environ.get("RENEW_SNAPSHOTS"):
        SNAPSHOTS.mkdir(exist_ok=True)
        file.write_text(found, encoding="utf-8", newline="\n")
    assert found == file.read_text(encoding="utf-8")


def test_there_is_no_snapshot_without_its_page():
    assert {file.stem for file in SNAPSHOTS.iterdir()} == set(PAGES)
