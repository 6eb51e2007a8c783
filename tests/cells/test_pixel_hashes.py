"""Hashes of the pixel array: the same while it is written and when it is read, and another for every changed byte."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from malaria_kedro.cells.pixel_hashes import (
    SAMPLED_BLOCKS,
    combine_blocks,
    find_changed_block,
    hash_block,
    hash_pixel_array,
    rows_of_a_block,
)

SIDE = 240  # px; three such cells are a block


@pytest.fixture
def array() -> np.ndarray:
    """100 cells in 34 blocks."""
    array = np.random.default_rng(1).integers(0, 256, (100, SIDE, SIDE, 3), dtype=np.uint8)
    assert rows_of_a_block(array.shape) == 3
    return array


def blocks_of(array: np.ndarray) -> list[str]:
    return [hashlib.sha256(array[row : row + 3].tobytes()).hexdigest() for row in range(0, len(array), 3)]


def test_blocks_hold_whole_rows():
    assert rows_of_a_block((23_820, 128, 128, 3)) == 10
    assert rows_of_a_block((5, 1024, 1024, 3)) == 1


def test_what_is_hashed_while_written_is_what_is_hashed_when_read(array):
    blocks = blocks_of(array)
    assert len(blocks) == 34
    assert blocks == [hash_block(array, number) for number in range(34)]
    assert hash_pixel_array(array) == combine_blocks(blocks)


@pytest.mark.parametrize("row", [0, 50, 99])
def test_the_hash_of_the_whole_depends_on_every_byte(array, row):
    before = hash_pixel_array(array)
    array[row, 7, 7, 2] ^= 1
    assert hash_pixel_array(array) != before


def test_rows_in_another_order_are_another_array(array):
    assert hash_pixel_array(array[::-1]) != hash_pixel_array(array)


def test_an_unchanged_array_has_no_changed_block(array):
    assert find_changed_block(array, blocks_of(array), "f00d") is None


@pytest.mark.parametrize(("row", "block"), [(0, 0), (99, 33)])
def test_the_first_and_the_last_block_are_always_looked_at(array, row, block):
    blocks = blocks_of(array)
    array[row, 0, 0, 0] ^= 1
    assert {find_changed_block(array, blocks, str(seed)) for seed in range(20)} == {block}


def test_other_blocks_are_sampled_always_the_same_ones(array):
    blocks = blocks_of(array)
    looked_at = []
    for seed in ("one", "one", "other"):
        found = set()
        for row in range(0, 100, 3):
            array[row, 0, 0, 0] ^= 1
            if find_changed_block(array, blocks, seed) is not None:
                found.add(row // 3)
            array[row, 0, 0, 0] ^= 1
        looked_at.append(found)
    assert looked_at[0] == looked_at[1] != looked_at[2]
    assert all(SAMPLED_BLOCKS <= len(found) <= SAMPLED_BLOCKS + 2 for found in looked_at)


def test_a_small_array_is_looked_at_as_a_whole(array):
    few = array[: 3 * SAMPLED_BLOCKS].copy()
    blocks = blocks_of(few)
    for row in range(len(few)):
        few[row, 3, 3, 1] ^= 1
        assert find_changed_block(few, blocks, "f00d") == row // 3
        few[row, 3, 3, 1] ^= 1
