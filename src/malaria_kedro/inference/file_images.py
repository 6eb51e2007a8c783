"""Images that are files of their own: of a folder, of a list, or given one by one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from malaria_kedro.cells.plain_files import read_file
from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.fingerprints import Fingerprint
from malaria_kedro.inference.image_sets import ImageRef, ImageSet
from malaria_kedro.inference.labels import Labels
from malaria_kedro.machine import writing

if TYPE_CHECKING:
    from malaria_kedro.inference.repeats import Repeated, Repeats

UNFINISHED = ".listing-unfinished"
LISTING_LOCK = ".listing.lock"


class FileImages(ImageSet):
    """Images that are files of their own.

    They are listed in a file of ``work``, a line of JSON for each: name, state (that the fingerprint covers), patient
    and label. A file is one image, however it is named: by a relative and an absolute path, or by a link. Its other
    hard links are images of their own, whose content is equal.
    """

    def __init__(
        self,
        folder: Path,
        work: Path,
        request: bytes,
        images: Iterable[ImageRef],
        labels: Labels,
        *,
        repeats: Repeats,
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
            repeats: told of each row, and of the file that it stands for.
            nothing: the error where there are none.
            called: what remarks call the source.
        """
        self.folder, self._work, self._first_row = str(folder), work, repeats.rows
        folders = lru_cache(maxsize=4096)(os.path.realpath)
        unfinished, fingerprint, count = work / UNFINISHED, Fingerprint(request), 0
        with writing(unfinished), _lock(work):
            try:
                with unfinished.open("w", encoding="ascii") as listing:
                    for count, image in enumerate(images, start=1):  # noqa: B007, how many there are
                        path = file_of(self.folder, image.name)
                        told = fingerprint.add(image.name, path)
                        about = f"{json.dumps(image.patient)}, {json.dumps(image.label)}"
                        listing.write(f"{told[:-1]}, {about}]\n")
                        label = repeats.NONE if image.no_class else image.label
                        repeats.add(_place_of(path, folders) if image.name else b"", (image.patient, label))
                if not count:
                    raise SourceError(nothing)
                super().__init__(fingerprint.result(), count)
                self._listing = listing_in(work, self.fingerprint)
                self._was_there = self._listing.exists()  # another request's
                unfinished.replace(self._listing)
            finally:
                unfinished.unlink(missing_ok=True)
        self.remarks = labels.remarks(called)

    def leave_out(self, repeated: Repeated) -> None:
        """Leave out rows whose file an earlier row stands for, in this source or in one before it.

        Those that stay get the patient and the label of a later row where they have none.
        """
        unfinished, before = self._work / UNFINISHED, self._listing
        digest, count, filled = hashlib.sha256(self.fingerprint.encode()), 0, False
        with writing(unfinished), _lock(self._work):
            try:
                with before.open(encoding="ascii") as lines, unfinished.open("w", encoding="ascii") as listing:
                    for row, line in enumerate(lines):
                        if self._first_row + row in repeated:
                            digest.update(b"%d\n" % row)
                            continue
                        patient, label = repeated.filling(self._first_row + row)
                        if patient or label:
                            *known, its_patient, its_label = json.loads(line)
                            line = f"{json.dumps([*known, its_patient or patient, its_label or label])}\n"
                            digest.update(b"%d %s" % (row, line.encode()))
                            filled = True
                        listing.write(line)
                        count += 1
                if filled or count < len(self):
                    super().__init__(digest.hexdigest(), count)
                    self._listing = listing_in(self._work, self.fingerprint)
                    unfinished.replace(self._listing)
                    if not self._was_there:
                        before.unlink()
            finally:
                unfinished.unlink(missing_ok=True)

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        with self._listing.open(encoding="ascii") as lines:
            for line in islice(lines, start, None):
                name, *_, patient, label = json.loads(line)
                yield ImageRef(name, patient, label)

    def read(self, ref: ImageRef) -> bytes:
        if not ref.name:
            raise ValueError("the list names no path in this row")
        try:
            return read_file(file_of(self.folder, ref.name))
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


def file_of(folder: str, name: str) -> str:
    """Return where an image lies; elsewhere than on Windows its separators count where there is no file of the name.

    A drive of Windows is looked for where its subsystem for Linux mounts it.
    """
    path = os.path.join(folder, name)
    if os.sep == "\\" or "\\" not in name or os.path.lexists(path):
        return path
    other = re.sub(r"^([A-Za-z]):/", lambda drive: f"/mnt/{drive[1].lower()}/", name.replace("\\", "/"))
    return os.path.join(folder, other)


def _place_of(path: str, real: Callable[[str], str]) -> bytes:
    """Return what is the same for all names of a file; ``real`` resolves its folder."""
    folder, name = os.path.split(path)
    try:
        place = os.path.join(real(folder), name)
        if name in ("", os.curdir, os.pardir) or os.path.islink(place):
            place = os.path.realpath(path)
    except (OSError, ValueError):  # no file can have such a name
        place = path
    return os.fsencode(os.path.normcase(place))


def listing_in(work: Path, fingerprint: str) -> Path:
    """Return where files are listed: the name tells of which request, for requests may share a folder."""
    return work / f"listing-{fingerprint[:12]}.jsonl"


def _lock(work: Path) -> FileLock:
    """Return the lock of a listing, which another process may be writing, too."""
    work.mkdir(parents=True, exist_ok=True)
    return FileLock(work / LISTING_LOCK)
