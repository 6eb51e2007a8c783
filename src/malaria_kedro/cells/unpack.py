"""The archive as folders: ``train/Parasitized`` and ``train/Uninfected``, whole or not at all."""

from __future__ import annotations

import errno
import json
import logging
import lzma
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from malaria_kedro.cells.archive import CellArchive, archive_from_json, archive_to_json, path_to_json
from malaria_kedro.cells.names import CLASSES, is_image_name
from malaria_kedro.cells.progress import megabytes, progress
from malaria_kedro.files import write_json

log = logging.getLogger(__name__)

MANIFEST = "cell_images.json"
TRAIN = "train"
# Where the class folders may be: bare, ours, the official archive's, and Kaggle's re-pack (which holds both copies).
LAYOUTS = ((), (TRAIN,), ("cell_images",), ("cell_images", "cell_images"))
UNFINISHED = ".unpacking-"
CHUNK = 1 << 20

# The keys of `CellFolder.skipped` that are not a file's name or ending.
DUPLICATE = "duplicate"
DOT_FILE = "dot file"
ELSEWHERE = "image outside the class folders"
FOLDER = "folder"
LINK = "link"
MACOS = "__MACOSX"
NO_SUFFIX = "file without a suffix"

# What reading a damaged member raises. (Its password and its method are looked at before.)
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, UnicodeDecodeError)


class UnpackError(ValueError):
    """The archive cannot become class folders; the message names the archive, the member and what to do."""


@dataclass(frozen=True)
class CellFolder:
    """Images in their class folders.

    Attributes:
        root: the folder that holds the class folders.
        counts: images per class, keys ``Parasitized`` and ``Uninfected``.
        skipped: what was no image of a class, by name, ending or reason, e.g. ``{"Thumbs.db": 2, "duplicate": 9}``.
        archive: what the images came from.
    """

    root: Path
    counts: dict[str, int]
    skipped: dict[str, int]
    archive: CellArchive


@dataclass(frozen=True)
class UnpackPlan:
    """What is to be unpacked, and the most it may become.

    Attributes:
        archive: a zip or a folder.
        max_unpacked_bytes: a zip whose images are larger in all is refused.
    """

    archive: CellArchive
    max_unpacked_bytes: int


def unpack(archive: CellArchive, into: Path, *, max_unpacked_bytes: int) -> CellFolder:
    """Turn a zip into ``<into>/train/<Class>/<name>``; look at a folder where it is, and copy nothing of it.

    A tree appears only when it is complete, with ``<into>/cell_images.json`` written last; the same archive a second
    time does nothing. An image that is damaged inside a readable zip is written as far as it could be read (often
    empty) and logged: it stays a cell, and the index knows it as a broken one.

    Args:
        archive: what `acquire` found.
        into: folder for the tree and its manifest, ``data/02_intermediate/cell_images``.
        max_unpacked_bytes: more than this is refused, be it declared or found while writing.

    Raises:
        UnpackError: unsafe members, too large, a class missing, two different images of one name, no room.
    """
    into = Path(os.path.abspath(into))
    into.mkdir(parents=True, exist_ok=True)
    folder = _look_at(archive, into) if archive.kind == "folder" else _unpack_zip(archive, into, max_unpacked_bytes)
    log.info("cells of %s:\n%s", archive.origin, describe_tree(folder))
    return folder


