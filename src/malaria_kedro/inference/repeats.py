"""Finds rows that stand for the same thing as an earlier row, however many there are."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

AT_ONCE = 1 << 13  # keys in memory; more are sorted into piles on disk
PILES = 64  # each of which is read whole: some 8 MB of 10 million keys
# A key's hash, a hash of what its row says, the first such row, how many rows it stands for, and whether they differ.
_RECORD = np.dtype([("key", "<u8", 2), ("said", "<u8"), ("row", "<u8"), ("rows", "<u8"), ("differ", "<u8")])


@dataclass(frozen=True)
class Repeated:
    """Rows that repeat an earlier one.

    Attributes:
        count: how many there are.
        differing: keys of which two rows say different things.
        marks: a bit for each row, set where it is a repeat.
    """

    count: int
    differing: int
    marks: np.ndarray

    def __contains__(self, row: int) -> bool:
        return row >> 3 < len(self.marks) and bool(self.marks[row >> 3] >> (row & 7) & 1)


class Repeats:
    """Collects the keys of rows, in their order, and tells which repeat an earlier one.

    Memory is a bit for each row and the largest pile; more keys than ``AT_ONCE`` lie in temporary files, of 48 bytes a
    key. Any number of rows of one key takes the place of one in each ``AT_ONCE`` rows.
    """

    def __init__(self, folder: Path) -> None:
        """Begin without a row; ``folder`` is for the temporary files."""
        self._folder = folder
        self._waiting = bytearray()
        self._piles: list[IO[bytes]] = []
        self._marks = np.zeros(0, dtype=np.uint8)
        self.rows = 0

    def add(self, key: bytes, said: bytes = b"") -> None:
        """Add the next row; one with an empty key repeats none. ``said`` is what may differ between repeats."""
        if key:
            self._waiting += hashlib.blake2b(key, digest_size=16).digest()
            self._waiting += hashlib.blake2b(said, digest_size=8).digest() if said else bytes(8)
            self._waiting += self.rows.to_bytes(8, "little") + b"\1".ljust(16, b"\0")
        self.rows += 1
        if len(self._waiting) >= AT_ONCE * _RECORD.itemsize:
            self._sort_into_piles()

    def find(self) -> Repeated:
        """Return the repeats; nothing can be added any more."""
        count = differing = 0
        if self._piles:
            self._sort_into_piles()
        for pile in self._read_piles():
            records = np.frombuffer(pile, dtype=_RECORD)
            firsts = self._firsts_of(records)
            count += int(records["rows"].sum()) - len(firsts)
            differing += int((firsts["differ"] > 0).sum())
        return Repeated(count, differing, self._marks)

    def _read_piles(self) -> Iterator[bytes]:
        if not self._piles:
            yield bytes(self._waiting)
        for pile in self._piles:
            with pile:
                pile.seek(0)
                yield pile.read()

    def _sort_into_piles(self) -> None:
        if not self._piles:
            # Files without a name, which nothing that ends this process leaves behind.
            self._piles = [tempfile.TemporaryFile(dir=self._folder, buffering=0) for _ in range(PILES)]  # noqa: SIM115
        firsts = self._firsts_of(np.frombuffer(bytes(self._waiting), dtype=_RECORD))
        self._waiting.clear()
        pile_of = firsts["key"][:, 0] % PILES
        for number, pile in enumerate(self._piles):
            pile.write(firsts[pile_of == number].tobytes())

    def _firsts_of(self, records: np.ndarray) -> np.ndarray:
        """Mark all records but the first of each key as repeats; return the first ones, which stand for the others."""
        if not len(records):
            return records
        order = np.lexsort((records["row"], records["key"][:, 1], records["key"][:, 0]))
        records = records[order]
        first = np.ones(len(records), dtype=bool)
        first[1:] = (records["key"][1:] != records["key"][:-1]).any(axis=1)
        starts = np.flatnonzero(first)
        firsts = records[starts].copy()
        firsts["rows"] = np.add.reduceat(records["rows"], starts)
        said = np.repeat(firsts["said"], np.diff(starts, append=len(records)))
        firsts["differ"] = np.add.reduceat(records["differ"] + (records["said"] != said), starts)
        self._mark(records["row"][~first].astype(np.int64))
        return firsts

    def _mark(self, rows: np.ndarray) -> None:
        if needed := max(0, (self.rows >> 3) + 1 - len(self._marks)):
            more = max(needed, len(self._marks))
            self._marks = np.concatenate([self._marks, np.zeros(more, dtype=np.uint8)])
        np.bitwise_or.at(self._marks, rows >> 3, (1 << (rows & 7)).astype(np.uint8))
