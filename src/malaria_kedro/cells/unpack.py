"""The archive as folders: ``train/Parasitized`` and ``train/Uninfected``, complete or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import lzma
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from malaria_kedro.cells.archive import CellArchive, relative_below
from malaria_kedro.cells.labelled import choose_labelled
from malaria_kedro.cells.listing import (
    DUPLICATE,
    FOLDERS,
    CellListing,
    Contents,
    Ignored,
    Image,
    UnpackError,
    cells_below,
    choose_cells,
    different_images,
    look_through,
    same_on_disk,
)
from malaria_kedro.cells.parallel import ordered_parallel_map
from malaria_kedro.cells.progress import progress
from malaria_kedro.cells.tables import GivenTable, TableUse
from malaria_kedro.cells.zips import (
    ENCRYPTED,
    leads_out,
    open_zip,
    same_content,
    slashed,
    start_of_member,
)
from malaria_kedro.files import sha256_of, write_json
from malaria_kedro.language import N_
from malaria_kedro.machine import megabytes, why
from malaria_kedro.names import CLASSES, SPLIT_FOLDERS, printable

log = logging.getLogger(__name__)

MANIFEST = "cell_images.json"
# The tree of a zip's cells: the class folders in TRAIN, or, of a zip that is split already, the folders of its splits.
TRAIN = "train"
BY_SPLIT = "by_split"
UNFINISHED = ".unpacking-"
CHUNK = 1 << 20

# Errors of a file system for a name that it cannot hold: too long, or with unsupported characters.
UNWRITABLE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
UNWRITABLE_NAME = N_("of names that this disk cannot hold")

# What reading a damaged member raises. (Its encryption and its method are checked before.)
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, UnicodeDecodeError)


@dataclass(frozen=True)
class CellFolder:
    """Images in their class folders.

    Attributes:
        root: the folder that holds the class folders, or the folders of splits (``train``, ``valid``, ``test``) that
            hold class folders.
        counts: images per class, keys ``Parasitized`` and ``Uninfected``, at any depth below the class folders.
        skipped: files that are not images, by name, suffix or kind, e.g. ``{"Thumbs.db": 2, "duplicate": 9}``.
        archive: what the images came from.
        ignored: the images that did not become cells, by reason and folder, most first.
        state: of what was unpacked from a zip, see `_state_of`; None = a folder of the user's.
        content: of the same, see `_content_of`.
        class_names: what else than the classes class folders, or labels, are called: name → class.
        labels: path below the root → class, where a table tells it; None = the class folders do.
        labels_sha256: of the files of that table.
        table: how that table fits the images.
    """

    root: Path
    counts: dict[str, int]
    skipped: dict[str, int]
    archive: CellArchive
    ignored: tuple[Ignored, ...] = ()
    state: str | None = None
    content: str | None = None
    class_names: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] | None = field(default=None, repr=False)
    labels_sha256: list[str] | None = None
    table: TableUse | None = None

    @property
    def n_ignored(self) -> int:
        """How many images did not become cells."""
        return sum(some.count for some in self.ignored)

    def cells(self) -> dict[str, str]:
        """List the images that are there: path below the root → class, sorted by class and path.

        Raises:
            ListingError: a class folder is missing.
            OSError: a folder cannot be listed.
        """
        if self.labels is None:
            return cells_below(self.root, FOLDERS | self.class_names)
        there = (item for item in self.labels.items() if os.path.lexists(self.root / item[0]))
        return dict(sorted(there, key=lambda item: (item[1], item[0])))

    def is_labelled_by(self, class_names: Mapping[str, str], table: GivenTable | None) -> bool:
        """Return whether these class names and this table told the classes."""
        return self.class_names == class_names and self.labels_sha256 == (table and table.sha256)

    def require_labels(self, class_names: Mapping[str, str], table: GivenTable | None) -> None:
        """Raise UnpackError where other class names or another table told the classes."""
        if not self.is_labelled_by(class_names, table):
            raise UnpackError(
                "cell_images was made with another source.labels or source.class_names than now, or the file of labels "
                "has changed: run the data_engineering pipeline from its start"
            )

    def ignored_by_reason(self) -> dict[str, int]:
        """Return how many images did not become cells, by reason, most first."""
        counts: Counter[str] = Counter()
        for some in self.ignored:
            counts[some.reason] += some.count
        return dict(counts.most_common())


def unpack(
    archive: CellArchive,
    into: Path,
    *,
    max_unpacked_bytes: int,
    max_ignored_pct: float = 5.0,
    class_names: Mapping[str, str] | None = None,
    table: GivenTable | None = None,
) -> CellFolder:
    """Turn a zip into ``<into>/train/<Class>/<name>``; look at a folder where it is, and copy nothing of it.

    The class folders may lie in any wrapping folder, and in folders of splits, see `choose_cells`; a zip with such
    folders becomes ``<into>/by_split/<split>/<Class>/<name>``. Every image that does not become a cell is counted,
    logged and kept in the manifest, with reason and folder. An image that is damaged inside a readable zip is written
    as far as it can be read (often empty) and logged: it stays a cell, and the index knows it as a broken one.

    A tree appears only when it is complete, and counts only once `write_folder` has written its manifest,
    ``<into>/cell_images.json``, which is removed before a tree is replaced. With the manifest there, the same archive
    is not unpacked a second time, unless a file, the class names or the table have changed since.

    Args:
        archive: what `acquire` found.
        into: folder for the tree, ``data/02_intermediate/cell_images``.
        max_unpacked_bytes: a zip that declares more is refused; no member writes more than it declares.
        max_ignored_pct: the largest share of the images found, in percent, that may be no cells; second copies of a
            cell do not count.
        class_names: what else than the classes class folders, or labels, are called: name → class.
        table: the classes, for a source of any layout; a zip is then unpacked with the paths that it has.

    Raises:
        UnpackError: unsafe members, too large, a class missing, two different images of one name, two different sets
            of class folders, too many images that are no cells, no room.
    """
    into = Path(os.path.abspath(into))
    into.mkdir(parents=True, exist_ok=True)
    names = dict(class_names or {})
    folder = (
        _look_at(archive, into, max_ignored_pct, names, table)
        if archive.kind == "folder"
        else _unpack_zip(archive, into, max_unpacked_bytes, max_ignored_pct, names, table)
    )
    log.info("images of %s:\n%s", archive.origin, describe_tree(folder))
    if n_ignored := folder.n_ignored:
        found = n_ignored + sum(folder.counts.values())
        log.warning(
            "%d of the %d images found in %s are not used: %s", n_ignored, found, archive.origin, _reasons(folder)
        )
    if table and folder.table:
        table.tell(folder.table.notes())
    return folder


def write_folder(folder: CellFolder, into: Path) -> None:
    """Write the manifest of what `unpack` has found or made."""
    content = replace(folder, root=relative_below(folder.root, into), archive=folder.archive.relative_to(into))
    write_json(into / MANIFEST, asdict(content) | {"complete": True})


def read_folder(into: Path) -> CellFolder:
    """Read the manifest that `write_folder` wrote, and check that the images are still there.

    Of a zip's images, none may have been changed or moved since; of a folder of the user's, as many must be there.

    Raises:
        UnpackError: nothing complete is there, or images came, went or changed since.
    """
    into = Path(os.path.abspath(into))
    again = "run the data_engineering pipeline from its start"
    try:
        folder = _read_manifest(into)
    except FileNotFoundError as error:
        raise UnpackError(f"no complete set of cell images in {into} ({MANIFEST} is not there): {again}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnpackError(f"{into / MANIFEST} is unreadable ({error!r}): remove it and {again}") from error
    if (there := _count_images(folder)) != folder.counts:
        raise UnpackError(f"{folder.root} held {folder.counts} images when unpacked and holds {there} now: {again}")
    if folder.state is not None and _state_of(folder) != folder.state:
        raise UnpackError(f"images in {folder.root} were changed or moved since they were unpacked: {again}")
    return folder


def describe_tree(folder: CellFolder) -> str:
    """Draw the class folders with their counts, as ``tree --filelimit`` would, and say what was skipped."""
    lines = [printable(f"{folder.root}")]
    for branch, name in zip(("├──", "└──"), CLASSES, strict=True):
        count = folder.counts[name]
        lines.append(f"{branch} {name} [{count:,} image{'' if count == 1 else 's'}]")
    skipped = ", ".join(f"{count:,} × {what}" for what, count in sorted(folder.skipped.items()))
    lines.append(f"skipped: {skipped or 'nothing'}")
    ignored = ", ".join(f"{count:,} {reason}" for reason, count in folder.ignored_by_reason().items())
    lines.append(f"images that are not cells: {ignored or 'none'}")
    return "\n".join(lines)


# --- a folder ---------------------------------------------------------------------------------------------------


def _choose(
    contents: Contents, table: GivenTable | None, same: Callable[[Image, Image], bool], where: str
) -> tuple[CellListing, dict[str, Any]]:
    """Return the cells, and what a `CellFolder` keeps of the table that told them."""
    if table is None:
        return choose_cells(contents, same, where), {}
    listing, use = choose_labelled(contents, table, same, where)
    return listing, {"labels": listing.cells, "labels_sha256": table.sha256, "table": use}


def _look_at(
    archive: CellArchive, into: Path, max_ignored_pct: float, class_names: dict[str, str], table: GivenTable | None
) -> CellFolder:
    where = f"the folder {printable(str(archive.path))}"
    try:
        # What was unpacked here before is not part of a folder that happens to lie above it.
        contents = look_through(archive.path, leave_out=into, classes=FOLDERS | class_names)
        listing, kept = _choose(contents, table, partial(same_on_disk, archive.path), where)
    except OSError as error:
        raise UnpackError(f"{where} cannot be listed ({error.strerror or error}): check its permissions") from error
    if contents.linked:
        log.info("links to images, which are followed: %d in %s", contents.linked, archive.origin)
    root = archive.path.joinpath(*listing.root)
    folder = CellFolder(
        root, _count(listing.cells), listing.skipped, archive, listing.ignored, class_names=class_names, **kept
    )
    _refuse_many_ignored(folder, max_ignored_pct)
    before = _manifest_or_none(into)
    if before and before.archive.kind == "zip":
        if needed := _first_that_lies_in(into, [root, *contents.links]):
            log.info("what was unpacked into %s before stays there: %s leads there", into, printable(str(needed)))
        else:
            # The old zip's tree is not needed any more, and may be large.
            (into / MANIFEST).unlink(missing_ok=True)
            for tree in (TRAIN, BY_SPLIT):
                shutil.rmtree(into / tree, ignore_errors=True)
    return folder


def _first_that_lies_in(into: Path, paths: Iterable[Path]) -> Path | None:
    """Return the first path that is, or leads to, something in ``into``, wherever links on the way to either lead."""
    there = os.path.realpath(into)
    return next(
        (path for path in paths if Path(os.path.realpath(path)).is_relative_to(there) and os.path.exists(path)), None
    )


def _count(cells: dict[str, str]) -> dict[str, int]:
    counts = Counter(cells.values())
    return {label: counts[label] for label in CLASSES}


def _count_images(folder: CellFolder) -> dict[str, int]:
    """Count the images of each class; a folder that is gone has none."""
    try:
        return _count(folder.cells())
    except (UnpackError, OSError):
        return dict.fromkeys(CLASSES, 0)


def _state_of(folder: CellFolder) -> str:
    """Return a sha256 over the path, size and time of change of every image: another one where files were swapped."""
    digest = hashlib.sha256()
    for path in sorted(folder.cells()):
        found = os.lstat(folder.root / path)
        digest.update(json.dumps([path, found.st_size, found.st_mtime_ns]).encode())
    return digest.hexdigest()


def _content_of(folder: CellFolder) -> str:
    """Return a sha256 over the path and the bytes of every image: a time can be put back, and this cannot."""
    paths = sorted(folder.cells())
    digest = hashlib.sha256()
    for path, content in zip(
        paths, ordered_parallel_map(sha256_of, (folder.root / path for path in paths)), strict=True
    ):
        digest.update(json.dumps([path, content]).encode())
    return digest.hexdigest()


def _is_unchanged(folder: CellFolder) -> bool:
    try:
        return _state_of(folder) == folder.state and _content_of(folder) == folder.content
    except (UnpackError, OSError):
        return False


# --- a zip ------------------------------------------------------------------------------------------------------


def _unpack_zip(
    archive: CellArchive,
    into: Path,
    max_unpacked_bytes: int,
    max_ignored_pct: float,
    class_names: dict[str, str],
    table: GivenTable | None,
) -> CellFolder:
    before = _manifest_or_none(into)
    if before and before.archive.kind == "folder":
        _refuse_to_replace(before.root, archive, into)
    elif before and (before.archive.sha256, before.archive.bytes) == (archive.sha256, archive.bytes):
        if not before.is_labelled_by(class_names, table):
            log.info(
                "the classes of %s are told otherwise than when it was unpacked: unpacking it again", archive.origin
            )
        elif _is_unchanged(before):
            log.info("already unpacked: %s lies in %s", archive.path.name, before.root)
            folder = replace(before, archive=archive)  # the same bytes, perhaps under another name
            _refuse_many_ignored(folder, max_ignored_pct)
            return folder
        else:
            log.warning(
                "images in %s came, went or changed since they were unpacked: unpacking them again", before.root
            )
    try:
        with open_zip(archive.path) as bundle:
            listing, members, kept = _choose_members(bundle, archive, FOLDERS | class_names, table)
            by_split = any(path.split("/")[0].lower() in SPLIT_FOLDERS for path in members)
            tree = BY_SPLIT if by_split else TRAIN
            folder = CellFolder(
                into / tree,
                _count(listing.cells),
                listing.skipped,
                archive,
                listing.ignored,
                class_names=class_names,
                **kept,
            )
            _refuse_many_ignored(folder, max_ignored_pct)
            _check_size(members.values(), archive, into, max_unpacked_bytes)
            # Named like nothing that is looked for, and beside its place, so that it gets there by a rename.
            with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=into, ignore_cleanup_errors=True) as unfinished:
                if lost := _write_members(bundle, members, Path(unfinished, tree)):
                    folder = _without(folder, listing, lost)
                    _refuse_many_ignored(folder, max_ignored_pct)
                return _put_in_place(Path(unfinished), folder, into)
    except zipfile.BadZipFile as error:
        raise UnpackError(f"{archive.path} is not a readable zip ({error}): get it again") from error
    except OSError as error:
        raise UnpackError(f"{archive.path} could not be unpacked into {into} {why(error, into / MANIFEST)}") from error


def _refuse_to_replace(root: Path, archive: CellArchive, into: Path) -> None:
    """Raise where a folder of the user's lies in ``into``, or has links that lead there."""
    try:
        links = look_through(root, leave_out=into).links
    except OSError:  # it is gone, or was a link to what is gone
        links = []
    if (found := _first_that_lies_in(into, [root, *links])) is None:
        return
    real = os.path.realpath(found)
    lost = "it" if real == str(root) else f"{printable(real)}, which {printable(str(found))} leads to"
    raise UnpackError(
        f"{printable(str(root))} was given as source.path before, and unpacking {archive.path} would replace {lost}: "
        f"copy the images elsewhere, then remove {into / MANIFEST}"
    )


