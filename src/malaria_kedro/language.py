"""The language of pages and figures: one catalogue of texts per language, and numbers as that language writes them.

Texts in the code are English and are the keys of the catalogues (gettext). Messages of errors and of the log are not
translated: they are searched for, and quoted to whoever can help. What is stored in files is English too, and is
translated by ``retell`` when it is shown.
"""

from __future__ import annotations

import gettext as standard
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from babel.messages import Catalog

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
    return _translations(_written.get()).gettext(text) if text else ""  # the empty key is the catalogue's header


def ngettext(one: str, many: str, n: int) -> str:
    """Return the form of a text that goes with n things, in the current language."""
    return _translations(_written.get()).ngettext(one, many, int(n))


def mark(text: str) -> str:
    """Return an English text as it is, collected for the catalogues: a constant is translated when it is shown."""
    return text


# What Babel collects; see babel.cfg.
_, N_ = gettext, mark


class Symbols(NamedTuple):
    """How a language writes numbers: the sign before decimals, the sign between thousands, and what stands behind a
    percentage, with its space."""

    decimal: str
    group: str
    percent: str


def symbols() -> Symbols:
    """Return the signs of the current language, as the Unicode CLDR has them."""
    return _symbols(_written.get())


def localize(number: str) -> str:
    """Return a number that Python has formatted (``1,234.5``, ``2.2 %``) as the current language writes it."""
    if (language := _written.get()) == "en":
        return number
    signs = _symbols(language)
    digits, space, _sign = number.partition(" %")
    written = "".join({",": signs.group, ".": signs.decimal}.get(sign, sign) for sign in digits)
    return written + signs.percent if space else written


def retell(text: str) -> str:
    """Return a text that is stored in English, values and all, in the current language.

    The catalogue's text that it was made of is found by its words; its values are retold and localized in turn, and so
    are several sentences, one by one. What is of no catalogue (a name, the message of a library) stays as it is.
    """
    language = _written.get()
    return text if language == "en" else _retell(language, text)


_NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?(e[-+]?\d+)?( %)?")
# The fewest letters around its values by which a text is known again; a number beside a word is known by less.
_FEWEST_LETTERS = 8
_COUNTED = re.compile(r"\{n\} \w{4,}")


@lru_cache(maxsize=4096)
def _retell(language: Language, text: str) -> str:
    with written_in(language):
        if _NUMBER.fullmatch(text):
            return localize(text)
        if (exact := gettext(text)) != text:
            return exact
        for pattern, forms in _patterns(language):
            if match := pattern.fullmatch(text):
                values = {name: _retell(language, value) for name, value in match.groupdict().items()}
                if len(forms) == 1:
                    return gettext(forms[0]).format(**values)
                n = re.sub(r"\D", "", match.groupdict().get("n", ""))
                return ngettext(forms[0], forms[1], int(n or 2)).format(**values)
        # Sentences, a text behind what it is about, and a list.
        for between, split, most in ((" ", r"(?<=\.) (?=[A-Z])", 0), (": ", ": ", 1), ("; ", "; ", 0)):
            if len(parts := re.split(split, text, maxsplit=most)) > 1:
                told = [_retell(language, part) for part in parts]
                if told != parts:
                    return between.join(told)
        return text


@cache
def _patterns(language: Language) -> list[tuple[re.Pattern[str], tuple[str, ...]]]:
    """Return the texts with values in braces as patterns, those with the most letters first."""
    found: list[tuple[int, re.Pattern[str], tuple[str, ...]]] = []
    for message in _catalogue(language):
        forms = (message.id,) if isinstance(message.id, str) else tuple(message.id)
        for text in forms:
            words = re.split(r"\{(\w+)\}", text)
            letters = sum(map(str.isalpha, "".join(words[::2])))
            if len(words) == 1 or (letters < _FEWEST_LETTERS and not _COUNTED.fullmatch(text)):
                continue
            values: set[str] = set()
            pattern = ""
            for position, part in enumerate(words):
                if position % 2 == 0:
                    pattern += re.escape(part)
                elif part in values:
                    pattern += f"(?P={part})"
                else:
                    values.add(part)
                    # No value holds the end of a sentence, and n is a number.
                    pattern += rf"(?P<{part}>" + (r"\d[\d,]*)" if part == "n" else r"(?:(?!\. [A-Z]).)+?)")
            found.append((sum(map(len, words[::2])), re.compile(pattern), forms))
    return [(pattern, forms) for _, pattern, forms in sorted(found, key=lambda one: -one[0])]


@cache
def _symbols(language: Language) -> Symbols:
    # Late, because only a page in another language needs it.
    from babel import Locale
    from babel.numbers import get_decimal_symbol, get_group_symbol

    pattern = Locale(language).percent_formats[None].pattern
    return Symbols(get_decimal_symbol(language), get_group_symbol(language), pattern.removeprefix("#,##0"))


@cache
def _catalogue(language: Language) -> Catalog:
    from babel.messages.pofile import read_po

    file = resources.files("malaria_kedro") / "locale" / language / "LC_MESSAGES" / "malaria_kedro.po"
    with file.open("rb") as texts:
        return read_po(texts, locale=language, domain="malaria_kedro", abort_invalid=True)


@cache
def _translations(language: Language) -> standard.NullTranslations:
    if language == "en":
        return standard.NullTranslations()
    from babel.messages.mofile import write_mo

    compiled = io.BytesIO()
    write_mo(compiled, _catalogue(language))
    compiled.seek(0)
    return standard.GNUTranslations(compiled)
