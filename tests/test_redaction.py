"""What an address may show: where it leads, and never who asks or with which key."""

from __future__ import annotations

import pytest

from malaria_kedro.redaction import redact, redact_url, redactor


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/cells.zip", "https://host/cells.zip"),
        ("http://127.0.0.1:8000/a/b.zip", "http://127.0.0.1:8000/a/b.zip"),
        ("http://[::1]:80/b.zip", "http://[::1]:80/b.zip"),
        ("https://user:secret@host/x.zip", "https://…@host/x.zip"),
        ("https://secret@host:81/x.zip", "https://…@host:81/x.zip"),
        ("https://host/x.zip?X-Amz-Signature=secret&b=c", "https://host/x.zip?…"),
        ("https://host/x.zip#secret", "https://host/x.zip#…"),
        ("https://user:pw@host/x.zip?token=secret#f", "https://…@host/x.zip?…#…"),
        ("https://host?token=secret", "https://host?…"),
        ("https://host/x.zip;jsessionid=secret", "https://host/x.zip;…"),
        ("HTTPS://user:secret@host/x.zip", "HTTPS://…@host/x.zip"),
        ("https://user:se@cret@host/x.zip", "https://…@host/x.zip"),
        ("https://user:se/cret@host/x.zip", "https://…@host/x.zip"),
        ("https://user:12#4secret@host/x.zip", "https://…@host/x.zip"),
        ("https://user:se?cret@host/x.zip", "https://…@host/x.zip"),
        ("https://user:secret", "https://…"),
        ("user:secret@host/x.zip", "…@host/x.zip"),
        ("https://medium.com/@someone/x.zip", "https://medium.com/@someone/x.zip"),
        ("https:/user:secret@host/x.zip", "https:/…@host/x.zip"),
        ("//user:secret@host/x.zip?token=secret", "//…@host/x.zip?…"),
    ],
)
def test_user_password_query_and_fragment_are_hidden(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert redact_url(shown) == shown


def test_addresses_are_found_in_a_text() -> None:
    text = "tried 'ftp://me:secret@a/b?c=d', then (https://host/x.zip?token=secret), then cells?.zip at 12:30"
    assert redact(text) == "tried 'ftp://…@a/b?…', then (https://host/x.zip?… then cells?.zip at 12:30"


def test_an_address_that_was_taken_for_a_path_is_found() -> None:
    assert redact("/home/me/https:/user:secret@host/x.zip is not there") == "/home/me/https:/…@host/x.zip is not there"


def test_secrets_that_stand_alone_are_hidden_too() -> None:
    hide = redactor("https://user:pass%40word@host/x.zip?token=abcdef&sig=12%2B34#frag")
    assert (
        hide("GET /x.zip?token=abcdef&sig=12%2B34 as user: pass@word, 12+34, frag") == "GET /x.zip?… as user: …, …, …"
    )


def test_short_ones_do_not_blot_out_words() -> None:
    assert redactor("https://host/x.zip?a=1")("1 answer is a failure") == "1 answer is a failure"


@pytest.mark.parametrize("odd", ["'", '"', " ", "<", ">"])
def test_signs_at_which_an_address_would_end_cut_no_secret_in_two(odd: str) -> None:
    url = f"https://user:pass{odd}word@host/x.zip?token=abc{odd}def"
    assert redactor(url)(f"GET {url} failed: pass{odd}word") == "GET https://…@host/x.zip?… failed: …"


def test_an_address_without_a_scheme_is_found_in_a_text() -> None:
    text = "tried //user:secret@host/x.zip?t=secret and '//user:sec/ret@host', not //server/share or a//b@c"
    assert redact(text) == "tried //…@host/x.zip?… and '//…@host', not //server/share or a//b@c"


WRITINGS = {
    "https://us:p%27w%7Ed%41@host/x.zip?t=a%22b%20c": [
        "GET https://us:p'w~dA@host/x.zip?t=a\"b c HTTP/1.1",
        "GET https://us:p%27w~dA@host/x.zip?t=a%22b+c HTTP/1.1",
        "GET 'https://us:p\\'w%7edA@host/x.zip?t=a\"b%20c' HTTP/1.1",
        'GET /x.zip?t=a"b+c as p%27w~dA',
        "GET /x.zip?t=a%2522b%2520c as p'w%257Ed%2541",
    ],
    "https://user:pass%zzword@host/x.zip?t=na%C3%AFve": [
        "GET https://user:pass%25zzword@host/x.zip?t=naïve",
        "as user: pass%zzword, t=na%c3%afve",
    ],
    "https://user:pa+ss\\word@host/x.zip": ["Basic 'user:pa ss\\\\word'", "user:pa%2Bss%5Cword"],
}


@pytest.mark.parametrize(
    ("url", "text"), [(url, text) for url, texts in WRITINGS.items() for text in texts], ids=lambda value: value[:40]
)
def test_a_secret_is_known_however_it_is_encoded(url: str, text: str) -> None:
    from urllib.parse import unquote, unquote_plus

    shown = redactor(url)(text)
    for form in (shown, unquote(shown), unquote_plus(shown)):
        assert not any(part in form for part in ("w~d", "p'w", "zzword", "ïve", "word", "b c", "b+c", "pa+ss", "pa ss"))
    assert "…" in shown
    assert redactor(url)("nothing of it") == "nothing of it"
