"""The prediction stream: constant memory, one row per image whatever it is, and a killed run resumes."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from malaria_kedro.cells.parallel import ordered_parallel_map
from malaria_kedro.cells.progress import progress
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import exclusive_lock, write_json
from malaria_kedro.inference.backends import Predictor
from malaria_kedro.inference.decode_limiter import DecodeLimiter
from malaria_kedro.inference.decoding import decode_images
from malaria_kedro.inference.gate import QualityGate
from malaria_kedro.inference.image_sets import ImageRef, ImageSet
from malaria_kedro.inference.image_statistics import measure_cells
from malaria_kedro.inference.results import (
    PART_SCHEMA,
    PARTS,
    REFUSED,
    Results,
    read_part,
    rows_to_read_again,
    whole_rows,
    write_part,
)
from malaria_kedro.language import N_
from malaria_kedro.machine import writing
from malaria_kedro.names import PARASITIZED, UNINFECTED, printable

log = logging.getLogger(__name__)

REQUEST = "request.json"
ROWS_PER_PART = 8192
SECONDS_PER_PART = 30  # what a kill may cost
TABLES_APART = 8
NO_PROBABILITY = "no_probability"
# Raise it with any change to what a row says of an image, so that older rows are not continued.
FORMAT = 3

# Rows of a batch, and which of them (from 0) failed for a reason of the machine.
_Rows: TypeAlias = tuple[pa.RecordBatch, list[int]]


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
    gate_mode: str | None
    format: int = FORMAT


class StreamError(MalariaKedroError, RuntimeError):
    """Reading cannot go on; the message says why and what to do. What was written stays and is continued."""


def read_cells(
    images: ImageSet,
    predictor: Predictor,
    gate: QualityGate | None,
    work: Path,
    *,
    batch_size: int,
    threshold: float,
    classifier_id: str,
    threads: int,
    bit_depth: int | None = None,
    gate_mode: Literal["refuse", "flag"] = "refuse",
    rows_per_part: int = ROWS_PER_PART,
    seconds_per_part: float = SECONDS_PER_PART,
) -> Results:
    """Read every image once, and write a row for each.

    Each thread takes a batch from its files to its rows, so that while one decodes another one's network computes, and
    none waits for the slowest. Decoded cells in memory are one batch per thread.

    Rows go to ``work`` in parts, each written whole or not at all. The same request again, as kept in
    ``work/request.json``, continues after the last whole part. Images that failed for a reason of the machine (a lost
    disk, a missing permission, too many open files, too little memory) are tried again, and their rows replaced where
    they now work; otherwise a request that is complete does nothing. Another request in the same folder gets a
    sub-folder named by its fingerprint's first 12 digits, so that no rows are mixed. Parts end where batches end: with
    the same ``batch_size`` the network sees the same batches after a kill as without.

    Args:
        images: what to read.
        predictor: called with the cells of a batch that could be decoded, from several threads at once.
        gate: judges the cells that have a probability; a cell it flags is not called, and keeps its probability.
        work: folder of the parts.
        batch_size: images per batch.
        threshold: a cell is called parasitized where p >= threshold, compared in float32, as p is stored.
        classifier_id: what identifies the weights and their calibration.
        threads: how many, each with a batch of its own.
        bit_depth: of 16-bit images; None = unknown, and they are refused.
        gate_mode: ``flag`` = what the gate says is noted in quality and reason, and the cell is called nevertheless.
        rows_per_part: a part is written after so many rows,
        seconds_per_part: or so many seconds.

    Raises:
        StreamError: the source changed while it was read.
        LockError: another process reads into this folder, or it cannot be written.
        Exception: whatever the predictor or the gate raises; the same call continues.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: at least one image per batch")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}: a probability, 0 to 1")
    request = StreamRequest(
        images=images.fingerprint,
        classifier=classifier_id,
        predictor=predictor.name,
        size=predictor.size,
        threshold=float(threshold),
        gate=None if gate is None else gate.id,
        bit_depth=bit_depth,
        gate_mode=None if gate is None else gate_mode,
    )
    total = len(images)
    read_batch = partial(
        _read_batch,
        images=images,
        predictor=predictor,
        gate=gate,
        flag_only=gate_mode == "flag",
        threshold=threshold,
        bit_depth=bit_depth,
        limiter=DecodeLimiter(threads),
    )

    def read(refs: Iterator[ImageRef]) -> Generator[_Rows, None, None]:
        batches = iter(lambda: list(islice(refs, batch_size)), [])
        return ordered_parallel_map(read_batch, batches, threads=threads, chunk=1)

    with _claimed(work, request) as folder:
        done = whole_rows(folder)
        if done:
            log.info("continuing after %d of %d images, read before (%s)", done, total, folder)
        _read_again(images, folder, done, read)
        batches = read(images.refs(done))
        waiting: list[pa.Table] = []
        again: list[int] = []
        written, since = done, time.monotonic()
        with progress("reading cells", total, "cell", start=done, log=log) as advance, closing(batches):
            for batch, failed in batches:
                waiting.append(pa.Table.from_batches([batch]))
                again += [done - written + row for row in failed]
                done += len(batch)
                # A few bytes that a thread keeps for long prevent the large blocks beside them from being freed: some
                # 100 MB for a part of small batches.
                if len(waiting) > TABLES_APART:
                    waiting = [pa.concat_tables(waiting).combine_chunks()]
                if done - written >= rows_per_part or time.monotonic() - since >= seconds_per_part:
                    write_part(folder, written, pa.concat_tables(waiting), again)
                    waiting, again, written, since = [], [], done, time.monotonic()
                advance(len(batch))
        if waiting:
            write_part(folder, written, pa.concat_tables(waiting), again)
        if done != total:
            raise StreamError(
                f"the source gave {done} images and had {total} when it was listed: it changed meanwhile. Predict again"
            )
    return Results(folder, total)


