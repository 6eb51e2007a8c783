"""Rows that stand for the same thing are found, however many they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from malaria_kedro.inference import repeats
from malaria_kedro.inference.repeats import Repeated, Repeats


def find(folder: Path, rows: list[tuple[bytes, str | None]]) -> Repeated:
    found = Repeats(folder)
    for key, said in rows:
        found.add(key, (said, None))
    return found.find()


def marked(found: Repeated, n: int) -> list[int]:
    return [row for row in range(n) if row in found]


@pytest.fixture(params=[1 << 13, 3], ids=["in memory", "in piles on disk"], autouse=True)
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(repeats, "AT_ONCE", request.param)
    return request.param


def test_all_but_the_first_row_of_a_key_are_repeats(tmp_path: Path) -> None:
    found = find(tmp_path, [(key, None) for key in (b"a", b"b", b"a", b"c", b"b", b"a")])
    assert (marked(found, 6), found.count, found.differing) == ([2, 4, 5], 3, 0)


def test_rows_without_a_key_repeat_none_and_are_numbered(tmp_path: Path) -> None:
    found = find(tmp_path, [(key, None) for key in (b"", b"a", b"", b"a")])
    assert (marked(found, 4), found.count) == ([3], 1)


def test_without_repeats_nothing_is_marked(tmp_path: Path) -> None:
    found = find(tmp_path, [(b"%d" % row, None) for row in range(50)])
    assert (marked(found, 50), found.count, found.differing) == ([], 0, 0)
    assert find(tmp_path, []).count == 0


def test_keys_are_counted_whose_rows_say_different_things(tmp_path: Path) -> None:
    said = [(b"a", "1"), (b"b", "1"), (b"a", "1"), (b"b", "2"), (b"c", None), (b"b", "3"), (b"c", "1")]
    found = find(tmp_path, said)
    assert (marked(found, 7), found.count, found.differing) == ([2, 3, 5, 6], 4, 1)


def test_the_first_repeat_that_knows_fills_in_what_the_first_row_does_not_know(tmp_path: Path) -> None:
    rows = [(b"a", (None, None)), (b"b", ("1", None)), (b"c", (None, "x")), (b"d", (None, None)), (b"a", (None, None))]
    rows += [(b"b", (None, "x")), (b"b", ("2", "y")), (b"a", ("3", None)), (b"a", ("4", "x")), (b"c", (None, "x"))]
    repeats_ = Repeats(tmp_path)
    for key, said in rows:
        repeats_.add(key, said)
    found = repeats_.find()
    filling = [found.filling(row) for row in range(len(rows))]
    assert filling == [("3", "x"), (None, "x"), *[(None, None)] * 8]
    assert (found.filled, found.differing) == (2, 2)


def test_what_is_known_to_have_none_is_not_filled_in(tmp_path: Path) -> None:
    found = find(tmp_path, [(b"a", Repeats.NONE), (b"b", None), (b"a", "1"), (b"b", Repeats.NONE), (b"b", "1")])
    assert [found.filling(row) for row in range(5)] == [(None, None)] * 5
    assert (found.filled, found.differing) == (0, 2)


def test_it_fills_in_like_a_dict_on_many_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    keys = [b"%d" % key for key in random.integers(0, 300, 1000)]
    said = [str(word) if word < 3 else None for word in random.integers(0, 20, 1000)]
    first, told = {}, {}
    for row, (key, word) in enumerate(zip(keys, said, strict=True)):
        first.setdefault(key, row)
        if word is not None:
            told.setdefault(key, word)
    wanted = {row: told[key] for key, row in first.items() if said[row] is None and key in told}
    found = find(tmp_path, list(zip(keys, said, strict=True)))
    assert {row: text for row in range(1000) if (text := found.filling(row)[0])} == wanted
    assert found.filled == len(wanted)
    several = {key for key, word in zip(keys, said, strict=True) if word not in (None, told.get(key))}
    assert found.differing == len(several)


def test_it_agrees_with_a_set_on_many_rows(tmp_path: Path) -> None:
    keys = [b"%d" % key for key in np.random.default_rng(0).integers(0, 300, 1000)]
    seen: set[bytes] = set()
    wanted = [row for row, key in enumerate(keys) if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
    assert marked(find(tmp_path, [(key, None) for key in keys]), 1000) == wanted


def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    find(tmp_path, [(b"%d" % row, None) for row in range(20)])
    assert list(tmp_path.iterdir()) == []
