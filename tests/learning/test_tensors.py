"""Files of tensors have the rights of any new file, and say so where they may not be read."""

import os

import pytest
import torch
from safetensors import SafetensorError

from malaria_kedro.learning.tensors import read_tensors, write_tensors


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o027, 0o640)])
def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_tensors({"a": torch.ones(3)}, tmp_path / "a.safetensors", {"format": "pt"})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_what_is_written_is_read(tmp_path):
    write_tensors({"a": torch.ones(3)}, tmp_path / "a.safetensors", {"format": "pt"})
    assert torch.equal(read_tensors(tmp_path / "a.safetensors")["a"], torch.ones(3))


def test_a_file_that_may_not_be_read_is_not_said_to_be_missing(tmp_path, without_rights):
    write_tensors({"a": torch.ones(3)}, tmp_path / "a.safetensors", {"format": "pt"})
    with without_rights(tmp_path / "a.safetensors"), pytest.raises(PermissionError):
        read_tensors(tmp_path / "a.safetensors")
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "b.safetensors")


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no tensors")
    with pytest.raises(SafetensorError):
        read_tensors(tmp_path / "a.safetensors")