def _read_again(
    images: ImageSet, folder: Path, done: int, read: Callable[[Iterator[ImageRef]], Generator[_Rows, None, None]]
) -> None:
    """Read the rows of whole parts again that failed for a reason of the machine; replace those that now work."""
    failed = works = 0
    refs = enumerate(images.refs(0))
    for first, again in rows_to_read_again(folder, done):
        found = PART_SCHEMA.empty_table()
        still: list[int] = []
        with closing(read(_chosen(refs, [first + row for row in again]))) as batches:
            for batch, failed_again in batches:
                still += [again[len(found) + row] for row in failed_again]
                found = pa.concat_tables([found, pa.Table.from_batches([batch])])
        failed, works = failed + len(again), works + len(again) - len(still)
        if still != again:
            old = read_part(folder, first)
            order = np.arange(len(old))
            order[again] = len(old) + np.arange(len(again))
            write_part(folder, first, pa.concat_tables([old, found]).take(pa.array(order)), still)
    if failed:
        log.warning(
            "%d of these images could not be read before, for a reason of the machine: %d of them can be read now",
            *(failed, works),
        )


def _chosen(refs: Iterator[tuple[int, ImageRef]], rows: list[int]) -> Iterator[ImageRef]:
    """Yield the refs of these rows, in order."""
    for wanted in rows:
        found = next((ref for row, ref in refs if row == wanted), None)
        if found is None:
            raise StreamError(f"the source no longer has row {wanted}: it has changed since. Predict again")
        yield found


@contextmanager
def _claimed(work: Path, request: StreamRequest) -> Iterator[Path]:
    """Hold the folder for the parts of this request: ``work``, or a sub-folder if ``work`` has another one."""
    fingerprint = hashlib.sha256(json.dumps(asdict(request), sort_keys=True).encode()).hexdigest()
    with exclusive_lock(work, "another run reads images into", "wait until it has ended, or stop it"):
        folder = work if _is_free_for(work, fingerprint) else work / fingerprint[:12]
        with writing(folder):
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


def _read_batch(
    refs: list[ImageRef],
    *,
    images: ImageSet,
    predictor: Predictor,
    gate: QualityGate | None,
    flag_only: bool,
    threshold: float,
    bit_depth: int | None,
    limiter: DecodeLimiter,
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
            found, features = predictor(cells)
        is_p = (found >= 0) & (found <= 1)  # NaN is neither
        given = is_p & np.isfinite(features).all(axis=1)
        for at in np.flatnonzero(~given):
            if is_p[at]:
                reason = N_("the network gave features that are not numbers")
            else:
                reason = N_("the network gave {value}: no probability").format(value=f"{found[at]:g}")
            flags[readable[at]].append(NO_PROBABILITY)
            reasons[readable[at]].append(reason)
        judged = readable[given]
        p[judged] = found[given]
        called[judged] = True
        if gate is not None and len(judged):
            # Measured on what the network has seen, as the gate's training cells were.
            for row, (faults, reason) in zip(judged, gate.judge(measure_cells(cells[given])), strict=True):
                if faults:
                    called[row] = flag_only
                    flags[row].extend(faults)
                    reasons[row].append(reason)
    calls = np.where(p >= np.float32(threshold), PARASITIZED, UNINFECTED)
    columns = {
        "path": [printable(ref.name) for ref in refs],
        "patient_id": [None if ref.patient is None else printable(ref.patient) for ref in refs],
        "p_parasitized": pa.array(p, mask=np.isnan(p)),
        "call": np.where(called, calls, REFUSED).tolist(),
        "quality": [";".join(found) for found in flags],
        "reason": [printable("; ".join(found)) for found in reasons],
        "width": [cell.width for cell in batch],
        "height": [cell.height for cell in batch],
        "label": [ref.label for ref in refs],
        "content": [cell.content for cell in batch],
    }
    return pa.RecordBatch.from_pydict(columns, schema=PART_SCHEMA), read_again
