"""Which images a folder or a zip holds, which of them are cells, and why the others are not."""

from __future__ import annotations

import filecmp
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from malaria_kedro.cells.plain_files import begins_like_an_image, start_of
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.language import N_
from malaria_kedro.names import CLASSES, SPLIT_FOLDERS, class_meant, is_image_name, is_other_image_name, printable

# The names of class folders: the class that each stands for.
FOLDERS = {label: label for label in CLASSES}

# Two of the keys of `Contents.skipped`; most are a file's name or ending.
DUPLICATE = "duplicate"
DOT_FILE = "dot file"
# What file systems, archivers and tools keep beside files: shadows, previews and earlier versions of images, which do
# not count as images themselves.
SYSTEM_FOLDERS = frozenset(
    {
        *("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"),
        *(".AppleDouble", ".Spotlight-V100", ".fseventsd", ".@__thumb", ".thumbnails", ".snapshot", ".zfs"),
        *(".git", ".hg", ".svn", ".dvc", ".ipynb_checkpoints"),
    }
)

# Why an image is not a cell.
ELSEWHERE = N_("outside the class folders")
OTHER_CASE = N_("in a folder whose name differs from a class only in upper and lower case")
SECOND_PLACE = N_("in another class folder than those that are used")
BOTH_CLASSES = N_("below folders of both classes")
NO_PLAIN_FILE = N_("neither a file nor a folder")
BEHIND_A_LINK = N_("in linked folders, which are not followed")
HIDDEN = N_("whose name or folder begins with a dot")
UNREAD_FORMAT = N_("of a format or name that is not read ({what})")
BROKEN_LINK = N_("behind links that lead nowhere")

Folder = tuple[str, ...]
"""The folders on the way to a file, from the source on."""
Image = tuple[Folder, str]
"""Folder and name of an image."""
Place = tuple[Folder, bool]
"""A folder that holds class folders; whether they lie in folders of splits there."""


class UnpackError(MalariaKedroError, ValueError):
    """The archive cannot become class folders; the message names the archive, the member and what to do."""


class ListingError(UnpackError):
    """The images are not one set of cells; the message names the folders and what to do."""


@dataclass(frozen=True)
class Ignored:
    """Images of one folder that do not become cells.

    Attributes:
        reason: why not, to be read after "images are not used:".
        folder: where they lie, below the source; ``.`` is the source itself.
        count: how many images; a folder that cannot be listed counts as one.
    """

    reason: str
    folder: str
    count: int


