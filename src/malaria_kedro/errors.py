"""The base class of all errors addressed to the user, and how they name what there is instead."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# A list of more names than this buries the sentence; the nearest ones are enough.
_MANY = 15


class MalariaKedroError(Exception):
    """An error that a user can fix; the message is one sentence with the value and the remedy.

    Each subclass also derives from the built-in exception of its kind (``ValueError``, ``OSError``, ``RuntimeError``).
    """


def known(name: object, names: Iterable[str]) -> str:
    """Return what follows an unknown name: ``: did you mean …? Known are …``."""
    names = list(names)
    meant = get_close_matches(str(name), names, n=3)
    if not meant:
        return f"; known are {', '.join(names)}" if names else "; there is none"
    rest = "" if len(names) > _MANY else f" Known are {', '.join(names)}"
    return f": did you mean {' or '.join(meant)}?{rest}"
