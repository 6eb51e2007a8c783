"""Sets of images: what they have in common, and those whose images are no files of their own."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from malaria_kedro.cells.patient_pattern import tried
from malaria_kedro.cells.plain_files import read_file
from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.fingerprints import fingerprint_of_file
from malaria_kedro.inference.image_lists import Columns, class_names, column_names, readable_parquet, texts
from malaria_kedro.inference.labels import Labels
from malaria_kedro.names import patient_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL import Image

# A folder, a pipe, a file that is too large: it will be no other the next time.
IMAGE_FAULTS = (None, errno.EISDIR, errno.EINVAL, errno.EFBIG)
IMAGES_AT_ONCE = 64  # of a parquet file, with their bytes
NO_PATH = "row "  # what an image without a path is called, with its number


@dataclass(frozen=True)
class ImageRef:
    """One image of a source.

    Attributes:
        name: what the source calls it: the path below the folder, the zip member's name, or the path as the list has
            it. Bytes that are not UTF-8 stand in it as Python's surrogates, as in ``os.fsdecode``.
        patient: the patient, where the list or the name tells.
        label: ``Parasitized`` or ``Uninfected``, where the list or a class folder tells.
        no_class: whether the list says that it is something else, which is no label.
    """

    name: str
    patient: str | None = None
    label: str | None = None
    no_class: bool = field(default=False, kw_only=True)


class ImageSet:
    """The images of one source, in an order that does not change from one run to the next.

    Attributes:
        fingerprint: sha256 of what identifies the request: the source and what it held, every image with it.
        remarks: how labels were read, and what was assumed; empty where there is none.
        repeats: what was left out because its file is among the images already; empty where there is none.
    """

    source = ""  # its absolute path; of several, those of the first, and how many there are
    remarks: Sequence[str] = ()
    repeats: Sequence[str] = ()

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

    def read(self, ref: ImageRef) -> bytes | Image.Image | np.ndarray:
        """Return one image, nearly always its file's bytes; called from many threads at once.

        Raises:
            Exception: many kinds (OSError, those of zip decoders, ValueError); each costs the caller one row, and
                ``is_machine_fault`` tells which may have gone by the next time.
        """
        raise NotImplementedError


def is_machine_fault(error: BaseException) -> bool:
    """Tell whether reading an image failed for a reason that may pass, as a lost file, and not because of the image."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in IMAGE_FAULTS)


def patient_in(name: str, pattern: str | None) -> str | None:
    """Return the patient that a name tells; a group that matches nothing names none."""
    return (patient_of(name.replace("\\", "/"), pattern) or None) if pattern else None


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class _HeldRef(ImageRef):
    content: Any = None


class HeldImages(ImageSet):
    """Pillow images and uint8 H×W×3 arrays, RGB, in memory; reading them is never continued."""

    def __init__(self, images: Sequence[Any], first: int, patient_pattern: str | None) -> None:
        """Take them; ``first`` is the number of the first in what was given. ``SourceError``: one is no such image."""
        labels = Labels("")
        self._refs = []
        names = (str(getattr(image, "filename", "") or f"image {number}") for number, image in enumerate(images, first))
        for number, (name, image) in enumerate(zip(tried(patient_pattern, names), images, strict=True), start=first):
            if (dtype := getattr(image, "dtype", None)) is not None:
                shape = tuple(image.shape)
                if str(dtype) != "uint8" or len(shape) != 3 or shape[2] != 3:
                    raise SourceError(
                        f"image {number} is {dtype} {shape}: an array must be uint8 H×W×3, RGB (0 to 255)"
                    )
            elif not hasattr(image, "getbands"):
                raise SourceError(
                    f"image {number} is of type {type(image).__name__}: give paths, Pillow images or uint8 arrays H×W×3"
                )
            self._refs.append(_HeldRef(name, patient_in(name, patient_pattern), labels.of(name), image))
        super().__init__(os.urandom(32).hex(), len(self._refs))
        self.remarks = labels.remarks("images in memory")

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        return iter(self._refs[start:])

    def read(self, ref: ImageRef) -> Image.Image | np.ndarray:
        return cast("_HeldRef", ref).content


class ParquetImages(ImageSet):
    """Images whose bytes a parquet file holds, as data sets of Hugging Face do.

    Its column ``image`` holds {bytes, path}, or the bytes alone. An image is called by its path, or ``row 0``, …
    """

    def __init__(self, path: Path, patient_pattern: str | None) -> None:
        """Count and label them; no image is read. ``SourceError``: it is no readable parquet file, or has no row."""
        self._path, self._pattern = path, cast("str | None", None)
        labels = self._labels()
        count = sum(1 for _ in tried(patient_pattern, self._rows(0, labels, with_images=False), attrgetter("name")))
        self._pattern = patient_pattern
        if not count:
            raise SourceError(f"{path} holds no image: give a parquet file with a row for each")
        super().__init__(fingerprint_of_file("parquet", path, patient_pattern), count)
        self.remarks = labels.remarks(path)

    @staticmethod
    def holds(path: Path) -> bool:
        """Tell whether a parquet file holds images rather than their paths; ``SourceError``: it is not readable."""
        with readable_parquet(path) as table:
            return bool(image_column(table.schema_arrow)[0])

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        return self._rows(start, self._labels(), with_images=True)

    def read(self, ref: ImageRef) -> bytes:
        content = cast("_HeldRef", ref).content
        if content is None and ref.name.startswith(NO_PATH):
            raise ValueError("the parquet file holds no image in this row")
        return read_file(self._path.parent / ref.name) if content is None else content

    def _labels(self) -> Labels:
        with readable_parquet(self._path) as table:
            return Labels(str(self._path.parent), class_names(table.schema_arrow))

    def _rows(self, start: int, labels: Labels, *, with_images: bool) -> Iterator[_HeldRef]:
        with readable_parquet(self._path) as table:
            names = column_names(table.schema_arrow)
            _, *others = Columns.among(names)
            patient, label = (None if at is None else names[at] for at in others)
            image, is_struct = image_column(table.schema_arrow)
            wanted = [image if with_images or not is_struct else f"{image}.path"]
            row = 0
            for group in range(table.num_row_groups):
                size = table.metadata.row_group(group).num_rows
                if row + size <= start:  # nothing of it is read
                    row += size
                    continue
                columns = [*wanted, *filter(None, (patient, label))]
                for batch in table.iter_batches(IMAGES_AT_ONCE, row_groups=[group], columns=columns):
                    said, told = texts(batch, patient), texts(batch, label)
                    for at, held in enumerate(batch.column(image).to_pylist()):
                        if row >= start:
                            about = (held or {}) if is_struct else {"bytes": held}
                            name = about.get("path") or f"{NO_PATH}{row}"
                            who = said[at].strip() if said else ""
                            yield _HeldRef(
                                name,
                                unicodedata.normalize("NFC", who) or patient_in(name, self._pattern),
                                labels.of(name, told[at] if told else None),
                                about.get("bytes"),
                            )
                        row += 1


def image_column(schema: pa.Schema) -> tuple[str, bool]:
    """Return the name of the column that holds images, "" if there is none, and whether it holds {bytes, path}."""
    for name in schema.names:
        if name.lower() == "image":
            kind = str(schema.field(name).type)
            if kind in ("binary", "large_binary"):
                return name, False
            if kind.startswith("struct<") and "bytes: " in kind and "path: " in kind:
                return name, True
    return "", False
