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
