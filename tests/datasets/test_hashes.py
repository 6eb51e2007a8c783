"""Hashes of what lies on disk."""

from __future__ import annotations

import hashlib
import json

from malaria_kedro.datasets.hashes import hash_json
from malaria_kedro.files import sha256_of


def test_a_files_hash_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"bytes")
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"bytes").hexdigest()


def test_a_values_hash_survives_json_in_any_order_of_keys():
    value = {"b": (1, 2.5e-7, None), "a": {10: "é", 9: True}}
    stored = json.loads(json.dumps({"a": value["a"], "b": value["b"]}))
    assert hash_json(stored) == hash_json(value)
    assert hash_json(value | {"b": [1, 2.5e-7, 0]}) != hash_json(value)
