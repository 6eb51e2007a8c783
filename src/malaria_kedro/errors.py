"""The base class of all errors addressed to the user."""

from __future__ import annotations


class MalariaKedroError(Exception):
    """An error that a user can fix; the message is one sentence with the value and the remedy.

    Each subclass also derives from the built-in exception of its kind (``ValueError``, ``OSError``, ``RuntimeError``).
    """
