"""Sources of new cells: images, folders, zips and lists of paths, read row by row, however many there are."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import tempfile
import unicodedata
import zipfile
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from malaria_kedro.cells.listing import system_folder
from malaria_kedro.cells.patient_pattern import tried
from malaria_kedro.cells.plain_files import MAX_FILE_BYTES, START, begins_like_an_image, read_file, too_large
from malaria_kedro.cells.zips import ENCRYPTED, leads_out, open_zip
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import sha256_of, write_json
from malaria_kedro.inference.contents import SourceError, images_below, images_in_zip
from malaria_kedro.inference.fingerprints import Fingerprint, fingerprint_of_file, request_for
from malaria_kedro.inference.image_lists import Row, csv_rows, excel_rows, nul_rows, parquet_rows
from malaria_kedro.inference.image_sets import HeldImages, ImageRef, ImageSet, ParquetImages, patient_in
from malaria_kedro.inference.labels import Labels
from malaria_kedro.machine import why, writing
from malaria_kedro.names import IMAGE_SUFFIXES, is_image_name, is_other_image_name, printable

log = logging.getLogger(__name__)

UNFINISHED = ".listing-unfinished"
LISTING_LOCK = ".listing.lock"
SUFFIXES = " ".join(sorted(IMAGE_SUFFIXES))
WHAT_TO_GIVE = "give images, a folder, a zip, or a CSV, Excel or parquet list of image paths"
STANDARD_INPUT = "-"
# A folder, a pipe, a file that is too large: it will be no other the next time.
IMAGE_FAULTS = (None, errno.EISDIR, errno.EINVAL, errno.EFBIG)

LIST_SUFFIXES = (".csv", ".txt", ".tsv")
MOST_SHOWN = 5
ONE_IMAGE, HELD = "image", "in memory"  # kinds of what is given; any other is a source of its own


def open_images(
    source: Any, work: Path, *, patient_pattern: str | None, standard_input: IO[bytes] | None = None
) -> ImageSet:
    """List the images of one or several sources, and read none of them yet.

    An **image** is a file that is named or begins like one.

    A **folder** is walked to any depth, each folder's images sorted by name before its sub-folders. Names with an image
    suffix count, and links to such files; linked folders are not followed, and folders in which systems keep previews,
    deleted files and the like (``@eaDir``, ``.Trash-1000``) are skipped. A warning tells how many images do not count.
    What cannot be looked at (a sub-folder that cannot be listed, a link that leads nowhere) is one row, which cannot be
    read.

    A **zip** is listed by its central directory, in its order (0.7 kB of memory per member); nothing is unpacked, and
    the same names count as in a folder.

    A **list** is a CSV (``.csv``, ``.tsv``, ``.txt``: commas, semicolons, tabs or bars; UTF-8, or UTF-16 with a mark),
    an Excel workbook (``.xlsx``, with openpyxl; its first sheet) or a parquet file (``.parquet``) with a column
    ``path`` (or ``file`` or ``image``), or a single column of any name. Relative paths start at the list's folder,
    backslashes separate folders where a file of such a name is not there. A column ``patient_id`` (or ``patient``) wins
    over what the name tells. Every path counts, whatever its suffix. The first line of a CSV is a header, unless the
    CSV has one column and that line is empty, ends like an image of any format, has a slash or backslash, or names a
    file that is there. A CSV of one column needs no quotes around names with commas.

    A **parquet file with a column** ``image`` of bytes, or of {bytes, path} as Hugging Face writes it, holds the images
    itself.

    The **label** of an image is that of the list's column ``label``; where the list has none, it is the last folder on
    the image's whole path that is called ``Parasitized`` or ``Uninfected``. See ``malaria_kedro.inference.labels``.

    Of **several** sources, images have the path from the working folder on for a name; a source that is named twice,
    and an image or a folder that lies in another one, is read once, with a warning.

    The listing of a folder or a list is a file in ``work``, and not held in memory.

    The fingerprint covers each image: its size and its times of modification and change, and its content where a file
    system keeps no such times; of a zip, all of its bytes. Where a file is so new that a later change could have the
    same time, this waits until it could not (a twentieth of a second; two seconds where times are whole seconds).

    Args:
        source: a path, a Pillow image, a uint8 H×W×3 array (RGB), or several of them, also as a uint8 N×H×W×3 array.
        work: folder for the listing; it may lie below ``source``, and is left out there.
        patient_pattern: regular expression on the file name, whose first group is the patient; None = names tell none.
        standard_input: what the path ``-`` stands for: a CSV list, or paths with a NUL after each; relative paths start
            at the working folder. None = ``-`` is a file's name.

    Raises:
        SourceError: not there, no image in it, a list without a column of paths, a broken zip or list, a zip with
            two different images of one name, an object that is no image, or a pattern that is not a regular expression
            with a group.
    """
    work = Path(os.path.abspath(work))
    _check_pattern(patient_pattern)
    given = _given(source)
    if len(given) == 1 and (path := given[0].path) and given[0].kind != ONE_IMAGE:
        images = _open_one(path, work, patient_pattern, standard_input)
    else:
        images = SeveralSources(_read_once(given), work, patient_pattern, standard_input)
    shown = [one.shown for one in given[:MOST_SHOWN]]
    images.source = ", ".join(shown) + (f" and {len(given) - MOST_SHOWN:,} more" if len(given) > MOST_SHOWN else "")
    for remark in images.remarks:
        log.info("%s", remark)
    return images


@dataclass(frozen=True, eq=False)
class _Given:
    """One of the sources: as it was given, and its path, if it is one."""

    source: Any
    kind: str
    path: Path | None = None

    @property
    def shown(self) -> str:
        if self.path is None:
            return f"an image in memory ({type(self.source).__name__})"
        return os.path.abspath(self.path) if str(self.path) != STANDARD_INPUT else "standard input"


def _given(source: Any) -> list[_Given]:
    shape = getattr(source, "shape", None)  # of an array or a column; an array of four dimensions is several images
    several = isinstance(source, Iterable) and not isinstance(source, str | bytes | os.PathLike)
    several = several and not hasattr(source, "getbands") and (shape is None or len(shape) in (1, 4))
    found = []
    for one in source if several else [source]:
        if not isinstance(one, str | os.PathLike):
            found.append(_Given(one, HELD))
            continue
        path = Path(os.path.expanduser(one))
        found.append(_Given(one, ONE_IMAGE if _is_an_image(path) else str(len(found)), path))
    if not found:
        raise SourceError(f"no image is given: {WHAT_TO_GIVE}")
    return found


def _is_an_image(path: Path) -> bool:
    try:
        if not path.is_file() or path.suffix.lower() in LIST_SUFFIXES:
            return False
        if is_image_name(path.name) or is_other_image_name(path.name):
            return True
        with path.open("rb") as file:
            return begins_like_an_image(file.read(START))
    except OSError:
        return False


def _read_once(given: list[_Given]) -> list[_Given]:
    """Leave out what is named twice, or is met in a folder that is also given."""
    kept: list[_Given] = []
    paths = [None if one.path is None else Path(os.path.abspath(one.path)) for one in given]
    folders = {path for path in paths if path and os.path.isdir(path)}
    seen: set[Path] = set()
    for one, path in zip(given, paths, strict=True):
        if path and (path in seen or any(_meets(above, path) for above in path.parents if above in folders)):
            continue
        kept.append(one)
        if path:
            seen.add(path)
    if len(kept) < len(given):
        log.warning(
            "given twice, or inside of a given folder, and read once: %d of the sources", len(given) - len(kept)
        )
    return kept


def _meets(folder: Path, path: Path) -> bool:
    """Tell whether the images of a folder include those of a path below it."""
    below = path if os.path.isdir(path) else path.parent
    way = below.relative_to(folder)
    counts = path == below or (is_image_name(path.name) and os.path.isfile(path))
    direct = os.path.realpath(below) == os.path.join(os.path.realpath(folder), way) or below == folder
    return counts and direct and not system_folder(way.parts)


def _open_one(source: Path, work: Path, pattern: str | None, standard_input: IO[bytes] | None = None) -> ImageSet:
    if str(source) == STANDARD_INPUT and standard_input is not None:
        return _open_standard_input(standard_input, work, pattern)
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
                nothing=f"no image in the folder {source}, nor below it ({SUFFIXES} count; linked folders are not "
                "followed): give the folder that holds the cells",
                called=str(source),
            )
        _check_there(source)
        if not source.is_file():
            raise SourceError(f"{source} is neither a file nor a folder: {WHAT_TO_GIVE}")
        return _open_file(source, work, pattern)
    except MalariaKedroError:  # as where the listing cannot be written, which is no fault of the images
        raise
    except OSError as error:
        raise SourceError(f"{source} cannot be listed {why(error, source)}") from error


def read_again(
    source: str, work: Path, names: Collection[str], *, patient_pattern: str | None, fingerprint: str
) -> Iterator[tuple[str, bytes]]:
    """Read some images of sources that ``open_images`` has listed before, and list nothing again.

    Args:
        source: the path, as ``ReadingRequest.images`` has it.
        work: folder of the listing.
        names: of the images, as ``malaria_kedro.names.printable`` writes them.
        patient_pattern: that the source was listed with.
        fingerprint: that the source had.

    Yields:
        Names and bytes; what cannot be read, and what was in memory, is left out.

    Raises:
        SourceError: the source or its listing is gone, or one of these images has changed since (in a zip: any).
    """
    try:
        index = _index(work, fingerprint)
        parts = json.loads(index.read_text(encoding="utf-8")) if index.exists() else [["", source, fingerprint]]
        for prefix, place, part in parts:
            yield from _read_part_again(Path(place), work, names, patient_pattern, part, prefix)
    except FileNotFoundError as error:
        raise SourceError(f"the listing of {source} is gone ({error.filename}): read the images again") from error


def _read_part_again(
    source: Path, work: Path, names: Collection[str], pattern: str | None, fingerprint: str, prefix: str
) -> Iterator[tuple[str, bytes]]:
    changed = f"{source} has changed since its images were read: read them again"
    _check_there(source)
    whole: Callable[[Path, str | None], ImageSet] | None = None
    if source.is_file() and zipfile.is_zipfile(source) and source.suffix.lower() != ".xlsx":
        whole = ZipImages
    elif source.is_file() and _begins_like_parquet(source) and ParquetImages.holds(source):
        whole = ParquetImages
    if whole is not None:
        with whole(source, pattern) as images:
            if images.fingerprint != fingerprint:
                raise SourceError(changed)
            for ref in images.refs():
                outer = printable(_outer(prefix, ref.name))
                if outer in names and (data := _bytes_or_none(images.read, ref)) is not None:
                    yield outer, data
        return
    folder = source if source.is_dir() else source.parent
    state = Fingerprint(b"")
    with _listing(work, fingerprint).open(encoding="ascii") as lines:
        for line in lines:
            name, *_ = json.loads(line)
            outer = printable(_outer(prefix, name))
            if outer not in names:
                continue
            path = _file_of(str(folder), name)
            if not line.startswith(f"{state.add(name, path)[:-1]}, "):
                raise SourceError(changed)
            if (data := _bytes_or_none(read_file, path)) is not None:
                yield outer, data


def is_machine_fault(error: BaseException) -> bool:
    """Tell whether reading an image failed for a reason that may pass, as a lost file, and not because of the image."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in IMAGE_FAULTS)


