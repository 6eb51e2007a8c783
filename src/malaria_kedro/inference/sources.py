"""Sources of new cells: a folder, a zip or a list of paths, read row by row, however many there are."""

from __future__ import annotations

import csv
import errno
import hashlib
import heapq
import json
import logging
import os
import re
import stat
import sys
import tempfile
import time
import unicodedata
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from filelock import FileLock

from malaria_kedro.cells.listing import START, begins_like_an_image, start_of, system_folder
from malaria_kedro.cells.plain_files import MAX_FILE_BYTES, read_file, too_large
from malaria_kedro.cells.zips import UNREADABLE_ZIP, open_zip
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.names import (
    IMAGE_SUFFIXES,
    is_image_name,
    is_other_image_name,
    patient_of,
    printable,
    spreadsheet_exact,
)

if TYPE_CHECKING:
    import pyarrow.parquet

log = logging.getLogger(__name__)

PATH = "path"
PATIENT = "patient_id"
# What people call a single column of paths, in lower case; another first line is said to be taken for a header.
HEADERS = frozenset(
    f"{name}{plural}"
    for name in (
        *(PATH, "file", "filename", "file name", "file_name", "filepath", "file path", "file_path"),
        *("image", "image path", "image_path", "image name", "image_name", "name", "cell", "cell_id", "id"),
    )
    for plural in ("", "s")
)
# Names sorted in memory at once, some 10 MB; a folder of more is sorted in pieces on disk.
SORTED_AT_ONCE = 100_000
OTHER_SEPARATORS = ";\t"  # of columns, which are refused
UNFINISHED = ".listing-"
SUFFIXES = " ".join(sorted(IMAGE_SUFFIXES))
LISTING_LOCK = ".listing.lock"
ROWS_AT_ONCE = 8192  # of a parquet list
ANOTHER_KIND, NO_NAME = "image of another kind", "image without the name of one"
MOST_NAMED = 20  # entries that cannot be looked at, in the log


# A folder, a pipe, a file too large: so it will be the next time.
IMAGE_FAULTS = (None, errno.EISDIR, errno.EINVAL, errno.EFBIG)
# Two changes of a file within one tick of the clock that a file system dates them by look like one.
TICK_NS, COARSE_TICK_NS = 50_000_000, 2_100_000_000
# File systems that keep no time of change, or give the time of modification for it; so may any in user space (FUSE).
WITHOUT_CHANGE_TIMES = ("vfat", "msdos", "exfat")


class SourceError(MalariaKedroError, ValueError):
    """The images cannot be listed; the message names the source and says what to do."""


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
        self.close()

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        """Yield the images from row ``start`` on, read as they are asked for."""
        raise NotImplementedError

    def read(self, ref: ImageRef) -> bytes:
        """Return the bytes of one image; called from many threads at once.

        Raises:
            Exception: many kinds (OSError, those of zip decoders, ValueError for a name that no disk has). Any of them
                costs the caller one row; ``is_machine_fault`` tells which may be over when it is read again.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what is open; a set that is closed reads no more."""


