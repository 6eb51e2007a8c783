"""Redacts addresses: user, password, query and fragment are never shown or written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

HIDDEN = "…"

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*:/{1,2}|//)?")
_AUTHORITY, _PATH = re.compile(r"[^/?#\\]*"), re.compile(r"[^?#;]*")
# One slash, too: that is how a path library leaves an address that was given as a path. Without a scheme an @ tells
# that it is one: // begins other things as well.
_ADDRESS = re.compile(
    r"\b(?:[A-Za-z][A-Za-z0-9+.-]*://|(?:https?|ftps?|s3|gs|sftp):/)[^\s'\"<>]+"
    r"|(?<![\w:/])//[^\s'\"<>@]+@[^\s'\"<>]+",
    re.IGNORECASE,
)


def _begins(pattern: re.Pattern[str], text: str) -> str:
    """Return what a pattern finds at the beginning of a text, if only nothing."""
    found = pattern.match(text)
    return found[0] if found else ""


def redact_url(url: str) -> str:
    """Return an address with scheme, host and path; user, password, query and fragment become "…".

    ``https://me:secret@host/x.zip?token=t#f`` becomes ``https://…@host/x.zip?…#…``. What is redacted already stays.
    """
    scheme = _begins(_SCHEME, url)
    rest = url[len(scheme) :]
    authority = _begins(_AUTHORITY, rest)
    _, at, host = authority.rpartition("@")
    after = rest[len(authority) :]
    # A password with / ? or # in it is cut there by every parser; the @ after it tells where it ends.
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
    """Return a `redact` that also knows the secrets of ``url`` where they stand alone, as in an error's message.

    Libraries write an address anew: whether a sign is percent-encoded in the text makes no difference.
    """
    # First the whole: an address in which a quote or a space stands would be cut there, and its secrets in two.
    whole = re.compile(_in_any_writing(url))
    secrets = re.compile("|".join(map(_in_any_writing, sorted(_secrets(url), key=len, reverse=True))) or r"(?!)")
    shown = redact_url(url)

    def hide(text: str) -> str:
        return redact(secrets.sub(HIDDEN, whole.sub(lambda _: shown, text)))

    return hide


def _in_any_writing(part: str) -> str:
    """Return a regular expression for a part of an address, whichever of its signs are percent-encoded."""
    from urllib.parse import unquote_to_bytes

    return "".join(map(_sign, unquote_to_bytes(part).decode("utf-8", errors="surrogateescape")))


def _sign(sign: str) -> str:
    octets = sign.encode("utf-8", errors="surrogateescape")
    encoded = "".join(f"%(?:25)?{octet:02x}" for octet in octets)
    written = [re.escape(sign), f"(?i:{encoded})"]
    if sign in " +":  # a plus is a space in a query
        written += [r"\+", " ", "(?i:%2b)", "%20"]
    if sign in "'\"\\":  # as in the repr of a text
        written.insert(0, re.escape("\\" + sign))
    return f"(?:{'|'.join(written)})"


def _secrets(url: str) -> Iterable[str]:
    from urllib.parse import unquote_to_bytes

    rest = url[len(_begins(_SCHEME, url)) :]
    authority = _begins(re.compile(r"[^/?#]*"), rest)
    user = authority.rpartition("@")[0]
    path = _begins(_PATH, rest[len(authority) :])
    more = rest[len(authority) + len(path) :].lstrip("?#;")
    parts = {user, user.partition(":")[2], more, *more.split("#"), *re.split(r"[?#;&]", more)}
    parts |= {part.partition("=")[2] for part in re.split(r"[?#;&]", more)}
    # Shorter ones would blot out words of the message.
    return {part for part in parts if len(unquote_to_bytes(part)) > 3}
