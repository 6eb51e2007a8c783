"""A language in which every text of the catalogues is marked: what a page shows unmarked was forgotten.

Its letters are full-width ones, which are letters to everything that handles texts and English to no reader.
"""

from __future__ import annotations

import re
import runpy
from functools import cache
from pathlib import Path

from babel.messages import Catalog

ROOT = Path(__file__).parents[1]
UPDATE = runpy.run_path(str(ROOT / "docs" / "update_translations.py"))
# What no translation changes: values, tags and entities, and what stands in code.
KEPT = re.compile(r"(\{\w+\}|%\(\w+\)s|%%|<code>.*?</code>|<[^>]*>|&\w+;)")
FULL_WIDTH = {ord(letter): ord(letter) + 0xFEE0 for letter in map(chr, range(128)) if letter.isalpha()}


def marked(text: str) -> str:
    """Return a text with its words in full-width letters."""
    return "".join(part if KEPT.fullmatch(part) else part.translate(FULL_WIDTH) for part in KEPT.split(text))


@cache
def marked_catalogue() -> Catalog:
    """Return the catalogue of all texts in the source, each marked."""
    texts: Catalog = UPDATE["read_catalogue"]("es")
    texts.update(UPDATE["collect_texts"](), no_fuzzy_matching=True)
    for message in texts:
        if message.id:
            forms = message.id if isinstance(message.id, tuple) else (message.id,)
            strings = tuple(map(marked, forms))
            message.string = strings if len(strings) > 1 else strings[0]
    return texts