class FileImages(ImageSet):
    """Images that are files of their own.

    They are listed in a file of ``work``, a line of JSON for each: name, state (that the fingerprint covers), patient
    and label.
    """

    def __init__(
        self,
        folder: Path,
        work: Path,
        request: bytes,
        images: Iterable[ImageRef],
        labels: Labels,
        *,
        nothing: str,
        called: str,
    ) -> None:
        """List the images.

        Args:
            folder: where their names start.
            work: folder for the listing.
            request: begins the fingerprint.
            images: to be listed.
            labels: that ``images`` are labelled by.
            nothing: the error where there are none.
            called: what remarks call the source.
        """
        self.folder = str(folder)
        unfinished, fingerprint, count = work / UNFINISHED, Fingerprint(request), 0
        with writing(unfinished), _lock(work):
            try:
                with unfinished.open("w", encoding="ascii") as listing:
                    for count, image in enumerate(images, start=1):  # noqa: B007, how many there are
                        told = fingerprint.add(image.name, _file_of(self.folder, image.name))
                        listing.write(f"{told[:-1]}, {json.dumps(image.patient)}, {json.dumps(image.label)}]\n")
                if not count:
                    raise SourceError(nothing)
                super().__init__(fingerprint.result(), count)
                self._listing = _listing(work, self.fingerprint)
                unfinished.replace(self._listing)
            finally:
                unfinished.unlink(missing_ok=True)
        self.remarks = labels.remarks(called)

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        with self._listing.open(encoding="ascii") as lines:
            for line in islice(lines, start, None):
                name, *_, patient, label = json.loads(line)
                yield ImageRef(name, patient, label)

    def read(self, ref: ImageRef) -> bytes:
        if not ref.name:
            raise ValueError("the list names no path in this row")
        try:
            return read_file(_file_of(self.folder, ref.name))
        except FileNotFoundError as error:
            if os.sep == "/" and re.match(r"[A-Za-z]:[\\/]", ref.name):
                raise FileNotFoundError(
                    errno.ENOENT,
                    f"no such file: {ref.name[:2]} is a drive of Windows; write paths relative to the list",
                ) from error
            raise


