"""Seeds: a rule, not a state."""

import pytest

from malaria_kedro.learning.seeding import epoch_seed


@pytest.mark.parametrize(
    ("seed", "stage", "epoch", "number"),
    [
        (0, "stage_1", 1, 901243215),
        (42, "stage_1", 1, 2134191843),
        (42, "stage_2", 1, 1385871029),
        (42, "initial", 0, 3444837047),
    ],
)
def test_an_epochs_seed_is_the_one_it_always_was(seed, stage, epoch, number):
    # numpy keeps the numbers of a SeedSequence; others would train other networks from the same parameters.
    assert epoch_seed(seed, stage, epoch) == number


def test_no_two_epochs_share_a_seed():
    seeds = [epoch_seed(s, stage, e) for s in range(3) for stage in ("stage_1", "stage_2") for e in range(1, 30)]
    assert len(set(seeds)) == len(seeds)
