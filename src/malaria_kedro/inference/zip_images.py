"""The images of a zip, read in place."""

from __future__ import annotations

import zipfile
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from malaria_kedro.cells.patient_pattern import tried
from malaria_kedro.cells.plain_files import MAX_FILE_BYTES, too_large
from malaria_kedro.cells.zips import ENCRYPTED, leads_out, open_zip
from malaria_kedro.inference.contents import SUFFIXES, SourceError, images_in_zip
from malaria_kedro.inference.fingerprints import fingerprint_of_file
from malaria_kedro.inference.image_sets import ImageRef, ImageSet, patient_in
from malaria_kedro.inference.labels import Labels


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