def _choose_members(
    bundle: zipfile.ZipFile, archive: CellArchive, classes: Mapping[str, str], table: GivenTable | None
) -> tuple[CellListing, dict[str, zipfile.ZipInfo], dict[str, Any]]:
    """Return the cells, the members to write by their path below the tree, and what `_choose` keeps of the table.

    Raises:
        UnpackError: a member is unsafe, or the images are not one set of cells.
    """
    where = f"the zip {printable(str(archive.path))}"
    contents = Contents(classes=classes)
    members: dict[Image, zipfile.ZipInfo] = {}
    copies: list[tuple[Image, zipfile.ZipInfo]] = []
    for member in bundle.infolist():
        _refuse_unsafe(member, archive)
        *folders, name = [part for part in slashed(member).split("/") if part not in ("", ".")] or [""]
        folder, is_folder = tuple(folders), slashed(member).endswith("/")
        if folder or is_folder:
            contents.add_folder(folder or (name,))
        if is_folder:
            continue
        if (folder, name) in members:
            copies.append(((folder, name), member))
            continue
        contents.add_file(folder, name, partial(start_of_member, bundle, member))
        if name in contents.images.get(folder, ()):
            members[folder, name] = member
    for image, copy in copies:
        twin = members[image]
        # If neither is a cell, nothing is lost.
        if (table or contents.class_at(image[0]) is not None) and not same_content(twin, copy):
            raise UnpackError(different_images(where, copy.filename, twin.filename, copy.filename))
        contents.skipped[DUPLICATE] += 1
    listing, kept = _choose(contents, table, lambda one, other: same_content(members[one], members[other]), where)
    places = ((path, (*listing.root, *path.split("/"))) for path in listing.cells)
    return listing, {path: members[place[:-1], place[-1]] for path, place in places}, kept


