"""Which cells a person should look at, chosen in one pass."""

import pandas as pd
import pytest

from malaria_kedro.inference.examples import choose_examples


@pytest.fixture
def frames() -> list[pd.DataFrame]:
    """Seven images in two parts; the threshold is 0.3."""
    rows = [
        ("a", "Parasitized", 0.99),
        ("b", "Uninfected", 0.01),
        ("c", "Parasitized", 0.31),
        ("d", "", None),
        ("e", "Parasitized", 0.999),
        ("f", "Uninfected", 0.2),
        ("g", "", None),
    ]
    table = pd.DataFrame(rows, columns=["path", "call", "p_parasitized"]).assign(flags="", reason="")
    return [table.iloc[:4], table.iloc[4:]]


CARD = {"calibration": {"threshold": 0.3}}


def names(found):
    return {kind: [row["path"] for row in rows] for kind, rows in found.items()}


def test_the_surest_the_least_sure_and_the_refused_are_chosen(frames):
    assert names(choose_examples(frames, CARD, 2)) == {
        "surest_parasitized": ["e", "a"],
        "surest_uninfected": ["b", "f"],
        "least_sure": ["c", "f"],
        "refused": ["d", "g"],
    }


def test_it_does_not_matter_where_parts_end(frames):
    together = [pd.concat(frames)]
    one_by_one = [pd.concat(frames).iloc[[i]] for i in range(7)]
    for count in (1, 2, 9):
        assert names(choose_examples(together, CARD, count)) == names(choose_examples(one_by_one, CARD, count))


def test_of_nothing_there_are_no_examples(frames):
    assert names(choose_examples([frames[0].head(0)], CARD, 3)) == {
        "surest_parasitized": [],
        "surest_uninfected": [],
        "least_sure": [],
        "refused": [],
    }