def read_folder(into: Path) -> CellFolder:
    """Read what the last `unpack` into this folder found, and check that as many images are still there.

    Raises:
        UnpackError: nothing complete is there, or images came or went since.
    """
    into = Path(os.path.abspath(into))
    again = "run the data_engineering pipeline from its start"
    try:
        folder = _read_manifest(into)
    except FileNotFoundError as error:
        raise UnpackError(f"no complete set of cell images in {into} ({MANIFEST} is not there): {again}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnpackError(f"{into / MANIFEST} is unreadable ({error!r}): remove it and {again}") from error
    if (there := _count_images(folder.root)) != folder.counts:
        raise UnpackError(f"{folder.root} held {folder.counts} images when unpacked and holds {there} now: {again}")
    return folder


def describe_tree(folder: CellFolder) -> str:
    """Draw the class folders with their counts, as ``tree --filelimit`` would, and say what was skipped."""
    lines = [f"{folder.root}"]
    for branch, name in zip(("├──", "└──"), CLASSES, strict=True):
        count = folder.counts[name]
        lines.append(f"{branch} {name} [{count:,} image{'' if count == 1 else 's'}]")
    skipped = ", ".join(f"{count:,} × {what}" for what, count in sorted(folder.skipped.items()))
    return "\n".join([*lines, f"skipped: {skipped or 'nothing'}"])


# --- a folder ---------------------------------------------------------------------------------------------------


def _look_at(archive: CellArchive, into: Path) -> CellFolder:
    candidates = [archive.path.joinpath(*layout) for layout in LAYOUTS]
    found = {root: _count_images(root) for root in candidates if _is_real_folder(root, below=archive.path)}
    root = next((root for root, counts in found.items() if all(counts.values())), None)
    if root is None:
        partly = next((counts for counts in found.values() if any(counts.values())), dict.fromkeys(CLASSES, 0))
        raise UnpackError(_missing_classes(f"the folder {archive.path}", partly, _entries_around(found)))
    folder = CellFolder(root, found[root], _skipped_in(root), archive)
    before = _manifest_or_none(into)
    _write_manifest(folder, into)
    if before and before.archive.kind == "zip" and not root.is_relative_to(into):
        # Nobody points at the old zip's tree any more, and it may be large.
        shutil.rmtree(into / TRAIN, ignore_errors=True)
    return folder


def _is_real_folder(folder: Path, below: Path) -> bool:
    """Tell whether a folder is there without a link on the way to it from ``below``."""
    steps = [folder, *folder.parents]
    return folder.is_dir() and not any(step.is_symlink() for step in steps[: steps.index(below)])


def _count_images(root: Path) -> dict[str, int]:
    """Count plain image files per class folder; a missing or linked folder has none."""
    counts = dict.fromkeys(CLASSES, 0)
    for name in CLASSES:
        if (root / name).is_symlink() or not (root / name).is_dir():
            continue
        with os.scandir(root / name) as entries:
            counts[name] = sum(is_image_name(entry.name) and entry.is_file(follow_symlinks=False) for entry in entries)
    return counts


def _skipped_in(root: Path) -> dict[str, int]:
    """Count what lies in the root and its class folders and is no image of a class."""
    skipped: Counter[str] = Counter()
    for folder in (root, *(root / name for name in CLASSES)):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    skipped[LINK] += 1
                elif entry.is_dir(follow_symlinks=False):
                    if folder != root or entry.name not in CLASSES:
                        skipped[FOLDER] += 1
                elif not is_image_name(entry.name):
                    skipped[_kind_of_file(entry.name)] += 1
                elif folder == root:
                    skipped[ELSEWHERE] += 1
    return dict(skipped)


def _entries_around(roots: Iterable[Path]) -> list[str]:
    names = {
        f"{entry.name} (a link; links are not followed)" if entry.is_symlink() else entry.name
        for root in roots
        for entry in os.scandir(root)
        if entry.is_dir()
    }
    return sorted(names)


# --- a zip ------------------------------------------------------------------------------------------------------


def _unpack_zip(archive: CellArchive, into: Path, max_unpacked_bytes: int) -> CellFolder:
    before = _manifest_or_none(into)
    if before and before.archive.kind == "folder" and before.root.is_relative_to(into):
        raise UnpackError(
            f"{before.root} was given as source.path before, and unpacking {archive.path} would replace it: move it "
            f"elsewhere, then remove {into / MANIFEST}"
        )
    if before and _is_of(before, archive) and _count_images(into / TRAIN) == before.counts:
        log.info("already unpacked: %s lies in %s", archive.path.name, into / TRAIN)
        folder = CellFolder(into / TRAIN, before.counts, before.skipped, archive)
        if before.archive != archive:  # the same bytes under another name
            _write_manifest(folder, into)
        return folder
    try:
        with zipfile.ZipFile(archive.path) as bundle:
            cells, skipped = _choose_members(bundle, archive)
            _check_size(cells.values(), archive, into, max_unpacked_bytes)
            # Named like nothing that is looked for, and beside its place, so that it gets there by a rename.
            unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=into))
            try:
                _write_members(bundle, cells, unfinished / TRAIN, max_unpacked_bytes)
                counts = Counter(name for name, _ in cells)
                folder = CellFolder(into / TRAIN, {name: counts[name] for name in CLASSES}, skipped, archive)
                _put_in_place(unfinished, folder, into)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except zipfile.BadZipFile as error:
        raise UnpackError(f"{archive.path} is not a readable zip ({error}): get it again") from error
    except OSError as error:
        remedy = "make room" if error.errno == errno.ENOSPC else "check the folder and its permissions"
        raise UnpackError(f"{archive.path} could not be unpacked into {into} ({error}): {remedy}") from error
    return folder


