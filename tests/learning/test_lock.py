"""One training at a time on a folder, and a lock that dies with its process."""

import subprocess
import sys

import pytest

from malaria_kedro.learning.lock import LockError, only_one

HOLD = """
import sys, time
from pathlib import Path
from malaria_kedro.learning.lock import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_told_who_trains_there(holder, tmp_path):
    with pytest.raises(LockError, match=r"another run is training.*wait until it has ended"), only_one(tmp_path):
        pass


def test_a_killed_process_leaves_no_lock(holder, tmp_path):
    holder.kill()
    holder.wait()
    with only_one(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_an_error_leaves_no_lock(tmp_path):
    with pytest.raises(ValueError, match="broken"), only_one(tmp_path):
        raise ValueError("broken")
    with only_one(tmp_path):
        pass


def test_two_trainings_of_one_process_do_not_share_it_either(tmp_path):
    with only_one(tmp_path), pytest.raises(LockError), only_one(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    with (
        pytest.raises(LockError, match=r"checkpoints cannot be written .*give rights"),
        only_one(tmp_path / "checkpoints"),
    ):
        pass
