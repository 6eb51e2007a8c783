"""The DataBunch: one table, one array, and a fingerprint of what is learnt from."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from malaria_kedro.cells.decoding import decode_cell
from malaria_kedro.cells.pixels import PixelError
from malaria_kedro.learning.databunch import DataBunch, make_databunch
from malaria_kedro.learning.databunch_summary import DataBunchSummary, EqualCells
from malaria_kedro.names import CLASSES, PARASITIZED
from malaria_kedro.parameters import Augment, Split


@pytest.fixture
def parts(phantom_index, phantom_splits, phantom_pixels, phantom_split):
    """Join the phantoms, each part as it is unless another is given."""

    def join(index=phantom_index, splits=phantom_splits, pixels=phantom_pixels, augment=None) -> DataBunch:
        return make_databunch(
            index,
            splits,
            pixels,
            augment=augment or Augment(),
            split=phantom_split,
            origin="phantom_cells.zip",
            phantom=True,
        )

    return join


def test_row_and_pixels_are_of_the_same_cell(phantom_bunch, phantom_index, phantom_folder):
    paths = phantom_index.set_index("cell_id")["path"]
    for number in (0, 31, 63):
        cell_id = phantom_bunch.cells["cell_id"][number]
        expected = decode_cell(phantom_folder.root / paths[cell_id], 32)
        assert np.array_equal(phantom_bunch.pixels[number], expected)


def test_labels_and_sides_are_those_of_the_tables(phantom_bunch, phantom_index, phantom_splits):
    cells = phantom_bunch.cells.set_index("cell_id")
    assert cells["label"].to_dict() == phantom_index.set_index("cell_id")["label"].to_dict()
    assert cells["split"].to_dict() == phantom_splits.set_index("cell_id")["split"].to_dict()
    assert list(phantom_bunch.cells.columns) == ["cell_id", "label", "patient_id", "slide_id", "pixels_sha256", "split"]


def test_the_order_of_the_tables_rows_does_not_matter(parts, phantom_index, phantom_splits):
    one = parts()
    other = parts(phantom_index.sample(frac=1, random_state=1), phantom_splits.sample(frac=1, random_state=2))
    assert one.cells.equals(other.cells)
    assert one.fingerprint == other.fingerprint


def test_rows_of_the_sides_are_disjoint_and_complete(phantom_bunch):
    rows = [phantom_bunch.rows(split) for split in ("train", "valid", "test")]
    assert [len(part) for part in rows] == [43, 12, 9]
    assert sorted(np.concatenate(rows)) == list(range(64))


def test_parasitized_is_class_0(phantom_bunch):
    targets = phantom_bunch.targets()
    assert targets.dtype == np.int64
    assert ((targets == 0) == (phantom_bunch.cells["label"] == PARASITIZED)).all()


# --- tables that do not match ---------------------------------------------------------------------------------------


def test_pixels_of_a_cell_that_is_not_in_the_index_are_an_error(parts, phantom_index):
    gone = phantom_index["cell_id"][7]
    with pytest.raises(PixelError, match=rf"1 decoded cells are not in cell_index \(e\.g\. {gone}\)"):
        parts(index=phantom_index.drop(7))


def test_pixels_of_a_cell_without_a_side_are_an_error(parts, phantom_splits):
    with pytest.raises(PixelError, match=r"2 decoded cells are not in cell_splits .*data_engineering"):
        parts(splits=phantom_splits.drop([3, 4]))


def test_a_split_cell_without_pixels_is_an_error(parts, phantom_pixels):
    fewer = dataclasses.replace(phantom_pixels, array=phantom_pixels.array[1:], cell_ids=phantom_pixels.cell_ids[1:])
    with pytest.raises(
        PixelError, match=rf"1 cells of cell_splits are not decoded \(e\.g\. {phantom_pixels.cell_ids[0]}"
    ):
        parts(pixels=fewer)


def test_as_many_but_other_cells_are_an_error_too(parts, phantom_splits):
    splits = phantom_splits.copy()
    splits.loc[0, "cell_id"] = "C9_stranger"
    with pytest.raises(PixelError, match=r"not in cell_splits .*; 1 cells of cell_splits .*C9_stranger"):
        parts(splits=splits)


def test_pixels_of_other_files_than_the_index_describes_are_an_error(parts, phantom_index):
    index = phantom_index.copy()
    index.loc[[0, 63], "sha256"] = index.loc[[63, 0], "sha256"].to_numpy()
    with pytest.raises(
        PixelError, match=rf"2 cells were decoded from other files .*\(e\.g\. {index['cell_id'][0]}\); run"
    ):
        parts(index=index)


def test_splits_by_cell_are_not_taken_for_splits_by_patient(phantom_index, phantom_splits, phantom_pixels):
    with pytest.raises(
        PixelError, match=r"[1-8] patients are in two splits .* split\.strategy=patient never does.*run the"
    ):
        make_databunch(
            phantom_index,
            phantom_splits,
            phantom_pixels,
            augment=Augment(),
            split=Split(strategy="patient", valid_pct=0.2, test_pct=0.15, seed=42),
            origin="phantom_cells.zip",
            phantom=True,
        )


def test_splits_from_before_two_pictures_were_equal_are_an_error(parts, phantom_index, phantom_splits):
    rows = [phantom_splits.index[phantom_splits["split"] == split][0] for split in ("train", "valid")]
    index = phantom_index.copy()
    index.loc[rows, "pixels_sha256"] = "0" * 64
    with pytest.raises(
        PixelError, match=r"1 pictures are in two splits in cell_splits, which split\.strategy=random never"
    ):
        parts(index=index)


# --- the pixels -----------------------------------------------------------------------------------------------------


def test_pixels_as_they_were_decoded_are_verified(phantom_bunch):
    phantom_bunch.verify()


def test_one_changed_byte_is_found(phantom_bunch):
    pixels = np.array(phantom_bunch.pixels)
    pixels[31, 16, 16, 1] ^= 1
    with pytest.raises(
        PixelError, match=r"pixels\.npy is not the array that was decoded .*data_engineering, and train"
    ):
        dataclasses.replace(phantom_bunch, pixels=pixels).verify()


# --- the summary ----------------------------------------------------------------------------------------------------


def test_the_summary_survives_json(phantom_bunch):
    summary = phantom_bunch.summary
    written = json.loads(json.dumps(summary.model_dump(exclude_unset=True), allow_nan=False))
    assert DataBunchSummary.model_validate(written) == summary
    assert list(written) == list(DataBunchSummary.model_fields)


def test_a_key_that_was_not_written_stays_absent_and_one_of_another_version_stays():
    stored = {"fingerprint": "f00d", "n_patients": 3, "n_cells": 63, "equal_cells": {"n_cells": 2, "n_pictures": 1}}
    assert DataBunchSummary.model_validate(stored).model_dump(exclude_unset=True) == stored


def test_the_summary_counts_cells_and_patients(phantom_bunch):
    summary = phantom_bunch.summary
    assert {part: sum(counts.values()) for part, counts in summary.counts.items()} == {
        "train": 43,
        "valid": 12,
        "test": 9,
    }
    assert summary.classes == list(CLASSES)
    assert (summary.n_patients, summary.image_size, summary.phantom) == (8, 32, True)
    assert set(summary.shared_patients) == {"train/valid", "train/test", "valid/test"}
    assert summary.excluded == {}


def test_the_summary_counts_excluded_cells_by_reason(parts, phantom_index, phantom_splits, phantom_pixels):
    index = phantom_index.copy()
    index.loc[[0, 1], "excluded"] = ["unreadable: the file is empty", "unreadable: cannot identify image file"]
    index.loc[2, "excluded"] = "beyond source.limit of 5 cells a class"
    fewer = dataclasses.replace(phantom_pixels, array=phantom_pixels.array[3:], cell_ids=phantom_pixels.cell_ids[3:])
    splits = phantom_splits[phantom_splits["cell_id"].isin(index["cell_id"][3:])]
    bunch = parts(index, splits, fewer)
    assert bunch.summary.excluded == {"unreadable": 2, "beyond source.limit of 5 cells a class": 1}
    first = index.loc[0, ["cell_id", "label", "patient_id", "excluded"]].to_dict()
    assert bunch.listed.excluded["unreadable"][0].model_dump() == first
    assert {reason: len(cells) for reason, cells in bunch.listed.excluded.items()} == bunch.summary.excluded


def test_the_summary_counts_equal_cells_and_lists_are_kept_apart(parts, phantom_index, phantom_splits):
    rows = phantom_splits.index[phantom_splits["split"] == "train"][:3]
    index = phantom_index.copy()
    index.loc[rows, "pixels_sha256"] = "0" * 64
    bunch = parts(index=index)
    n_patients = index.loc[rows, "patient_id"].nunique()
    assert bunch.summary.equal_cells == EqualCells(n_cells=3, n_pictures=1, n_across_patients=int(n_patients > 1))
    assert bunch.summary.shared_pictures == {"train/valid": 0, "train/test": 0, "valid/test": 0}
    assert bunch.listed.equal[0].cell_ids == index.loc[rows, "cell_id"].tolist()
    assert index.loc[rows[0], "cell_id"] not in bunch.summary.model_dump_json()


@pytest.mark.parametrize("ignored", [None, {}, {"outside the class folders": 3}])
def test_the_summary_has_the_images_that_did_not_become_cells(
    phantom_index, phantom_splits, phantom_pixels, phantom_split, ignored
):
    bunch = make_databunch(
        phantom_index,
        phantom_splits,
        phantom_pixels,
        augment=Augment(),
        split=phantom_split,
        origin="cells.zip",
        phantom=True,
        ignored=ignored,
    )
    assert bunch.summary.ignored == ignored


# --- the fingerprint ------------------------------------------------------------------------------------------------


def test_the_fingerprint_depends_on_a_label(parts, phantom_index):
    index = phantom_index.copy()
    index.loc[0, "label"] = next(label for label in CLASSES if label != index["label"][0])
    assert parts(index=index).fingerprint != parts().fingerprint


def test_the_hash_of_the_labels_depends_on_them_and_not_on_sides(parts, phantom_index, phantom_splits):
    index = phantom_index.copy()
    index.loc[0, "label"] = next(label for label in CLASSES if label != index["label"][0])
    labels = parts().summary.labels_sha256
    assert parts(index=index).summary.labels_sha256 != labels
    assert parts(splits=phantom_splits.assign(split="train")).summary.labels_sha256 == labels


def test_the_fingerprint_depends_on_a_side(parts, phantom_splits):
    splits = phantom_splits.copy()
    splits.loc[0, "split"] = "valid" if splits["split"][0] != "valid" else "train"
    assert parts(splits=splits).fingerprint != parts().fingerprint


def test_the_fingerprint_depends_on_the_images(parts, phantom_pixels):
    assert parts(pixels=dataclasses.replace(phantom_pixels, fingerprint="0" * 64)).fingerprint != parts().fingerprint


def test_the_fingerprint_depends_on_an_images_bytes(parts, phantom_index, phantom_pixels):
    index, cell_id = phantom_index.copy(), phantom_index["cell_id"][0]
    index.loc[0, "sha256"] = "0" * 64
    pixels = dataclasses.replace(
        phantom_pixels, files=phantom_pixels.files.mask(phantom_pixels.files.index == cell_id, "0" * 64)
    )
    assert parts(index=index, pixels=pixels).fingerprint != parts().fingerprint


def test_the_fingerprint_does_not_depend_on_augmentation(parts):
    assert parts(augment=Augment(max_rotate=90.0)).fingerprint == parts().fingerprint


# --- what it prints -------------------------------------------------------------------------------------------------


def test_it_prints_classes_item_counts_and_shapes(phantom_bunch):
    shown = str(phantom_bunch)
    assert "DataBunch of 64 cells, classes ['Parasitized', 'Uninfected']" in shown
    for part, count in (("train", 43), ("valid", 12), ("test", 9)):
        assert f"{part}: {count} items; x: uint8 (32, 32, 3); y: " in shown


def test_it_says_that_there_is_no_test_part(parts, phantom_splits):
    splits = phantom_splits.assign(split=phantom_splits["split"].replace("test", "train"))
    assert "test: none" in str(parts(splits=splits))


def test_it_is_made_without_torch():
    code = "import sys, malaria_kedro.learning.databunch; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_summary_tells_the_bit_depth_of_the_16_bit_images(parts, phantom_pixels):
    assert parts().summary.bit_depth is None
    assert parts(pixels=dataclasses.replace(phantom_pixels, bit_depth=12)).summary.bit_depth == 12