class FolderImages(FileImages):
    """The images below a folder."""

    def read(self, ref: ImageRef) -> bytes:
        if ref.name.endswith("/"):
            os.listdir(os.path.join(self.folder, ref.name))  # tells why it could not be listed
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
            self._labels = Labels(str(path.parent))
            for name in self._members:
                self._labels.of(name)
            self.remarks = self._labels.remarks(path)
        except BaseException:
            self._bundle.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._bundle.close()

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        for name in islice(self._members, start, None):
            yield ImageRef(name, patient_in(name, self._pattern), self._labels.of(name))

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


class SeveralSources(ImageSet):
    """The images of several sources, one source after the other.

    Which they are is kept in a file of ``work``: prefix of the names, place and fingerprint of each.
    """

    def __init__(
        self, given: list[_Given], work: Path, patient_pattern: str | None, standard_input: IO[bytes] | None
    ) -> None:
        """Open them; images that follow each other are one of them."""
        self._parts: list[tuple[str, ImageSet]] = []
        index: list[tuple[str, str, str]] = []
        first = 0
        with ExitStack() as opened:
            for kind, some in groupby(given, lambda one: one.kind):
                group = list(some)
                place, prefix = os.getcwd(), ""
                part: ImageSet
                if kind == HELD:
                    part = HeldImages([one.source for one in group], first, patient_pattern)
                elif kind == ONE_IMAGE:
                    part = _open_files([str(one.path) for one in group], work, patient_pattern)
                else:
                    source = group[0].path
                    assert source is not None
                    part = _open_one(source, work, patient_pattern, standard_input)
                    place, prefix = os.path.abspath(source), str(source)
                    if isinstance(part, FileImages) and not isinstance(part, FolderImages):  # a list
                        place, prefix = part.folder, "" if str(source) == STANDARD_INPUT else str(source.parent)
                first += len(group)
                opened.enter_context(part)
                self._parts.append((prefix, part))
                index.append((prefix, "" if kind == HELD else place, part.fingerprint))
            self._opened = opened.pop_all()
        super().__init__(
            hashlib.sha256(json.dumps(index).encode()).hexdigest(), sum(len(part) for _, part in self._parts)
        )
        self.remarks = [remark for _, part in self._parts for remark in part.remarks]
        write_json(_index(work, self.fingerprint), [part for part in index if part[1]])

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        for prefix, part in self._parts:
            for ref in part.refs(start) if start < len(part) else ():
                yield _PartRef(_outer(prefix, ref.name), ref.patient, ref.label, part, ref)
            start = max(0, start - len(part))

    def read(self, ref: ImageRef) -> Any:
        assert isinstance(ref, _PartRef)
        return ref.part.read(ref.inner)


