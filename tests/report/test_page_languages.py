"""Pages in another language: nothing that a reader sees was forgotten, and numbers are that language's everywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from report_material import folds, folds_html, full_html
from test_snapshots import new_cells, phantoms

# Words that are names, units, symbols or code in every language.
NAMES = frozenset([])


class Shown(HTMLParser):
    """What a page shows or says aloud, outside of code and of what a person has typed."""

    SILENT = frozenset({"style", "script", "code", "pre"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.within: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag in self.SILENT:
            self.within.append(tag)
        self.words += [value for name, value in attrs if name in ("alt", "aria-label", "title")]

    def handle_endtag(self, tag):
        if tag in self.SILENT:
            self.within.pop()

    def handle_data(self, data):
        if not self.within:
            self.words.append(data)


PAGES = {
    "report": full_html,
    "report_of_phantoms": phantoms,
    "cross_validation": folds_html,
    "cross_validation_of_phantoms": lambda **language: folds_html(folds(phantom=True), **language),
    "inference": new_cells,
}


@pytest.mark.parametrize("name", PAGES)
def test_every_word_of_a_page_is_in_its_language(name, marked_language):
    words = re.findall(r"[A-Za-z][A-Za-z_]+", " ".join(Shown(PAGES[name](language=marked_language)).words))
    assert sorted({*words} - NAMES) == []
