"""The prediction stream: constant memory, one row per image whatever it is, and a killed run resumes."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa

from malaria_kedro.cells.parallel import ordered_parallel_map, usable_cores
from malaria_kedro.cells.progress import progress
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import exclusive_lock, write_json
from malaria_kedro.inference.decode_limiter import DecodeLimiter
from malaria_kedro.inference.decoding import decode_images
from malaria_kedro.inference.results import (
    PARTS,
    REFUSED,
    SCHEMA,
    Results,
    read_part,
    rows_to_read_again,
    whole_rows,
    write_part,
)
from malaria_kedro.inference.sources import ImageRef, ImageSet
from malaria_kedro.names import PARASITIZED, UNINFECTED, printable

log = logging.getLogger(__name__)

REQUEST = "request.json"
ROWS_PER_PART = 8192
SECONDS_PER_PART = 30  # what a kill may cost
BATCHES_APART = 8
NO_PROBABILITY = "no_probability"
# Raise it with any change to what a row says of an image, so that older rows are not continued.
FORMAT = 2

GateMode = Literal["refuse", "flag"]

Verdict = tuple[Sequence[str], str]


class Predictor(Protocol):
    """A network that is ready to read cells.

    Attributes:
        name: what it is, e.g. the backend and its precision; part of the request, since backends differ in the last
            digits.
        size: side of the cells it reads, px.
    """

    @property
    def name(self) -> str:
        """What it is."""
        ...

    @property
    def size(self) -> int:
        """Side of the cells, px."""
        ...

    def __call__(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Take uint8 B×S×S×3 and return p(parasitized), float32 B, 0-1, and features, float32 B×F, or None.

        Called from several threads at once, each with a batch of its own.
        """
        ...


# uint8 B×S×S×3 -> statistics of B cells, by name; what a cell gets depends on no other.
Measure = Callable[[np.ndarray], Mapping[str, np.ndarray]]
# Statistics of B cells -> flags and reason of each; a flag refuses the cell.
Gate = Callable[[Mapping[str, np.ndarray]], Sequence[Verdict]]


@dataclass(frozen=True)
class StreamRequest:
    """All that a row depends on: the same request continues, and another one has another folder."""

    images: str
    classifier: str
    predictor: str
    size: int
    threshold: float
    gate: str | None
    bit_depth: int | None
    gate_mode: GateMode | None
    format: int = FORMAT


class StreamError(MalariaKedroError, RuntimeError):
    """Reading cannot go on; the message says why and what to do. What was written stays and is continued."""


