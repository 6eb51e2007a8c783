"""No image is left out in silence: what is a cell, and why the others are none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from malaria_kedro.cells.listing import (
    BEHIND_A_LINK,
    BOTH_CLASSES,
    ELSEWHERE,
    FOLDERS,
    HIDDEN,
    OTHER_CASE,
    SECOND_PLACE,
    UNREAD_FORMAT,
    CellListing,
    Ignored,
    ListingError,
    cells_below,
    choose_cells,
    look_through,
    same_on_disk,
    splits_of,
)

BOTH = {"Parasitized/a.png": b"a", "Uninfected/b.png": b"b"}


def lay_out(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def below(prefix: str, files: dict[str, bytes] = BOTH) -> dict[str, bytes]:
    return {f"{prefix}/{name}": content for name, content in files.items()}


def found(root: Path) -> CellListing:
    return choose_cells(look_through(root), partial(same_on_disk, root), "the folder")


# --- where the class folders are --------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", ["my_cells", "a/b/c/d", "cell_images/cell_images", "train", "test", "data/Train"])
def test_a_wrapping_folder_is_understood(tmp_path: Path, wrap: str) -> None:
    listing = found(lay_out(tmp_path, below(wrap)))
    assert "/".join(listing.root) == wrap
    assert listing.cells == {"Parasitized/a.png": "Parasitized", "Uninfected/b.png": "Uninfected"}
    assert cells_below(tmp_path / wrap) == listing.cells
    assert (listing.ignored, listing.skipped) == ((), {})


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("training", "Val", "TESTING"), ("validation", "test")])
@pytest.mark.parametrize("wrap", ["", "wrapped/"])
def test_folders_of_splits_are_one_set_with_the_split_in_the_path(
    tmp_path: Path, names: tuple[str, ...], wrap: str
) -> None:
    files = {key: value for name in names for key, value in below(f"{wrap}{name}").items()}
    listing = found(lay_out(tmp_path, files))
    assert "/".join(listing.root) == wrap.rstrip("/")
    assert {f"{wrap}{path}" for path in listing.cells} == files.keys()
    assert cells_below(tmp_path / wrap) == listing.cells


def test_a_split_without_one_of_the_classes_belongs_to_the_set(tmp_path: Path) -> None:
    lay_out(tmp_path, below("train") | {"test/Parasitized/c.png": b"c"})
    listing = found(tmp_path)
    assert listing.cells["test/Parasitized/c.png"] == "Parasitized"
    assert cells_below(tmp_path) == listing.cells


@pytest.mark.parametrize(
    ("path", "splits"),
    [
        ("train/Parasitized/x.png", ("train",)),
        ("Val/Parasitized/x.png", ("valid",)),
        ("testing/Uninfected/s/x.png", ("test",)),
        ("Parasitized/train/x.png", ("train",)),
        ("Uninfected/Validation/slide/x.png", ("valid",)),
        ("train/Parasitized/training/x.png", ("train",)),
        ("train/Parasitized/test/x.png", ("train", "test")),
        ("Parasitized/slide/train/x.png", ()),
        ("train/Parasitized/slide/test/x.png", ("train",)),
        ("Parasitized/train", ()),
        ("Parasitized/x.png", ()),
        ("train", ()),
    ],
)
def test_the_split_is_the_folder_around_or_directly_below_the_class_folder(path: str, splits: tuple[str, ...]) -> None:
    assert splits_of(path) == splits


def test_a_set_with_folders_of_splits_in_the_class_folders_beside_another_is_ambiguous(tmp_path: Path) -> None:
    within = {f"{label}/{split}/a.png": b"a" for label in ("Parasitized", "Uninfected") for split in ("train", "valid")}
    with pytest.raises(ListingError, match="the top and the folders of splits"):
        found(lay_out(tmp_path, within | below("train") | below("valid")))


def test_a_second_copy_of_the_set_is_skipped(tmp_path: Path) -> None:
    listing = found(lay_out(tmp_path, below("cell_images") | below("cell_images/cell_images")))
    assert listing.root == ("cell_images",)
    assert listing.skipped == {"duplicate": 2}
    assert listing.ignored == ()


@pytest.mark.parametrize(
    "second",
    [below("b", {"Parasitized/x.png": b"x", "Uninfected/y.png": b"y"}), below("b", BOTH | {"Uninfected/b.png": b"c"})],
    ids=["other names", "other content"],
)
def test_two_different_sets_are_an_error_that_names_both(tmp_path: Path, second: dict[str, bytes]) -> None:
    with pytest.raises(ListingError, match=r"two places, a/ and b/, .*: give one"):
        found(lay_out(tmp_path, below("a") | second))


def test_a_set_beside_its_own_split_is_ambiguous_too(tmp_path: Path) -> None:
    files = BOTH | below("train") | below("valid", {"Parasitized/v.png": b"v", "Uninfected/w.png": b"w"})
    with pytest.raises(ListingError, match="the top and the folders of splits"):
        found(lay_out(tmp_path, files))


def test_classes_that_are_not_side_by_side_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ListingError, match=r"not side by side; .*x/Parasit"):
        found(lay_out(tmp_path, {"x/Parasitized/a.png": b"a", "y/Uninfected/b.png": b"b"}))


def test_a_missing_class_says_what_there_is_instead(tmp_path: Path) -> None:
    with pytest.raises(ListingError, match=r"no images in Uninfected/.*rename uninfected\.") as error:
        found(lay_out(tmp_path, {"Parasitized/a.png": b"a", "uninfected/b.png": b"b"}))
    assert "not read" not in str(error.value)


def test_a_class_of_another_format_says_so(tmp_path: Path) -> None:
    with pytest.raises(ListingError, match=r"Uninfected/.*\(2 \.webp\): save them as PNG"):
        found(lay_out(tmp_path, {"Parasitized/a.png": b"a", "Uninfected/b.webp": b"b", "Uninfected/c.webp": b"c"}))


def test_a_folder_that_is_left_out_is_not_looked_into(tmp_path: Path) -> None:
    lay_out(tmp_path, BOTH | below("data/cell_images/train", {"Parasitized/z.png": b"z", "Uninfected/z.png": b"z"}))
    contents = look_through(tmp_path, leave_out=tmp_path / "data" / "cell_images")
    assert choose_cells(contents, partial(same_on_disk, tmp_path), "x").root == ()


# --- why images are no cells ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason", "folder"),
    [
        ("overview.png", ELSEWHERE, "."),
        ("Gametocyte/x.png", ELSEWHERE, "Gametocyte"),
        ("Gametocyte/deep/x.webp", ELSEWHERE, "Gametocyte/deep"),
        ("valid/x.png", ELSEWHERE, "valid"),
        (
            "parasitized/x.png",
            OTHER_CASE,
            "parasitized",
        ),
        (
            "UNINFECTED/s/x.gif",
            OTHER_CASE,
            "UNINFECTED/s",
        ),
        ("Parasitized/x.webp", UNREAD_FORMAT.format(what=".webp"), "Parasitized"),
        ("Parasitized/slide/x.AVIF", UNREAD_FORMAT.format(what=".avif"), "Parasitized/slide"),
        ("Parasitized/Uninfected/x.png", BOTH_CLASSES, "Parasitized/Uninfected"),
        ("Parasitized/uninfected/x.png", BOTH_CLASSES, "Parasitized/uninfected"),
        ("old/Parasitized/x.png", SECOND_PLACE, "old/Parasitized"),
    ],
)
def test_an_image_that_is_no_cell_has_a_reason_and_a_folder(
    tmp_path: Path, name: str, reason: str, folder: str
) -> None:
    listing = found(lay_out(tmp_path, BOTH | {name: b"x"}))
    assert listing.ignored == (Ignored(reason, folder, 1),)
    assert len(listing.cells) == 2
    assert cells_below(tmp_path) == listing.cells


PNG, JPEG, BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM\x36\0\0\0" + bytes(8)
WEBP, AVIF, JP2 = b"RIFF\x24\0\0\0WEBPVP8 ", b"\0\0\0\x20ftypavif", b"\0\0\0\x0cjP  \r\n\x87\n"


@pytest.mark.parametrize("start", [PNG, JPEG, BMP, WEBP, AVIF, JP2, b"II*\0", b"MM\0*", b"GIF89a"])
@pytest.mark.parametrize(("name", "kind"), [("cell_1", "file without a suffix"), ("x.png.bak", "*.bak")])
def test_an_image_without_an_images_name_is_counted(tmp_path: Path, start: bytes, name: str, kind: str) -> None:
    listing = found(lay_out(tmp_path, BOTH | {f"Uninfected/{name}": start + bytes(20)}))
    reason = UNREAD_FORMAT.format(what=f"an image without an image's name, {kind}")
    assert listing.ignored == (Ignored(reason, "Uninfected", 1),)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes", b"BMI of the patients"),
        ("a.csv", b"a,b"),
        ("empty", b""),
        (".hidden", b"x"),
        ("._x.png", b"\0\5\x16\7\0\2\0\0Mac OS X        "),
        (".batch2/._x.png", b"\0\5\x16\7\0\2\0\0Mac OS X        "),
        (".batch2/notes.txt", b"x"),
        ("a.mp4", b"\0\0\0\x20ftypisom"),
    ],
)
def test_other_files_are_no_images(tmp_path: Path, name: str, content: bytes) -> None:
    listing = found(lay_out(tmp_path, BOTH | {f"Uninfected/{name}": content}))
    assert listing.ignored == ()
    assert sum(listing.skipped.values()) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".hidden", PNG),
        (".x.png", JPEG),
        ("._x.png", PNG),
        (".batch2/x.png", PNG),
        (".batch2/deep/x.png", b"broken"),
        (".batch2/x.czi", b"ZISRAWFILE"),
        (".batch2/x", WEBP),
        (".batch2/.x", BMP),
    ],
)
@pytest.mark.parametrize("within", ["Uninfected", ".", "wrapped"])
def test_an_image_that_a_dot_hides_is_counted(tmp_path: Path, name: str, content: bytes, within: str) -> None:
    listing = found(lay_out(tmp_path, BOTH | {f"{within}/{name}": content}))
    folder = Path(within, name).parent.as_posix()
    assert listing.ignored == (Ignored(HIDDEN, folder, 1),)
    assert listing.skipped == {}
    assert cells_below(tmp_path) == listing.cells


@pytest.mark.parametrize("system", ["@eaDir", "#recycle", ".Trash-1000", ".Trashes", ".git", ".dvc", ".AppleDouble"])
def test_folders_of_systems_are_passed_by_and_named(tmp_path: Path, system: str) -> None:
    root = lay_out(tmp_path / "root", BOTH | {f"Uninfected/{system}/deep/x.png": PNG, f"{system}/.x.png": PNG})
    lay_out(tmp_path / "elsewhere", {"x.png": PNG})
    (root / system / "link").symlink_to(tmp_path / "elsewhere")
    (root / system / "gone").symlink_to("nowhere")
    listing = found(root)
    assert (listing.ignored, listing.skipped) == ((), {system: 4})


def test_a_folder_of_a_system_that_cannot_be_listed_is_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, scandir = lay_out(tmp_path, BOTH | {".Trash-0/x.png": PNG}), os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith(".Trash-0"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert (found(root).ignored, found(root).skipped) == ((), {".Trash-0": 1})


def test_a_class_whose_images_a_dot_hides_says_so(tmp_path: Path) -> None:
    files = {"Parasitized/a.png": PNG, "Uninfected/.batch2/b.png": PNG, "Uninfected/.c.png": PNG}
    with pytest.raises(ListingError, match=r"Uninfected/.* dot .*\(2\): rename"):
        found(lay_out(tmp_path, files))


@pytest.mark.parametrize("name", ["x.jfif", "x.JPE", "x.jpeg", "x.tiff", "deep/er/x.bmp"])
def test_every_suffix_that_is_read_is_a_cell_at_any_depth(tmp_path: Path, name: str) -> None:
    assert f"Parasitized/{name}" in found(lay_out(tmp_path, BOTH | {f"Parasitized/{name}": b"x"})).cells


def test_images_of_one_reason_and_folder_are_one_entry_and_most_come_first(tmp_path: Path) -> None:
    files = {f"Gametocyte/{n}.png": b"x" for n in range(3)} | {"a.png": b"x", "Other/a.png": b"x"}
    assert found(lay_out(tmp_path, BOTH | files)).ignored == (
        Ignored(ELSEWHERE, "Gametocyte", 3),
        Ignored(ELSEWHERE, ".", 1),
        Ignored(ELSEWHERE, "Other", 1),
    )


def test_linked_folders_are_not_followed_and_their_images_counted(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "root", BOTH)
    lay_out(tmp_path / "elsewhere", {"x.png": b"x", "deep/y.webp": b"y", "notes.txt": b"n"})
    (root / "Parasitized" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "Parasitized" / "loop").symlink_to(root)
    listing = found(root)
    assert listing.ignored == (Ignored(BEHIND_A_LINK, "Parasitized/more", 2),)
    assert listing.skipped == {"linked folder": 2}


def test_a_link_to_a_hidden_folder_or_one_of_a_system_loses_no_image(tmp_path: Path) -> None:
    root = lay_out(tmp_path, BOTH | {".batch2/x.png": PNG, ".batch2/y.png": PNG, ".dvc/batch3/z.png": PNG})
    (root / "Parasitized" / "batch2").symlink_to(root / ".batch2")
    (root / "Parasitized" / "batch3").symlink_to(root / ".dvc" / "batch3")
    listing = found(root)
    assert listing.ignored == (
        Ignored(HIDDEN, ".batch2", 2),
        Ignored(BEHIND_A_LINK, "Parasitized/batch3", 1),
    )
    assert listing.skipped == {"linked folder": 2, ".dvc": 1}


def test_linked_files_are_cells_and_a_link_to_nowhere_is_one_that_cannot_be_read(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "root", BOTH)
    (tmp_path / "real.png").write_bytes(b"x")
    for name, target in (("linked", tmp_path / "real.png"), ("gone", "nowhere.png"), ("loop", "loop.png")):
        (root / "Uninfected" / f"{name}.png").symlink_to(target)
    contents = look_through(root)
    assert contents.images["Uninfected",].keys() == {"b.png", "linked.png", "gone.png", "loop.png"}
    assert contents.linked == 3


@pytest.mark.parametrize("name", ["slide_3", "batch.1", "2024.05.01", ".batch2"])
def test_a_broken_link_that_may_have_been_a_folder_is_counted(tmp_path: Path, name: str) -> None:
    root = lay_out(tmp_path, BOTH)
    (root / "Parasitized" / name).symlink_to("gone")
    listing = found(root)
    assert listing.ignored == (Ignored("behind links that lead nowhere", f"Parasitized/{name}", 1),)
    assert listing.skipped == {}


@pytest.mark.parametrize("name", [".#labels", ".#labels.csv"])
def test_an_editors_lock_is_no_broken_link(tmp_path: Path, name: str) -> None:
    root = lay_out(tmp_path, BOTH)
    (root / "Parasitized" / name).symlink_to("somebody@somewhere.123:456")
    assert (found(root).ignored, found(root).skipped) == ((), {"dot file": 1})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_named_like_an_image_is_no_cell(tmp_path: Path) -> None:
    root = lay_out(tmp_path, BOTH)
    os.mkfifo(root / "Parasitized" / "pipe.png")
    assert found(root).ignored == (Ignored("neither a file nor a folder", "Parasitized", 1),)
    assert "Parasitized/pipe.png" not in cells_below(root)


def test_a_folder_that_cannot_be_listed_is_named_and_the_others_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lay_out(tmp_path, BOTH | {"Parasitized/closed/x.png": b"x"})
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = found(root)
    reason = "in folders that cannot be listed (Permission denied)"
    assert listing.ignored == (Ignored(reason, "Parasitized/closed", 1),)
    assert cells_below(root) == listing.cells


def test_a_class_folder_that_cannot_be_listed_is_why_a_class_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("Uninfected"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ListingError, match=r"Uninfected .* cannot be listed \(Permission denied\)"):
        found(lay_out(tmp_path, BOTH))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_names_that_are_no_utf_8_are_printable_in_what_is_told(tmp_path: Path) -> None:
    lay_out(tmp_path, BOTH | {os.fsdecode(b"caf\xe9/x.png"): b"x", os.fsdecode(b"Parasitized/x.\xe9"): b"x"})
    listing = found(tmp_path)
    assert listing.ignored == (Ignored(ELSEWHERE, r"caf\xe9", 1),)
    assert listing.skipped == {r"*.\xe9": 1}


# --- other names of class folders -------------------------------------------------------------------------------

NAMES = FOLDERS | {"infected": "Parasitized", "ring": "Parasitized", "healthy": "Uninfected"}


@pytest.mark.parametrize("split", ["", "train/", "cells/"])
def test_class_folders_may_be_called_otherwise(tmp_path: Path, split: str) -> None:
    files = {f"{split}{name}": name.encode() for name in ("infected/a.png", "ring/a.png", "healthy/s/b.png")}
    listing = choose_cells(look_through(lay_out(tmp_path, files), classes=NAMES), partial(same_on_disk, tmp_path), "x")
    assert listing.cells == {
        "healthy/s/b.png": "Uninfected",
        "infected/a.png": "Parasitized",
        "ring/a.png": "Parasitized",
    }
    assert cells_below(tmp_path.joinpath(*listing.root), NAMES) == listing.cells


def test_both_names_of_a_class_may_be_there(tmp_path: Path) -> None:
    lay_out(tmp_path, BOTH | {"infected/c.png": b"c", "Parasitized/infected/d.png": b"d"})
    listing = choose_cells(look_through(tmp_path, classes=NAMES), partial(same_on_disk, tmp_path), "x")
    assert list(listing.cells.values()).count("Parasitized") == 3
    assert cells_below(tmp_path, NAMES) == listing.cells


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("infected", "uninfected"),
        ("Parasitised", "Uninfected"),
        ("positive", "negative"),
        ("1", "0"),
        ("malaria", "normal"),
    ],
)
def test_folders_of_other_names_are_told_with_what_to_set(tmp_path: Path, one: str, other: str) -> None:
    with pytest.raises(ListingError) as caught:
        found(lay_out(tmp_path, {f"cells/{one}/a.png": b"a", f"cells/{other}/b.png": b"b"}))
    settings = [f"source.class_names.{one}=Parasitized", f"source.class_names.{other}=Uninfected"]
    assert all((setting in str(caught.value)) != (setting.endswith("Uninfected=Uninfected")) for setting in settings)
