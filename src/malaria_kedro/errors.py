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
    if len(names) > _MANY:
        said = f"the nearest of {len(names)} are {', '.join(get_close_matches(str(name), names, n=3, cutoff=0))}"
    else:
        said = f"known {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else "there is none"
    if not meant:
        return f"; {said}"
    return f": did you mean {' or '.join(meant)}?" + ("" if len(names) > _MANY else f" {said[0].upper()}{said[1:]}")
