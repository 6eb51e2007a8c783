"""The languages of pages: catalogues that fit the source, numbers as each language writes them, stored texts retold."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest

from malaria_kedro.language import LANGUAGES, gettext, localize, ngettext, retell, written_in
from malaria_kedro.parameters import ParameterError, check_parameters
from marked_language import UPDATE, marked

TRANSLATED = [language for language in LANGUAGES if language != "en"]


@pytest.fixture(scope="module")
def texts():
    return UPDATE["collect_texts"]()


def forms(of) -> tuple[str, ...]:
    return (of,) if isinstance(of, str) else tuple(of)


def values_in(text: str) -> Counter:
    """Return the names of the values that are put into a text, in braces or (of templates) behind a percent sign."""
    named = re.findall(r"%\((\w+)\)s", text)
    return Counter(named or (name for _, name, _, _ in string.Formatter().parse(text) if name is not None))


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_catalogue_has_exactly_the_texts_of_the_source(language, texts):
    catalogue = UPDATE["read_catalogue"](language)
    assert {message.id for message in catalogue if message.id} == {message.id for message in texts if message.id}
    assert not catalogue.obsolete
    assert not [message.id for message in catalogue if message.fuzzy]


@pytest.mark.parametrize("language", TRANSLATED)
def test_collecting_the_texts_again_changes_no_catalogue(language, texts):
    assert UPDATE["updated"](language, texts) == UPDATE["catalogue_file"](language).read_bytes()


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_has_a_translation(language):
    missing = [m.id for m in UPDATE["read_catalogue"](language) if m.id and not all(forms(m.string))]
    assert missing == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_has_the_values_of_its_text(language):
    wrong = [
        (message.id, translation)
        for message in UPDATE["read_catalogue"](language)
        if message.id
        for text, translation in zip(forms(message.id), forms(message.string), strict=True)
        if translation and values_in(translation).keys() != values_in(text).keys()
    ]
    assert wrong == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_has_the_tags_and_the_code_of_its_text(language):
    kept = re.compile(r"<code>.*?</code>|<[^>]*>")
    wrong = [
        (message.id, translation)
        for message in UPDATE["read_catalogue"](language)
        if message.id
        for text, translation in zip(forms(message.id), forms(message.string), strict=True)
        if translation and Counter(kept.findall(translation)) != Counter(kept.findall(text))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("language", "written"),
    [
        ("en", ["1,234.5", "2.2 %", "-0.5", "1e-05"]),
        ("es", ["1.234,5", "2,2\N{NO-BREAK SPACE}%", "-0,5", "1e-05"]),
        ("fr", ["1\N{NARROW NO-BREAK SPACE}234,5", "2,2\N{NO-BREAK SPACE}%", "-0,5", "1e-05"]),
        ("pt", ["1.234,5", "2,2%", "-0,5", "1e-05"]),
    ],
)
def test_numbers_are_written_as_in_the_language(language, written):
    with written_in(language):
        assert [localize(number) for number in ("1,234.5", "2.2 %", "-0.5", "1e-05")] == written


def test_a_language_is_left_with_its_block():
    with written_in("fr"):
        with written_in("es"):
            assert localize("1,000") == "1.000"
        assert localize("0.5") == "0,5"
    assert localize("0.5") == "0.5"


def test_an_unknown_language_is_an_error_that_names_the_known_ones():
    with pytest.raises(ParameterError, match=r"report\.language.*'en', 'es', 'fr' or 'pt'"):
        check_parameters({"report": {"language": "de"}}, ("resnet18",))


def test_a_stored_text_is_retold_with_its_values(marked_language):
    stored = "valid: roc_auc has no interval, because 7 % of the draws do not define it."
    with written_in(marked_language):
        assert retell(stored) == (
            f"{marked('valid')}: roc_auc {marked('has no interval, because')} 7\N{NO-BREAK SPACE}% "
            + marked("of the draws do not define it.")
        )
    assert retell(stored) == stored


def test_a_stored_reason_inside_a_stored_text_is_retold_too(marked_language):
    with written_in(marked_language):
        assert retell("valid: npv is undefined, because no cell was called uninfected.") == (
            f"{marked('valid')}: npv {marked('is undefined, because no cell was called uninfected.')}"
        )


def test_several_stored_sentences_are_retold_one_by_one(marked_language):
    stored = "Each of the 3 healthy patients here shows 2.2 %. The 3 healthy patients here range from 1 % to 1,000 %."
    with written_in(marked_language):
        first, second = retell(stored).split(". ")
    assert first.endswith("2,2\N{NO-BREAK SPACE}%")
    assert second.endswith("1.000\N{NO-BREAK SPACE}%.")


@pytest.mark.parametrize("text", ["C47_cell_3.png", "cannot identify image file", "", "a: b", "12 x; y"])
def test_what_is_of_no_catalogue_stays_as_it_is(marked_language, text):
    with written_in(marked_language):
        assert retell(text) == text


def test_the_number_chooses_the_form(marked_language):
    with written_in(marked_language):
        assert [ngettext("{n} patient", "{n} patients", n) for n in (1, 2)] == [
            marked("{n} patient"),
            marked("{n} patients"),
        ]
        assert gettext("") == ""
