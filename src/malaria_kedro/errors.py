"""The one base of all errors that speak to the user."""

from __future__ import annotations


class MalariaKedroError(Exception):
    """Something that a user can mend; the message is one sentence with the value and the remedy.

    Each of them is also what Python calls such an error (``ValueError``, ``OSError``, ``RuntimeError``).
    """
