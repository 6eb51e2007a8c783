"""A hash of a description, so that one that was edited is noticed."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def hash_json(value: Any) -> str:
    """Return the sha256 of what JSON keeps of a value, whatever the order of its keys."""
    kept = json.loads(json.dumps(value))  # keys become text, and tuples lists, as after a round trip
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