@dataclass
class Contents:
    """All that lies below a source.

    Attributes:
        images: folder → file names, as the keys of a dict.
        unread: images of formats that are not read, by folder and suffix, or what else is wrong with the name.
        ignored: other images that are not cells, by reason and folder.
        skipped: files that are not images, by name, suffix or kind.
        linked: how many of the images are links to files.
        links: all links to files and folders, broken ones too; of a folder on disk alone.
        folders: the folders of the first three levels, for messages.
        classes: the names of class folders, and the class of each.
    """

    images: dict[Folder, dict[str, None]] = field(default_factory=dict)
    unread: Counter[Image] = field(default_factory=Counter)
    ignored: Counter[tuple[str, Folder]] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    linked: int = 0
    links: list[Path] = field(default_factory=list)
    folders: dict[str, None] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=lambda: FOLDERS)

    def add_folder(self, folder: Folder, note: str = "") -> None:
        """Keep a folder for messages, two levels deeper than a class folder at the top, which may be misspelt."""
        if not any(part.startswith(".") for part in folder):
            self.folders["/".join(map(printable, folder[:3])) + note] = None

    def class_at(self, folder: Folder) -> int | None:
        """Return the position of the first class folder in a path; None = there is none."""
        return next((at for at, part in enumerate(folder) if part in self.classes), None)

    def label_of(self, folder: Folder) -> str | None:
        """Return the class of the images in a folder; None = they are no cells."""
        return None if self.why_not(folder) else next(self.classes[part] for part in folder if part in self.classes)

    def why_not(self, folder: Folder) -> str | None:
        """Return why the images in a folder are no cells; None = they are."""
        in_any_case = {name.lower(): label for name, label in self.classes.items()}
        labels = {in_any_case[part] for part in map(str.lower, folder) if part in in_any_case}
        if self.class_at(folder) is not None:
            return BOTH_CLASSES if len(labels) > 1 else None
        return OTHER_CASE if labels else ELSEWHERE

    def add_file(self, folder: Folder, name: str, start: Callable[[], bytes]) -> None:
        """Keep an image, or count what the file is instead.

        Its ``start``, its first bytes, is asked for where the name is not an image's, or begins with a dot.
        """
        if system := system_folder(folder):
            self.skipped[system] += 1
        elif name.startswith(".") or any(part.startswith(".") for part in folder):
            # Named like images, macOS's shadows of files (._x.png) are none.
            if _is_named_like_an_image(name) or begins_like_an_image(start()):
                self.ignored[HIDDEN, folder] += 1
            else:
                self.skipped[_kind_of_file(name) if name.startswith(".") else DOT_FILE] += 1
        elif is_image_name(name):
            self.images.setdefault(folder, {})[name] = None
        elif is_other_image_name(name):
            self.unread[folder, Path(name).suffix.lower()] += 1
        elif begins_like_an_image(start()):
            self.unread[folder, f"an image without an image's name, {_kind_of_file(name)}"] += 1
        else:
            self.skipped[_kind_of_file(name)] += 1


@dataclass(frozen=True)
class CellListing:
    """The cells of a source.

    Attributes:
        root: the folder that holds the class folders, or the folders of splits that hold class folders.
        cells: path below the root → class, sorted by path.
        ignored: the images that are not cells, most frequent first.
        skipped: files that are not images, and duplicates of images.
    """

    root: Folder
    cells: dict[str, str]
    ignored: tuple[Ignored, ...]
    skipped: dict[str, int]


def splits_of(path: str) -> tuple[str, ...]:
    """Return the splits in whose folders a path of the cell index lies, ``train``, ``valid`` or ``test``.

    The folder of a split is the first one, around the class folder, or the one directly below the class folder. Two
    splits are a contradiction (``train/Parasitized/test/x.png``).
    """
    splits = [SPLIT_FOLDERS.get(name.lower()) for name in path.split("/")[:-1][:3]]
    first, second, third = (*splits, None, None, None)[:3]
    return tuple(dict.fromkeys(filter(None, (first, third if first else second))))


# --- a folder on disk -------------------------------------------------------------------------------------------


