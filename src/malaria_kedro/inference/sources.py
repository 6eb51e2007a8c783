"""Sources of new cells: images, folders, zips and lists of paths, read row by row, however many there are."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from malaria_kedro.cells.listing import system_folder
from malaria_kedro.cells.plain_files import START, begins_like_an_image
from malaria_kedro.files import write_json
from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.file_images import FileImages, FolderImages
from malaria_kedro.inference.image_sets import HeldImages, ImageRef, ImageSet
from malaria_kedro.inference.one_source import LIST_SUFFIXES, STANDARD_INPUT, WHAT_TO_GIVE, open_files, open_one
from malaria_kedro.language import N_
from malaria_kedro.names import is_image_name, is_other_image_name

if TYPE_CHECKING:
    from malaria_kedro.inference.repeats import Repeated, Repeats

log = logging.getLogger(__name__)

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

    The **label** of an image is that of the list's column ``label`` (or ``class``); where the list has none, it is the
    last folder on the image's whole path that is called ``Parasitized`` or ``Uninfected``. See
    ``malaria_kedro.inference.labels``.

    Of **several** sources, images have the path from the working folder on for a name; a source that is named twice,
    and an image or a folder that lies in another one, is read once, with a warning.

    A **file that is named again**, by another row, path, link or source, is read once, where it is named first;
    ``repeats`` tells how many names were left out, and how many of these files have another patient or label there. Of
    two patients or labels the first counts; one that the first name does not know is that of the first name that does.
    Other files of equal content (copies, hard links, members of zips, images in parquet files) are images of their own,
    which ``malaria_kedro.inference.results.Results.count_equal`` counts.

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
    from malaria_kedro.inference.repeats import Repeats  # late: it needs numpy, and whoever imports this may not

    repeats = Repeats(work)
    if len(given) == 1 and (path := given[0].path) and given[0].kind != ONE_IMAGE:
        images = open_one(path, work, patient_pattern, standard_input, repeats)
        repeated = repeats.find()
        if repeated.count and isinstance(images, FileImages):
            images.leave_out(repeated)
        images.repeats = _told_of(repeated)
    else:
        images = SeveralSources(_read_once(given), work, patient_pattern, standard_input, repeats)
    shown = [one.shown for one in given[:MOST_SHOWN]]
    images.source = ", ".join(shown) + (f" and {len(given) - MOST_SHOWN:,} more" if len(given) > MOST_SHOWN else "")
    if images.remarks and images.repeats:
        counted = N_("labels are counted in each source, before rows and names of the same file are left out")
        images.remarks = [*images.remarks, counted]
    for remark in images.remarks:
        log.info("%s", remark)
    for sentence in images.repeats:
        log.warning("%s", sentence)
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
        if not os.fspath(one):  # Path("") is the working folder, which nobody has named
            raise SourceError(f"an empty path is given (is a variable unset?): {WHAT_TO_GIVE}")
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
    paths = [None if one.path is None else _place_of(one.path) for one in given]
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


def _place_of(path: Path) -> Path:
    # A link to a list stays one: relative paths start at the link's own folder.
    return Path(os.path.realpath(path) if path.suffix.lower() == ".zip" else os.path.abspath(path))


def _told_of(repeated: Repeated) -> list[str]:
    """Say what was left out, and what was contradictory about it; nothing where no file was named again."""
    if not repeated.count:
        return []
    left_out = N_("rows or names that lead to a file already among the images, and are left out: {count}")
    said = [left_out.format(count=f"{repeated.count:,}")]
    if repeated.differing:
        differing = N_(
            "files whose later rows have another patient or label, of which the first counts (the source that shall "
            "count comes first): {count}"
        )
        said.append(differing.format(count=f"{repeated.differing:,}"))
    if repeated.filled:
        filled = N_("files whose patient or label is that of a later row, because earlier ones have none: {count}")
        said.append(filled.format(count=f"{repeated.filled:,}"))
    return said


def _meets(folder: Path, path: Path) -> bool:
    """Tell whether the images of a folder include those of a path below it."""
    below = path if os.path.isdir(path) else path.parent
    way = below.relative_to(folder)
    counts = path == below or (is_image_name(path.name) and os.path.isfile(path))
    direct = os.path.realpath(below) == os.path.join(os.path.realpath(folder), way) or below == folder
    return counts and direct and not system_folder(way.parts)


class SeveralSources(ImageSet):
    """The images of several sources, one source after the other.

    Which they are is kept in a file of ``work``: prefix of the names, place and fingerprint of each.
    """

    def __init__(
        self,
        given: list[_Given],
        work: Path,
        patient_pattern: str | None,
        standard_input: IO[bytes] | None,
        repeats: Repeats,
    ) -> None:
        """Open them; images that follow each other are one of them."""
        self._parts: list[tuple[str, ImageSet]] = []
        places: list[str] = []
        first = 0
        with ExitStack() as opened:
            for kind, some in groupby(given, lambda one: one.kind):
                group = list(some)
                place, prefix = os.getcwd(), ""
                part: ImageSet
                if kind == HELD:
                    part = HeldImages([one.source for one in group], first, patient_pattern)
                elif kind == ONE_IMAGE:
                    part = open_files([str(one.path) for one in group], work, patient_pattern, repeats)
                else:
                    source = group[0].path
                    assert source is not None
                    part = open_one(source, work, patient_pattern, standard_input, repeats)
                    place, prefix = os.path.abspath(source), str(source)
                    if isinstance(part, FileImages) and not isinstance(part, FolderImages):  # a list
                        place, prefix = part.folder, "" if str(source) == STANDARD_INPUT else str(source.parent)
                first += len(group)
                opened.enter_context(part)
                self._parts.append((prefix, part))
                places.append("" if kind == HELD else place)
            repeated = repeats.find()
            for _, part in self._parts if repeated.count else ():
                if isinstance(part, FileImages):
                    part.leave_out(repeated)
            self._opened = opened.pop_all()
        index = [(prefix, place, part.fingerprint) for (prefix, part), place in zip(self._parts, places, strict=True)]
        super().__init__(
            hashlib.sha256(json.dumps(index).encode()).hexdigest(), sum(len(part) for _, part in self._parts)
        )
        self.remarks = [remark for _, part in self._parts for remark in part.remarks]
        self.repeats = _told_of(repeated)
        write_json(index_in(work, self.fingerprint), [part for part in index if part[1]])

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        for prefix, part in self._parts:
            for ref in part.refs(start) if start < len(part) else ():
                yield _PartRef(outer_name(prefix, ref.name), ref.patient, ref.label, part, ref)
            start = max(0, start - len(part))

    def read(self, ref: ImageRef) -> Any:
        assert isinstance(ref, _PartRef)
        return ref.part.read(ref.inner)


@dataclass(frozen=True, eq=False)
class _PartRef(ImageRef):
    part: ImageSet = None  # type: ignore[assignment] # fields with a default come before it
    inner: ImageRef = None  # type: ignore[assignment]


def outer_name(prefix: str, name: str) -> str:
    """Return what an image of one of several sources is called; a row without a path stays one."""
    return os.path.join(prefix, name) if prefix not in ("", ".") and name else name


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise SourceError(f"patient_pattern {pattern!r} is not a regular expression: {error}") from error
    if not groups:
        raise SourceError(f"patient_pattern {pattern!r} has no group (…): its first group is the patient")


def index_in(work: Path, fingerprint: str) -> Path:
    """Return where several sources are named, if this is a fingerprint of several."""
    return work / f"sources-{fingerprint[:12]}.json"