def open_images(source: Path, work: Path, *, patient_pattern: str | None) -> ImageSet:
    """List the images of a folder, a zip or a list, and read none of them yet.

    A **folder** is walked to any depth, each folder's images sorted by name before its sub-folders. Names with an image
    suffix count, and links to such files; linked folders are not followed, so that no loop is. Folders in which systems
    keep previews, deleted files and the like (``@eaDir``, ``.Trash-1000``) are passed by. Images that do not count are
    warned of, with their number. What cannot be looked at
    (a sub-folder that cannot be listed, a link that leads nowhere) is one row, which cannot be read.

    A **zip** is listed by its central directory, in its order (0.7 kB of memory per member); nothing is unpacked, and
    the same names count as in a folder.

    A **list** is a CSV (``.csv``, ``.txt``: commas, UTF-8) or parquet file (``.parquet``) with a column ``path``, or a
    single column of any name. Relative paths start at the list's folder. A column ``patient_id`` wins over what the
    name tells. Every path counts, whatever its suffix. The first line of a CSV is a header, unless the CSV has one
    column and that line is empty, ends like an image of any format, has a slash or backslash, or names a file that is
    there; a header of one column that is not a usual one is warned of. A CSV of one column needs no quotes around names
    with commas. The files behind a list are not opened here.

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
            two different images of one name, or a pattern that is no regular expression with a group.
    """
    source = Path(os.path.abspath(Path(source).expanduser()))
    _check_pattern(patient_pattern)
    try:
        if source.is_dir():
            return FolderImages(source, work, patient_pattern)
        if not source.exists():
            raise SourceError(f"{source} is not there: give a folder, a zip, or a CSV or parquet list of image paths")
        if not source.is_file():
            raise SourceError(f"{source} is neither a file nor a folder: give a folder, a zip or a list of image paths")
        return _open_file(source, work, patient_pattern)
    except OSError as error:
        raise SourceError(f"{source} cannot be listed ({error.strerror or error}): check it and its rights") from error


def _open_file(source: Path, work: Path, patient_pattern: str | None) -> ImageSet:
    with source.open("rb") as file:
        start = file.read(4)
    suffix = source.suffix.lower()
    if not start:
        raise SourceError(f"{source} is empty: get it again, or give another one")
    # By content first: a parquet list that is called .csv is one nevertheless.
    if start == b"PAR1" or suffix in (".parquet", ".pq"):
        return ListedImages(source, work, patient_pattern, _parquet_rows)
    if start[:2] == b"PK" or suffix == ".zip":
        return ZipImages(source, patient_pattern)
    if suffix in (".csv", ".txt"):
        return _csv_list(source, work, patient_pattern)
    what = "one image" if is_image_name(source.name) else f"a {suffix or 'file without a suffix'}"
    raise SourceError(f"{source} is {what}: give a folder, a zip, or a CSV or parquet list of image paths")


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
    if not source.exists():
        raise SourceError(f"{source} is not there: give a folder, a zip, or a CSV or parquet list of image paths")
    if source.is_file() and zipfile.is_zipfile(source):
        with ZipImages(source, patient_pattern) as images:
            if images.fingerprint != fingerprint:
                raise SourceError(changed)
            found = ((name, _bytes_or_none(partial(images.read, ImageRef(name)))) for name in names)
            yield from ((name, data) for name, data in found if data is not None)
        return
    folder = source if source.is_dir() else source.parent
    state = _State(b"")
    try:
        with _listing(work, fingerprint).open(encoding="ascii") as lines:
            for line in lines:
                name, *_ = json.loads(line)
                if printable(name) not in names:
                    continue
                path = os.path.join(folder, name)
                if state.add(name, path) != line.rstrip("\n"):
                    raise SourceError(changed)
                if (data := _bytes_or_none(partial(_read_plain_file, path))) is not None:
                    yield printable(name), data
    except FileNotFoundError as error:
        raise SourceError(f"the listing of {source} is gone ({error.filename}): read the images again") from error


def _bytes_or_none(read: Callable[[], bytes]) -> bytes | None:
    try:
        return read()
    except MemoryError:
        raise
    except Exception:  # one image that cannot be read is none that ends the reading
        return None


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise SourceError(f"patient_pattern {pattern!r} is no regular expression: {error}") from error
    if not groups:
        raise SourceError(f"patient_pattern {pattern!r} has no group (…): its first group is the patient")


def _patient(name: str, pattern: str | None) -> str | None:
    # A group that matches nothing names no patient.
    return (patient_of(name.replace("\\", "/"), pattern) or None) if pattern else None


# --- a folder ---------------------------------------------------------------------------------------------------


