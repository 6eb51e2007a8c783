"""Images that are files of their own: of a folder, of a list, or given one by one."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from filelock import FileLock

from malaria_kedro.cells.plain_files import read_file
from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.fingerprints import Fingerprint
from malaria_kedro.inference.image_sets import ImageRef, ImageSet
from malaria_kedro.inference.labels import Labels
from malaria_kedro.machine import writing

UNFINISHED = ".listing-unfinished"
LISTING_LOCK = ".listing.lock"


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
                        told = fingerprint.add(image.name, file_of(self.folder, image.name))
                        listing.write(f"{told[:-1]}, {json.dumps(image.patient)}, {json.dumps(image.label)}]\n")
                if not count:
                    raise SourceError(nothing)
                super().__init__(fingerprint.result(), count)
                self._listing = listing_in(work, self.fingerprint)
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


def listing_in(work: Path, fingerprint: str) -> Path:
    """Return where files are listed: the name tells of which request, for requests may share a folder."""
    return work / f"listing-{fingerprint[:12]}.jsonl"


def _lock(work: Path) -> FileLock:
    """Return the lock of a listing, which another process may be writing, too."""
    work.mkdir(parents=True, exist_ok=True)
    return FileLock(work / LISTING_LOCK)
