"""Redaction of addresses: user, password, query and fragment are never shown or written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote_to_bytes

HIDDEN = "…"

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*:/{1,2}|//)?")
_AUTHORITY, _PATH = re.compile(r"[^/?#\\]*"), re.compile(r"[^?#;]*")
# One slash is enough: path libraries collapse the two of an address that was given as a path. Without a scheme an @
# marks an address, as other things begin with //, too.
_ADDRESS = re.compile(
    r"\b(?:[A-Za-z][A-Za-z0-9+.-]*://|(?:https?|ftps?|s3|gs|sftp):/)[^\s'\"<>]+"
    r"|(?<![\w:/])//[^\s'\"<>@]+@[^\s'\"<>]+",
    re.IGNORECASE,
)


def _begins(pattern: re.Pattern[str], text: str) -> str:
    """Return the match of a pattern at the beginning of a text, or an empty text."""
    return found[0] if (found := pattern.match(text)) else ""


def redact_url(url: str) -> str:
    """Return an address with scheme, host and path; user, password, query and fragment become "…".

    ``https://me:secret@host/x.zip?token=t#f`` becomes ``https://…@host/x.zip?…#…``. A redacted address stays as it is.
    """
    scheme = _begins(_SCHEME, url)
    rest = url[len(scheme) :]
    authority = _begins(_AUTHORITY, rest)
    _, at, host = authority.rpartition("@")
    after = rest[len(authority) :]
    # Parsers cut a password at / ? or #; the @ after it shows where it ends.
    if not at and "@" in after and ":" in authority:
        _, at, rest = rest.rpartition("@")
        host = _begins(_AUTHORITY, rest)
        after = rest[len(host) :]
    elif not at and not re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(:[0-9]*)?", authority):
        host = HIDDEN  # user:password without a host
    path = _begins(_PATH, after)
    signs = after[len(path) :]
    query = signs[0] + HIDDEN if signs[:1] in ("?", ";") else ""
    fragment = "#" + HIDDEN if "#" in signs else ""
    return f"{scheme}{HIDDEN + '@' if at else ''}{host}{path}{query}{fragment}"


def redact(text: str) -> str:
    """Return text with every address in it redacted."""
    return _ADDRESS.sub(lambda found: redact_url(found[0]), text)


def redactor(url: str) -> Callable[[str], str]:
    """Return a `redact` that also hides the secrets of ``url`` where they stand alone, as in an error message.

    Libraries rewrite addresses, so a secret is found whichever of its characters are percent-encoded.
    """
    # The whole address first: one with a quote or a space would be cut there, and its secrets with it.
    whole = re.compile(_in_any_writing(url))
    secrets = re.compile("|".join(map(_in_any_writing, sorted(_secrets(url), key=len, reverse=True))) or r"(?!)")
    shown = redact_url(url)
    return lambda text: redact(secrets.sub(HIDDEN, whole.sub(lambda _: shown, text)))


def _in_any_writing(part: str) -> str:
    """Return a regular expression for a part of an address, whichever of its characters are percent-encoded."""
    return "".join(map(_character, unquote_to_bytes(part).decode("utf-8", errors="surrogateescape")))


def _character(character: str) -> str:
    octets = character.encode("utf-8", errors="surrogateescape")
    encoded = "".join(f"%(?:25)?{octet:02x}" for octet in octets)
    written = [re.escape(character), f"(?i:{encoded})"]
    if character in " +":  # a plus is a space in a query
        written += [r"\+", " ", "(?i:%2b)", "%20"]
    if character in "'\"\\":  # as in the repr of a text
        written.insert(0, re.escape("\\" + character))
    return f"(?:{'|'.join(written)})"


def _secrets(url: str) -> Iterable[str]:
    rest = url[len(_begins(_SCHEME, url)) :]
    authority = _begins(re.compile(r"[^/?#]*"), rest)
    user = authority.rpartition("@")[0]
    path = _begins(_PATH, rest[len(authority) :])
    more = rest[len(authority) + len(path) :].lstrip("?#;")
    parts = {user, user.partition(":")[2], more, *more.split("#"), *re.split(r"[?#;&]", more)}
    parts |= {part.partition("=")[2] for part in re.split(r"[?#;&]", more)}
    # Shorter ones would hide words of the message.
    return {part for part in parts if len(unquote_to_bytes(part)) > 3}
