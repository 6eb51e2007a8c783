"""Pages in another language: nothing that a reader sees was forgotten, and numbers are that language's everywhere."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from report_material import Page, folds, folds_html, full_html
from test_snapshots import new_cells, phantoms

from malaria_kedro.language import LANGUAGES
from malaria_kedro.learning.description import Hardware
from malaria_kedro.report.formats import template
from malaria_kedro.report.sections import HARDWARE

# Words that are the same in every language: names, units, parameters' values and ids of the material.
NAMES = {
    *("malaria", "kedro", "resnet", "torch", "cpu", "CLAIM", "TRIPOD", "AI", "RGB"),
    *("de", "noviembre", "UTC", "px", "min", "ms"),
    *("abc", "net", "new", "classifier", "cell_images", "zip", "png", "cell_", "refuse"),
    *("healthy_sd", "roc_auc", "exif_rotated", "not_a_cell"),
    *("truncated", "image", "small", "processor", "outline", "is"),  # what a library or a machine says, made up
}
COMMANDS = re.compile(r"kedro run --\w+ \w+|split\.test_pct")


class Shown(HTMLParser):
    """What a page shows or says aloud, outside of code and of what is cited in English."""

    SILENT = frozenset({"style", "script", "code", "pre"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.within: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag in self.SILENT or (tag == "li" and dict(attrs).get("lang") == "en"):
            self.within.append(tag)
        self.words += [value for name, value in attrs if name in ("alt", "aria-label", "title")]

    def handle_endtag(self, tag):
        if self.within and tag == self.within[-1]:
            self.within.pop()

    def handle_data(self, data):
        if not self.within:
            self.words.append(data)


PAGES = {
    "report": full_html,
    "report_of_phantoms": phantoms,
    "cross_validation": folds_html,
    "cross_validation_of_phantoms": lambda language: folds_html(folds(phantom=True), language=language),
    "inference": new_cells,
}


@pytest.mark.parametrize("name", PAGES)
def test_every_word_of_a_page_is_in_its_language(name, marked_language):
    shown = COMMANDS.sub("", " ".join(Shown(PAGES[name](language=marked_language)).words))
    assert sorted({*re.findall(r"[A-Za-z][A-Za-z_]+", shown)} - NAMES) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_its_language_and_is_whole(name):
    page = Page(PAGES[name](language="fr"))
    assert page.all("html") == [{"lang": "fr"}]
    assert page.open == []


def test_the_script_of_each_language_is_the_one_that_the_page_allows():
    digests = {}
    for language in LANGUAGES:
        html = phantoms(language)
        script = re.search(r"<script>(.*)</script>", html, re.DOTALL)[1]
        digests[language] = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digests[language]}'" in html
    assert len(set(digests.values())) == len(LANGUAGES)


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_a_page_has_decimal_commas_outside_of_code(language):
    shown = " ".join(Shown(full_html(language)).words)
    assert "0,4222" in shown
    assert re.findall(r"(?<![\w.])\d+\.\d+(?= ?%| ms| s\b)|0\.\d{4}", shown) == []


@pytest.mark.parametrize("first", ["en", "pt"])
def test_a_page_is_english_whatever_the_language_of_the_page_before(first):
    template.cache_clear()  # the first page compiles the templates
    full_html(first)
    assert "False alarms per 1,000 uninfected cells" in Page(full_html()).text


def test_every_field_of_the_hardware_has_a_name():
    assert HARDWARE.keys() == Hardware.model_fields.keys()
