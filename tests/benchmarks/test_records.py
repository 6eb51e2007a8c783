"""The results files validate, and README and documentation show what they hold."""

import json
import re
from pathlib import Path

import pytest

import render

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILES = sorted((BENCHMARKS / "results").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_results_file_validates(file):
    assert render.read_results(file).measurements


def test_the_pages_show_what_the_results_hold():
    pages = [page.name for page in render.outdated()]
    assert pages == [], f"{', '.join(pages)} differ from benchmarks/results: run `python benchmarks/render.py`"


def test_a_figure_within_a_sentence_begins_no_line():
    for page in render.PAGES:
        lost = re.findall(r"^<!-- results: .+? -->[^\n].*$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert lost == [], f"{page.name}: Markdown takes these lines for HTML"


def test_a_page_that_asks_for_an_unknown_figure_is_refused():
    with pytest.raises(render.ResultsError, match="no_such_figure"):
        render.render("<!-- results: no_such_figure.rows -->1<!-- /results -->", render.environment())


def test_a_file_with_an_unknown_field_is_refused(tmp_path):
    file = tmp_path / "speed.json"
    file.write_text(json.dumps({"about": "Speed.", "measurements": {}, "velocity": 1}))
    with pytest.raises(render.ResultsError, match="velocity"):
        render.read_results(file)
