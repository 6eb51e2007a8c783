"""Hashes of files that belong together, so that one of another origin is noticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """Return the sha256 of what JSON keeps of a value, whatever the order of its keys."""
    kept = json.loads(json.dumps(value))  # keys become text, and tuples lists, as after a round trip
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