def look_through(
    root: Path,
    starts: Iterable[Folder] = ((),),
    leave_out: Path | None = None,
    classes: Mapping[str, str] = FOLDERS,
) -> Contents:
    """Find all files below a folder, to any depth.

    Links to files are followed; linked folders are not, which avoids loops, but the images in them are counted. What
    cannot be read does not end the search: a link that leads nowhere, or into a loop, stays an image if it is named
    like one, and a folder that cannot be listed is ignored with its reason. Only the folders ``starts`` below the root
    are looked through, by default all of it, and ``leave_out`` is not. ``classes``: see `Contents`.

    Raises:
        OSError: the root itself cannot be listed.
    """
    contents = Contents(classes=classes)
    left_out = Path(os.path.realpath(leave_out)) if leave_out else None
    waiting = list(starts)
    while waiting:
        folder = waiting.pop()
        system = system_folder(folder)
        try:
            with os.scandir(os.path.join(root, *folder)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise
            if system:
                contents.skipped[system] += 1
            else:
                why = N_("in folders that cannot be listed ({why})").format(why=error.strerror or error)
                contents.ignored[why, folder] += 1
            continue
        for entry in entries:
            kind, inner = _kind_of_entry(entry), (*folder, entry.name)
            if entry.is_symlink():
                contents.links.append(Path(entry.path))
            if kind == "file":
                contents.add_file(folder, entry.name, partial(start_of, entry.path))
                contents.linked += entry.is_symlink() and entry.name in contents.images.get(folder, ())
            elif kind == "folder":
                # By name first, because resolving links is slow and there are many folders.
                if not (left_out and entry.name == left_out.name and os.path.realpath(entry.path) == str(left_out)):
                    contents.add_folder(inner)
                    waiting.append(inner)
            elif system:
                contents.skipped[system] += 1
            elif kind == "linked folder":
                contents.add_folder(inner, " (a link; links are not followed)")
                contents.skipped["linked folder"] += 1
                if count := _images_behind(entry.path, root):
                    contents.ignored[BEHIND_A_LINK, inner] += count
            elif kind == "broken link":
                contents.ignored[BROKEN_LINK, inner] += 1
            elif _is_named_like_an_image(entry.name):
                contents.ignored[NO_PLAIN_FILE, folder] += 1
            else:
                contents.skipped[_kind_of_file(entry.name)] += 1
    return contents


def cells_below(root: Path, classes: Mapping[str, str] = FOLDERS) -> dict[str, str]:
    """List the cells of a folder that `choose_cells` named as the root: path → class, sorted by class and path.

    ``classes``: see `Contents`.

    Raises:
        ListingError: it has no class folders.
    """
    contents = look_through(root, _class_folders(root, classes), classes=classes)
    cells = [
        (label, "/".join((*folder, name)))
        for folder, names in contents.images.items()
        if (label := contents.label_of(folder))
        for name in names
    ]
    return {path: label for label, path in sorted(cells)}


def same_on_disk(root: Path, one: Image, other: Image) -> bool:
    """Return whether two images below ``root`` have the same bytes."""
    first, second = (os.path.join(root, *folder, name) for folder, name in (one, other))
    try:
        return filecmp.cmp(first, second, shallow=False)
    except OSError:
        return False


def _class_folders(root: Path, classes: Mapping[str, str]) -> list[Folder]:
    plain: list[Folder] = [(name,) for name in classes if _is_real_folder(root / name)]
    by_split: list[Folder] = [
        (split, name)
        for split in sorted(os.listdir(root))
        if split.lower() in SPLIT_FOLDERS and _is_real_folder(root / split)
        for name in classes
        if _is_real_folder(root / split / name)
    ]
    filled = [folder for folder in plain if not by_split or look_through(root, [folder]).images]
    if len({classes[name] for (name,) in filled}) == len(CLASSES):
        return plain
    if by_split:
        return by_split
    missing = next(name for name, label in classes.items() if label not in {classes[name] for (name,) in plain})
    raise ListingError(f"{root} has no folder {missing}; a cell folder needs {' and '.join(CLASSES)}")


def system_folder(folder: Folder) -> str | None:
    """Return the system's folder in a path, if there is one."""
    # .Trash of macOS, .Trashes of its disks, .Trash-1000 of Linux.
    return next((part for part in folder if part in SYSTEM_FOLDERS or part.startswith(".Trash")), None)


def _is_real_folder(folder: Path) -> bool:
    return os.path.isdir(folder) and not os.path.islink(folder)


def _is_named_like_an_image(name: str) -> bool:
    return is_image_name(name) or is_other_image_name(name)


def _kind_of_entry(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "linked folder" if entry.is_symlink() else "folder"
        if entry.is_file():
            return "file"
        leads_nowhere = entry.is_symlink() and not os.path.exists(entry.path)
    except OSError:  # a loop of links, or a place that may not be looked at
        leads_nowhere = True
    if not leads_nowhere:
        return "pipe or device"
    # Named like an image, it is one that cannot be read, and its row will tell why; else it may have been a folder,
    # unless it is an editor's lock (.#name), which leads nowhere on purpose.
    return "file" if _is_named_like_an_image(entry.name) or entry.name.startswith(".#") else "broken link"


def _images_behind(link: str, root: Path) -> int:
    """Count the images in a linked folder; 0 if it leads to what the search sees anyway, or above it."""
    there, top = Path(os.path.realpath(link)), Path(os.path.realpath(root))
    if top.is_relative_to(there):
        return 0
    if there.is_relative_to(top) and not system_folder(there.relative_to(top).parts):
        return 0
    return sum(_is_named_like_an_image(name) for _, _, names in os.walk(there) for name in names)


# --- which of them are cells ------------------------------------------------------------------------------------


def choose_cells(contents: Contents, same: Callable[[Image, Image], bool], where: str) -> CellListing:
    """Find the one place where both class folders are, and list their images as cells.

    The class folders ``Parasitized`` and ``Uninfected`` lie side by side, at the top or in any wrapping folder, or in
    folders of splits (``train``, ``valid`` or ``val`` or ``validation``, ``test``) side by side: the cells of all of
    these are one set, whose paths begin with the folder of the split. All images below a class folder are of the
    class. A second place that holds copies of the same images alone is skipped.

    Args:
        contents: what the source holds; what becomes no cell is counted there, too.
        same: checks whether two images have the same content.
        where: what messages call the source.

    Raises:
        ListingError: no place with images of both classes, two different ones, or two images of one name.
    """
    found: dict[Place, list[Folder]] = {}
    for folder in contents.images:
        if contents.label_of(folder):
            before = folder[: contents.class_at(folder)]
            by_split = bool(before) and before[-1].lower() in SPLIT_FOLDERS
            found.setdefault((before[:-1] if by_split else before, by_split), []).append(folder)
    places = dict(sorted(found.items(), key=lambda item: (len(item[0][0]), item[0])))
    complete = [
        place for place, folders in places.items() if len({contents.label_of(folder) for folder in folders}) > 1
    ]
    if not complete:
        raise ListingError(_no_place(contents, where))
    used = places[complete[0]]
    _set_aside_others(contents, places, complete, same, where)
    for folder, names in contents.images.items():
        if why := contents.why_not(folder):
            contents.ignored[why, folder] += len(names)
    for (folder, suffix), count in contents.unread.items():
        contents.ignored[contents.why_not(folder) or UNREAD_FORMAT.format(what=suffix), folder] += count

    root, by_split = complete[0]
    if by_split and len(tops := {folder[: len(root) + 1] for folder in used}) == 1:
        # One folder such as train/ alone splits nothing: it wraps the class folders.
        root = tops.pop()
    cells = {
        "/".join((*folder[len(root) :], name)): label
        for folder in used
        if (label := contents.label_of(folder))
        for name in contents.images[folder]
    }
    return listing_of(root, cells, contents)


def listing_of(root: Folder, cells: dict[str, str], contents: Contents) -> CellListing:
    """Return the cells below a root, and what else the source holds."""
    ignored = tuple(
        Ignored(reason, "/".join(map(printable, folder)) or ".", count)
        for (reason, folder), count in sorted(contents.ignored.items(), key=lambda item: (-item[1], item[0]))
    )
    return CellListing(root, dict(sorted(cells.items())), ignored, dict(contents.skipped))


def _set_aside_others(
    contents: Contents,
    places: dict[Place, list[Folder]],
    complete: list[Place],
    same: Callable[[Image, Image], bool],
    where: str,
) -> None:
    """Count what class folders in other places than the chosen one hold, the first of ``complete``."""
    if len(places) == 1:
        return
    chosen = complete[0]
    known: dict[Folder, list[Image]] = {}
    for key, image in _by_class_and_name(contents, places[chosen]):
        known.setdefault(key, []).append(image)
    for place, folders in places.items():
        if place == chosen:
            continue
        for key, image in _by_class_and_name(contents, folders):
            twins = known.get(key, [])
            if any(same(twin, image) for twin in twins):
                contents.skipped[DUPLICATE] += 1
            elif place in complete:
                raise ListingError(
                    f"{where} has class folders in two places, {_shown(chosen)} and {_shown(place)}, whose images "
                    f"differ (the first is {_path(image)}): give one of the two as source.path, or make one set of them"
                )
            elif twins:
                raise ListingError(different_images(where, "/".join(key), _path(twins[0]), _path(image)))
            else:
                contents.ignored[SECOND_PLACE, image[0]] += 1


def _by_class_and_name(contents: Contents, folders: list[Folder]) -> Iterator[tuple[Folder, Image]]:
    for folder in folders:
        for name in contents.images[folder]:
            yield (*folder[contents.class_at(folder) :], name), (folder, name)


def different_images(where: str, name: str, one: str, other: str) -> str:
    """Say that two images have the name of one cell."""
    return f"{where} holds two different images for {name}: {one!r} and {other!r}. Remove one of them."


def tell_class_names(names: Iterable[str]) -> str:
    """Say how ``source.class_names`` gives a class to the names that suggest one, or nothing."""
    meant = {name: label for name in names if (label := class_meant(name))}
    if not meant:
        return ""
    said = " and ".join(f"{name} means {label}" for name, label in meant.items())
    if all(re.fullmatch(r"\w+", name) for name in meant):
        how = "--params " + ",".join(f"source.class_names.{name}={label}" for name, label in meant.items())
    else:
        how = f"source.class_names: {meant} in conf/"
    return f" If {said}, say so: {how}."


def _no_place(contents: Contents, where: str) -> str:
    classes = contents.classes
    present = {classes[folder[at]] for folder in contents.images if (at := contents.class_at(folder)) is not None}
    missing = [
        " or ".join(f"{name}/" for name in classes if classes[name] == label)
        for label in CLASSES
        if label not in present
    ]
    lacks = (
        f"has no images in {' and none in '.join(missing)}"
        if missing
        else "has images of both classes, but not side by side"
    )
    found = list(contents.folders)
    shown = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
    misspelt = [path for path in found if (name := path.rpartition("/")[2]).title() in CLASSES and name not in classes]
    hint = f" The names must be exactly these: rename {', '.join(misspelt)}." if misspelt else ""
    hint += tell_class_names(name for path in found if (name := path.rpartition("/")[2]) not in classes)
    if unread := Counter(suffix for _, suffix in contents.unread.elements()):
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in unread.most_common(5))
        hint += f" Images of other formats are not read ({kinds}): save them as PNG."
    if hidden := sum(count for (reason, _), count in contents.ignored.items() if reason == HIDDEN):
        hint += f" Images {HIDDEN} are not used ({hidden}): rename them."
    if closed := next((key for key in contents.ignored if "cannot be listed" in key[0]), None):
        hint += f" {'/'.join(map(printable, closed[1]))} lies {closed[0]}."
    return (
        f"{where} {lacks}; found were the folders: {shown or 'none'}.{hint} Both {' and '.join(CLASSES)} must lie side "
        "by side, at the top or in one folder such as train/ or cell_images/, or a table must name the labels "
        "(source.labels)."
    )


def _path(image: Image) -> str:
    return printable("/".join((*image[0], image[1])))


def _shown(place: Place) -> str:
    root, by_split = place
    shown = printable("/".join(root)) + "/" if root else "the top"
    return f"the folders of splits in {shown}" if by_split else shown


def _kind_of_file(name: str) -> str:
    """Return the kind that a non-image is counted as: few kinds, however many files there are."""
    if name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        return name
    if name.startswith("."):
        return DOT_FILE
    suffix = printable(os.path.splitext(name)[1].lower())
    return f"*{suffix}" if suffix else "file without a suffix"