def read_cells(
    images: ImageSet,
    predictor: Predictor,
    gate: Gate | None,
    work: Path,
    *,
    batch_size: int,
    threshold: float,
    classifier_id: str,
    bit_depth: int | None = None,
    threads: int | None = None,
    measure: Measure | None = None,
    gate_mode: GateMode = "refuse",
    rows_per_part: int = ROWS_PER_PART,
    seconds_per_part: float = SECONDS_PER_PART,
    clock: Callable[[], float] = time.monotonic,
) -> Results:
    """Read every image once, and write a row for each.

    Each thread takes a batch from its files to its rows, so that while one decodes another one's network computes, and
    none waits for the slowest. Decoded cells in memory are one batch per thread.

    Rows go to ``work`` in parts, each written whole or not at all. The same request again (the same images, classifier,
    predictor, threshold and gate, kept in ``work/request.json``) continues after the last whole part. Images that
    failed for a reason of the machine (a lost disk, a missing permission, too many open files, too little memory) are
    tried again, and their rows replaced where they now work; otherwise a request that is complete does nothing. Another
    request in the same folder gets a sub-folder named by its fingerprint's first 12 digits, so that no rows are mixed.
    Parts end where batches end: with the same ``batch_size`` the network sees the same batches after a kill as without.

    Args:
        images: what to read.
        predictor: the network, called with the cells of a batch that could be decoded.
        gate: judges the cells that have a probability; a cell it flags is not called, and keeps its probability. With
            an attribute ``id`` (or that of the object it is a method of), which is part of the request. None = no gate.
        work: folder of the parts.
        batch_size: images per batch.
        threshold: a cell is called parasitized where p >= threshold, compared in float32, as p is stored.
        classifier_id: what identifies the weights and their calibration.
        bit_depth: of 16-bit images; None = unknown, and they are refused.
        threads: how many, each with a batch of its own; None = one per core.
        measure: statistics for the gate; None = those of ``malaria_kedro.inference.image_statistics`` when there is
            a gate, else none.
        gate_mode: ``flag`` = what the gate says is noted in quality and reason, and the cell is called nevertheless.
        rows_per_part: a part is written after so many rows,
        seconds_per_part: or so many seconds.
        clock: monotonic, s.

    Returns:
        The rows of all images.

    Raises:
        StreamError: predictor or gate gave a wrong number of answers, or the source changed while it
            was read.
        LockError: another process reads into this folder, or it cannot be written.
        Exception: whatever the predictor or the gate raises; the same call continues.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: at least one image per batch")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}: a probability, 0 to 1")
    if gate is not None and measure is None:
        from malaria_kedro.inference.image_statistics import measure_cells as measure  # only a gate needs them
    request = StreamRequest(
        images=images.fingerprint,
        classifier=classifier_id,
        predictor=predictor.name,
        size=predictor.size,
        threshold=float(threshold),
        gate=_id_of(gate),
        bit_depth=bit_depth,
        gate_mode=None if gate is None else gate_mode,
    )
    total = len(images)
    with _claimed(Path(work), request) as folder:
        done = whole_rows(folder)
        if done:
            log.info("continuing after %d of %d images, read before (%s)", done, total, folder)
        threads = threads or usable_cores()
        limiter = DecodeLimiter(threads)

        def read(refs: Iterator[ImageRef]) -> Generator[_Rows, None, None]:
            return ordered_parallel_map(
                lambda batch: _read_batch(
                    images, batch, predictor, gate, measure, threshold, gate_mode, limiter, bit_depth
                ),
                iter(lambda: list(islice(refs, batch_size)), []),
                threads=threads,
                chunk=1,
            )

        _read_again(images, folder, done, read)
        batches = read(images.refs(done))
        waiting = _Waiting()
        written, since = done, clock()
        with progress("reading cells", total, "cell", start=done, log=log) as advance, closing(batches):
            for rows in batches:
                waiting.append(rows)
                done += len(rows.batch)
                if done - written >= rows_per_part or clock() - since >= seconds_per_part:
                    write_part(folder, written, *waiting.take())
                    written, since = done, clock()
                advance(len(rows.batch))
        if done > written:
            write_part(folder, written, *waiting.take())
        if done != total:
            raise StreamError(
                f"the source gave {done} images and had {total} when it was listed: it changed meanwhile. Predict again"
            )
    return Results(folder, total)


@dataclass(frozen=True)
class _Rows:
    """Rows of a batch, and which of them (from 0) failed for a reason of the machine."""

    batch: pa.RecordBatch
    read_again: list[int]


def _read_again(
    images: ImageSet, folder: Path, done: int, read: Callable[[Iterator[ImageRef]], Generator[_Rows, None, None]]
) -> None:
    """Read the rows of whole parts again that failed for a reason of the machine; replace those that now work."""
    failed = works = 0
    refs = enumerate(images.refs(0))
    for first, again in rows_to_read_again(folder, done):
        found = SCHEMA.empty_table()
        still: list[int] = []
        with closing(read(_chosen(refs, [first + row for row in again]))) as batches:
            for rows in batches:
                still += [again[len(found) + row] for row in rows.read_again]
                found = pa.concat_tables([found, pa.Table.from_batches([rows.batch])])
        failed, works = failed + len(again), works + len(again) - len(still)
        if still != again:
            old, _ = read_part(folder, first)
            order = np.arange(len(old))
            order[again] = len(old) + np.arange(len(again))
            both = pa.concat_tables([old.replace_schema_metadata(None), found])
            write_part(folder, first, both.take(pa.array(order)), still)
    if failed:
        log.warning(
            "%d of these images could not be read before, for a reason of the machine: %d of them can be read now",
            failed,
            works,
        )


def _chosen(refs: Iterator[tuple[int, ImageRef]], rows: list[int]) -> Iterator[ImageRef]:
    """Yield the refs of these rows, in order."""
    for wanted in rows:
        for row, ref in refs:
            if row == wanted:
                yield ref
                break
        else:
            raise StreamError(f"the source no longer has row {wanted}: it has changed since. Predict again")


class _Waiting:
    """Rows that wait to be written, in few pieces.

    A few bytes that a thread keeps for long prevent the large blocks beside them from being freed: some 100 MB for a
    part of small batches.
    """

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._tables: list[pa.Table] = []
        self._read_again: list[int] = []
        self._count = 0

    def append(self, rows: _Rows) -> None:
        self._batches.append(rows.batch)
        self._read_again += [self._count + row for row in rows.read_again]
        self._count += len(rows.batch)
        if len(self._batches) >= BATCHES_APART:
            self._join()

    def take(self) -> tuple[pa.Table, list[int]]:
        """Return all rows, and which of them failed for a reason of the machine, and keep none."""
        self._join()
        tables, self._tables = self._tables, []
        again, self._read_again, self._count = self._read_again, [], 0
        return pa.concat_tables(tables), again

    def _join(self) -> None:
        if self._batches:
            self._tables.append(pa.Table.from_batches(self._batches).combine_chunks())
            self._batches = []


def _id_of(gate: Gate | None) -> str | None:
    if gate is None:
        return None
    found = getattr(gate, "id", None) or getattr(getattr(gate, "__self__", None), "id", None)
    return str(found or getattr(gate, "__qualname__", type(gate).__qualname__))


# --- whose folder it is -----------------------------------------------------------------------------------------


@contextmanager
def _claimed(work: Path, request: StreamRequest) -> Iterator[Path]:
    """Hold the folder for the parts of this request: ``work``, or a sub-folder if ``work`` has another one."""
    fingerprint = hashlib.sha256(json.dumps(asdict(request), sort_keys=True).encode()).hexdigest()
    work.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(work, "another run reads images into", "wait until it has ended, or stop it"):
        folder = work if _is_free_for(work, fingerprint) else work / fingerprint[:12]
        folder.mkdir(exist_ok=True)
        if folder != work and not _is_free_for(folder, fingerprint):
            raise StreamError(f"{folder} holds another request, or one that is damaged: remove it and predict again")
        # Before the first part: parts of an unknown request are never continued.
        write_json(folder / REQUEST, {"fingerprint": fingerprint} | asdict(request))
        yield folder


def _is_free_for(folder: Path, fingerprint: str) -> bool:
    try:
        return json.loads((folder / REQUEST).read_text(encoding="utf-8"))["fingerprint"] == fingerprint
    except FileNotFoundError:
        return next(folder.glob(PARTS), None) is None
    except (OSError, ValueError, KeyError, TypeError):
        return False


# --- one batch --------------------------------------------------------------------------------------------------


def _read_batch(
    images: ImageSet,
    refs: list[ImageRef],
    predictor: Predictor,
    gate: Gate | None,
    measure: Measure | None,
    threshold: float,
    gate_mode: GateMode,
    limiter: DecodeLimiter,
    bit_depth: int | None,
) -> _Rows:
    """Decode images, predict and judge what could be decoded; return a row for each, in order."""
    with limiter.decoding():
        batch, read_again = decode_images(images, refs, predictor.size, bit_depth)
    p = np.full(len(batch), np.nan, dtype=np.float32)
    flags = [list(cell.flags) for cell in batch]
    reasons = [[cell.reason] if cell.reason else [] for cell in batch]
    called = np.zeros(len(batch), dtype=bool)
    readable = np.array([row for row, cell in enumerate(batch) if cell.pixels is not None], dtype=int)
    if len(readable):
        cells = np.stack([batch[row].pixels for row in readable])
        with limiter.computing():
            found, features = _predict(predictor, cells)
        given = (found >= 0) & (found <= 1)  # NaN is neither
        if features is not None:
            given &= np.isfinite(features).all(axis=1)
        for row, value in zip(readable[~given], found[~given], strict=True):
            flags[row].append(NO_PROBABILITY)
            fine = 0 <= value <= 1
            reasons[row].append(
                "the network gave features that are not numbers"
                if fine
                else f"the network gave {value:g}: no probability"
            )
        judged, found = readable[given], found[given]
        p[judged] = found
        called[judged] = True
        if gate is not None and len(judged):
            # Measured on what the network has seen, as the gate's training cells were.
            assert measure is not None  # a gate comes with what measures for it
            verdicts = gate(measure(cells[given]))
            if len(verdicts) != len(judged):
                raise StreamError(f"the quality gate judged {len(verdicts)} of {len(judged)} cells: it is at fault")
            for row, (faults, reason) in zip(judged, verdicts, strict=True):
                if faults:
                    called[row] = gate_mode == "flag"
                    flags[row].extend(faults)
                    reasons[row].append(reason)
    calls = np.where(p >= np.float32(threshold), PARASITIZED, UNINFECTED)
    columns = {
        "path": [printable(cell.ref.name) for cell in batch],
        "patient_id": [None if cell.ref.patient is None else printable(cell.ref.patient) for cell in batch],
        "p_parasitized": pa.array(p, mask=np.isnan(p)),
        "call": np.where(called, calls, REFUSED).tolist(),
        "quality": [";".join(found) for found in flags],
        "reason": [printable("; ".join(found)) for found in reasons],
        "width": [cell.width for cell in batch],
        "height": [cell.height for cell in batch],
    }
    return _Rows(pa.RecordBatch.from_pydict(columns, schema=SCHEMA), read_again)


def _predict(predictor: Predictor, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    p, features = predictor(cells)
    p = np.asarray(p, dtype=np.float32)
    if p.shape != (len(cells),):
        raise StreamError(
            f"{predictor.name} gave probabilities of shape {p.shape} for {len(cells)} cells, not one each"
        )
    if features is not None and (features.ndim != 2 or len(features) != len(cells)):
        raise StreamError(
            f"{predictor.name} gave features of shape {features.shape} for {len(cells)} cells, not one row each"
        )
    return p, features
