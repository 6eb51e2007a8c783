"""Sources of new cells: a folder, a zip or a list of paths, read row by row, however many there are."""

from __future__ import annotations

import errno
import json
import os
import re
import unicodedata
import zipfile
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from malaria_kedro.cells.patient_pattern import tried
from malaria_kedro.cells.plain_files import MAX_FILE_BYTES, read_file, too_large
from malaria_kedro.cells.zips import ENCRYPTED, leads_out, open_zip
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.inference.contents import SourceError, images_below, images_in_zip
from malaria_kedro.inference.fingerprints import Fingerprint, fingerprint_of_file, request_for
from malaria_kedro.inference.image_lists import csv_rows, parquet_rows
from malaria_kedro.machine import why, writing
from malaria_kedro.names import IMAGE_SUFFIXES, is_image_name, patient_of, printable

UNFINISHED = ".listing-unfinished"
LISTING_LOCK = ".listing.lock"
SUFFIXES = " ".join(sorted(IMAGE_SUFFIXES))
WHAT_TO_GIVE = "give a folder, a zip, or a CSV or parquet list of image paths"
# A folder, a pipe, a file that is too large: it will be no other the next time.
IMAGE_FAULTS = (None, errno.EISDIR, errno.EINVAL, errno.EFBIG)


@dataclass(frozen=True)
class ImageRef:
    """One image of a source.

    Attributes:
        name: what the source calls it: the path below the folder, the zip member's name, or the path as the list has
            it. Bytes that are not UTF-8 stand in it as Python's surrogates, as in ``os.fsdecode``.
        patient: the patient, where the list or the name tells.
    """

    name: str
    patient: str | None = None


