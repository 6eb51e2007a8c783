"""The language of pages and figures: one catalogue of texts per language, and numbers as that language writes them.

Texts in the code are English and are the keys of the catalogues (gettext). Messages of errors and of the log are not
translated: they are searched for, and quoted to whoever can help.
"""

from __future__ import annotations

import gettext as standard
import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources
from typing import Literal, get_args

Language = Literal["en", "es", "fr", "pt"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

_written: ContextVar[Language] = ContextVar("language", default="en")


@contextmanager
def written_in(language: Language) -> Iterator[None]:
    """Write everything inside the block in this language; blocks may be nested, and threads do not share them."""
    token = _written.set(language)
    try:
        yield
    finally:
        _written.reset(token)


def current_language() -> Language:
    """Return the language of the innermost block; English outside of all."""
    return _written.get()


def gettext(text: str) -> str:
    """Return a text in the current language; values are put in afterwards: ``_("{n} cells").format(n=...)``."""
    return _catalogue(_written.get()).gettext(text) if text else ""  # the empty key is the catalogue's header


def ngettext(one: str, many: str, n: int) -> str:
    """Return the form of a text that goes with n things, in the current language."""
    return _catalogue(_written.get()).ngettext(one, many, n)


def mark(text: str) -> str:
    """Return an English text as it is, collected for the catalogues: a constant is translated when it is shown."""
    return text


# What Babel collects; see babel.cfg.
_, N_ = gettext, mark


@cache
def _catalogue(language: Language) -> standard.NullTranslations:
    if language == "en":
        return standard.NullTranslations()
    # Late, because only a page in another language needs them.
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    file = resources.files("malaria_kedro") / "locale" / language / "LC_MESSAGES" / "malaria_kedro.po"
    compiled = io.BytesIO()
    with file.open("rb") as texts:
        write_mo(compiled, read_po(texts, locale=language, domain="malaria_kedro", abort_invalid=True))
    compiled.seek(0)
    return standard.GNUTranslations(compiled)
