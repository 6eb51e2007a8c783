"""A pattern that would take years on a name is refused within a bounded time."""

from __future__ import annotations

import pytest

from malaria_kedro.cells import patient_pattern
from malaria_kedro.cells.patient_pattern import PatternError, tried
from malaria_kedro.names import NIH_PATIENT_PATTERN

ENDLESS = "(a+)+$"


def test_a_pattern_that_repeats_repetitions_is_refused_with_the_name(monkeypatch):
    monkeypatch.setattr(patient_pattern, "SECONDS", 1.0)
    with pytest.raises(PatternError) as caught:
        list(tried(ENDLESS, ["cells/b.png", "cells/" + "a" * 40 + "!.png"]))
    assert "'(a+)+$'" in str(caught.value)
    assert f"'{'a' * 40}!.png'" in str(caught.value)


@pytest.mark.parametrize("pattern", [NIH_PATIENT_PATTERN, r"^(\w+)-", None], ids=["the project's", "another", "none"])
def test_the_names_pass_in_order(pattern, monkeypatch):
    monkeypatch.setattr(patient_pattern, "NAMES_AT_ONCE", 3)
    assert list(tried(pattern, map(str, range(10)))) == [str(number) for number in range(10)]


def test_a_name_that_is_not_utf8_is_tried_too():
    assert list(tried("(x+)", ["caf\udce9.png"])) == ["caf\udce9.png"]
