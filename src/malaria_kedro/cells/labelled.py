"""Cells whose class a table tells, in folders of any layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import takewhile

from malaria_kedro.cells.listing import (
    DUPLICATE,
    UNREAD_FORMAT,
    CellListing,
    Contents,
    Folder,
    Image,
    ListingError,
    listing_of,
    tell_class_names,
)
from malaria_kedro.cells.tables import GivenTable, TableUse, match_rows
from malaria_kedro.names import CLASSES, SPLIT_FOLDERS, printable

NAMED = 5  # labels that are no class and that reasons name


def choose_labelled(
    contents: Contents, table: GivenTable, same: Callable[[Image, Image], bool], where: str
) -> tuple[CellListing, TableUse]:
    """List the images that a table gives a class; their root is the folder that holds all of them.

    An image is no cell, with a reason, without a row, without a label, with a label that is no class, or with both.

    Args:
        contents: what the source holds; what becomes no cell is counted there, too. Labels are its ``classes``.
        table: which file has which label.
        same: checks whether two images have the same content.
        where: what messages call the source.

    Raises:
        ListingError: no image of one of the classes.
        TableError: a row may be of two different images.
    """
    images = {
        printable("/".join((*folder, name))): (folder, name)
        for folder, names in contents.images.items()
        for name in names
    }
    rows, twins, use = match_rows(table, images, lambda one, other: same(images[one], images[other]))
    copies = set(twins)
    labels = {path: {row.label for row in its if row.label} for path, its in rows.items()}
    unknown = Counter(label for said in labels.values() for label in said if label not in contents.classes)
    named = {label for label, _ in unknown.most_common(NAMED)}
    cells: dict[Image, str] = {}
    contents.skipped.update({DUPLICATE: len(copies)} if copies else {})
    for path, image in images.items():
        if path in copies:
            continue
        said = {contents.classes.get(label, label) for label in labels.get(path, ())}
        label = next(iter(said), "")
        if path not in rows:
            reason = f"without a row in {table.name}"
        elif not said:
            reason = f"without a label in {table.name}"
        elif len(said) > 1:
            reason = f"with several labels in {table.name}"
        elif label in CLASSES:
            cells[image] = label
            continue
        else:
            reason = f"with the label {label!r} in {table.name}" if label in named else f"with others in {table.name}"
        contents.ignored[reason, image[0]] += 1
    for (folder, suffix), count in contents.unread.items():
        contents.ignored[UNREAD_FORMAT.format(what=suffix), folder] += count
    if missing := [label for label in CLASSES if label not in cells.values()]:
        counts = ", ".join(f"{n} {label!r}" for label, n in unknown.most_common(NAMED))
        raise ListingError(
            f"{table.parameter}: of the {use.rows} rows in {table.name}, {use.rows - use.unmatched} name an image in "
            f"{where}, and none of these is {' or '.join(missing)}"
            + (f" (other labels: {counts})" if counts else "")
            + (f"; no image is called {use.example!r}" if use.unmatched else "")
            + f".{tell_class_names(label for label, _ in unknown.most_common(NAMED))} Files are named as they lie "
            f"below the source, and labels are {' and '.join(CLASSES)}."
        )
    levels = zip(*(folder for folder, _ in cells), strict=False)
    root: Folder = tuple(
        names[0]
        for names in takewhile(lambda names: len(set(names)) == 1 and names[0].lower() not in SPLIT_FOLDERS, levels)
    )
    return listing_of(
        root, {"/".join((*folder[len(root) :], name)): label for (folder, name), label in cells.items()}, contents
    ), use