class FolderImages(ImageSet):
    """The images below a folder."""

    def __init__(self, root: Path, work: Path, patient_pattern: str | None) -> None:
        self._root = root
        self._pattern = patient_pattern
        work = Path(os.path.abspath(work))
        fingerprint, count = _write_listing(
            work,
            _State(_request("folder", root, patient_pattern)),
            ((name, os.path.join(root, name)) for name in _walk(root, work)),
            nothing=f"no image in the folder {root}, nor below it ({SUFFIXES} count; linked folders are not followed): "
            "give the folder that holds the cells",
        )
        super().__init__(fingerprint, count)
        self._listing = _listing(work, fingerprint)

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        with self._listing.open(encoding="ascii") as lines:
            for line in islice(lines, start, None):
                name, *_ = json.loads(line)
                yield ImageRef(name, _patient(name, self._pattern))

    def read(self, ref: ImageRef) -> bytes:
        if ref.name.endswith("/"):
            os.listdir(os.path.join(self._root, ref.name))  # tells why it could not be listed
            raise OSError(errno.EAGAIN, "this folder could not be listed before: predict again")
        return _read_plain_file(os.path.join(self._root, ref.name))


def _walk(root: Path, left_out: Path) -> Iterator[str]:
    """Yield the path below the root of every image, each folder's before its sub-folders'.

    What cannot be looked at is one of them, a folder with a slash at its end. Without recursion, and without a list of
    anything: neither the depth nor the number of files is bounded.
    """
    passed: Counter[str] = Counter()
    passed_by: Counter[str] = Counter()
    waiting: list[Iterator[str]] = [iter(("",))]
    while waiting:
        folder = next(waiting[-1], None)
        if folder is None:
            waiting.pop()
            continue
        files, folders = _Sorted(left_out), _Sorted(left_out)
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    try:
                        kind = _kind(entry)
                    except OSError as error:
                        # A link in a circle, or into a folder that is forbidden: it may be an image.
                        _say_broken(passed, entry.path, "looked at", error)
                        kind = "image"
                    if kind == "folder":
                        if system_folder((entry.name,)):
                            passed_by[entry.name] += 1
                        elif os.path.join(root, folder, entry.name) != str(left_out):
                            folders.add(f"{folder}{entry.name}/")
                    elif kind == "image":
                        files.add(folder + entry.name)
                    else:
                        passed[kind] += 1
        except OSError as error:
            if not folder:
                raise
            _say_broken(passed, os.path.join(root, folder), "listed", error)
            files.add(folder)  # and what was listed before it broke off
        yield from files
        waiting.append(iter(folders))
    _warn(passed["broken"], "entry", "entries", f"below {root} cannot be looked at: a row each, which says why")
    _warn(passed["linked folder"], "linked folder", "linked folders", f"below {root}: not followed")
    _warn(
        passed["link that leads nowhere"],
        "link that leads nowhere",
        "links that lead nowhere",
        f"below {root}: not read, for their names are not those of images",
    )
    _warn_of_system_folders(passed_by, root)
    _warn_of_another_kind(passed, root)


def _warn(count: int, one: str, many: str, what: str) -> None:
    if count:
        log.warning("%d %s %s", count, one if count == 1 else many, what)


def _warn_of_system_folders(found: Counter[str], source: Path) -> None:
    count, which = found.total(), ", ".join(sorted(found))
    what = f"in {source} in which systems keep previews, deleted files and the like not read ({which})"
    _warn(count, "folder", "folders", what)


def _warn_of_another_kind(passed: Counter[str], source: Path) -> None:
    what = "not read: convert to PNG, JPEG, TIFF or BMP, or name the files in a list"
    _warn(passed[ANOTHER_KIND], "image", "images", f"in {source} with a suffix of another kind {what}")
    what = "not read: rename them, or name the files in a list"
    _warn(passed[NO_NAME], "image", "images", f"in {source} whose name begins with a dot or is no image's {what}")


