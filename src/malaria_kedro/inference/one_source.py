"""Opens one source of images by what it is: a folder, a zip, a list, standard input, or single files."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING

from malaria_kedro.cells.patient_pattern import tried
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import sha256_of
from malaria_kedro.inference.contents import SUFFIXES, SourceError, images_below
from malaria_kedro.inference.file_images import FileImages, FolderImages
from malaria_kedro.inference.fingerprints import fingerprint_of_file, request_for
from malaria_kedro.inference.image_lists import Row, csv_rows, excel_rows, nul_rows, parquet_rows
from malaria_kedro.inference.image_sets import ImageRef, ImageSet, ParquetImages, patient_in
from malaria_kedro.inference.labels import Labels
from malaria_kedro.inference.zip_images import ZipImages
from malaria_kedro.machine import why

if TYPE_CHECKING:
    from malaria_kedro.inference.repeats import Repeats

log = logging.getLogger(__name__)

WHAT_TO_GIVE = "give images, a folder, a zip, or a CSV, Excel or parquet list of image paths"
STANDARD_INPUT = "-"
LIST_SUFFIXES = (".csv", ".txt", ".tsv")


def open_one(
    source: Path, work: Path, pattern: str | None, standard_input: IO[bytes] | None, repeats: Repeats
) -> ImageSet:
    """Open a folder, a zip, a list or standard input; ``SourceError``: it is none, or holds no image."""
    if str(source) == STANDARD_INPUT and standard_input is not None:
        return _open_standard_input(standard_input, work, pattern, repeats)
    source = Path(os.path.abspath(source))
    try:
        if source.is_dir():
            labels = Labels(str(source))
            return FolderImages(
                source,
                work,
                request_for("folder", source, pattern),
                (
                    ImageRef(name, patient_in(name, pattern), labels.of(name))
                    for name in tried(pattern, images_below(source, work))
                ),
                labels,
                repeats=repeats,
                nothing=f"no image in the folder {source}, nor below it ({SUFFIXES} count; linked folders are not "
                "followed): give the folder that holds the cells",
                called=str(source),
            )
        check_there(source)
        if not source.is_file():
            raise SourceError(f"{source} is neither a file nor a folder: {WHAT_TO_GIVE}")
        return _open_file(source, work, pattern, repeats)
    except MalariaKedroError:  # as where the listing cannot be written, which is no fault of the images
        raise
    except OSError as error:
        raise SourceError(f"{source} cannot be listed {why(error, source)}") from error


def open_files(paths: list[str], work: Path, pattern: str | None, repeats: Repeats) -> ImageSet:
    """Open single images, by their paths from the working folder on."""
    folder = Path.cwd()
    labels = Labels(str(folder))
    return FileImages(
        folder,
        work,
        request_for("images", folder, pattern),
        (ImageRef(path, patient_in(path, pattern), labels.of(path)) for path in tried(pattern, paths)),
        labels,
        repeats=repeats,
        nothing="",
        called="single images",
    )


def _open_file(source: Path, work: Path, patient_pattern: str | None, repeats: Repeats) -> ImageSet:
    with source.open("rb") as file:
        start = file.read(4)
    suffix = source.suffix.lower()
    if not start:
        raise SourceError(f"{source} is empty: get it again, or give another one")
    # By content first: a parquet list called .csv is still one.
    if start == b"PAR1" or suffix in (".parquet", ".pq"):
        if ParquetImages.holds(source):
            return ParquetImages(source, patient_pattern)
        rows = parquet_rows(source)
    elif suffix == ".xlsx":
        rows = excel_rows(source)
    elif start[:2] == b"PK" or suffix == ".zip":
        return ZipImages(source, patient_pattern)
    elif suffix in LIST_SUFFIXES:
        rows = csv_rows(source, source.parent, str(source))
    else:
        raise SourceError(f"{source} is a {suffix or 'file without a suffix'}: {WHAT_TO_GIVE}")
    return _open_list(
        source.parent,
        work,
        fingerprint_of_file("list", source, patient_pattern),
        rows,
        patient_pattern,
        f"{source}",
        repeats,
    )


def _open_standard_input(stream: IO[bytes], work: Path, pattern: str | None, repeats: Repeats) -> ImageSet:
    """Copy the list from the stream into a file, which is gone as soon as its images are listed."""
    work.mkdir(parents=True, exist_ok=True)
    folder, name = Path.cwd(), "on standard input"
    log.info("reading the list of images from standard input")
    handle, path = tempfile.mkstemp(prefix=".listing-", dir=work)
    try:
        has_nul = False
        with open(handle, "wb") as copy:
            start = b""
            for block in iter(lambda: stream.read(1 << 16), b""):
                start = start or block[:2]
                has_nul |= b"\0" in block
                copy.write(block)
        if not start:
            raise SourceError("standard input is empty: write the paths of images to it, one a line")
        utf_16 = start in (b"\xff\xfe", b"\xfe\xff")
        rows = nul_rows(Path(path)) if has_nul and not utf_16 else csv_rows(Path(path), folder, name)
        request = request_for("standard input", folder, pattern) + bytes.fromhex(sha256_of(Path(path)))
        return _open_list(folder, work, hashlib.sha256(request).hexdigest(), rows, pattern, name, repeats)
    finally:
        os.unlink(path)


def _open_list(
    folder: Path,
    work: Path,
    fingerprint: str,
    rows: Iterator[Row],
    pattern: str | None,
    called: str,
    repeats: Repeats,
) -> ImageSet:
    labels = Labels(str(folder))
    return FileImages(
        folder,
        work,
        fingerprint.encode(),
        (
            # As in file names: macOS decomposes accents.
            ImageRef(
                row.path,
                unicodedata.normalize("NFC", row.patient) or patient_in(row.path, pattern),
                label := labels.of(row.path, row.label),
                no_class=label is None and bool(row.label and row.label.strip()),
            )
            for row in tried(pattern, rows, attrgetter("path"))
        ),
        labels,
        repeats=repeats,
        nothing=f"the list {called} names no image: give one with a row for each",
        called=called,
    )


def check_there(source: Path) -> None:
    if not source.exists():
        raise not_there(source)


def not_there(source: Path) -> SourceError:
    """Return the error for a path that leads nowhere, as an address of the web does."""
    if address := re.search(r"(?:^|/)([a-z][a-z0-9+.-]+):/", str(source)):
        return SourceError(f"{source} is an address ({address[1]}), and only local files are read: download it first")
    return SourceError(f"{source} is not there: {WHAT_TO_GIVE}")
