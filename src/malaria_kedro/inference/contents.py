"""Which images a folder or a zip holds, however many there are, and how many files are not read."""

from __future__ import annotations

import heapq
import json
import logging
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

from malaria_kedro.cells.listing import system_folder
from malaria_kedro.cells.plain_files import begins_like_an_image, start_of
from malaria_kedro.cells.zips import same_content, slashed, start_of_member
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.names import IMAGE_SUFFIXES, is_image_name, is_other_image_name

log = logging.getLogger(__name__)

SUFFIXES = " ".join(sorted(IMAGE_SUFFIXES))
# Names sorted in memory at once, some 10 MB; a folder of more is sorted in pieces on disk.
SORTED_AT_ONCE = 100_000
MOST_NAMED = 20  # entries that cannot be looked at, in the log

FOLDER, IMAGE, NO_IMAGE = "folder", "image", "no image"
# What is not read, or not as expected; the log says how many there are.
BROKEN = "entries that cannot be looked at, a row each"
LINKED_FOLDER = "linked folders, which are not followed"
DEAD_LINK = "links that lead nowhere and are not named like images, not read"
TWICE = "images with the name and the content of another, read once"
ANOTHER_KIND = "images with a suffix of another kind, not read (convert them to PNG, or name the files in a list)"
NO_NAME = "images whose name begins with a dot or lacks an image suffix, not read (rename them, or name them in a list)"


class SourceError(MalariaKedroError, ValueError):
    """The images cannot be listed; the message names the source and says what to do."""


def images_below(root: Path, left_out: Path) -> Iterator[str]:
    """Yield the path below the root of every image, each folder's before its sub-folders'.

    Paths that cannot be looked at are yielded, too; a folder among them ends with a slash. There is neither recursion
    nor a list of all files, because neither the depth nor the number of files is bounded.

    Args:
        root: the folder.
        left_out: a folder that is not looked into; names are sorted there, if they are many.
    """
    passed: Counter[str] = Counter()
    of_systems: Counter[str] = Counter()
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
                        # A link in a loop, or into a folder without permission: it may be an image.
                        _warn_of_broken(passed, entry.path, "looked at", error)
                        kind = IMAGE
                    if kind == IMAGE:
                        files.add(folder + entry.name)
                    elif kind != FOLDER:
                        passed[kind] += 1
                    elif system_folder((entry.name,)):
                        of_systems[entry.name] += 1
                    elif os.path.join(root, folder, entry.name) != str(left_out):
                        folders.add(f"{folder}{entry.name}/")
        except OSError as error:
            if not folder:
                raise
            _warn_of_broken(passed, os.path.join(root, folder), "listed", error)
            files.add(folder)  # besides what was listed before the error
        yield from files
        waiting.append(iter(folders))
    _warn_of_passed(passed, of_systems, root)


def images_in_zip(bundle: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the images of an open zip by their names, in its order.

    Raises:
        SourceError: it has two different images of one name.
    """
    images: dict[str, zipfile.ZipInfo] = {}
    passed: Counter[str] = Counter()
    of_systems: dict[str, str] = {}
    for member in bundle.infolist():
        *folder, name = slashed(member).split("/")
        if system := system_folder(tuple(folder)):
            of_systems["/".join(folder[: folder.index(system) + 1])] = system
        elif member.is_dir():
            continue
        elif not is_image_name(name):
            passed[_kind_by_content(name, partial(start_of_member, bundle, member))] += 1
        elif (other := images.setdefault(member.filename, member)) is not member:
            if not same_content(other, member):
                raise SourceError(
                    f"{path} has two different images called {member.filename}: pack it again, each with a name of its "
                    "own"
                )
            passed[TWICE] += 1
    _warn_of_passed(passed, Counter(of_systems.values()), path)
    return images


def _kind(entry: os.DirEntry[str]) -> str:
    """Return the kind of a folder's entry; raise OSError where it cannot be looked at."""
    if entry.is_dir(follow_symlinks=False):
        return FOLDER
    if entry.is_dir():
        return LINKED_FOLDER
    if is_image_name(entry.name):  # even if it is not a file: what cannot be read is a row, and not silently missing
        return IMAGE
    if entry.is_symlink() and not os.path.exists(entry.path):
        return DEAD_LINK
    return _kind_by_content(entry.name, lambda: start_of(entry.path) if entry.is_file() else b"")


def _kind_by_content(name: str, start: Callable[[], bytes]) -> str:
    """Tell what a file is that is not named like an image that is read."""
    if is_other_image_name(name):
        return ANOTHER_KIND
    return NO_NAME if begins_like_an_image(start()) else NO_IMAGE


def _warn_of_broken(passed: Counter[str], path: str, what: str, error: OSError) -> None:
    passed[BROKEN] += 1
    if passed[BROKEN] <= MOST_NAMED:  # the rows name all of them
        log.warning("%s cannot be %s (%s)", path, what, error.strerror or error)


def _warn_of_passed(passed: Counter[str], of_systems: Counter[str], source: Path) -> None:
    for kind in sorted(passed.keys() - {NO_IMAGE}):
        log.warning("%s: %d in %s", kind, passed[kind], source)
    if of_systems:
        log.warning(
            "folders where systems keep previews, deleted files and the like, not read: %d in %s (%s)",
            of_systems.total(),
            source,
            ", ".join(sorted(of_systems)),
        )


class _Sorted:
    """Names, to be iterated once in order: up to `SORTED_AT_ONCE` in memory, more in sorted temporary files."""

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
