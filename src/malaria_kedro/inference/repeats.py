"""Finds rows that stand for the same thing as an earlier row, however many there are."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

AT_ONCE = 1 << 13  # keys in memory; more are sorted into piles on disk
PILES = 64  # each of which is read whole: some 6 MB of 10 million keys
# A key's hash, its first row, codes of the two texts that are first said of it, how many rows it stands for, whether
# they say different things, and which of the texts the first row lacks.
_RECORD = np.dtype(
    [("key", "<u8", 2), ("row", "<u8"), ("said", "<u4", 2), ("rows", "<u4"), ("differ", "<u2"), ("lacks", "u1", 2)]
)
_AFTER_KEY = struct.Struct("<QIIIHBB")  # the same, in bytes


@dataclass(frozen=True)
class Repeated:
    """Rows that repeat an earlier one.

    Attributes:
        count: how many there are.
        differing: keys of which two rows say different things.
        filled: keys of which a repeat says what the first row does not know.
        marks: a bit for each row, set where it is a repeat.
        codes: uint32 rows×2, of what repeats say and the first row does not know, from 1; None where ``filled`` is 0.
        texts: what the codes stand for, code 1 first.
    """

    count: int
    differing: int
    filled: int
    marks: np.ndarray
    codes: np.ndarray | None = field(default=None, repr=False)
    texts: list[str] = field(default_factory=list, repr=False)

    def filling(self, row: int) -> tuple[str | None, str | None]:
        """Return the two texts that repeats of this row say and it does not know; None = there is none."""
        if self.codes is None:
            return None, None
        first, second = (self.texts[code - 1] if code else None for code in self.codes[row].tolist())
        return first, second

    def __contains__(self, row: int) -> bool:
        return row >> 3 < len(self.marks) and bool(self.marks[row >> 3] >> (row & 7) & 1)


class Repeats:
    """Collects the keys of rows, in their order, and tells which repeat an earlier one.

    Memory is a bit for each row, the largest pile, and each different text that rows say; more keys than ``AT_ONCE``
    lie in temporary files, of 40 bytes a key, and so do codes of what repeats fill in, 8 bytes a row. Any number of
    rows of one key takes the place of one in each ``AT_ONCE`` rows.
    """

    NONE = ""  # said of what is known to have none

    def __init__(self, folder: Path) -> None:
        """Begin without a row; ``folder`` is for the temporary files."""
        self._folder = folder
        self._waiting = bytearray()
        self._piles: list[IO[bytes]] = []
        self._marks = np.zeros(0, dtype=np.uint8)
        self._code_of: dict[str | None, int] = {None: 0, self.NONE: 1}
        self.rows = 0

    def add(self, key: bytes, said: tuple[str | None, str | None] = (None, None)) -> None:
        """Add the next row; one with an empty key repeats none.

        ``said`` is what may differ between repeats, such as a patient and a label: None = not known, and any repeat may
        tell; ``NONE`` = known to have none, which is a difference to any text.
        """
        if key:
            first, second = (self._code_of.setdefault(text, len(self._code_of)) for text in said)
            self._waiting += hashlib.blake2b(key, digest_size=16).digest()
            self._waiting += _AFTER_KEY.pack(self.rows, first, second, 1, 0, first == 0, second == 0)
        self.rows += 1
        if len(self._waiting) >= AT_ONCE * _RECORD.itemsize:
            self._sort_into_piles()

    def find(self) -> Repeated:
        """Return the repeats; nothing can be added any more."""
        count = differing = filled = 0
        codes: np.ndarray | None = None
        if self._piles:
            self._sort_into_piles()
        for pile in self._read_piles():
            records = np.frombuffer(pile, dtype=_RECORD)
            firsts = self._firsts_of(records)
            count += int(records["rows"].sum()) - len(firsts)
            differing += int((firsts["differ"] > 0).sum())
            told = np.where((firsts["lacks"] > 0) & (firsts["said"] > self._code_of[self.NONE]), firsts["said"], 0)
            if (some := told.any(axis=1)).any():
                if codes is None:
                    with tempfile.TemporaryFile(dir=self._folder) as file:  # mapped, it stays as long as its codes
                        codes = np.memmap(file, dtype=np.uint32, mode="w+", shape=(self.rows, 2))
                codes[firsts["row"][some].astype(np.int64)] = told[some]
                filled += int(some.sum())
        texts = [] if codes is None else [text for text in self._code_of if text is not None]
        return Repeated(count, differing, filled, self._marks, codes, texts)

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
        """Mark all records but the first of each key as repeats; return the first ones, which stand for the others.

        They say what is first said of their key, in the order of rows.
        """
        if not len(records):
            return records
        order = np.lexsort((records["row"], records["key"][:, 1], records["key"][:, 0]))
        records = records[order]
        first = np.ones(len(records), dtype=bool)
        first[1:] = (records["key"][1:] != records["key"][:-1]).any(axis=1)
        starts = np.flatnonzero(first)
        firsts = records[starts].copy()
        firsts["rows"] = np.add.reduceat(records["rows"], starts)
        key_of = np.cumsum(first) - 1
        for text in range(records["said"].shape[1]):
            said, told = firsts["said"][:, text], np.flatnonzero(records["said"][:, text])
            keys, at = np.unique(key_of[told], return_index=True)  # at: the first of each, for they are in order
            said[keys] = records["said"][told[at], text]
            differ = np.zeros(len(records), dtype=np.uint16)
            differ[told] = records["said"][told, text] != said[key_of[told]]
            firsts["differ"] |= np.maximum.reduceat(np.maximum(differ, records["differ"]), starts)
        self._mark(records["row"][~first].astype(np.int64))
        return firsts

    def _mark(self, rows: np.ndarray) -> None:
        if needed := max(0, (self.rows >> 3) + 1 - len(self._marks)):
            more = max(needed, len(self._marks))
            self._marks = np.concatenate([self._marks, np.zeros(more, dtype=np.uint8)])
        np.bitwise_or.at(self._marks, rows >> 3, (1 << (rows & 7)).astype(np.uint8))
