"""The pixel array on disk: decoded once, lazily, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from malaria_kedro.cells.decoding import decode_cell
from malaria_kedro.cells.pixels import DecodedCells, PixelError, decode_cells
from malaria_kedro.datasets.pixels_dataset import CellPixelsDataset
from malaria_kedro.parameters import Image


@pytest.fixture
def cells(phantom_folder, phantom_index) -> DecodedCells:
    return decode_cells(phantom_folder.root, phantom_index, Image(size=24))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "05_model_input" / "cell_pixels"


@pytest.fixture
def dataset(folder: Path) -> CellPixelsDataset:
    return CellPixelsDataset(filepath=str(folder))


def made_up_cells(n: int, size: int, decode: Callable[[], Iterator[Any]]) -> DecodedCells:
    """Return n cells that come from a function instead of files."""

    class MadeUp(DecodedCells):
        shape = (n, size, size, 3)

        def __iter__(self) -> Iterator[Any]:
            return decode()

    names = [str(number) for number in range(min(n, 1000))]
    return MadeUp(Path(), names, names, ["0" * 64] * len(names), size, "f" * 64)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


def written(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


def test_what_is_decoded_is_what_loads(dataset, cells, phantom_folder, phantom_index):
    dataset.save(cells)
    pixels = dataset.load()
    assert (pixels.array.shape, pixels.array.dtype) == ((64, 24, 24, 3), np.uint8)
    assert pixels.cell_ids.tolist() == phantom_index["cell_id"].tolist()
    assert pixels.fingerprint == cells.fingerprint
    for row, path in zip(pixels.array, phantom_index["path"], strict=True):
        assert np.array_equal(row, decode_cell(phantom_folder.root / path, 24))


def test_the_array_is_a_plain_npy_file(dataset, cells, folder):
    dataset.save(cells)
    assert np.array_equal(np.load(folder / "pixels.npy"), dataset.load().array)
    described = json.loads((folder / "pixels.json").read_text())
    assert described == {
        "fingerprint": cells.fingerprint,
        "shape": [64, 24, 24, 3],
        "dtype": "uint8",
        "channels": "RGB",
        "bit_depth": None,
        "cells_sha256": hashlib.sha256((folder / "cells.parquet").read_bytes()).hexdigest(),
        "sha256": dataset.load().sha256,
        "blocks": [hashlib.sha256(np.load(folder / "pixels.npy").tobytes()).hexdigest()],
    }


def test_the_array_is_memory_mapped_and_read_only(dataset, cells):
    dataset.save(cells)
    array = dataset.load().array
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


def test_it_exists_from_the_save_on(dataset, cells):
    assert not dataset.exists()
    dataset.save(cells)
    assert dataset.exists()


# --- reuse ---------------------------------------------------------------------------------------------------------


def test_the_same_cells_in_the_same_size_are_not_decoded_again(dataset, cells, folder, caplog):
    caplog.set_level("INFO")
    dataset.save(cells)
    before = written(folder)
    CellPixelsDataset(filepath=str(folder)).save(cells)
    assert written(folder) == before
    assert "pixels of 64 cells are already decoded at 24 px: reused" in caplog.text


def test_another_size_is_decoded_anew(dataset, cells, phantom_folder, phantom_index):
    dataset.save(cells)
    dataset.save(decode_cells(phantom_folder.root, phantom_index, Image(size=16)))
    assert dataset.load().array.shape == (64, 16, 16, 3)


def test_other_cells_are_decoded_anew(dataset, cells, phantom_folder, phantom_index):
    dataset.save(cells)
    dataset.save(decode_cells(phantom_folder.root, phantom_index.drop(0), Image(size=24)))
    assert dataset.load().cell_ids.tolist() == phantom_index["cell_id"].tolist()[1:]


@pytest.mark.parametrize("name", ["pixels.npy", "cells.parquet", "pixels.json"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:50])])
def test_a_damaged_array_does_not_load_and_is_decoded_anew(dataset, cells, folder, name, damage):
    dataset.save(cells)
    whole = np.array(dataset.load().array)
    damage(folder / name)
    with pytest.raises(DatasetError, match=r"no whole pixel array .*run the pipeline data_engineering"):
        dataset.load()
    dataset.save(cells)
    assert np.array_equal(dataset.load().array, whole)


# --- what is not what was decoded -----------------------------------------------------------------------------------


def flip_a_bit(path: Path) -> None:
    with path.open("rb+") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def swap_two_cells(path: Path) -> None:
    array = np.load(path)
    array[[0, -1]] = array[[-1, 0]]
    np.save(path, array)


def zip_up(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), np.load(path))
    path.with_suffix(".npz").replace(path)


def rename_a_cell(path: Path) -> None:
    table = pd.read_parquet(path)
    table.loc[[0, 1], "cell_id"] = table.loc[[1, 0], "cell_id"].to_numpy()
    table.to_parquet(path, index=False)


CHANGES = {
    "a flipped bit": ("pixels.npy", flip_a_bit),
    "cut short": ("pixels.npy", lambda path: os.truncate(path, path.stat().st_size - 1)),
    "longer": ("pixels.npy", lambda path: path.write_bytes(path.read_bytes() + b"more")),
    "two cells swapped": ("pixels.npy", swap_two_cells),
    "another shape": ("pixels.npy", lambda path: np.save(path, np.load(path)[:-1])),
    "another type": ("pixels.npy", lambda path: np.save(path, np.load(path).view(np.int8))),
    "an archive": ("pixels.npy", zip_up),
    "empty": ("pixels.npy", lambda path: path.write_bytes(b"")),
    "two names swapped": ("cells.parquet", rename_a_cell),
    "a hash edited": (
        "pixels.json",
        lambda path: path.write_text(path.read_text().replace('"sha256": "', '"sha256": "0')),
    ),
    "a description of nothing": ("pixels.json", lambda path: path.write_text("[]")),
}


@pytest.mark.parametrize(("name", "change"), CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_array_does_not_load_and_is_decoded_anew(dataset, cells, folder, name, change, caplog):
    dataset.save(cells)
    whole, cell_ids = np.array(dataset.load().array), dataset.load().cell_ids.tolist()
    change(folder / name)
    with pytest.raises(DatasetError, match=r"no whole pixel array .*run the pipeline data_engineering") as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, PixelError)  # so the user sees its sentence, and no traceback
    dataset.save(cells)
    assert np.array_equal(dataset.load().array, whole)
    assert dataset.load().cell_ids.tolist() == cell_ids
    assert "decoding anew" in caplog.text


@pytest.mark.parametrize("name", ["pixels.npy", "cells.parquet"])
def test_a_part_of_another_array_is_noticed(dataset, cells, folder, name, phantom_folder, phantom_index, tmp_path):
    other = CellPixelsDataset(filepath=str(tmp_path / "other"))
    other.save(decode_cells(phantom_folder.root, phantom_index.drop(0), Image(size=24)))
    dataset.save(cells)
    shutil.copy(tmp_path / "other" / name, folder / name)
    with pytest.raises(DatasetError, match=f"no whole pixel array .*{name}"):
        dataset.load()


def test_a_large_array_is_checked_as_a_whole_before_it_is_used_again(dataset, folder, caplog):
    def decode() -> Iterator[np.ndarray]:
        return (np.full((256, 256, 3), number, dtype=np.uint8) for number in range(100))

    made_up = made_up_cells(100, 256, decode)
    dataset.save(made_up)
    array = np.load(folder / "pixels.npy", mmap_mode="r+")
    for row in range(2, 98, 2):  # until one that loading does not look at
        array[row, 9, 9, 1] ^= 1
        array.flush()
        try:
            dataset.load()
            break
        except DatasetError:
            array[row, 9, 9, 1] ^= 1
            array.flush()
    assert array[row, 9, 9, 1] == row ^ 1
    dataset.save(made_up)
    assert "is not what was decoded (its sha256 is another): decoding anew" in caplog.text
    assert dataset.load().array[row, 9, 9, 1] == row


def test_an_earlier_versions_array_is_decoded_anew_and_said(dataset, cells, folder, caplog):
    dataset.save(cells)
    described = json.loads((folder / "pixels.json").read_text())
    earlier = {key: described[key] for key in ("fingerprint", "shape", "dtype", "channels")}
    (folder / "pixels.json").write_text(json.dumps(earlier))
    with pytest.raises(DatasetError, match=r"earlier version's, which kept no hashes\); run the pipeline"):
        dataset.load()
    dataset.save(cells)
    assert "earlier version's, which kept no hashes): decoding anew" in caplog.text
    assert dataset.load().fingerprint == cells.fingerprint


def test_swapped_files_leave_the_old_array(dataset, cells, folder, phantom_folder, phantom_index, tmp_path):
    dataset.save(cells)
    before = written(folder)
    root = shutil.copytree(phantom_folder.root, tmp_path / "copied")
    one, other = root / phantom_index["path"].iloc[0], root / phantom_index["path"].iloc[-1]
    content = one.read_bytes()
    shutil.copy(other, one)
    other.write_bytes(content)
    with pytest.raises(DatasetError, match=r"is not the file that was indexed .* data_engineering from its start"):
        dataset.save(dataclasses.replace(cells, root=root, fingerprint="0" * 64))
    assert written(folder) == before


# --- failures -------------------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_decoded_leaves_the_old_array_and_nothing_else(dataset, cells, folder, tmp_path):
    dataset.save(cells)
    before = written(folder)
    broken = dataclasses.replace(cells, paths=[*cells.paths[:-1], "Uninfected/gone.png"], fingerprint="0" * 64)
    with pytest.raises(DatasetError, match=r"gone\.png was readable when it was indexed"):
        dataset.save(broken)
    assert written(folder) == before
    assert entries(folder) == ["cell_pixels"]


def test_an_image_that_cannot_be_decoded_leaves_no_first_array(dataset, cells, folder):
    with pytest.raises(DatasetError):
        dataset.save(dataclasses.replace(cells, paths=[*cells.paths[:-1], "Uninfected/gone.png"]))
    assert not dataset.exists()
    assert entries(folder) == []


def test_an_array_larger_than_the_disk_is_refused_before_anything_is_decoded(dataset, folder):
    def decode() -> Iterator[np.ndarray]:
        raise AssertionError("decoded")
        yield

    with pytest.raises(DatasetError, match=r"10000000000 cells at 128 px take 491520\.0 GB .* source\.limit"):
        dataset.save(made_up_cells(10**10, 128, decode))
    assert entries(folder) == []


# --- memory ---------------------------------------------------------------------------------------------------------


def test_cells_are_written_one_by_one_as_they_are_decoded(dataset):
    asked, done = [], []

    class Watched:
        """A cell that notes when it is turned into bytes, and how many were asked for by then."""

        def __init__(self, number: int) -> None:
            self.number = number

        def tobytes(self) -> bytes:
            done.append((self.number, len(asked)))
            return np.full((4, 4, 3), self.number, dtype=np.uint8).tobytes()

    def decode() -> Iterator[Watched]:
        for number in range(50):
            asked.append(number)
            yield Watched(number)

    dataset.save(made_up_cells(50, 4, decode))
    assert done == [(number, number + 1) for number in range(50)]
    assert dataset.load().array[:, 0, 0, 0].tolist() == list(range(50))


def test_the_dataset_names_its_folder(folder):
    assert str(folder) in str(CellPixelsDataset(filepath=str(folder)))


def test_the_bit_depth_of_16_bit_images_comes_back(dataset, cells):
    dataset.save(dataclasses.replace(cells, bit_depth=12, fingerprint="e" * 64))
    assert dataset.load().bit_depth == 12
