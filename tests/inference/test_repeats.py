"""Rows that stand for the same thing are found, however many they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from malaria_kedro.inference import repeats
from malaria_kedro.inference.repeats import Repeated, Repeats


def find(folder: Path, rows: list[tuple[bytes, bytes]]) -> Repeated:
    found = Repeats(folder)
    for key, said in rows:
        found.add(key, said)
    return found.find()


def marked(found: Repeated, n: int) -> list[int]:
    return [row for row in range(n) if row in found]


@pytest.fixture(params=[1 << 13, 3], ids=["in memory", "in piles on disk"], autouse=True)
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(repeats, "AT_ONCE", request.param)
    return request.param


def test_all_but_the_first_row_of_a_key_are_repeats(tmp_path: Path) -> None:
    found = find(tmp_path, [(key, b"") for key in (b"a", b"b", b"a", b"c", b"b", b"a")])
    assert (marked(found, 6), found.count, found.differing) == ([2, 4, 5], 3, 0)


def test_rows_without_a_key_repeat_none_and_are_numbered(tmp_path: Path) -> None:
    found = find(tmp_path, [(key, b"") for key in (b"", b"a", b"", b"a")])
    assert (marked(found, 4), found.count) == ([3], 1)


def test_without_repeats_nothing_is_marked(tmp_path: Path) -> None:
    found = find(tmp_path, [(b"%d" % row, b"") for row in range(50)])
    assert (marked(found, 50), found.count, found.differing) == ([], 0, 0)
    assert find(tmp_path, []).count == 0


def test_keys_are_counted_whose_rows_say_different_things(tmp_path: Path) -> None:
    said = [(b"a", b"1"), (b"b", b"1"), (b"a", b"1"), (b"b", b"2"), (b"c", b""), (b"b", b"3"), (b"c", b"1")]
    found = find(tmp_path, said)
    assert (marked(found, 7), found.count, found.differing) == ([2, 3, 5, 6], 4, 2)


def test_it_agrees_with_a_set_on_many_rows(tmp_path: Path) -> None:
    keys = [b"%d" % key for key in np.random.default_rng(0).integers(0, 300, 1000)]
    seen: set[bytes] = set()
    wanted = [row for row, key in enumerate(keys) if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
    assert marked(find(tmp_path, [(key, b"") for key in keys]), 1000) == wanted


def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    find(tmp_path, [(b"%d" % row, b"") for row in range(20)])
    assert list(tmp_path.iterdir()) == []
