"""What the machine refuses is told in one sentence, whichever library meets it, and what was there stays."""

from __future__ import annotations

import errno
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import csv as arrow_csv
from safetensors.torch import save_file

from malaria_kedro.files import LockError, new_folder, take_lock, write_file, write_json
from malaria_kedro.machine import MachineError, is_scarce, megabytes, refusal, trouble, writing

BIG = pd.DataFrame({"x": np.random.default_rng(0).random(50_000)})


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """Lower what this process may have of something, as ``ulimit`` does."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (RuntimeError("I/O error: No space left on device (os error 28)"), errno.ENOSPC),
        (RuntimeError("cannot open shared object file: Too many open files"), errno.EMFILE),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: Error code 12 (Cannot allocate memory)"), 12),
        (MemoryError(), errno.ENOMEM),
        (RuntimeError("can't start new thread"), errno.ENOMEM),
        (ImportError("libx.so: failed to map segment from shared object"), errno.ENOMEM),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), None),
        (ValueError("No such key (os error 2)"), None),
        (KeyError("x"), None),
    ],
    ids=[
        "of the system",
        "in Rust",
        "of the loader",
        "torch",
        "Python's memory",
        "a thread",
        "a library",
        "missing",
        "another number",
        "a bug",
    ],
)
def test_a_trouble_of_the_machine_is_known_in_anyones_words(error, number):
    assert trouble(error) == number


class PanicException(BaseException):
    """What pyo3 raises for a panic in Rust."""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('Os { code: 12, message: "Cannot allocate memory" }', "there is not enough memory; "),
        ("index out of\nbounds", "a library has given up (index out of bounds), as for want of memory; "),
    ],
)
def test_a_panic_is_told(said, told):
    assert str(refusal(PanicException(said))).startswith(told)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOENT])
def test_an_image_without_rights_or_on_a_bad_sector_is_no_lack_of_the_machine(number):
    assert not is_scarce(OSError(number, os.strerror(number), "1.png"))


WRITERS = {
    "Python": lambda path: path.write_bytes(bytes(200_000)),
    "pandas": BIG.to_parquet,
    "Arrow's CSV": lambda path: arrow_csv.write_csv(pa.Table.from_pandas(BIG), path),
    "safetensors": lambda path: save_file({"w": torch.rand(50_000)}, path),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_that_the_disk_cannot_hold_is_named_and_the_old_one_stays(tmp_path, write):
    (tmp_path / "table").write_text("old")
    with limited(resource.RLIMIT_FSIZE, 10_000), pytest.raises(MachineError) as caught:
        write_file(tmp_path / "table", write)
    assert str(caught.value).startswith(f"{tmp_path / 'table'} cannot be written (File too large); ")
    assert [path.name for path in tmp_path.iterdir()] == ["table"]
    assert (tmp_path / "table").read_text() == "old"


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_folder_that_the_disk_cannot_hold_is_named_and_the_old_one_stays(tmp_path, write):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "part").write_text("old")
    with limited(resource.RLIMIT_FSIZE, 10_000), pytest.raises(MachineError) as caught, new_folder(folder) as new:
        write(new / "part")
    assert str(caught.value).startswith(f"{folder} cannot be written (File too large); ")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (folder / "part").read_text() == "old"


def a_file_in_the_way(folder: Path) -> Path:
    (folder / "README.md").touch()
    return folder / "README.md" / "table.csv"


def a_folder_in_the_way(folder: Path) -> Path:
    (folder / "table.csv").mkdir()
    return folder / "table.csv"


@pytest.mark.parametrize(
    ("place", "named", "remedy"),
    [
        (a_file_in_the_way, "README.md", "a file lies where a folder is needed"),
        (a_folder_in_the_way, "table.csv", "a folder lies where a file is needed"),
        (lambda folder: folder / ("n" * 300), "n" * 300, "give a shorter path"),
        (lambda folder: folder / ("n" * 300) / "table.csv", "n" * 300, "give a shorter path"),
    ],
    ids=["a file in the way", "a folder in the way", "a long name", "a long folder"],
)
def test_what_is_in_the_way_is_named_with_what_to_do(tmp_path, place: Callable[[Path], Path], named, remedy):
    path = place(tmp_path)
    with pytest.raises(MachineError, match=remedy) as caught:
        write_json(path, {})
    assert str(caught.value).startswith(f"{tmp_path / named} cannot be written (")


def test_a_folder_that_is_a_file_cannot_be_locked_and_is_not_short_of_rights(tmp_path):
    (tmp_path / "README.md").touch()
    with pytest.raises(LockError, match="a file lies where a folder is needed"):
        take_lock(tmp_path / "README.md", "another run works in", "wait")


def test_too_many_open_files_are_no_fault_of_the_folder(tmp_path):
    with limited(resource.RLIMIT_NOFILE, 0), pytest.raises(MachineError, match=r"Too many open files.*ulimit -n"):
        write_json(tmp_path / "a.json", {})


def test_a_full_disk_says_how_much_is_free(tmp_path):
    told = r"a\.json cannot be written \(No space left on device, .* [\d.]+ \w+ that are free\)"
    with pytest.raises(MachineError, match=told), writing(tmp_path / "a.json"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_that_is_read_meanwhile_is_not_blamed_on_what_is_written(tmp_path):
    with pytest.raises(PermissionError, match=r"cells/1\.png"), writing(tmp_path / "out" / "a.json"):
        raise PermissionError(errno.EACCES, "Permission denied", "cells/1.png")


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (MemoryError(), "there is not enough memory; "),
        (MemoryError("Unable to allocate 3.41 GiB for an array with shape (5,)"), " for another 3.41 GiB; "),
        (RuntimeError("you tried to allocate 2500000 bytes. Error code 12 (Cannot allocate memory)"), "another 2.5 MB"),
    ],
    ids=["Python", "numpy", "torch"],
)
def test_too_little_memory_says_what_was_asked_for(error, asked):
    assert asked in str(refusal(error))


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (46_900_000, "46.9 MB"), (2**31, "2.1 GB")],
)
def test_a_size_has_the_unit_that_says_something(count, said):
    assert megabytes(count) == said


@pytest.mark.parametrize(
    "said",
    [
        "basic_ios::clear: iostream error",
        "[enforce fail at inline.cc:7] . PytorchStreamWriter failed writing",
    ],
)
def test_a_file_that_a_library_could_not_write_without_a_reason_has_a_remedy(said):
    told = str(refusal(RuntimeError(said)))
    assert said in told
    assert tempfile.gettempdir() in told
    assert "ulimit -f" in told
