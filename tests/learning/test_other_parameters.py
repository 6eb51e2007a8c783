"""Which parameters make another databunch."""

from __future__ import annotations

from typing import Any

import pytest

from malaria_kedro.learning.other_parameters import Change, list_changes

SPLIT = {"strategy": "random", "valid_pct": 0.2, "test_pct": 0.0, "seed": 42}


def changes(then: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    return list_changes({"source": {}, "image": {}, "split": {}, **then}, now)


def test_each_parameter_that_differs_is_named_with_both_values() -> None:
    then = {"source": {"limit": None, "path": "cells"}, "split": SPLIT}
    now = {"source": {"limit": 5, "path": "cells"}, "split": SPLIT | {"seed": 1, "test_pct": 0.1}}
    assert changes(then, now) == [
        ("source.limit", None, 5),
        ("split.test_pct", 0.0, 0.1),
        ("split.seed", 42, 1),
    ]


def test_what_another_version_did_not_tell_is_no_change() -> None:
    assert changes({"source": {"limit": 5}}, {"source": {"limit": 5, "new": 1}}) == []


def test_shares_and_seed_of_a_split_by_folders_are_no_change() -> None:
    by_folder = SPLIT | {"strategy": "folder"}
    assert changes({"split": by_folder}, {"split": by_folder | {"seed": 1, "valid_pct": 0.5}}) == []
    assert changes({"split": by_folder}, {"split": SPLIT}) == [("split.strategy", "folder", "random")]


@pytest.mark.parametrize(
    ("found", "then", "now", "differs"),
    [(None, None, 12, False), (12, None, 12, False), (12, None, 10, True), (12, 12, None, True)],
    ids=["no 16-bit image", "the depth that was found", "another one", "to be found again"],
)
def test_a_bit_depth_counts_where_images_have_one(found, then, now, differs) -> None:
    told = {"image": {"bit_depth": then}, "pixels": {"bit_depth": found}}
    assert changes(told, {"image": {"bit_depth": now}}) == [("image.bit_depth", then, now)] * differs


def test_tables_are_told_by_the_beginning_of_their_sha256() -> None:
    assert str(Change("source.labels", [], ["ab" * 32])) == "source.labels=null (now sha256 abababababab…)"
