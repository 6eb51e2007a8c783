"""Hashes of the pixel array: of each block of rows, and of all of them together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from malaria_kedro.cells.parallel import ordered_parallel_map

# 10 cells of 128 px. Small enough that a sample of blocks is read in milliseconds, large enough that the hashes of
# 1.2 GB take 0.2 MB.
BLOCK_BYTES = 2**19
SAMPLED_BLOCKS = 8  # beside the first and the last one: 5 MB are looked at whatever the size of the array
PROGRESS_FROM = 2**29  # bytes that take a second or more to read


def rows_of_a_block(shape: Sequence[int]) -> int:
    """Return how many rows a block has; the last block may have fewer."""
    return max(1, BLOCK_BYTES // int(np.prod(shape[1:])))


def combine_blocks(blocks: Sequence[str]) -> str:
    """Return the hash of the whole array: the sha256 of its blocks' hashes, a line each."""
    return hashlib.sha256("\n".join(blocks).encode()).hexdigest()


def hash_block(array: np.ndarray, number: int) -> str:
    """Return the sha256 of a block of rows."""
    rows = rows_of_a_block(array.shape)
    return hashlib.sha256(np.ascontiguousarray(array[number * rows : (number + 1) * rows]).data).hexdigest()


def hash_pixel_array(array: np.ndarray) -> str:
    """Read all of an array, uint8 N×H×W×3, by several threads, and return its hash; a large one has a progress bar."""
    numbers = range(-(-len(array) // rows_of_a_block(array.shape)))
    hashes = ordered_parallel_map(lambda number: hash_block(array, number), numbers)
    silent = None if array.nbytes >= PROGRESS_FROM else True
    return combine_blocks(
        list(tqdm(hashes, total=len(numbers), desc="verify", unit="block", leave=False, disable=silent))
    )


def find_changed_block(array: np.ndarray, blocks: Sequence[str], seed: str) -> int | None:
    """Return the number of a block that does not have its hash, of a sample of the blocks; None: all of these have.

    Args:
        array: uint8 N×H×W×3.
        blocks: the sha256 that each block should have.
        seed: what chooses the sample, always the same one: first, last and ``SAMPLED_BLOCKS`` others.
    """
    n, rng = len(blocks), np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
    sample = sorted({0, n - 1, *rng.choice(n, min(n, SAMPLED_BLOCKS), replace=False).tolist()}) if n else []
    return next((number for number in sample if hash_block(array, number) != blocks[number]), None)