class ImageSet:
    """The images of one source, in an order that does not change from one run to the next.

    Attributes:
        fingerprint: sha256 of what identifies the request: the source and what it held, every image with it.
    """

    def __init__(self, fingerprint: str, count: int) -> None:
        self.fingerprint = fingerprint
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close what is open; a closed set reads nothing more."""

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        """Yield the images from row ``start`` on, read as they are asked for."""
        raise NotImplementedError

    def read(self, ref: ImageRef) -> bytes:
        """Return the bytes of one image; called from many threads at once.

        Raises:
            Exception: many kinds (OSError, those of zip decoders, ValueError); each costs the caller one row, and
                ``is_machine_fault`` tells which may have gone by the next time.
        """
        raise NotImplementedError


def open_images(source: Path, work: Path, *, patient_pattern: str | None) -> ImageSet:
    """List the images of a folder, a zip or a list, and read none of them yet.

    A **folder** is walked to any depth, each folder's images sorted by name before its sub-folders. Names with an image
    suffix count, and links to such files; linked folders are not followed, and folders in which systems keep previews,
    deleted files and the like (``@eaDir``, ``.Trash-1000``) are skipped. A warning tells how many images do not count.
    What cannot be looked at (a sub-folder that cannot be listed, a link that leads nowhere) is one row, which cannot be
    read.

    A **zip** is listed by its central directory, in its order (0.7 kB of memory per member); nothing is unpacked, and
    the same names count as in a folder.

    A **list** is a CSV (``.csv``, ``.txt``: commas, UTF-8) or parquet file (``.parquet``) with a column ``path``, or a
    single column of any name. Relative paths start at the list's folder. A column ``patient_id`` wins over what the
    name tells. Every path counts, whatever its suffix. The first line of a CSV is a header, unless the CSV has one
    column and that line is empty, ends like an image of any format, has a slash or backslash, or names a file that is
    there. A CSV of one column needs no quotes around names with commas.

    The listing of a folder or a list is a file in ``work``, and not held in memory.

    The fingerprint covers each image: its size and its times of modification and change, and its content where a file
    system keeps no such times; of a zip, all of its bytes. Where a file is so new that a later change could have the
    same time, this waits until it could not (a twentieth of a second; two seconds where times are whole seconds).

    Args:
        source: the folder, zip or list.
        work: folder for the listing; it may lie below ``source``, and is left out there.
        patient_pattern: regular expression on the file name, whose first group is the patient; None = names tell none.

    Raises:
        SourceError: not there, no image in it, a list without a column of paths, a broken zip or list, a zip with
            two different images of one name, or a pattern that is not a regular expression with a group.
    """
    source, work = (Path(os.path.abspath(path)) for path in (Path(source).expanduser(), work))
    _check_pattern(patient_pattern)
    try:
        if source.is_dir():
            return FolderImages(
                source,
                work,
                request_for("folder", source, patient_pattern),
                (
                    ImageRef(name, _patient(name, patient_pattern))
                    for name in tried(patient_pattern, images_below(source, work))
                ),
                nothing=f"no image in the folder {source}, nor below it ({SUFFIXES} count; linked folders are not "
                "followed): give the folder that holds the cells",
            )
        _check_there(source)
        if not source.is_file():
            raise SourceError(f"{source} is neither a file nor a folder: {WHAT_TO_GIVE}")
        return _open_file(source, work, patient_pattern)
    except MalariaKedroError:  # as where the listing cannot be written, which is no fault of the images
        raise
    except OSError as error:
        raise SourceError(f"{source} cannot be listed {why(error, source)}") from error


def read_again(
    source: Path, work: Path, names: Collection[str], *, patient_pattern: str | None, fingerprint: str
) -> Iterator[tuple[str, bytes]]:
    """Read some images of a source that ``open_images`` has listed before, and list nothing again.

    Args:
        source: as for ``open_images``.
        work: folder of the listing.
        names: of the images, as ``malaria_kedro.names.printable`` writes them.
        patient_pattern: that the source was listed with.
        fingerprint: that the source had.

    Yields:
        Names and bytes; what cannot be read is left out.

    Raises:
        SourceError: the source or its listing is gone, or one of these images has changed since (in a zip: any).
    """
    changed = f"{source} has changed since its images were read: read them again"
    _check_there(source)
    if source.is_file() and zipfile.is_zipfile(source):
        with ZipImages(source, patient_pattern) as images:
            if images.fingerprint != fingerprint:
                raise SourceError(changed)
            for name in names:
                if (data := _bytes_or_none(images.read, ImageRef(name))) is not None:
                    yield name, data
        return
    folder = source if source.is_dir() else source.parent
    state = Fingerprint(b"")
    try:
        with _listing(work, fingerprint).open(encoding="ascii") as lines:
            for line in lines:
                name, *_ = json.loads(line)
                if printable(name) not in names:
                    continue
                path = os.path.join(folder, name)
                if not line.startswith(f"{state.add(name, path)[:-1]}, "):
                    raise SourceError(changed)
                if (data := _bytes_or_none(read_file, path)) is not None:
                    yield printable(name), data
    except FileNotFoundError as error:
        raise SourceError(f"the listing of {source} is gone ({error.filename}): read the images again") from error


def is_machine_fault(error: BaseException) -> bool:
    """Tell whether reading an image failed for a reason that may pass, as a lost file, and not because of the image."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in IMAGE_FAULTS)


class FileImages(ImageSet):
    """Images that are files of their own.

    They are listed in a file of ``work``, a line of JSON for each: name, state (that the fingerprint covers), patient.
    """

    def __init__(self, folder: Path, work: Path, request: bytes, images: Iterable[ImageRef], *, nothing: str) -> None:
        """List the images, whose names are paths from ``folder`` on; ``nothing`` is the error where there are none."""
        self._folder = folder
        unfinished, fingerprint, count = work / UNFINISHED, Fingerprint(request), 0
        with writing(unfinished), _lock(work):
            try:
                with unfinished.open("w", encoding="ascii") as listing:
                    for count, image in enumerate(images, start=1):  # noqa: B007, how many there are
                        told = fingerprint.add(image.name, os.path.join(folder, image.name))
                        listing.write(f"{told[:-1]}, {json.dumps(image.patient)}]\n")
                if not count:
                    raise SourceError(nothing)
                super().__init__(fingerprint.result(), count)
                self._listing = _listing(work, self.fingerprint)
                unfinished.replace(self._listing)
            finally:
                unfinished.unlink(missing_ok=True)

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        with self._listing.open(encoding="ascii") as lines:
            for line in islice(lines, start, None):
                name, *_, patient = json.loads(line)
                yield ImageRef(name, patient)

    def read(self, ref: ImageRef) -> bytes:
        if not ref.name:
            raise ValueError("the list names no path in this row")
        return read_file(os.path.join(self._folder, ref.name))