def _kind_by_content(name: str, start: Callable[[], bytes]) -> str:
    """Tell what a file is whose name is not one of the images that are read."""
    if is_other_image_name(name):
        return ANOTHER_KIND
    return NO_NAME if begins_like_an_image(start()) else "no image"


def _kind(entry: os.DirEntry[str]) -> str:
    """Tell what a folder's entry is.

    Raises:
        OSError: it cannot be looked at.
    """
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    if entry.is_dir():
        return "linked folder"
    if is_image_name(entry.name):  # be it a file or not: what cannot be read is a row, and not silently missing
        return "image"
    if entry.is_symlink() and not os.path.exists(entry.path):
        return "link that leads nowhere"
    return _kind_by_content(entry.name, lambda: start_of(entry.path) if entry.is_file() else b"")


def _say_broken(passed: Counter[str], path: str, what: str, error: OSError) -> None:
    passed["broken"] += 1
    if passed["broken"] <= MOST_NAMED:  # the rows name all of them
        log.warning("%s cannot be %s (%s)", path, what, error.strerror or error)


class _Sorted:
    """Names in order, once: up to `SORTED_AT_ONCE` in memory, more in sorted pieces in temporary files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._pieces: list[IO[str]] = []

    def add(self, name: str) -> None:
        self._names.append(name)
        if len(self._names) >= SORTED_AT_ONCE:
            piece = tempfile.TemporaryFile("w+", encoding="ascii", dir=self._folder)  # noqa: SIM115, closed once read
            self._pieces.append(piece)
            piece.writelines(json.dumps(name) + "\n" for name in sorted(self._names))
            self._names.clear()

    def __iter__(self) -> Iterator[str]:
        try:
            for piece in self._pieces:
                piece.seek(0)
            yield from heapq.merge(*(map(json.loads, piece) for piece in self._pieces), sorted(self._names))
        finally:
            for piece in self._pieces:
                piece.close()


# --- a zip ------------------------------------------------------------------------------------------------------


class ZipImages(ImageSet):
    """The images of a zip, read in place."""

    def __init__(self, path: Path, patient_pattern: str | None) -> None:
        self._pattern = patient_pattern
        try:
            self._bundle = open_zip(path)
        except UNREADABLE_ZIP as error:
            raise SourceError(f"{path} is not a readable zip ({error}): get it again") from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._list(path)
        except BaseException:
            self._bundle.close()
            raise
        if not self._members:
            self._bundle.close()
            raise SourceError(f"no image in the zip {path} ({SUFFIXES} count): give one that holds cells")
        super().__init__(_digest(_request("zip", path, patient_pattern), path), len(self._members))

    def _list(self, path: Path) -> None:
        passed: Counter[str] = Counter()
        passed_by: dict[str, str] = {}
        for member in self._bundle.infolist():
            # Some packers of Windows write backslashes.
            *folder, name = member.filename.replace("\\", "/").split("/")
            if at := system_folder(tuple(folder)):
                passed_by["/".join(folder[: folder.index(at) + 1])] = at
            elif member.is_dir():
                continue
            elif not is_image_name(name):
                passed[_kind_by_content(name, partial(self._start_of, member))] += 1
            elif (other := self._members.setdefault(member.filename, member)) is not member:
                if (other.CRC, other.file_size) != (member.CRC, member.file_size):
                    raise SourceError(
                        f"{path} has two different images called {member.filename}: pack it again, each with a name "
                        "of its own"
                    )
                passed["twice"] += 1
        _warn(passed["twice"], "image", "images", f"of {path} not read again: an equal one has the same name")
        _warn_of_system_folders(Counter(passed_by.values()), path)
        _warn_of_another_kind(passed, path)

    def _start_of(self, member: zipfile.ZipInfo) -> bytes:
        try:
            with self._bundle.open(member) as content:
                return content.read(START)
        except Exception:  # encrypted, damaged or of an unknown compression: it tells nothing
            return b""

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        for name in islice(self._members, start, None):
            yield ImageRef(name, _patient(name, self._pattern))

    def read(self, ref: ImageRef) -> bytes:
        member = self._members[ref.name]
        parts = ref.name.replace("\\", "/").split("/")
        if not parts[0] or ".." in parts or re.match("[A-Za-z]:", ref.name):
            # Nothing is unpacked here, but a later reader may use the name as a path.
            raise _image_fault(errno.EPERM, "its name leads out of the zip")
        if member.flag_bits & 0x1:
            raise _image_fault(errno.EPERM, "it is encrypted: give an unpacked folder")
        if member.file_size > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, too_large(member.file_size))
        with self._bundle.open(member) as content:
            return content.read(MAX_FILE_BYTES)  # a member gives no more than it declares

    def close(self) -> None:
        self._bundle.close()


# --- a list -----------------------------------------------------------------------------------------------------

Rows = Iterable[tuple[str, str | None]]


class ListedImages(ImageSet):
    """The images that a CSV or parquet file names."""

    def __init__(self, path: Path, work: Path, patient_pattern: str | None, rows: Callable[[Path, int], Rows]) -> None:
        self._path = path
        self._pattern = patient_pattern
        self._rows = rows
        fingerprint, count = _write_listing(
            work,
            _State(_digest(_request("list", path, patient_pattern), path).encode()),
            # All of it, so that a damaged list is found now and not in row 900,000.
            ((name, os.path.join(path.parent, name)) for name, _ in rows(path, 0)),
            nothing=f"the list {path} names no image: give one with a row for each",
        )
        super().__init__(fingerprint, count)

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        for name, patient in self._rows(self._path, start):
            # As in names of files: macOS takes accents apart.
            yield ImageRef(name, unicodedata.normalize("NFC", patient) if patient else _patient(name, self._pattern))

    def read(self, ref: ImageRef) -> bytes:
        if not ref.name:
            raise _image_fault(errno.ENOENT, "the list names no path in this row")
        return _read_plain_file(os.path.join(self._path.parent, ref.name))


def _csv_list(path: Path, work: Path, patient_pattern: str | None) -> ListedImages:
    # Told once: were it told again by each reading, a file that appears meanwhile would shift the rows.
    first = _first_line(path)
    header = first is not None and (len(first) > 1 or not _names_an_image(first[0], path.parent))
    images = ListedImages(path, work, patient_pattern, partial(_csv_rows, header=header))
    if first is not None and header and len(first) == 1 and first[0].strip().lower() not in HEADERS:
        log.warning(
            "the first line of %s, %r, is taken for a header: write 'path' above it if it is an image", path, first[0]
        )
    return images


def _first_line(path: Path) -> list[str] | None:
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise SourceError(f"the list {path} is UTF-16: save it as UTF-8")
    with _csv_lines(path) as lines:
        return next(lines, None)


def _csv_rows(path: Path, start: int, *, header: bool) -> Iterator[tuple[str, str | None]]:
    """Yield (path, patient) of a CSV's rows."""
    with _csv_lines(path) as lines:
        columns = [name.strip() for name in next(lines, [PATH])] if header else [PATH]
        only = len(columns) == 1
        at = _column(columns, path)
        patient_at = columns.index(PATIENT) if PATIENT in columns and not only else None
        for line in islice(lines, start, None):
            name = _exact_path(",".join(line) if only else _field(line, at), path.parent)
            patient = spreadsheet_exact(_field(line, patient_at).strip()) if patient_at is not None else ""
            yield name, patient or None


