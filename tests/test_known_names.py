"""How an error names what there is instead."""

import pytest

from malaria_kedro.errors import known


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["modeling", "export"], ": did you mean modeling? Known are modeling, export"),
        (["modeling"], ": did you mean modeling? Known is modeling"),
        (["export", "inference"], "; known are export, inference"),
        ([], "; there is none"),
        ([*map(str, range(40)), "modeling"], ": did you mean modeling?"),
    ],
)
def test_the_nearest_comes_first(names, said):
    assert known("modelling", names) == said


def test_of_many_that_are_all_far_only_the_nearest_are_named():
    said = known("modelling", ["inference", *map(str, range(40))])
    assert said.startswith("; the nearest of 41 are inference")
