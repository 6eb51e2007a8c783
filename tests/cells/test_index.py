"""The cell index: one row per image, whatever the image is."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from malaria_kedro.cells import index as index_module
from malaria_kedro.cells import patient_pattern
from malaria_kedro.cells.decoding import MAX_CELL_PIXELS, UNREADABLE
from malaria_kedro.cells.duplicates import BOTH_LABELS
from malaria_kedro.cells.index import CellIndexError, index_cells, inspect_cell, limit_cells, list_cells
from malaria_kedro.cells.listing import ListingError
from malaria_kedro.cells.patient_pattern import PatternError
from malaria_kedro.cells.pixels import decode_cells
from malaria_kedro.cells.schemas import CellIndex
from malaria_kedro.names import CLASSES, NIH_PATIENT_PATTERN, PARASITIZED, UNINFECTED
from malaria_kedro.parameters import Image as ImageSize

NO_IMAGE = f"{UNREADABLE}: not a PNG, JPEG, TIFF or BMP image"

PARASITES = "C1P2ThinF_IMG_20150604_104722_cell_"


def draw(path: Path, shade: int = 100, size: tuple[int, int] = (20, 17)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade // 2, 0)).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten cells of each class, of two patients."""
    for number in range(10):
        draw(tmp_path / PARASITIZED / f"{PARASITES}{number}.png", number)
        draw(tmp_path / UNINFECTED / f"C3P4ThinF_IMG_20150604_104722_cell_{number}.png", 100 + number)
    return tmp_path


def index_of(root: Path, **kwargs) -> pd.DataFrame:
    return index_cells(root, patient_pattern=NIH_PATIENT_PATTERN, **kwargs)


def test_an_index_fits_its_schema(phantom_index):
    assert CellIndex.validate(phantom_index).equals(phantom_index)


def test_there_is_one_row_an_image_and_nothing_else_counts(root):
    (root / PARASITIZED / "Thumbs.db").write_bytes(b"no image")
    (root / PARASITIZED / "folder.png").mkdir()
    index = index_of(root)
    assert index["label"].value_counts().to_dict() == {PARASITIZED: 10, UNINFECTED: 10}


def test_a_row_tells_what_name_and_image_tell(root):
    row = index_of(root).set_index("cell_id").loc[f"{PARASITES}7"]
    assert row["path"] == f"{PARASITIZED}/{PARASITES}7.png"
    assert (row["label"], row["patient_id"], row["slide_id"]) == (PARASITIZED, "C1", PARASITES.removesuffix("_cell_"))
    assert (row["width"], row["height"], row["excluded"]) == (20, 17, "")


