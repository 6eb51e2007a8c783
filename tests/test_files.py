"""Whatever happens while writing, the name holds the old content or the whole new one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from malaria_kedro.files import (
    clear_leftovers,
    exclusive_lock,
    hash_json,
    look_at,
    look_in,
    new_folder,
    sha256_of,
    write_file,
    write_json,
)


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


# --- a file ---------------------------------------------------------------------------------------------------------


def test_a_file_is_written_with_its_parents(tmp_path):
    write_file(tmp_path / "a" / "b.txt", lambda path: path.write_text("new"))
    assert tree(tmp_path) == {"a/b.txt": "new"}


def test_a_file_replaces_the_old_one(tmp_path):
    (tmp_path / "b.txt").write_text("old")
    write_file(tmp_path / "b.txt", lambda path: path.write_text("new"))
    assert tree(tmp_path) == {"b.txt": "new"}


def test_the_old_file_is_whole_while_the_new_one_is_written(tmp_path):
    (tmp_path / "b.txt").write_text("old")
    seen = []

    def write(path: Path) -> None:
        path.write_text("half")
        seen.append((tmp_path / "b.txt").read_text())

    write_file(tmp_path / "b.txt", write)
    assert seen == ["old"]


@pytest.mark.parametrize("old", [{}, {"b.txt": "old"}], ids=["none", "an old one"])
def test_a_file_that_fails_half_way_leaves_what_was_there(tmp_path, old):
    for name, content in old.items():
        (tmp_path / name).write_text(content)

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        write_file(tmp_path / "b.txt", fail)
    assert tree(tmp_path) == old


# --- a folder -------------------------------------------------------------------------------------------------------


def test_a_folder_is_written_with_its_parents_and_what_is_below_it(tmp_path):
    with new_folder(tmp_path / "a" / "b") as folder:
        (folder / "c").mkdir()
        (folder / "c" / "d.txt").write_text("new")
        assert not (tmp_path / "a" / "b").exists()
    assert tree(tmp_path) == {"a/b/c/d.txt": "new"}


def test_a_folder_replaces_the_old_one_and_all_its_files(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old.txt").write_text("old")
    with new_folder(tmp_path / "b") as folder:
        (folder / "new.txt").write_text("new")
        assert tree(tmp_path / "b") == {"old.txt": "old"}
    assert tree(tmp_path) == {"b/new.txt": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_folder_that_fails_half_way_leaves_what_was_there(tmp_path, error):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old.txt").write_text("old")

    def fail() -> None:
        with new_folder(tmp_path / "b") as folder:
            (folder / "half.txt").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert tree(tmp_path) == {"b/old.txt": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old.txt").write_text("old")
    rename = Path.rename

    def fails_once(path: Path, target: Path) -> Path:
        if path.suffix == ".part":
            raise PermissionError("in use")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(PermissionError, match="in use"), new_folder(tmp_path / "b") as folder:
        (folder / "new.txt").write_text("new")
    assert tree(tmp_path) == {"b/old.txt": "old"}


KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from malaria_kedro.files import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / 'half.txt').write_text('half')
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_writer(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="kills as Unix does")
def test_a_killed_writer_leaves_the_old_folder_whole(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old.txt").write_text("old")
    kill_a_writer(tmp_path / "b")
    assert tree(tmp_path / "b") == {"old.txt": "old"}


@pytest.mark.skipif(os.name == "nt", reason="kills as Unix does")
def test_what_a_killed_writer_left_is_cleared_and_nothing_else(tmp_path):
    kill_a_writer(tmp_path / "classifier" / "2026-01-01T00.00.00.000Z" / "classifier")
    (tmp_path / "classifier" / "2026-01-02T00.00.00.000Z").mkdir()
    (tmp_path / "classifier" / "2026-01-02T00.00.00.000Z" / "classifier").write_text("whole")
    (tmp_path / "stage_1").mkdir()
    (tmp_path / "stage_1" / "epoch_003.state.part").write_text("half")
    (tmp_path / "stage_1" / "epoch_002.safetensors").write_text("whole")
    (tmp_path / ".gitkeep").write_text("")
    (tmp_path / "cells.zip.part").write_text("half a download, to be continued")
    assert clear_leftovers(tmp_path) == 8
    assert tree(tmp_path) == {
        "classifier/2026-01-02T00.00.00.000Z/classifier": "whole",
        "stage_1/epoch_002.safetensors": "whole",
        ".gitkeep": "",
        "cells.zip.part": "half a download, to be continued",
    }
    assert sorted(path.name for path in (tmp_path / "classifier").iterdir()) == ["2026-01-02T00.00.00.000Z"]


def test_what_versions_before_the_tokens_left_is_cleared(tmp_path):
    version = tmp_path / "classifier" / "2026-01-01T00.00.00.000Z"
    (version / ".classifier.part").mkdir(parents=True)
    (version / ".classifier.part" / "model.safetensors").write_text("half")
    assert clear_leftovers(tmp_path) == 4
    assert not version.exists()


def test_a_folder_of_cells_is_not_walked(tmp_path):
    left = tmp_path / "train" / ".x.png.0123456789ab.part"
    left.parent.mkdir()
    left.write_text("half")
    assert clear_leftovers(tmp_path, skip=["train"]) == 0
    assert left.exists()


def test_what_a_living_writer_with_a_lock_of_its_own_writes_is_left_alone(tmp_path):
    inside = tmp_path / "workspace"
    with exclusive_lock(inside, "another run is in", "wait"):
        (inside / ".x.0123456789ab.part").write_text("half")
        assert clear_leftovers(tmp_path) == 0
    assert clear_leftovers(tmp_path) == 4


def test_two_writers_of_one_folder_never_share_a_half_written_one(tmp_path):
    with new_folder(tmp_path / "b") as one:
        (one / "1.txt").write_text("one")
        with new_folder(tmp_path / "b") as other:
            (other / "2.txt").write_text("other")
        assert tree(tmp_path / "b") == {"2.txt": "other"}
        assert tree(one) == {"1.txt": "one"}
    assert tree(tmp_path) == {"b/1.txt": "one"}


def test_two_writers_of_one_file_never_share_a_half_written_one(tmp_path):
    def write_one(beside: Path) -> None:
        beside.write_text("one")
        write_file(tmp_path / "b.txt", lambda other: other.write_text("the other, longer"))
        assert beside.read_text() == "one"

    write_file(tmp_path / "b.txt", write_one)
    assert tree(tmp_path) == {"b.txt": "one"}


def test_a_long_name_leaves_room_for_the_name_beside_it(tmp_path):
    name = "ü" * 120
    write_file(tmp_path / name, lambda beside: beside.write_text("new"))
    assert tree(tmp_path) == {name: "new"}


def test_json_is_written_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "a.json", {"näme": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"näme": object()})
    assert tree(tmp_path) == {"a.json": '{\n  "näme": 1\n}\n'}


@pytest.mark.skipif(os.name == "nt", reason="kills as Unix does")
def test_a_writer_killed_while_the_folders_change_places_never_leaves_half_a_folder(tmp_path):
    (tmp_path / "b").mkdir()
    for number in range(5):
        (tmp_path / "b" / f"{number}.txt").write_text("old")
    code = (
        "import os, shutil, signal, sys; from pathlib import Path; from malaria_kedro import files as atomic\n"
        "rmtree = shutil.rmtree\n"
        "def killed_half_way(path, **kwargs):\n"
        "    files = list(Path(path).glob('*.txt'))\n"
        "    if files and files[0].read_text() == 'old':\n"
        "        files[0].unlink()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    rmtree(path, **kwargs)\n"
        "atomic.shutil.rmtree = killed_half_way\n"
        "with atomic.new_folder(Path(sys.argv[1])) as folder:\n"
        "    for number in range(5):\n"
        "        (folder / f'{number}.txt').write_text('new')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert tree(tmp_path / "b") == {f"{number}.txt": "new" for number in range(5)}


@pytest.mark.parametrize("name", ["uv.lock", "poetry.lock", "Cargo.lock"])
def test_a_lock_file_of_a_user_is_left_alone_and_holds_nothing_up(tmp_path, name):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / name).write_text("pinned")
    (tmp_path / "sub" / name).chmod(0o400)
    (tmp_path / "sub" / ".x.0123456789ab.part").write_text("half")
    with FileLock(tmp_path / "sub" / name):  # whatever another program does with it
        assert clear_leftovers(tmp_path) == 4
    assert tree(tmp_path) == {f"sub/{name}": "pinned"}


def test_what_cannot_be_removed_stays_and_ends_nothing(tmp_path, monkeypatch):
    for place in ("a", "b"):
        (tmp_path / place / ".x.0123456789ab.part").mkdir(parents=True)
        (tmp_path / place / ".x.0123456789ab.part" / "weights").write_text("half")
        (tmp_path / place / ".y.0123456789ab.part").write_text("half")
    unlink, rmdir = Path.unlink, os.rmdir

    def refuse(act):
        def maybe(path, *args, **kwargs):
            if "/a/" in f"{path}/":
                raise PermissionError(13, "Permission denied", str(path))
            return act(path, *args, **kwargs)

        return maybe

    monkeypatch.setattr(Path, "unlink", refuse(unlink))
    monkeypatch.setattr(os, "rmdir", refuse(rmdir))
    assert clear_leftovers(tmp_path) == 8
    assert tree(tmp_path) == {"a/.x.0123456789ab.part/weights": "half", "a/.y.0123456789ab.part": "half"}


def test_a_folder_that_may_be_listed_but_not_entered_is_left_as_it_is(tmp_path, without_rights):
    listed = tmp_path / "listed"
    (listed / ".x.0123456789ab.part").mkdir(parents=True)
    (listed / ".x.0123456789ab.part" / "weights").write_text("half")
    (listed / ".y.0123456789ab.part").write_text("half")
    (listed / ".lock").touch()
    (tmp_path / ".z.0123456789ab.part").write_text("half")
    tmp_path.chmod(0o777)
    with without_rights(listed, 0o444):
        assert clear_leftovers(tmp_path) == 4
    (listed / ".lock").unlink()
    with without_rights(listed, 0o444):
        assert clear_leftovers(tmp_path) == 0
    assert tree(tmp_path) == {"listed/.x.0123456789ab.part/weights": "half", "listed/.y.0123456789ab.part": "half"}


def test_what_lies_in_a_folder_comes_in_order_and_nothing_is_in_none(tmp_path):
    for name in ("b", "a", ".c"):
        (tmp_path / name).touch()
    assert look_in(tmp_path) == [tmp_path / ".c", tmp_path / "a", tmp_path / "b"]
    assert look_in(tmp_path / "a") == look_in(tmp_path / "none") == look_in(tmp_path / "nul\0") == []


def test_what_may_not_be_listed_is_not_called_empty(tmp_path, without_rights):
    (tmp_path / "kept").mkdir()
    with without_rights(tmp_path / "kept"), pytest.raises(PermissionError, match="kept"):
        look_in(tmp_path / "kept")


def test_what_is_not_there_and_what_cannot_be_told_differ(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    assert look_at(tmp_path / "file").st_size == 0
    assert look_at(tmp_path / "nothing") is None
    assert look_at(tmp_path / "file" / "below") is None
    assert look_at(tmp_path / "a\0b") is None
    assert look_at(tmp_path / "loop", follow=False) is not None
    with pytest.raises(OSError, match="symbolic links"):
        look_at(tmp_path / "loop")


# --- hashes --------------------------------------------------------------------------------------------------------


def test_a_files_hash_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"bytes")
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"bytes").hexdigest()


def test_a_values_hash_survives_json_in_any_order_of_keys():
    value = {"b": (1, 2.5e-7, None), "a": {10: "é", 9: True}}
    stored = json.loads(json.dumps({"a": value["a"], "b": value["b"]}))
    assert hash_json(stored) == hash_json(value)
    assert hash_json(value | {"b": [1, 2.5e-7, 0]}) != hash_json(value)