Cells = dict[tuple[str, str], zipfile.ZipInfo]


def _choose_members(bundle: zipfile.ZipFile, archive: CellArchive) -> tuple[Cells, dict[str, int]]:
    """Return the members to write by (class, file name), and what is skipped; refuse what is unsafe."""
    cells: Cells = {}
    skipped: Counter[str] = Counter()
    tops: dict[str, None] = {}
    for member in bundle.infolist():
        _refuse_unsafe(member, archive)
        *folders, name = _parts(member)
        if folders or member.is_dir():
            # With two more levels, because that is where a misspelt class folder would be.
            tops["/".join((folders or [name])[:3])] = None
        if member.is_dir() or member.filename.endswith("\\"):
            continue
        if MACOS in folders:
            skipped[MACOS] += 1
        elif not is_image_name(name):
            skipped[_kind_of_file(name)] += 1
        elif not folders or folders[-1] not in CLASSES or tuple(folders[:-1]) not in LAYOUTS:
            skipped[ELSEWHERE] += 1
        elif (twin := cells.setdefault((folders[-1], name), member)) is not member:
            if (twin.CRC, twin.file_size) != (member.CRC, member.file_size):
                raise UnpackError(
                    f"{archive.path} holds two different images for {folders[-1]}/{name}: {twin.filename!r} and "
                    f"{member.filename!r}. Remove one of them from the zip."
                )
            skipped[DUPLICATE] += 1
    counts = Counter(label for label, _ in cells)
    if any(counts[name] == 0 for name in CLASSES):
        raise UnpackError(_missing_classes(f"the zip {archive.path}", {c: counts[c] for c in CLASSES}, list(tops)))
    return cells, dict(skipped)


def _parts(member: zipfile.ZipInfo) -> list[str]:
    # Some packers of Windows write backslashes.
    parts = [part for part in member.filename.replace("\\", "/").split("/") if part not in ("", ".")]
    return parts or [""]


def _refuse_unsafe(member: zipfile.ZipInfo, archive: CellArchive) -> None:
    """Raise for a member that no honest archive of images has, even where it would be skipped."""
    name = member.orig_filename.replace("\\", "/")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/"):
        trouble = "has an absolute name"
    elif re.match(r"[A-Za-z]:", name):
        trouble = "has a name with a drive letter"
    elif ".." in name.split("/"):
        trouble = "climbs out of its folder with '..'"
    elif "\0" in name:
        trouble = "has a name with a null character"
    elif kind == stat.S_IFLNK:
        trouble = "is a symbolic link"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        trouble = "is neither a file nor a folder"
    elif member.flag_bits & 0x1:
        trouble = "is encrypted"
    else:
        return
    raise UnpackError(
        f"{archive.path}: the member {member.orig_filename!r} {trouble}; nothing was unpacked. "
        "Unpack the archive yourself if you trust it, and give the folder as source.path."
    )


def _check_size(members: Iterable[zipfile.ZipInfo], archive: CellArchive, into: Path, max_unpacked_bytes: int) -> None:
    declared = sum(member.file_size for member in members)
    if declared > max_unpacked_bytes:
        raise UnpackError(
            f"{archive.path} would unpack to {declared} bytes, more than source.max_unpacked_bytes "
            f"({max_unpacked_bytes}); raise it if you trust the archive"
        )
    free = shutil.disk_usage(into).free
    if declared > free:
        raise UnpackError(
            f"{archive.path} unpacks to {megabytes(declared)}; {into} has {megabytes(free)} free: make room"
        )


