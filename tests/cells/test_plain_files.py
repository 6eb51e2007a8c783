"""Reading a file that may be anything: bounded, and never waited for."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from malaria_kedro.cells.index import inspect_cell
from malaria_kedro.cells.plain_files import MAX_FILE_BYTES, read_file


def test_a_file_is_read_whole(tmp_path):
    (tmp_path / "a.png").write_bytes(b"abc" * 1000)
    assert read_file(tmp_path / "a.png") == b"abc" * 1000
    assert read_file(str(tmp_path / "a.png")) == b"abc" * 1000


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"abc")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert read_file(tmp_path / "b.png") == b"abc"


def test_a_sparse_file_of_50_gb_costs_no_memory(tmp_path):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(50_000_000_000)
    tracemalloc.start()
    try:
        found = inspect_cell(tmp_path / "huge.png")
        assert tracemalloc.get_traced_memory()[1] < MAX_FILE_BYTES / 10
    finally:
        tracemalloc.stop()
    assert found.excluded.startswith("unreadable: 50,000,000,000 bytes")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert inspect_cell(tmp_path / "pipe.png").excluded == "unreadable: it is no plain file"


def test_a_device_is_refused():
    with pytest.raises(OSError, match="it is no plain file"):
        read_file("/dev/zero")


def test_a_folder_is_refused(tmp_path):
    assert inspect_cell(tmp_path).excluded == "unreadable: it is a folder"


def test_no_descriptor_stays_open(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for name in ("pipe.png", "."):
        with pytest.raises(OSError, match="it is"):
            read_file(tmp_path / name)
    assert (len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0) == before