class FolderImages(FileImages):
    """The images below a folder."""

    def read(self, ref: ImageRef) -> bytes:
        if ref.name.endswith("/"):
            os.listdir(os.path.join(self._folder, ref.name))  # tells why it could not be listed
            raise OSError(errno.EAGAIN, "this folder could not be listed before: predict again")
        return super().read(ref)


class ZipImages(ImageSet):
    """The images of a zip, read in place."""

    def __init__(self, path: Path, patient_pattern: str | None) -> None:
        self._pattern = patient_pattern
        try:
            self._bundle = open_zip(path)
        except zipfile.BadZipFile as error:
            raise SourceError(f"{path} is not a readable zip ({error}): get it again") from error
        try:
            self._members = images_in_zip(self._bundle, path)
            if not self._members:
                raise SourceError(f"no image in the zip {path} ({SUFFIXES} count): give one that holds cells")
            deque(tried(patient_pattern, self._members), maxlen=0)
            super().__init__(fingerprint_of_file("zip", path, patient_pattern), len(self._members))
        except BaseException:
            self._bundle.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._bundle.close()

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        for name in islice(self._members, start, None):
            yield ImageRef(name, _patient(name, self._pattern))

    def read(self, ref: ImageRef) -> bytes:
        member = self._members[ref.name]
        if leads_out(member):  # nothing is unpacked here, but someone may use the name as a path later
            raise ValueError("its name leads out of the zip")
        if member.flag_bits & ENCRYPTED:
            raise ValueError("it is encrypted: give an unpacked folder")
        if member.file_size > MAX_FILE_BYTES:
            raise ValueError(too_large(member.file_size))
        with self._bundle.open(member) as content:
            return content.read(MAX_FILE_BYTES)  # a member gives no more than it declares


def _lock(work: Path) -> FileLock:
    """Return the lock of a listing, which another process may be writing, too."""
    work.mkdir(parents=True, exist_ok=True)
    return FileLock(work / LISTING_LOCK)


def _open_file(source: Path, work: Path, patient_pattern: str | None) -> ImageSet:
    with source.open("rb") as file:
        start = file.read(4)
    suffix = source.suffix.lower()
    if not start:
        raise SourceError(f"{source} is empty: get it again, or give another one")
    # By content first: a parquet list called .csv is still one.
    if start == b"PAR1" or suffix in (".parquet", ".pq"):
        rows = parquet_rows(source)
    elif start[:2] == b"PK" or suffix == ".zip":
        return ZipImages(source, patient_pattern)
    elif suffix in (".csv", ".txt"):
        rows = csv_rows(source)
    else:
        what = "one image" if is_image_name(source.name) else f"a {suffix or 'file without a suffix'}"
        raise SourceError(f"{source} is {what}: {WHAT_TO_GIVE}")
    return FileImages(
        source.parent,
        work,
        fingerprint_of_file("list", source, patient_pattern).encode(),
        (
            # As in file names: macOS decomposes accents.
            ImageRef(name, unicodedata.normalize("NFC", patient) or _patient(name, patient_pattern))
            for name, patient in tried(patient_pattern, rows, itemgetter(0))
        ),
        nothing=f"the list {source} names no image: give one with a row for each",
    )


def _check_there(source: Path) -> None:
    if not source.exists():
        raise SourceError(f"{source} is not there: {WHAT_TO_GIVE}")


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise SourceError(f"patient_pattern {pattern!r} is not a regular expression: {error}") from error
    if not groups:
        raise SourceError(f"patient_pattern {pattern!r} has no group (…): its first group is the patient")


def _patient(name: str, pattern: str | None) -> str | None:
    # A group that matches nothing names no patient.
    return (patient_of(name.replace("\\", "/"), pattern) or None) if pattern else None


def _listing(work: Path, fingerprint: str) -> Path:
    """Return where files are listed: the name tells of which request, for requests may share a folder."""
    return work / f"listing-{fingerprint[:12]}.jsonl"


def _bytes_or_none(read: Callable[[Any], bytes], what: ImageRef | str) -> bytes | None:
    try:
        return read(what)
    except MemoryError:
        raise
    except Exception:  # one image that cannot be read does not stop the others
        return None
