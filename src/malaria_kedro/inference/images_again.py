"""Reads some images of sources again that were listed before, as a page does that shows them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from malaria_kedro.cells.plain_files import read_file
from malaria_kedro.inference.contents import SourceError
from malaria_kedro.inference.file_images import file_of, listing_in
from malaria_kedro.inference.fingerprints import Fingerprint
from malaria_kedro.inference.image_sets import ImageRef, ImageSet, ParquetImages
from malaria_kedro.inference.one_source import check_there
from malaria_kedro.inference.sources import index_in, outer_name
from malaria_kedro.inference.zip_images import ZipImages
from malaria_kedro.names import printable


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
        index = index_in(work, fingerprint)
        parts = json.loads(index.read_text(encoding="utf-8")) if index.exists() else [["", source, fingerprint]]
        for prefix, place, part in parts:
            yield from _read_part_again(Path(place), work, names, patient_pattern, part, prefix)
    except FileNotFoundError as error:
        raise SourceError(f"the listing of {source} is gone ({error.filename}): read the images again") from error


def _read_part_again(
    source: Path, work: Path, names: Collection[str], pattern: str | None, fingerprint: str, prefix: str
) -> Iterator[tuple[str, bytes]]:
    changed = f"{source} has changed since its images were read: read them again"
    check_there(source)
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
                outer = printable(outer_name(prefix, ref.name))
                if outer in names and (data := _bytes_or_none(images.read, ref)) is not None:
                    yield outer, data
        return
    folder = source if source.is_dir() else source.parent
    state = Fingerprint(b"")
    with listing_in(work, fingerprint).open(encoding="ascii") as lines:
        for line in lines:
            name, *_ = json.loads(line)
            outer = printable(outer_name(prefix, name))
            if outer not in names:
                continue
            path = file_of(str(folder), name)
            if not line.startswith(f"{state.add(name, path)[:-1]}, "):
                raise SourceError(changed)
            if (data := _bytes_or_none(read_file, path)) is not None:
                yield outer, data


def _begins_like_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _bytes_or_none(read: Callable[[Any], Any], what: ImageRef | str) -> bytes | None:
    try:
        data = read(what)
        return data if isinstance(data, bytes) else None  # what was in memory was never a file's
    except MemoryError:
        raise
    except Exception:  # one image that cannot be read does not stop the others
        return None
