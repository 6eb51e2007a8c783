"""Cells whose class a table tells: any layout, and every image that is no cell has a reason."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from malaria_kedro.cells.labelled import choose_labelled
from malaria_kedro.cells.listing import FOLDERS, CellListing, ListingError, look_through, same_on_disk
from malaria_kedro.cells.tables import GivenTable, Row, TableUse
from source_material import lay_out

FLAT = {"a.png": b"a", "b.png": b"b"}
LABELS = {"a.png": "Parasitized", "b.png": "Uninfected"}


def found(root: Path, labels: dict[str, str] | list[Row], **class_names: str) -> tuple[CellListing, TableUse]:
    rows = [Row(*item) for item in labels.items()] if isinstance(labels, dict) else labels
    contents = look_through(root, classes=FOLDERS | class_names)
    table = GivenTable("source.labels", "labels.csv", [], rows)
    return choose_labelled(contents, table, partial(same_on_disk, root), "the folder")


@pytest.mark.parametrize(
    ("within", "root"),
    [("", ""), ("cells/", "cells"), ("cells/Parasitized/", "cells/Parasitized"), ("cells/train/", "cells")],
    ids=["flat", "wrapped", "in the folder of a class", "in the folder of a split"],
)
def test_the_table_tells_the_class_in_any_layout(tmp_path: Path, within: str, root: str) -> None:
    listing, use = found(lay_out(tmp_path, {within + name: content for name, content in FLAT.items()}), LABELS)
    assert "/".join(listing.root) == root
    below = f"{within[len(root) :].lstrip('/')}"
    assert listing.cells == {below + name: label for name, label in LABELS.items()}
    assert (listing.ignored, listing.skipped, use.unmatched) == ((), {}, 0)


def test_words_of_ones_own_are_classes(tmp_path: Path) -> None:
    words = {"a.png": "ring", "b.png": "healthy"}
    listing, _ = found(lay_out(tmp_path, FLAT), words, ring="Parasitized", healthy="Uninfected")
    assert listing.cells == LABELS


@pytest.mark.parametrize(
    ("name", "labels", "reason"),
    [
        ("x.png", [], "without a row in labels.csv"),
        ("x.png", [""], "without a label in labels.csv"),
        ("x.png", ["Parasitized", "Uninfected"], "with several labels in labels.csv"),
        ("x.png", ["unsure"], "with the label 'unsure' in labels.csv"),
        ("x.webp", ["Parasitized"], "of a format or name that is not read (.webp)"),
    ],
)
def test_an_image_that_is_no_cell_has_a_reason(tmp_path: Path, name: str, labels: list[str], reason: str) -> None:
    rows = [*(Row(*item) for item in LABELS.items()), *(Row(name, label) for label in labels)]
    listing, _ = found(lay_out(tmp_path, FLAT | {f"more/{name}": b"x"}), rows)
    assert [(some.reason, some.folder, some.count) for some in listing.ignored] == [(reason, "more", 1)]
    assert listing.cells == LABELS


def test_two_words_for_one_class_are_no_contradiction(tmp_path: Path) -> None:
    rows = [Row("a.png", "infected"), Row("a.png", "Parasitized"), Row("b.png", "Uninfected")]
    listing, use = found(lay_out(tmp_path, FLAT), rows, infected="Parasitized")
    assert listing.cells == LABELS
    assert use.repeated == 1


def test_a_copy_of_an_image_is_skipped(tmp_path: Path) -> None:
    listing, _ = found(lay_out(tmp_path, {"x/a.png": b"a", "x/b.png": b"b", "y/deep/a.png": b"a"}), LABELS)
    assert listing.cells == LABELS
    assert listing.skipped == {"duplicate": 1}


def test_of_many_other_words_few_are_reasons(tmp_path: Path) -> None:
    more = {f"{number}.png": f"word {number}" for number in range(9)}
    listing, _ = found(lay_out(tmp_path, FLAT | dict.fromkeys(more, b"x")), LABELS | more)
    assert len(listing.ignored) == 6
    assert sum(some.count for some in listing.ignored) == 9


@pytest.mark.parametrize(
    ("one", "other"),
    [("infected", "uninfected"), ("Parasitised", "Unparasitised"), ("positive", "negative"), ("1", "0"), ("yes", "no")],
)
def test_other_words_are_told_with_what_to_set(tmp_path: Path, one: str, other: str) -> None:
    with pytest.raises(ListingError) as caught:
        found(lay_out(tmp_path, FLAT), {"a.png": one, "b.png": other})
    assert f"--params source.class_names.{one}=Parasitized,source.class_names.{other}=Uninfected" in str(caught.value)


def test_a_table_of_other_files_says_which(tmp_path: Path) -> None:
    with pytest.raises(ListingError, match=r"2 rows in labels\.csv, 0 name an image.*'x/a\.png'"):
        found(lay_out(tmp_path, {"y/a.png": b"a"}), {"x/a.png": "Parasitized", "x/b.png": "Uninfected"})