@dataclass(frozen=True, eq=False)
class _PartRef(ImageRef):
    part: ImageSet = None  # type: ignore[assignment] # fields with a default come before it
    inner: ImageRef = None  # type: ignore[assignment]


def _outer(prefix: str, name: str) -> str:
    """Return what an image of one of several sources is called; a row without a path stays one."""
    return os.path.join(prefix, name) if prefix not in ("", ".") and name else name


def _open_files(paths: list[str], work: Path, pattern: str | None) -> ImageSet:
    """Open single images, by their paths from the working folder on."""
    folder = Path.cwd()
    labels = Labels(str(folder))
    return FileImages(
        folder,
        work,
        request_for("images", folder, pattern),
        (ImageRef(path, patient_in(path, pattern), labels.of(path)) for path in tried(pattern, paths)),
        labels,
        nothing="",
        called="single images",
    )


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
        source.parent, work, fingerprint_of_file("list", source, patient_pattern), rows, patient_pattern, f"{source}"
    )


def _open_standard_input(stream: IO[bytes], work: Path, pattern: str | None) -> ImageSet:
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
        return _open_list(folder, work, hashlib.sha256(request).hexdigest(), rows, pattern, name)
    finally:
        os.unlink(path)


def _open_list(
    folder: Path, work: Path, fingerprint: str, rows: Iterator[Row], pattern: str | None, called: str
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
                labels.of(row.path, row.label),
            )
            for row in tried(pattern, rows, attrgetter("path"))
        ),
        labels,
        nothing=f"the list {called} names no image: give one with a row for each",
        called=called,
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


def _file_of(folder: str, name: str) -> str:
    """Return where an image lies; elsewhere than on Windows its separators count where there is no file of the name.

    A drive of Windows is looked for where its subsystem for Linux mounts it.
    """
    path = os.path.join(folder, name)
    if os.sep == "\\" or "\\" not in name or os.path.lexists(path):
        return path
    other = re.sub(r"^([A-Za-z]):/", lambda drive: f"/mnt/{drive[1].lower()}/", name.replace("\\", "/"))
    return os.path.join(folder, other)


def _begins_like_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _index(work: Path, fingerprint: str) -> Path:
    """Return where several sources are named, if this is a fingerprint of several."""
    return work / f"sources-{fingerprint[:12]}.json"


def _listing(work: Path, fingerprint: str) -> Path:
    """Return where files are listed: the name tells of which request, for requests may share a folder."""
    return work / f"listing-{fingerprint[:12]}.jsonl"


def _bytes_or_none(read: Callable[[Any], Any], what: ImageRef | str) -> bytes | None:
    try:
        data = read(what)
        return data if isinstance(data, bytes) else None  # what was in memory was never a file's
    except MemoryError:
        raise
    except Exception:  # one image that cannot be read does not stop the others
        return None
