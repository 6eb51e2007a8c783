"""One training at a time on a folder, and a lock that dies with its process."""

import subprocess
import sys

import pytest

from malaria_kedro.files import LockError
from malaria_kedro.learning.lock import training_lock

HOLD = """
import sys, time
from pathlib import Path
from malaria_kedro.learning.lock import training_lock
with training_lock(Path(sys.argv[1])):
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
    with pytest.raises(LockError, match=r"another run is training.*wait until it has ended"), training_lock(tmp_path):
        pass


def test_a_killed_process_leaves_no_lock(holder, tmp_path):
    holder.kill()
    holder.wait()
    with training_lock(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_an_error_leaves_no_lock(tmp_path):
    with pytest.raises(ValueError, match="broken"), training_lock(tmp_path):
        raise ValueError("broken")
    with training_lock(tmp_path):
        pass


def test_two_trainings_of_one_process_do_not_share_it_either(tmp_path):
    with training_lock(tmp_path), pytest.raises(LockError), training_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    with (
        pytest.raises(LockError, match=r"checkpoints cannot be written .*where a folder is needed"),
        training_lock(tmp_path / "checkpoints"),
    ):
        pass