def test_the_order_of_the_files_does_not_matter(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for path in sorted(root.glob("*/*.png"), key=lambda path: path.name[::-1]):
        (other / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, other / path.parent.name)
    pd.testing.assert_frame_equal(index_of(root), index_of(other))


def test_rows_come_in_the_order_of_their_ids(phantom_index):
    assert phantom_index["cell_id"].is_monotonic_increasing


# --- images that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda content: b"", "unreadable: the file is empty"),
        (
            lambda content: b"no image at all",
            NO_IMAGE,
        ),
        (lambda content: content[: len(content) * 2 // 3], "unreadable: .*(truncated|incomplete|broken)"),
    ],
    ids=["empty", "no image", "truncated"],
)
def test_a_broken_image_is_a_row_with_a_reason(root, spoil, reason):
    path = root / PARASITIZED / f"{PARASITES}3.png"
    Image.effect_noise((60, 60), 50).save(path)
    path.write_bytes(spoil(path.read_bytes()))
    index = index_of(root, max_broken_pct=5.0)
    row = index.set_index("cell_id").loc[f"{PARASITES}3"]
    assert len(index) == 20
    assert re.match(reason, row["excluded"])
    assert row[["width", "height"]].isna().all()
    CellIndex.validate(index)


def test_a_reason_is_the_same_in_every_run(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image at all")
    problems = {inspect_cell(tmp_path / "x.png").excluded for _ in range(2)}
    assert len(problems) == 1
    assert problems.pop().startswith(NO_IMAGE)


def test_a_file_that_has_gone_is_a_reason_too(tmp_path):
    assert inspect_cell(tmp_path / "gone.png").excluded == "unreadable: No such file or directory"


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    found = inspect_cell(tmp_path / "bomb.png")
    assert found.excluded.startswith("unreadable: ")
    assert "decompression bomb" in found.excluded


def test_an_image_far_too_large_for_one_cell_is_refused(tmp_path):
    Image.new("1", (6000, 5000)).save(tmp_path / "slide.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = inspect_cell(tmp_path / "slide.png")
    assert found.excluded.startswith("unreadable: 6000 × 5000 px are too many")
    assert MAX_CELL_PIXELS < 6000 * 5000


def test_an_image_that_the_decoder_cannot_turn_into_rgb_is_a_reason(tmp_path):
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "float.tif")
    assert "save it as 8-bit RGB" in inspect_cell(tmp_path / "float.tif").excluded


def test_equal_pixels_have_one_hash_whatever_the_file(tmp_path):
    image = Image.effect_noise((19, 17), 50).convert("RGB")
    for number, name in enumerate(("a.png", "b.png", "c.bmp", "d.tif")):
        image.save(tmp_path / name, **({"compress_level": 9 * number} if name.endswith("png") else {}))
    image.rotate(180).save(tmp_path / "turned.png")
    found = {path.name: inspect_cell(path) for path in tmp_path.iterdir()}
    assert len({found[name].pixels_sha256 for name in ("a.png", "b.png", "c.bmp", "d.tif")}) == 1
    assert len({inspection.sha256 for inspection in found.values()}) == 5
    assert found["turned.png"].pixels_sha256 != found["a.png"].pixels_sha256


def test_what_cannot_be_decoded_has_no_hash_of_pixels(root):
    (root / PARASITIZED / f"{PARASITES}3.png").write_bytes(b"no image")
    index = index_of(root, max_broken_pct=5.0).set_index("cell_id")
    assert index["pixels_sha256"].isna().to_dict() == {cell_id: cell_id == f"{PARASITES}3" for cell_id in index.index}


def test_too_many_broken_images_stop_with_count_share_and_remedy(root):
    for number in range(3):
        (root / UNINFECTED / f"C3P4ThinF_IMG_20150604_104722_cell_{number}.png").write_bytes(b"")
    with pytest.raises(CellIndexError) as caught:
        index_of(root, max_broken_pct=10.0)
    message = str(caught.value)
    for part in ("3 of 20 images", "15.00 %", "source.max_broken_pct (10.0 %)", "_cell_0.png", "Unpack the archive"):
        assert part in message


def test_as_many_broken_images_as_allowed_are_named_and_left_out(root, caplog):
    (root / PARASITIZED / f"{PARASITES}3.png").write_bytes(b"")
    index_of(root, max_broken_pct=5.0)
    assert f"{PARASITIZED}/{PARASITES}3.png is not used: unreadable" in caplog.text


def test_of_many_broken_images_ten_are_named(root, caplog):
    for path in (root / PARASITIZED).iterdir():
        path.write_bytes(b"")
    for path in sorted((root / UNINFECTED).iterdir())[:2]:
        path.write_bytes(b"")
    index_of(root, max_broken_pct=100.0)
    assert caplog.text.count("is not used") == 10
    assert "and 2 more unreadable images" in caplog.text


@pytest.mark.parametrize(
    ("target", "reason"),
    [("gone.png", "unreadable: No such file or directory"), ("loop.png", "unreadable: Too many levels of symbolic")],
)
def test_a_broken_link_is_one_row_and_the_others_stay_as_they_are(root, target, reason):
    (root / PARASITIZED / "loop.png").symlink_to(target)
    index = index_of(root, max_broken_pct=5.0).set_index("cell_id")
    assert index.loc["loop", "excluded"].startswith(reason)
    assert (index["excluded"] == "").sum() == 20


def test_images_in_sub_folders_are_of_the_class(root):
    for slide in (1, 2):
        draw(root / PARASITIZED / f"slide_{slide}" / "deep" / "1.png", slide)
    draw(root / UNINFECTED / "slide_3" / "C9_x.png", 3)
    index = index_of(root).set_index("path")
    assert index.loc[f"{PARASITIZED}/slide_2/deep/1.png", "cell_id"] == f"{PARASITIZED}/slide_2/deep/1.png"
    assert list(index.loc[f"{UNINFECTED}/slide_3/C9_x.png", ["cell_id", "label", "patient_id"]]) == [
        "C9_x",
        UNINFECTED,
        "C9",
    ]
    CellIndex.validate(index.reset_index()[list(CellIndex.to_schema().columns)])


def test_the_cells_of_folders_of_splits_are_one_index_with_the_split_in_the_path(root, tmp_path_factory):
    top = tmp_path_factory.mktemp("split")
    for split in ("train", "Valid", "test"):
        shutil.copytree(root, top / split)
    index = index_of(top)
    assert index["path"].str.split("/").str[0].value_counts().to_dict() == {"train": 20, "Valid": 20, "test": 20}
    assert (index["cell_id"] == index["path"]).all()
    CellIndex.validate(index)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_name_that_is_no_utf_8_is_a_cell_with_a_printable_name(root, tmp_path):
    file = os.fsencode(root / UNINFECTED) + b"/C7_\xe9\xff.png"
    Image.effect_noise((19, 17), 50).save(os.fsdecode(file))
    index = index_of(root)
    row = index.set_index("cell_id").loc[r"C7_\xe9\xff"]
    assert list(row[["path", "patient_id", "excluded"]]) == [rf"{UNINFECTED}/C7_\xe9\xff.png", "C7", ""]
    assert CellIndex.validate(index).equals(index)
    index.to_parquet(tmp_path / "index.parquet")
    assert next(iter(decode_cells(root, index[index["path"] == row["path"]], ImageSize(size=16)))).shape == (
        16,
        16,
        3,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_two_names_that_print_alike_are_an_error(root):
    for name in (b"/\xff.png", rb"/\xff.png"):
        shutil.copy(root / PARASITIZED / f"{PARASITES}0.png", os.fsencode(root / UNINFECTED) + name)
    with pytest.raises(CellIndexError, match="both written as"):
        index_of(root)


def test_a_missing_class_folder_is_named(root):
    shutil.rmtree(root / UNINFECTED)
    with pytest.raises(ListingError, match=f"no folder {UNINFECTED}"):
        list(list_cells(root))


def test_no_image_at_all_is_an_error_that_names_the_folder(tmp_path):
    for label in CLASSES:
        (tmp_path / label).mkdir()
    with pytest.raises(CellIndexError, match=rf"no image in {re.escape(str(tmp_path))}.*source\.path"):
        index_of(tmp_path)


def test_less_than_16_px_a_side_is_too_small(root):
    draw(root / PARASITIZED / f"{PARASITES}3.png", size=(15, 40))
    row = index_of(root, max_broken_pct=5.0).set_index("cell_id").loc[f"{PARASITES}3"]
    assert row["excluded"].startswith("too_small: 15 × 40 px")


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TGA", "ICO"])
def test_a_format_that_reading_refuses_is_refused_here(root, kind):
    path = root / PARASITIZED / f"{PARASITES}3.png"
    Image.new("RGB", (32, 32)).save(path, kind)
    row = index_of(root, max_broken_pct=5.0).set_index("cell_id").loc[f"{PARASITES}3"]
    assert row["excluded"].startswith(NO_IMAGE)
    assert row[["pixels_sha256", "peak"]].isna().all()


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()], ids=["files", "memory"]
)
def test_an_image_is_not_left_out_because_the_machine_has_too_little(root, error, monkeypatch):
    def refuse(_path: Path) -> bytes:
        raise error

    monkeypatch.setattr(index_module, "read_file", refuse)
    with pytest.raises(type(error)):
        index_of(root, max_broken_pct=100.0)


def test_a_pattern_without_end_is_refused_before_any_image_is_read(root, monkeypatch):
    monkeypatch.setattr(patient_pattern, "SECONDS", 1.0)
    draw(root / PARASITIZED / f"{'a' * 40}!.png")
    monkeypatch.setattr(index_module, "read_file", None)
    with pytest.raises(PatternError, match="too long"):
        index_cells(root, patient_pattern="(a+)+$")


# --- what an image is -----------------------------------------------------------------------------------------------


def test_the_largest_value_of_a_16_bit_image_is_kept(root):
    Image.fromarray(np.full((20, 20), 3000, np.uint16)).save(root / PARASITIZED / f"{PARASITES}3.png")
    index = index_of(root)
    assert index.set_index("cell_id")["peak"].dropna().to_dict() == {f"{PARASITES}3": 3000}
    CellIndex.validate(index)


def test_equal_pictures_in_other_files_have_equal_hashes(root):
    with Image.open(root / PARASITIZED / f"{PARASITES}3.png") as image:
        image.save(root / UNINFECTED / "same.bmp")
    index = index_of(root).set_index("cell_id")
    one, other = index.loc[f"{PARASITES}3"], index.loc["same"]
    assert one["sha256"] != other["sha256"]
    assert one["pixels_sha256"] == other["pixels_sha256"]
    assert index["pixels_sha256"].nunique() == len(index) - 1


def test_cells_that_are_used_otherwise_than_they_may_be_meant_are_counted(root, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("turned1.jpg", "turned2.jpg"):
        Image.new("RGB", (40, 20), "red").save(root / PARASITIZED / name, exif=exif)
    Image.new("RGB", (40, 20), "red").save(
        root / UNINFECTED / "pages.tif", save_all=True, append_images=[Image.new("RGB", (40, 20))]
    )
    flags = index_of(root).set_index("cell_id")["quality"]
    assert flags[flags != ""].to_dict() == {
        "turned1": "exif_rotated",
        "turned2": "exif_rotated",
        "pages": "several_pages",
    }
    assert "2 cells have an orientation" in caplog.text
    assert "1 cells have several pages" in caplog.text
    assert f"e.g. {UNINFECTED}/pages.tif" in caplog.text


# --- names ----------------------------------------------------------------------------------------------------------


def test_an_id_is_the_name_without_its_ending(phantom_index):
    assert (phantom_index["cell_id"] + ".png" == phantom_index["path"].str.split("/").str[1]).all()


def test_one_name_in_both_classes_gives_two_ids(root):
    for label in CLASSES:
        draw(root / label / "1.png", CLASSES.index(label))
    ids = index_of(root)["cell_id"]
    assert ids.is_unique
    assert {f"{PARASITIZED}/1.png", f"{UNINFECTED}/1.png", f"{PARASITES}0"} <= set(ids)


def test_one_name_with_two_endings_gives_two_ids(root):
    draw(root / PARASITIZED / "a.png")
    draw(root / PARASITIZED / "a.bmp")
    assert {f"{PARASITIZED}/a.png", f"{PARASITIZED}/a.bmp"} <= set(index_of(root)["cell_id"])


@pytest.mark.parametrize("pattern", [NIH_PATIENT_PATTERN, r"^(C?\d*)"])
def test_foreign_names_have_no_patient_and_say_so(tmp_path, caplog, pattern):
    for label in CLASSES:
        draw(tmp_path / label / f"smear-{label}.png", CLASSES.index(label))
    index = index_cells(tmp_path, patient_pattern=pattern)
    assert index["patient_id"].isna().all()
    assert "2 cells name no patient (source.patient_pattern)" in caplog.text
    CellIndex.validate(index)


def test_a_pattern_of_ones_own_finds_the_patient(tmp_path):
    for label in CLASSES:
        draw(tmp_path / label / f"smear-{label}_p07.png")
    assert set(index_cells(tmp_path, patient_pattern=r"_p(\d+)")["patient_id"]) == {"07"}


# --- limit ----------------------------------------------------------------------------------------------------------


def table_of(cells: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """Return a table of patients with so many parasitized and uninfected cells."""
    rows = [
        {"cell_id": f"{patient}_{label}_{number}", "label": label, "patient_id": patient, "excluded": ""}
        for patient, counts in cells.items()
        for label, count in zip(CLASSES, counts, strict=True)
        for number in range(count)
    ]
    return pd.DataFrame(rows).sort_values("cell_id", ignore_index=True)


def used(index: pd.DataFrame) -> pd.DataFrame:
    return index[index["excluded"] == ""]


@pytest.mark.parametrize("limit", [1, 7, 25, 40])
def test_a_limit_leaves_exactly_as_many_cells_of_each_class(limit):
    limited = limit_cells(table_of({f"C{n}": (10, 10) for n in range(4)}), limit)
    assert used(limited)["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, limit)


def test_a_limit_takes_whole_patients_first():
    limited = used(limit_cells(table_of({f"C{n}": (10, 10) for n in range(6)}), 25))
    for _, cells in limited.groupby("label"):
        assert sorted(cells["patient_id"].value_counts()) == [5, 10, 10]


def test_a_limit_takes_the_same_patients_for_both_classes():
    limited = used(limit_cells(table_of({f"C{n}": (10, 10) for n in range(6)}), 25))
    patients = limited.groupby("label")["patient_id"].agg(set)
    assert patients[PARASITIZED] == patients[UNINFECTED]


def test_a_cell_of_an_unknown_patient_is_not_counted_to_a_patient_of_that_name():
    names = [f"C{n}" for n in range(40)]
    known = pd.DataFrame({"cell_id": [f"cell of {name}" for name in names], "patient_id": names})
    unknown = pd.DataFrame({"cell_id": names, "patient_id": None})
    kept = used(limit_cells(pd.concat([known, unknown], ignore_index=True).assign(label=PARASITIZED, excluded=""), 40))
    both = set(kept["patient_id"].dropna()) & set(kept.loc[kept["patient_id"].isna(), "cell_id"])
    assert len(kept) == 40
    assert len(both) < 15, "by chance both of a name are kept in about 10 of 40 cases; as one patient in 20"


def test_patients_without_parasites_do_not_count_against_the_other_class():
    limited = used(limit_cells(table_of({f"C{n}": (10 * (n < 3), 10) for n in range(6)}), 30))
    assert limited["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 30)


def test_a_limit_beyond_what_is_there_changes_nothing(phantom_index):
    pd.testing.assert_frame_equal(limit_cells(phantom_index, 10_000), phantom_index)


def test_a_limit_does_not_depend_on_the_order_of_the_rows():
    table = table_of({f"C{n}": (9, 4) for n in range(8)})
    one = limit_cells(table, 13)
    other = limit_cells(table.sample(frac=1, random_state=1), 13).sort_index()
    pd.testing.assert_frame_equal(one, other)


def test_what_is_beyond_a_limit_stays_in_the_table_with_the_reason(phantom_folder):
    index = index_of(phantom_folder.root, limit=5)
    assert len(index) == 64
    assert set(index["excluded"]) == {"", "beyond source.limit of 5 cells a class"}


def test_a_broken_cell_does_not_count_to_the_limit_and_keeps_its_reason(root):
    (root / PARASITIZED / f"{PARASITES}0.png").write_bytes(b"")
    index = index_of(root, limit=9, max_broken_pct=5.0)
    assert used(index)["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 9)
    assert index.set_index("cell_id")["excluded"][f"{PARASITES}0"] == "unreadable: the file is empty"


def test_the_log_says_how_many_cells_of_whom(root, caplog):
    caplog.set_level(logging.INFO)
    index_of(root, limit=8)
    for said in (f"16 cells (8 {PARASITIZED}, 8 {UNINFECTED})", "2 patients", "2 slide", "4 not used", "17-20 px"):
        assert said in caplog.text


# --- equal pictures -------------------------------------------------------------------------------------------------


def test_a_picture_under_both_labels_is_excluded_with_a_reason_that_names_the_other_cell(root, caplog):
    draw(root / UNINFECTED / "C3P4ThinF_IMG_20150604_104722_cell_99.bmp", 4)
    index = index_of(root).set_index("cell_id")
    excluded = index.loc[index["excluded"] != "", "excluded"].to_dict()
    assert excluded == {
        f"{PARASITES}4": f"{BOTH_LABELS}: also C3P4ThinF_IMG_20150604_104722_cell_99 as Uninfected",
        "C3P4ThinF_IMG_20150604_104722_cell_99": f"{BOTH_LABELS}: also {PARASITES}4 as Parasitized",
    }
    assert "2 cells (1 Parasitized, 1 Uninfected) show 1 pictures" in caplog.text
    CellIndex.validate(index.reset_index())


def test_a_picture_twice_under_one_label_is_used(root):
    shutil.copy(root / PARASITIZED / f"{PARASITES}4.png", root / PARASITIZED / f"{PARASITES}copy.png")
    assert (index_of(root)["excluded"] == "").all()


def test_a_limit_does_not_hide_that_a_picture_is_labelled_both_ways(root):
    for number in range(10):
        draw(root / UNINFECTED / f"C9P4ThinF_IMG_20150604_104722_cell_{number}.png", number)
    index = index_of(root, limit=5)
    both = index["excluded"].str.startswith("the same picture is labelled both ways")
    assert set(index.loc[both, "patient_id"]) == {"C1", "C9"}
    assert both.sum() == 20


def test_leaving_the_wrong_label_out_keeps_the_right_one(root, tmp_path_factory):
    wrong = draw(root / UNINFECTED / "C3P4ThinF_IMG_20150604_104722_cell_99.png", 4)
    listed = tmp_path_factory.mktemp("lists") / "wrong.csv"
    listed.write_text(f"cell_id\n{wrong.stem}\n")
    index = index_of(root, exclude=listed).set_index("cell_id")
    assert index.loc[index["excluded"] != "", "excluded"].to_dict() == {wrong.stem: "named in wrong.csv"}