@contextmanager
def _csv_lines(path: Path) -> Iterator[Iterator[list[str]]]:
    # Bytes that are not UTF-8 may be a file's true name, and are handed on to the disk as they are.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        # Strict: a quote that is never closed would swallow all rows after it.
        reader = csv.reader(file, strict=True)
        try:
            yield (line for line in reader if line)
        except csv.Error as error:
            raise SourceError(
                f"the list {path} is no readable CSV ({error}, line {reader.line_num}): mend it"
            ) from error


def _names_an_image(text: str, folder: Path) -> bool:
    """Tell whether the first line of a single column is an image's path (or lacks it) and no header."""
    name = text.strip()
    if not name or is_image_name(name) or is_other_image_name(name):
        return True
    if ("/" in name or "\\" in name) and not any(mark in name for mark in OTHER_SEPARATORS):
        return True
    try:
        return os.path.isfile(os.path.join(folder, _exact_path(text, folder)))
    except ValueError:  # a null character
        return False


def _exact_path(text: str, folder: Path) -> str:
    """Return a path without the apostrophe that this project's own CSV files have before a formula's sign."""
    exact = spreadsheet_exact(text)
    return text if exact == text or _is_there(os.path.join(folder, text)) else exact


def _is_there(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a null character
        return False


def _column(columns: list[str], path: Path) -> int:
    """Return where the paths are."""
    if columns.count(PATH) == 1:
        return columns.index(PATH)
    hint = next(
        (f"; it seems to be separated by {mark!r}: use commas" for mark in OTHER_SEPARATORS if mark in columns[0]), ""
    )
    if len(columns) == 1 and not hint:
        return 0
    raise SourceError(
        f"the list {path} needs one column {PATH!r}, or a single column; it has {', '.join(map(repr, columns))}{hint}"
    )


def _field(line: list[str], at: int) -> str:
    return line[at] if at < len(line) else ""


def _parquet_rows(path: Path, start: int) -> Iterator[tuple[str, str | None]]:
    """Yield (path, patient) of a parquet file's rows."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            columns = [name for name in table.schema_arrow.names if not re.fullmatch(r"__index_level_\d+__", name)]
            if not columns:
                raise SourceError(f"the list {path} has no column: it needs one called {PATH!r}")
            at = columns[_column(columns, path)]
            wanted = [at, *([PATIENT] if PATIENT in columns and at != PATIENT else [])]
            yield from islice(_parquet_values(table, wanted), start, None)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"the list {path} is no readable parquet file ({error}): write it again") from error


def _parquet_values(table: pyarrow.parquet.ParquetFile, wanted: list[str]) -> Iterator[tuple[str, str | None]]:
    for batch in table.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted):
        # By name: the file's own order may be another one than the wanted.
        names = batch.column(wanted[0]).to_pylist()
        patients = batch.column(wanted[1]).to_pylist() if len(wanted) > 1 else [None] * len(names)
        for name, patient in zip(names, patients, strict=True):
            yield _text(name), _text(patient).strip() or None


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN, which pandas may write for a missing one
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas makes whole numbers fractions where one is missing: patient 7 is no 7.0
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)


# --- all --------------------------------------------------------------------------------------------------------


def _read_plain_file(path: str) -> bytes:
    return read_file(path, MAX_FILE_BYTES)


def is_machine_fault(error: BaseException) -> bool:
    """Tell whether reading an image failed for a reason that may pass: a lost file or disk, a right, a full table.

    What is wrong with the image itself, or with its name, would be wrong again.
    """
    if isinstance(error, OSError):
        return error.errno not in IMAGE_FAULTS and not hasattr(error, "of_the_image")
    return isinstance(error, MemoryError)


def _image_fault(number: int, reason: str) -> OSError:
    error = OSError(number, reason)  # no class of its own: Python makes it the kind that the number stands for
    error.of_the_image = True  # type: ignore[attr-defined] # a mark for is_machine_fault
    return error


def _listing(work: Path, fingerprint: str) -> Path:
    """Return where the files of a request are listed: named for what it holds, for requests may share a folder."""
    return work / f"listing-{fingerprint[:12]}.jsonl"


def _write_listing(work: Path, state: _State, files: Iterable[tuple[str, str]], *, nothing: str) -> tuple[str, int]:
    """List files, a line of JSON each: the name, and the state that the fingerprint covers.

    Args:
        work: folder of the listing.
        state: of the request.
        files: name and path of each.
        nothing: what to say where there is none.

    Returns:
        The fingerprint, and how many files there are.

    Raises:
        SourceError: there is none.
    """
    work.mkdir(parents=True, exist_ok=True)
    # Another process may be listing, too: its file looks like what a killed one left behind.
    with FileLock(work / LISTING_LOCK):
        for leftover in work.glob(UNFINISHED + "*"):
            leftover.unlink(missing_ok=True)
        unfinished, count = work / f"{UNFINISHED}{uuid.uuid4().hex}", 0
        with unfinished.open("x", encoding="ascii") as listing:  # with the rights of any new file
            try:
                for count, (name, path) in enumerate(files, start=1):  # noqa: B007, the last one is used
                    listing.write(state.add(name, path) + "\n")
                listing.close()
                if not count:
                    raise SourceError(nothing)
                fingerprint = state.fingerprint()
                os.replace(unfinished, _listing(work, fingerprint))
            finally:
                unfinished.unlink(missing_ok=True)
    return fingerprint, count


class _State:
    """The fingerprint of a request and of the files that it names, added one by one."""

    def __init__(self, request: bytes) -> None:
        self._digest = hashlib.sha256(request)
        self._newest = 0
        self._coarse = False
        self._timeless = _devices_without_change_times()  # now: a stick may have been put in since the last time

    def add(self, name: str, path: str) -> str:
        """Add a file as it is now, and return that: size, times, and its content where the times do not tell."""
        told = json.dumps([name, *self._look(path)])
        self._digest.update(told.encode())
        return told

    def _look(self, path: str) -> list[int | str | None]:
        try:
            found = os.stat(path)
        except (OSError, ValueError):  # there is no such file, or no disk has such a name
            return [None]
        changed = found.st_ctime_ns
        state: list[int | str | None] = [stat.S_IFMT(found.st_mode), found.st_size, found.st_mtime_ns, changed]
        if stat.S_ISREG(found.st_mode) and (changed > time.time_ns() or not self._has_change_times(found)):
            state.append(_content(path, found.st_size))
        else:
            self._newest = max(self._newest, changed)
            self._coarse |= changed % 1_000_000_000 == 0
        return state

    def _has_change_times(self, found: os.stat_result) -> bool:
        if sys.platform == "win32" or found.st_ctime_ns <= 0:  # Windows gives the time of creation instead
            return False
        if self._timeless is None:
            return found.st_ctime_ns != found.st_mtime_ns
        return found.st_dev not in self._timeless

    def fingerprint(self) -> str:
        """Return it, once no file can change any more without another time."""
        tick = COARSE_TICK_NS if self._coarse else TICK_NS
        time.sleep(min(max(0, self._newest + tick - time.time_ns()), tick) / 1e9)
        return self._digest.hexdigest()


def _devices_without_change_times() -> frozenset[int] | None:
    """Return the devices of file systems on which a restored time of modification hides a change; None = not known."""
    devices = set()
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                mount, _, kind = line.partition(" - ")
                kind = kind.split(" ", 1)[0]
                if kind in WITHOUT_CHANGE_TIMES or kind.startswith("fuse"):
                    major, minor = mount.split(" ")[2].split(":")
                    devices.add(os.makedev(int(major), int(minor)))
    except (OSError, ValueError, IndexError):  # only Linux tells
        return None
    return frozenset(devices)


def _content(path: str, size: int) -> str:
    if size > MAX_FILE_BYTES:  # it is not read
        return ""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _request(kind: str, source: Path, patient_pattern: str | None) -> bytes:
    return json.dumps([kind, str(source), patient_pattern]).encode()


def _digest(request: bytes, path: Path) -> str:
    digest = hashlib.sha256(request)
    with path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