def _write_members(bundle: zipfile.ZipFile, cells: Cells, train: Path, max_unpacked_bytes: int) -> None:
    for name in CLASSES:
        (train / name).mkdir(parents=True)
    written = damaged = 0
    with progress("unpacking", len(cells), "image", log=log) as advance:
        for (label, name), member in cells.items():
            # "x": where case does not count, x.png and X.png are one file, and neither may vanish in silence.
            with (train / label / name).open("xb") as file:
                try:
                    with bundle.open(member) as content:
                        while chunk := content.read(CHUNK):
                            # Declared sizes were added up before; this is for a header that lied.
                            written += len(chunk)
                            if written > max_unpacked_bytes:
                                raise UnpackError(
                                    f"{bundle.filename} unpacks to more than source.max_unpacked_bytes "
                                    f"({max_unpacked_bytes}); stopped at {member.filename!r}"
                                )
                            file.write(chunk)
                except DAMAGED as error:
                    damaged += 1
                    if damaged <= 10:
                        log.warning("%s is damaged in the zip (%s); it stays as a broken image", member.filename, error)
                except (NotImplementedError, RuntimeError) as error:
                    raise UnpackError(
                        f"{bundle.filename}: the member {member.filename!r} cannot be read ({error}). "
                        "Pack the images again with the usual method (deflate)."
                    ) from error
            advance(1)
    if damaged:
        log.warning("%d of %d images are damaged in the zip", damaged, len(cells))


def _put_in_place(unfinished: Path, folder: CellFolder, into: Path) -> None:
    """Swap the trees. Whoever is killed in between finds no manifest, and unpacks again."""
    (into / MANIFEST).unlink(missing_ok=True)
    if (into / TRAIN).exists():
        os.rename(into / TRAIN, unfinished / "replaced")
    os.rename(unfinished / TRAIN, into / TRAIN)
    _write_manifest(folder, into)


# --- both -------------------------------------------------------------------------------------------------------


def _kind_of_file(name: str) -> str:
    """Return what a non-image is counted as: few different words, however many files there are."""
    if name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        return name
    if name.startswith("."):
        return DOT_FILE
    suffix = Path(name).suffix.lower()
    return f"*{suffix}" if suffix else NO_SUFFIX


def _missing_classes(where: str, counts: dict[str, int], found: list[str]) -> str:
    missing = [name for name in CLASSES if not counts[name]]
    shown = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
    similar = [path for path in found if path.split("/")[-1] not in CLASSES and path.split("/")[-1].title() in CLASSES]
    hint = f" The names must be exactly these: rename {', '.join(similar)}." if similar else ""
    return (
        f"{where} has no images in {' and none in '.join(f'{name}/' for name in missing)}; found were the folders: "
        f"{shown or 'none'}.{hint} Both {' and '.join(CLASSES)} must lie at the top, or in train/ or cell_images/."
    )


def _is_of(folder: CellFolder, archive: CellArchive) -> bool:
    known = folder.archive
    return archive.sha256 is not None and (known.sha256, known.bytes) == (archive.sha256, archive.bytes)


def _write_manifest(folder: CellFolder, into: Path) -> None:
    content = asdict(folder) | {
        "root": path_to_json(folder.root, into),
        "archive": archive_to_json(folder.archive, into),
        "complete": True,
    }
    write_json(into / MANIFEST, content)


def _read_manifest(into: Path) -> CellFolder:
    content = json.loads((into / MANIFEST).read_text(encoding="utf-8"))
    if content["complete"] is not True:
        raise ValueError("not complete")
    archive = archive_from_json(content["archive"], into)
    return CellFolder(into / content["root"], content["counts"], content["skipped"], archive)


def _manifest_or_none(into: Path) -> CellFolder | None:
    try:
        return _read_manifest(into)
    except (OSError, ValueError, KeyError, TypeError):
        return None