def _without(folder: CellFolder, listing: CellListing, lost: list[str]) -> CellFolder:
    """Return the folder without the images that could not be written."""
    counts, places = Counter(folder.counts), Counter(path.rpartition("/")[0] for path in lost)
    counts.subtract(listing.cells[path] for path in lost)
    more = tuple(Ignored(UNWRITABLE_NAME, place, count) for place, count in places.most_common())
    labels = folder.labels and {path: label for path, label in folder.labels.items() if path not in lost}
    return replace(folder, counts=dict(counts), ignored=(*folder.ignored, *more), labels=labels)


def _refuse_unsafe(member: zipfile.ZipInfo, archive: CellArchive) -> None:
    """Raise for a member that no legitimate archive of images has, even if it would be skipped."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    troubles = {
        "has a name that leads out of the archive": leads_out(member),
        "has a name with a null character": "\0" in member.orig_filename,
        "is a symbolic link": kind == stat.S_IFLNK,
        "is neither a file nor a folder": kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK),
        "is encrypted": member.flag_bits & ENCRYPTED,
    }
    if trouble := next((trouble for trouble, found in troubles.items() if found), None):
        raise UnpackError(
            f"{archive.path}: the member {member.filename!r} {trouble}; nothing was unpacked. "
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


def _write_members(bundle: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], tree: Path) -> list[str]:
    """Write the members below ``tree``; return the paths that the disk cannot hold."""
    unwritable: list[str] = []
    damaged = 0
    with progress("unpacking", len(members), "image", log=log) as advance:
        for path, member in members.items():
            try:
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                # "x": where case does not count, x.png and X.png are one file, and neither may vanish in silence.
                file = (tree / path).open("xb")
            except OSError as error:
                if error.errno not in UNWRITABLE:
                    raise
                unwritable.append(path)
                continue
            try:
                with file, bundle.open(member) as content:
                    shutil.copyfileobj(content, file, CHUNK)
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
        log.warning("%d of %d images are damaged in the zip", damaged, len(members))
    return unwritable


def _put_in_place(unfinished: Path, folder: CellFolder, into: Path) -> CellFolder:
    """Swap the trees and return the new one; a run killed in between leaves no manifest, so the next unpacks again."""
    (into / MANIFEST).unlink(missing_ok=True)
    for tree in (TRAIN, BY_SPLIT):
        if (into / tree).exists():
            os.rename(into / tree, unfinished / f"replaced {tree}")
    os.rename(unfinished / folder.root.name, folder.root)
    return replace(folder, state=_state_of(folder), content=_content_of(folder))


# --- both -------------------------------------------------------------------------------------------------------


def _refuse_many_ignored(folder: CellFolder, max_ignored_pct: float) -> None:
    ignored, cells = folder.n_ignored, sum(folder.counts.values())
    percent = 100 * ignored / max(1, ignored + cells)
    rows, lost = (folder.table.rows, folder.table.unmatched) if folder.table else (0, 0)
    if 100 * lost > max_ignored_pct * rows and folder.table:
        raise UnpackError(
            f"{lost} of the {rows} rows in {folder.table.name} ({100 * lost / rows:.1f} %) name no image in "
            f"{printable(str(folder.archive.path))}, more than source.max_ignored_pct ({max_ignored_pct} %): the first "
            f"is {folder.table.example!r}. Name files as they lie below the source, or raise source.max_ignored_pct to "
            "continue without them"
        )
    if percent > max_ignored_pct:
        how = (
            f"Give them rows in {folder.table.name} with a label that is Parasitized, Uninfected or in "
            "source.class_names,"
            if folder.table
            else "Put them below Parasitized/ and Uninfected/ in a format and under names that are read,"
        )
        raise UnpackError(
            f"{ignored} of the {ignored + cells} images in {printable(str(folder.archive.path))} ({percent:.1f} %) "
            f"would not become cells, more than source.max_ignored_pct ({max_ignored_pct} %): {_reasons(folder)}. "
            f"{how} or take them out, or raise source.max_ignored_pct to continue without them"
        )


def _reasons(folder: CellFolder) -> str:
    """Say how many images did not become cells, by reason, and where they lie."""
    return "; ".join(
        f"{count} {reason} ({_places([some for some in folder.ignored if some.reason == reason])})"
        for reason, count in folder.ignored_by_reason().items()
    )


def _places(group: list[Ignored]) -> str:
    first = "at the top" if group[0].folder == "." else f"in {group[0].folder}/"
    others = len(group) - 1
    return f"{first} and {others} other folder{'' if others == 1 else 's'}" if others else first


def _read_manifest(into: Path) -> CellFolder:
    content = json.loads((into / MANIFEST).read_text(encoding="utf-8"))
    if content.pop("complete") is not True:
        raise ValueError("not complete")
    root, archive = into / content.pop("root"), CellArchive(**content.pop("archive")).seen_from(into)
    ignored = tuple(Ignored(**some) for some in content.pop("ignored"))
    table = TableUse(**use) if (use := content.pop("table", None)) else None
    return CellFolder(root=root, archive=archive, ignored=ignored, table=table, **content)


def _manifest_or_none(into: Path) -> CellFolder | None:
    try:
        return _read_manifest(into)
    except (OSError, ValueError, KeyError, TypeError):
        return None
