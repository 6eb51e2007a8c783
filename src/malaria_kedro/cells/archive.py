"""The archive of cells: where it comes from, and the check that it is the one that was asked for."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from malaria_kedro.cells.download import download, looks_like_a_web_page
from malaria_kedro.cells.zips import open_zip
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import look_at, sha256_of, write_json
from malaria_kedro.language import N_
from malaria_kedro.names import printable
from malaria_kedro.parameters import Source
from malaria_kedro.redaction import redact, redact_url

PHANTOM_ARCHIVE = "phantom_cells.zip"
LONGEST_NAME = 200  # bytes; a disk takes 255, and a part file's name is longer


class ArchiveError(MalariaKedroError, ValueError):
    """The archive is missing, unreadable or not the expected one; the message names the path and what to do."""


@dataclass(frozen=True)
class CellArchive:
    """A zip, or a folder with cells.

    Attributes:
        path: the zip, or the folder with cells.
        kind: ``zip`` or ``folder``.
        sha256: of the zip; None for a folder.
        bytes: size of the zip; None for a folder.
        phantom: whether the cells are drawn, not photographed.
        origin: the address (without user, query and fragment), the file's name, or that malaria-kedro drew it.
    """

    path: Path
    kind: Literal["zip", "folder"]
    sha256: str | None
    bytes: int | None
    phantom: bool
    origin: str

    def relative_to(self, folder: Path) -> CellArchive:
        """Return the archive as a file in ``folder`` keeps it."""
        return replace(self, path=relative_below(self.path, folder))

    def seen_from(self, folder: Path) -> CellArchive:
        """Undo `relative_to`, for an archive that was read from JSON."""
        # Earlier versions wrote the address with whatever secrets it had.
        return replace(self, path=_absolute(folder) / self.path, origin=redact(self.origin))


def acquire(source: Source, into: Path) -> CellArchive:
    """Provide the archive that was asked for, and check that it is the right one.

    A path wins over phantoms, and phantoms over a url. A local path is used in place, never copied or changed; phantoms
    are drawn and downloads stored in the folder ``into`` (``data/01_raw``), unless they are there already.

    Raises:
        ArchiveError: the path is missing, not a readable zip, an empty folder, or has the wrong hash.
        DownloadError: the file could not be downloaded.
    """
    into = _absolute(into)
    if source.path:
        return _local(_absolute(Path(source.path)), source.path_sha256)
    if source.phantoms:
        from malaria_kedro.cells.phantoms import draw_archive  # late: only drawing needs its imports

        into.mkdir(parents=True, exist_ok=True)
        return _zip(draw_archive(source.phantoms, into / PHANTOM_ARCHIVE))
    assert source.url and source.sha256  # noqa: PT018, a source without path and phantoms has both: it checks that
    path = download(
        source.url,
        into / _file_name(source.url),
        sha256=source.sha256,
        bytes=source.bytes,
        # A zip is hardly longer than what it unpacks to: only its list of names comes on top.
        max_bytes=source.max_unpacked_bytes,
    )
    return replace(_zip(path), origin=redact_url(source.url))


def refuse_other_archive(archive: CellArchive, source: Source) -> None:
    """Raise ArchiveError for an archive that was acquired with another ``path``, ``phantoms`` or ``sha256``."""
    if source.path:
        name, same = "path", archive.path == _absolute(Path(source.path))
    elif source.phantoms:
        name, same = "phantoms", archive.phantom and _recipe_of(archive.path) in (None, source.phantoms.model_dump())
    else:
        name, same = "sha256", archive.sha256 == source.sha256
    if not same:
        raise ArchiveError(
            f"the cells that are there come from {archive.origin}, acquired with another source.{name} than now: run "
            "the data_engineering pipeline from its start"
        )


def _recipe_of(path: Path) -> Any:
    """Return the recipe of phantoms, as their archive has it; None = it is gone, and only its cells are left."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.comment)["phantoms"]
    except OSError:
        return None


def write_pointer(archive: CellArchive, pointer: Path) -> None:
    """Write where the archive is, as JSON."""
    write_json(pointer, {"archive": asdict(archive.relative_to(pointer.parent))})


