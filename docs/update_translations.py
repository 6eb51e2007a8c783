"""Collects the texts of pages and figures from the source, and brings the catalogue of each language up to date.

A new text is added without a translation, one that is gone is removed, and a changed one is both: no translation is
guessed. Nothing else changes, so that a second run changes nothing.

Usage: python docs/update_translations.py
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po, write_po

from malaria_kedro.language import LANGUAGES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "malaria_kedro"
# Which of two forms goes with n: Spanish and Portuguese use the plural of 0, French does not.
PLURALS = {"es": "n != 1", "fr": "n > 1", "pt": "n != 1"}
HEADER = """\
# The texts of pages and figures. docs/contributing.md tells how to add or mend a translation.
msgid ""
msgstr ""
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=({plural});\\n"

"""


def catalogue_file(language: str) -> Path:
    """Return where the catalogue of a language is."""
    return SOURCE / "locale" / language / "LC_MESSAGES" / "malaria_kedro.po"


def collect_texts() -> Catalog:
    """Return all texts that are marked in the source, each with the files that it is in."""
    with (ROOT / "babel.cfg").open(encoding="utf-8") as file:
        methods, options = parse_mapping_cfg(file)
    texts = Catalog()
    found = extract_from_dir(SOURCE, methods, options, DEFAULT_KEYWORDS)
    for name, _line, message, comments, context in sorted(found, key=lambda one: (one[0], one[1])):
        texts.add(message, locations=[(name.replace(os.sep, "/"), 0)], auto_comments=comments, context=context)
    return texts


def read_catalogue(language: str) -> Catalog:
    """Return the catalogue of a language as it lies in the source; an empty one where there is none."""
    file, empty = catalogue_file(language), HEADER.format(language=language, plural=PLURALS[language])
    with file.open("rb") if file.exists() else io.BytesIO(empty.encode()) as content:
        return read_po(content, locale=language, abort_invalid=True)


def updated(language: str, texts: Catalog) -> bytes:
    """Return the file of a language's catalogue with exactly these texts; the translations of those that stay stay."""
    catalogue = read_catalogue(language)
    catalogue.update(texts, no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    content = io.BytesIO(HEADER.format(language=language, plural=PLURALS[language]).encode())
    content.seek(0, io.SEEK_END)
    write_po(content, catalogue, width=120, omit_header=True, include_lineno=False, ignore_obsolete=True)
    return content.getvalue().rstrip() + b"\n"


if __name__ == "__main__":
    texts = collect_texts()
    for language in LANGUAGES:
        if language != "en":
            file = catalogue_file(language)
            file.parent.mkdir(parents=True, exist_ok=True)
            content = updated(language, texts)
            file.write_bytes(content)
            catalogue = read_catalogue(language)
            empty = sum(
                not all([message.string] if isinstance(message.string, str) else message.string)
                for message in catalogue
                if message.id
            )
            print(f"{language}: {len(catalogue)} texts, {empty} of them without a translation")