def read_pointer(pointer: Path) -> CellArchive:
    """Read what `write_pointer` wrote.

    Raises:
        ArchiveError: no pointer, an unreadable one, or the archive has gone or changed its size.
    """
    again = "run the data_engineering pipeline from its start"
    try:
        content = json.loads(pointer.read_text(encoding="utf-8"))["archive"]
        archive = CellArchive(**content).seen_from(pointer.parent)
    except FileNotFoundError as error:
        raise ArchiveError(f"{pointer} is not there: no archive was acquired yet; {again}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{pointer} is unreadable ({error!r}): remove it and {again}") from error
    there = _look_at(archive.path, "the archive")
    if not there or not (stat.S_ISDIR if archive.kind == "folder" else stat.S_ISREG)(there.st_mode):
        raise ArchiveError(f"the archive {archive.path} has gone since it was acquired: bring it back, or {again}")
    if archive.kind == "zip" and (size := there.st_size) != archive.bytes:
        raise ArchiveError(
            f"the archive {archive.path} had {archive.bytes} bytes when acquired and has {size} now: {again}"
        )
    return archive


def relative_below(path: Path, folder: Path) -> Path:
    """Return a path relative to ``folder`` when it lies below, so that a project may be moved; else absolute."""
    path, folder = _absolute(path), _absolute(folder)
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _look_at(path: Path, what: str) -> os.stat_result | None:
    try:
        return look_at(path)
    except OSError as error:
        raise ArchiveError(
            f"{what} {path} cannot be looked at ({error.strerror or error}); check the path, and the rights on its "
            "folder"
        ) from error


def _local(path: Path, path_sha256: str | None) -> CellArchive:
    there = _look_at(path, "source.path:")
    if not there:
        raise ArchiveError(
            f"source.path: {path} does not exist; give a zip, or a folder with Parasitized/ and Uninfected/"
        )
    if not stat.S_ISDIR(there.st_mode):
        if not stat.S_ISREG(there.st_mode):  # one that is read may never end
            raise ArchiveError(f"source.path: {path} is a pipe, a socket or a device; give a zip, or a folder")
        archive = _zip(path)
        if path_sha256 and archive.sha256 != path_sha256:
            raise ArchiveError(
                f"{path}: expected sha256 {path_sha256} (source.path_sha256), the file has {archive.sha256}. "
                "Get the right file, or correct the parameter."
            )
        return archive
    if path_sha256:
        raise ArchiveError(f"source.path_sha256 is given, but {path} is a folder, which has no hash: set it to null")
    try:
        empty = not any(path.iterdir())
    except OSError as error:
        raise ArchiveError(
            f"source.path: the folder {path} cannot be listed ({error.strerror or error}); check its permissions"
        ) from error
    if empty:
        raise ArchiveError(f"source.path: the folder {path} is empty; it should hold Parasitized/ and Uninfected/")
    return CellArchive(path, "folder", None, None, False, printable(path.name))


def _zip(path: Path) -> CellArchive:
    try:
        with open_zip(path) as archive:
            # Phantoms stay phantoms when their zip is given as a path: cells.phantoms signs what it draws.
            phantom = archive.comment.startswith(b'{"drawing":')
    except (OSError, zipfile.BadZipFile) as error:
        raise ArchiveError(f"{path} is not a readable zip: {_what_instead(path, error)}") from error
    origin = N_("phantom cells drawn by malaria-kedro") if phantom else printable(path.name)
    return CellArchive(path, "zip", sha256_of(path), path.stat().st_size, phantom, origin)


def _what_instead(path: Path, error: Exception) -> str:
    if not os.path.isfile(path):
        return "it is neither a file nor a folder"
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if not start:
            return "it is empty; get it again"
        if looks_like_a_web_page(path):
            return "it is a web page, perhaps a login or error page saved under the archive's name; get it again"
    except OSError as unreadable:
        return f"{unreadable.strerror}; check its permissions"
    if start != b"PK\x03\x04":
        return f"{error}; give a zip, or an unpacked folder"
    if "not a zip file" in str(error):
        return f"it begins like one, but its end is missing or damaged ({error}), as after a cut download; get it again"
    return f"it is one, but the list of its files is damaged or of an unknown version ({error}); get it again"


def _file_name(url: str) -> str:
    """Return the name of a download: never one that the project gives to a file of its own in the same folder.

    Of those, only the phantoms' ends in ``.zip`` and does not begin with a dot.
    """
    # What follows a semicolon may be a secret, as in ";jsessionid=…", and a name is written everywhere.
    name = PurePosixPath(unquote(urlsplit(url).path)).name.partition(";")[0]
    name = re.sub(r"[\x00-\x1f\x7f\\/:*?\"<>|]", "_", name).strip(". ") or "cell_images"
    if len(name.encode()) > LONGEST_NAME:
        name = hashlib.sha256(name.encode()).hexdigest()
    name = name if name.lower().endswith(".zip") else f"{name}.zip"
    return f"downloaded_{name}" if name.lower() == PHANTOM_ARCHIVE else name


def _absolute(path: Path) -> Path:
    # Not resolve(): a link that the user gave stays the name that the user knows.
    return Path(os.path.abspath(path))
