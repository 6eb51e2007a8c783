"""Class folders appear whole or not at all, whatever the archive holds."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from PIL import Image

from malaria_kedro.cells import unpack as unpack_module
from malaria_kedro.cells.archive import CellArchive
from malaria_kedro.cells.listing import ELSEWHERE, HIDDEN, SECOND_PLACE, Ignored
from malaria_kedro.cells.tables import GivenTable, Row
from malaria_kedro.cells.unpack import CellFolder, UnpackError, describe_tree, read_folder
from malaria_kedro.files import clear_leftovers

ROOM = 10_000_000


def png(shade: int) -> bytes:
    """Return a 4×4 RGB image; another shade is another file."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade % 256, shade // 256, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def cells(prefix: str = "cell_images/", parasitized: int = 3, uninfected: int = 2) -> dict[str, bytes]:
    return {f"{prefix}Parasitized/C1_cell_{i}.png": png(i) for i in range(parasitized)} | {
        f"{prefix}Uninfected/C2_cell_{i}.png": png(100 + i) for i in range(uninfected)
    }


def pack(
    path: Path, members: dict[str | zipfile.ZipInfo, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]
) -> CellArchive:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for member, content in members.items() if isinstance(members, dict) else members:
            bundle.writestr(member, content)
    return archive_of(path)


def archive_of(path: Path) -> CellArchive:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return CellArchive(path, "zip", sha256, path.stat().st_size, False, path.name)


def lay_out(folder: Path, files: dict[str, bytes]) -> CellArchive:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return CellArchive(folder, "folder", None, None, False, folder.name)


def unpack(archive: CellArchive, into: Path, **limits: Any) -> CellFolder:
    """Unpack an archive and keep its manifest, as the node and the dataset after it do."""
    folder = unpack_module.unpack(archive, into, **limits)
    unpack_module.write_folder(folder, into)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    return tmp_path / "01_raw" / "cells.zip"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "02_intermediate" / "cell_images"


def assert_nothing_is_left(into: Path) -> None:
    assert not into.exists() or list(into.iterdir()) == []


# --- what is found in a zip -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "train/", "cell_images/", "cell_images/cell_images/"])
def test_class_folders_are_found_at_every_known_layout(zipped: Path, into: Path, prefix: str) -> None:
    folder = unpack(pack(zipped, cells(prefix)), into, max_unpacked_bytes=ROOM)
    assert folder.root == into / "train"
    assert folder.counts == {"Parasitized": 3, "Uninfected": 2}
    assert tree(folder.root) == cells("")


def test_names_with_backslashes_are_understood(zipped: Path, into: Path) -> None:
    members = [(zipfile.ZipInfo(name.replace("/", "\\")), content) for name, content in cells().items()]
    assert unpack(pack(zipped, members), into, max_unpacked_bytes=ROOM).counts == {"Parasitized": 3, "Uninfected": 2}


def test_non_images_are_skipped_and_counted(zipped: Path, into: Path) -> None:
    extras = {
        "cell_images/": b"",
        "cell_images/Parasitized/Thumbs.db": b"x",
        "cell_images/Uninfected/Thumbs.db": b"x",
        "cell_images/Uninfected/.DS_Store": b"x",
        "cell_images/Uninfected/._C2_cell_0.png": b"x",
        "__MACOSX/cell_images/Uninfected/C2_cell_0.png": b"x",
        "cell_images/readme.TXT": b"x",
        "LICENSE": b"x",
        "cell_images/overview.png": png(7),
        "cell_images/Uninfected/more/C3_cell_0.png": png(8),
        "test/Uninfected/C4_cell_0.png": png(9),
    }
    folder = unpack(pack(zipped, cells() | extras), into, max_unpacked_bytes=ROOM, max_ignored_pct=50.0)
    assert folder.skipped == {
        "Thumbs.db": 2,
        ".DS_Store": 1,
        "dot file": 1,
        "__MACOSX": 1,
        "*.txt": 1,
        "file without a suffix": 1,
    }
    assert folder.ignored == (
        Ignored(SECOND_PLACE, "test/Uninfected", 1),
        Ignored(ELSEWHERE, "cell_images", 1),
    )
    assert tree(folder.root) == cells("") | {"Uninfected/more/C3_cell_0.png": png(8)}


@pytest.mark.parametrize("zip_it", [True, False])
def test_images_hidden_by_a_dot_are_limited_and_named(tmp_path: Path, zipped: Path, into: Path, zip_it: bool) -> None:
    files = cells("") | {"Uninfected/.batch2/C3_cell_0.png": png(7), "Uninfected/.C3_cell_1.png": png(8)}
    archive = pack(zipped, files) if zip_it else lay_out(tmp_path / "given", files)
    with pytest.raises(UnpackError, match=rf"2 of the 7 images in .*: 2 {HIDDEN} \(in Un"):
        unpack(archive, into, max_unpacked_bytes=ROOM)
    folder = unpack(archive, into, max_unpacked_bytes=ROOM, max_ignored_pct=30.0)
    assert (folder.counts, folder.n_ignored) == ({"Parasitized": 3, "Uninfected": 2}, 2)


def test_the_same_cells_packed_twice_count_once(zipped: Path, into: Path) -> None:
    members = cells() | cells("cell_images/cell_images/")
    folder = unpack(pack(zipped, members), into, max_unpacked_bytes=ROOM)
    assert folder.counts == {"Parasitized": 3, "Uninfected": 2}
    assert folder.skipped == {"duplicate": 5}


def test_two_images_of_one_name_are_refused_by_name(zipped: Path, into: Path) -> None:
    members = cells() | {"cell_images/cell_images/Uninfected/C2_cell_1.png": png(55)}
    with pytest.raises(UnpackError, match=r"two different images for Uninfected/C2_cell_1\.png"):
        unpack(pack(zipped, members), into, max_unpacked_bytes=ROOM)
    assert_nothing_is_left(into)


def test_the_same_name_in_both_classes_is_two_cells(zipped: Path, into: Path) -> None:
    members = {"Parasitized/a.png": png(1), "Uninfected/a.png": png(2)}
    assert tree(unpack(pack(zipped, members), into, max_unpacked_bytes=ROOM).root) == members


def test_a_zip_without_class_folders_names_what_it_has(zipped: Path, into: Path) -> None:
    with pytest.raises(UnpackError, match=r"no images in Parasitized/.*Uninfected/.*dogs"):
        unpack(pack(zipped, {"dogs/a.png": png(1)}), into, max_unpacked_bytes=ROOM)
    assert_nothing_is_left(into)


def test_a_missing_class_is_named(zipped: Path, into: Path) -> None:
    with pytest.raises(UnpackError, match="no images in Uninfected/;"):
        unpack(pack(zipped, cells(uninfected=0)), into, max_unpacked_bytes=ROOM)


def test_a_class_folder_in_lower_case_is_not_guessed_but_hinted_at(zipped: Path, into: Path) -> None:
    members = {name.replace("Uninfected", "uninfected"): content for name, content in cells().items()}
    with pytest.raises(UnpackError, match="rename cell_images/uninfected"):
        unpack(pack(zipped, members), into, max_unpacked_bytes=ROOM)


def test_an_empty_zip_is_refused(zipped: Path, into: Path) -> None:
    with pytest.raises(UnpackError, match="none"):
        unpack(pack(zipped, {}), into, max_unpacked_bytes=ROOM)


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "/etc/Parasitized/evil.png",
        "\\\\host\\Parasitized\\evil.png",
        "cell_images/../../Parasitized/evil.png",
        "cell_images\\..\\..\\Parasitized\\evil.png",
        "C:/Parasitized/evil.png",
        "C:\\Parasitized\\evil.png",
        "../evil.txt",
    ],
)
def test_a_name_that_leads_out_is_refused(zipped: Path, into: Path, name: str) -> None:
    archive = pack(zipped, [*cells().items(), (zipfile.ZipInfo(name), png(1))])
    with pytest.raises(UnpackError, match="evil"):
        unpack(archive, into, max_unpacked_bytes=ROOM)
    assert_nothing_is_left(into)


@pytest.mark.parametrize(("kind", "word"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "neither a file")])
def test_a_link_or_device_is_refused(zipped: Path, into: Path, kind: int, word: str) -> None:
    member = zipfile.ZipInfo("cell_images/Parasitized/evil.png")
    member.external_attr = (kind | 0o777) << 16
    with pytest.raises(UnpackError, match=rf"evil\.png.*{word}"):
        unpack(pack(zipped, [*cells().items(), (member, b"/etc/passwd")]), into, max_unpacked_bytes=ROOM)
    assert_nothing_is_left(into)


def test_an_encrypted_member_is_refused(zipped: Path, into: Path) -> None:
    pack(zipped, cells())
    content = bytearray(zipped.read_bytes())
    # The flags of the first entry of the central directory: bit 0 is "encrypted".
    content[content.index(b"PK\x01\x02") + 8] |= 1
    zipped.write_bytes(content)
    with pytest.raises(UnpackError, match=r"C1_cell_0\.png.*encrypted"):
        unpack(archive_of(zipped), into, max_unpacked_bytes=ROOM)


def test_an_unknown_compression_is_refused_by_name(zipped: Path, into: Path) -> None:
    pack(zipped, cells())
    content = bytearray(zipped.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = 97
    zipped.write_bytes(content)
    with pytest.raises(UnpackError, match=r"C1_cell_0\.png.*cannot be read"):
        unpack(archive_of(zipped), into, max_unpacked_bytes=ROOM)
    assert_nothing_is_left(into)


def test_a_zip_that_declares_too_much_is_refused_before_writing(zipped: Path, into: Path) -> None:
    size = sum(map(len, cells().values()))
    with pytest.raises(UnpackError, match=rf"{size} bytes.*max_unpacked_bytes \({size - 1}\)"):
        unpack(pack(zipped, cells()), into, max_unpacked_bytes=size - 1)
    assert_nothing_is_left(into)


def test_a_zip_of_just_the_allowed_size_is_unpacked(zipped: Path, into: Path) -> None:
    size = sum(map(len, cells().values()))
    assert unpack(pack(zipped, cells()), into, max_unpacked_bytes=size).counts["Parasitized"] == 3


def test_a_lying_header_writes_no_more_than_it_declares(zipped: Path, into: Path) -> None:
    pack(zipped, cells() | {"cell_images/Parasitized/bomb.png": bytes(2_000_000)})
    content = bytearray(zipped.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    zipped.write_bytes(content)
    folder = unpack(archive_of(zipped), into, max_unpacked_bytes=100_000)
    assert (folder.root / "Parasitized" / "bomb.png").stat().st_size <= 10


def test_names_that_differ_only_where_the_disk_sees_no_difference_do_not_overwrite(
    zipped: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.open

    def without_case(path: Path, *args: Any, **kwargs: Any) -> IO[Any]:
        return whole(path.with_name(path.name.lower()), *args, **kwargs)

    pack(zipped, cells() | {"cell_images/Parasitized/a.png": b"one", "cell_images/Parasitized/A.png": b"another"})
    monkeypatch.setattr(Path, "open", without_case)
    with pytest.raises(UnpackError, match="exists"):
        unpack(archive_of(zipped), into, max_unpacked_bytes=ROOM)


# --- what is damaged --------------------------------------------------------------------------------------------


def damage(zipped: Path, member: str) -> CellArchive:
    content = bytearray(zipped.read_bytes())
    with zipfile.ZipFile(zipped) as bundle:
        info = bundle.getinfo(member)
    start = info.header_offset + 30 + len(member) + info.compress_size // 2
    content[start] ^= 0xFF
    zipped.write_bytes(content)
    return archive_of(zipped)


def test_a_damaged_image_stays_a_cell_and_is_logged(zipped: Path, into: Path, caplog: pytest.LogCaptureFixture) -> None:
    pack(zipped, cells())
    archive = damage(zipped, "cell_images/Parasitized/C1_cell_1.png")
    with caplog.at_level(logging.WARNING):
        folder = unpack(archive, into, max_unpacked_bytes=ROOM)
    assert folder.counts == {"Parasitized": 3, "Uninfected": 2}
    assert "cell_images/Parasitized/C1_cell_1.png is damaged" in caplog.text
    with pytest.raises(OSError, match=r"identify|truncated|broken"):
        Image.open(folder.root / "Parasitized" / "C1_cell_1.png").load()


def test_a_damaged_image_leaves_the_others_as_they_were(zipped: Path, into: Path) -> None:
    pack(zipped, cells())
    folder = unpack(damage(zipped, "cell_images/Parasitized/C1_cell_1.png"), into, max_unpacked_bytes=ROOM)
    good = {name: content for name, content in cells("").items() if "C1_cell_1" not in name}
    assert good.items() <= tree(folder.root).items()


def test_a_damaged_directory_is_an_error(zipped: Path, into: Path) -> None:
    pack(zipped, cells())
    content = bytearray(zipped.read_bytes())
    content[content.index(b"PK\x01\x02")] = 0
    zipped.write_bytes(content)
    with pytest.raises(UnpackError, match=r"cells\.zip is not a readable zip"):
        unpack(archive_of(zipped), into, max_unpacked_bytes=ROOM)
    assert_nothing_is_left(into)


# --- done again, interrupted, replaced --------------------------------------------------------------------------


def test_the_same_archive_is_not_unpacked_again(zipped: Path, into: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = pack(zipped, cells() | {"cell_images/Uninfected/Thumbs.db": b"x"})
    first = unpack(archive, into, max_unpacked_bytes=ROOM)
    before = {path: path.stat().st_ino for path in first.root.rglob("*")}
    with caplog.at_level(logging.INFO):
        assert unpack(archive, into, max_unpacked_bytes=ROOM) == first
    assert {path: path.stat().st_ino for path in first.root.rglob("*")} == before
    assert "already unpacked" in caplog.text


def test_the_same_bytes_under_another_name_are_not_unpacked_again(
    zipped: Path, into: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = pack(zipped, cells())
    unpack(archive, into, max_unpacked_bytes=ROOM)
    other = archive_of(Path(shutil.copy(zipped, zipped.with_name("copy.zip"))))
    with caplog.at_level(logging.INFO):
        unpack(other, into, max_unpacked_bytes=ROOM)
    assert "already unpacked" in caplog.text
    assert read_folder(into).archive == other


def swap(one: Path, other: Path) -> None:
    """Swap two files, as a mistake with a file manager would."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def change(one: Path, _: Path) -> None:
    """Change a byte of a file, and not its size."""
    content = bytearray(one.read_bytes())
    content[-1] ^= 1
    one.write_bytes(content)


def test_an_image_that_was_changed_is_found_though_its_time_was_put_back(zipped: Path, into: Path, caplog) -> None:
    archive = pack(zipped, cells())
    folder = unpack(archive, into, max_unpacked_bytes=ROOM)
    path = next((folder.root / "Parasitized").glob("*.png"))
    before = path.stat()
    change(path, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    unpack(archive, into, max_unpacked_bytes=ROOM)
    assert "unpacking them again" in caplog.text
    assert tree(read_folder(into).root) == cells("")


@pytest.mark.parametrize("harm", [swap, change])
def test_images_that_were_swapped_or_changed_are_unpacked_again(zipped: Path, into: Path, harm, caplog) -> None:
    archive = pack(zipped, cells())
    folder = unpack(archive, into, max_unpacked_bytes=ROOM)
    one, other = (next((folder.root / label).glob("*.png")) for label in ("Parasitized", "Uninfected"))
    harm(one, other)
    with pytest.raises(UnpackError, match=r"changed or moved .* from its start"):
        read_folder(into)
    unpack(archive, into, max_unpacked_bytes=ROOM)
    assert "unpacking them again" in caplog.text
    assert tree(read_folder(into).root) == cells("")


def test_a_lost_image_is_unpacked_again(zipped: Path, into: Path) -> None:
    archive = pack(zipped, cells())
    folder = unpack(archive, into, max_unpacked_bytes=ROOM)
    (folder.root / "Uninfected" / "C2_cell_0.png").unlink()
    unpack(archive, into, max_unpacked_bytes=ROOM)
    assert tree(folder.root) == cells("")


def test_another_archive_replaces_the_tree_without_a_mix(zipped: Path, into: Path) -> None:
    unpack(pack(zipped, cells()), into, max_unpacked_bytes=ROOM)
    other = {"Parasitized/z.png": png(1), "Uninfected/z.png": png(2)}
    folder = unpack(pack(zipped, other), into, max_unpacked_bytes=ROOM)
    assert tree(folder.root) == other
    assert sorted(path.name for path in into.iterdir()) == ["cell_images.json", "train"]


def test_an_archive_that_fails_leaves_the_old_tree(zipped: Path, into: Path) -> None:
    first = unpack(pack(zipped, cells()), into, max_unpacked_bytes=ROOM)
    with pytest.raises(UnpackError):
        unpack(pack(zipped.with_name("bad.zip"), cells(uninfected=0)), into, max_unpacked_bytes=ROOM)
    assert read_folder(into) == first


@pytest.mark.parametrize(
    ("owner", "function"),
    [(zipfile.ZipExtFile, "read"), (os, "rename"), (json, "dumps")],
    ids=["writing the images", "putting them in place", "writing what is there"],
)
def test_a_failure_at_any_step_leaves_nothing_that_looks_finished(
    zipped: Path, into: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, function: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    archive = pack(zipped, cells())
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, fail)
        with pytest.raises(KeyboardInterrupt):
            unpack(archive, into, max_unpacked_bytes=ROOM)
    with pytest.raises(UnpackError):
        read_folder(into)
    assert unpack(archive, into, max_unpacked_bytes=ROOM) == read_folder(into)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_unpacking_is_done_again(zipped: Path, into: Path) -> None:
    archive = pack(zipped, cells())
    killed_half_way = f"""
import os, signal
from pathlib import Path
from malaria_kedro.cells import unpack as module
from malaria_kedro.cells import unpack as unpack_module
from malaria_kedro.cells.archive import CellArchive
whole = module.zipfile.ZipFile.open
def open_member(self, member, *args, **kwargs):
    if member.filename.endswith("C2_cell_0.png"):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, member, *args, **kwargs)
module.zipfile.ZipFile.open = open_member
archive = CellArchive(Path({str(archive.path)!r}), "zip", {archive.sha256!r}, {archive.bytes}, False, "cells.zip")
module.unpack(archive, Path({str(into)!r}), max_unpacked_bytes={ROOM})
"""
    done = subprocess.run([sys.executable, "-c", killed_half_way], check=False, timeout=60, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [path.name for path in into.iterdir() if not path.name.startswith(".unpacking-")] == []
    assert list(into.glob(".unpacking-*/train/Parasitized/*.png"))
    folder = unpack(archive, into, max_unpacked_bytes=ROOM)
    assert tree(folder.root) == cells("")
    assert sorted(path.name for path in into.iterdir() if path.name[0] != ".") == ["cell_images.json", "train"]
    assert clear_leftovers(into) > 0
    assert sorted(path.name for path in into.iterdir()) == ["cell_images.json", "train"]


def test_a_full_disk_says_so_before_writing(zipped: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(zipped.parent.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(UnpackError, match="10 bytes free: make room"):
        unpack(pack(zipped, cells()), into, max_unpacked_bytes=ROOM)


# --- an unpacked folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "train/", "cell_images/", "cell_images/cell_images/"])
def test_a_folder_is_used_where_it_is(tmp_path: Path, into: Path, prefix: str) -> None:
    archive = lay_out(tmp_path / "given", cells(prefix))
    folder = unpack(archive, into, max_unpacked_bytes=1)
    assert folder == CellFolder(tmp_path / "given" / prefix, {"Parasitized": 3, "Uninfected": 2}, {}, archive, ())
    assert tree(tmp_path / "given") == cells(prefix)
    assert [path.name for path in into.iterdir()] == ["cell_images.json"]


def test_what_is_no_image_in_a_folder_is_counted(tmp_path: Path, into: Path) -> None:
    extras = {
        "Parasitized/Thumbs.db": b"x",
        "Uninfected/Thumbs.db": b"x",
        "readme.txt": b"x",
        "Uninfected/.ipynb_checkpoints/C2_cell_0-checkpoint.png": png(1),
        "Uninfected/@eaDir/C2_cell_0.png/SYNOPHOTO_THUMB_M.jpg": png(1),
    }
    folder = unpack(lay_out(tmp_path / "given", cells("") | extras), into, max_unpacked_bytes=1, max_ignored_pct=0.0)
    assert folder.counts == {"Parasitized": 3, "Uninfected": 2}
    assert folder.skipped == {"Thumbs.db": 2, "*.txt": 1, ".ipynb_checkpoints": 1, "@eaDir": 1}


def test_linked_images_are_cells_and_said(tmp_path: Path, into: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = lay_out(tmp_path / "given", cells(""))
    (tmp_path / "elsewhere.png").write_bytes(png(9))
    (tmp_path / "given" / "Uninfected" / "linked.png").symlink_to(tmp_path / "elsewhere.png")
    caplog.set_level(logging.INFO)
    folder = unpack(archive, into, max_unpacked_bytes=1)
    assert folder.counts["Uninfected"] == 3
    assert "which are followed: 1 in given" in caplog.text


def test_an_image_that_is_ignored_is_said_kept_in_the_manifest_and_limited(
    tmp_path: Path, into: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = lay_out(tmp_path / "given", cells("") | {f"Gametocyte/{n}.png": png(n) for n in range(3)})
    with pytest.raises(UnpackError, match=r"3 of the 8 images .*\(37\.5 %\).*max_ignored_pct \(37\.4 %\)") as no:
        unpack(archive, into, max_unpacked_bytes=1, max_ignored_pct=37.4)
    assert "3 outside the class folders (in Gametocyte/)" in str(no.value)
    assert_nothing_is_left(into)
    folder = unpack(archive, into, max_unpacked_bytes=1, max_ignored_pct=37.5)
    assert f"3 {ELSEWHERE} (in Gametocyte/)" in caplog.text
    assert "3 of the 8 images found in given are not used" in caplog.text
    assert read_folder(into).n_ignored == folder.n_ignored == 3


def test_a_share_that_was_allowed_once_is_asked_for_again(zipped: Path, into: Path) -> None:
    archive = pack(zipped, cells() | {"Gametocyte/1.png": png(1)})
    unpack(archive, into, max_unpacked_bytes=ROOM, max_ignored_pct=20.0)
    with pytest.raises(UnpackError, match="1 of the 6 images"):
        unpack(archive, into, max_unpacked_bytes=ROOM)


def test_a_tree_of_a_version_that_did_not_count_is_unpacked_again(zipped: Path, into: Path) -> None:
    archive = pack(zipped, cells())
    first = unpack(archive, into, max_unpacked_bytes=ROOM)
    manifest = json.loads((into / "cell_images.json").read_text())
    del manifest["ignored"]
    (into / "cell_images.json").write_text(json.dumps(manifest))
    with pytest.raises(UnpackError, match=r"'ignored'.* run the data_engineering pipeline"):
        read_folder(into)
    assert unpack(archive, into, max_unpacked_bytes=ROOM) == read_folder(into)
    assert (first.n_ignored, first.counts) == (0, {"Parasitized": 3, "Uninfected": 2})


@pytest.mark.parametrize("zip_it", [True, False])
def test_a_set_that_is_split_already_keeps_the_folders_of_its_splits(
    tmp_path: Path, zipped: Path, into: Path, zip_it: bool
) -> None:
    files = {f"my_cells/{split}/{name}": png for split in ("train", "val", "test") for name, png in cells("").items()}
    archive = pack(zipped, files) if zip_it else lay_out(tmp_path / "given", files)
    folder = unpack(archive, into, max_unpacked_bytes=ROOM)
    assert folder.root == (into / "by_split" if zip_it else tmp_path / "given" / "my_cells")
    assert folder.counts == {"Parasitized": 9, "Uninfected": 6}
    assert {f"my_cells/{name}" for name in tree(folder.root)} == files.keys()
    assert read_folder(into) == folder
    other = unpack(pack(zipped.with_name("other.zip"), cells()), into, max_unpacked_bytes=ROOM)
    assert sorted(path.name for path in into.iterdir()) == ["cell_images.json", "train"]
    assert other.counts == {"Parasitized": 3, "Uninfected": 2}


def test_folders_of_splits_inside_the_class_folders_stay_there(zipped: Path, into: Path) -> None:
    files = {f"{label}/{split}/x.png": png(1) for label in ("Parasitized", "Uninfected") for split in ("train", "val")}
    folder = unpack(pack(zipped, files), into, max_unpacked_bytes=ROOM)
    assert folder.root == into / "train"
    assert tree(folder.root) == files
    assert read_folder(into) == folder


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_member_twice_counts_once_and_two_different_ones_are_refused(zipped: Path, into: Path) -> None:
    members = list(cells().items())
    folder = unpack(pack(zipped, [*members, members[0]]), into, max_unpacked_bytes=ROOM)
    assert (folder.counts, folder.skipped) == ({"Parasitized": 3, "Uninfected": 2}, {"duplicate": 1})
    with pytest.raises(UnpackError, match=r"two different images for cell_images/Parasitized/C1_cell_0\.png"):
        unpack(pack(zipped, [*members, (members[0][0], png(77))]), into, max_unpacked_bytes=ROOM)


def test_a_name_too_long_for_the_disk_is_counted_and_the_others_are_unpacked(zipped: Path, into: Path) -> None:
    members = cells() | {f"cell_images/Uninfected/{'x' * 300}.png": png(5)}
    folder = unpack(pack(zipped, members), into, max_unpacked_bytes=ROOM, max_ignored_pct=20.0)
    assert folder.counts == {"Parasitized": 3, "Uninfected": 2}
    assert folder.ignored == (Ignored("of names that this disk cannot hold", "Uninfected", 1),)
    assert read_folder(into) == folder


def test_names_of_a_zip_from_macos_are_unpacked_as_they_were(zipped: Path, into: Path) -> None:
    pack(zipped, cells() | {"cell_images/Parasitized/Präparat_1.png": png(5)})
    content = zipped.read_bytes()
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.rindex(mark)
        content = content[: at + flags + 1] + bytes([content[at + flags + 1] & ~0x08]) + content[at + flags + 2 :]
    zipped.write_bytes(content)
    folder = unpack(archive_of(zipped), into, max_unpacked_bytes=ROOM)
    assert (folder.root / "Parasitized" / "Präparat_1.png").read_bytes() == png(5)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_source_whose_own_name_is_no_utf_8_is_used_and_read_back(tmp_path: Path, into: Path) -> None:
    archive = lay_out(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")), cells("in/"))
    folder = unpack(archive, into, max_unpacked_bytes=1)
    assert read_folder(into) == folder
    (into / "cell_images.json").read_text(encoding="utf-8")


def test_a_linked_class_folder_is_not_followed(tmp_path: Path, into: Path) -> None:
    archive = lay_out(tmp_path / "given", cells("", uninfected=0))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "given" / "Uninfected").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnpackError, match=r"Uninfected \(a link; links are not followed"):
        unpack(archive, into, max_unpacked_bytes=1)


def test_a_folder_that_lacks_a_class_names_it(tmp_path: Path, into: Path) -> None:
    with pytest.raises(UnpackError, match="no images in Parasitized/;"):
        unpack(lay_out(tmp_path / "given", cells(parasitized=0)), into, max_unpacked_bytes=1)
    assert_nothing_is_left(into)


def test_a_folder_after_a_zip_removes_the_zips_tree(tmp_path: Path, zipped: Path, into: Path) -> None:
    unpack(pack(zipped, cells()), into, max_unpacked_bytes=ROOM)
    unpack(lay_out(tmp_path / "given", cells("")), into, max_unpacked_bytes=ROOM)
    assert [path.name for path in into.iterdir()] == ["cell_images.json"]


def test_the_users_own_folder_is_never_replaced(zipped: Path, into: Path) -> None:
    unpack(lay_out(into, cells("train/")), into, max_unpacked_bytes=ROOM)
    with pytest.raises(UnpackError, match=r"was given as source\.path before"):
        unpack(pack(zipped, cells(parasitized=5)), into, max_unpacked_bytes=ROOM)
    assert tree(into / "train") == cells("")


def link_images(folder: Path, to: Path) -> CellArchive:
    """Make a folder of links to every image below ``to``."""
    for name in tree(to):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(to / name)
    return CellArchive(folder, "folder", None, None, False, folder.name)


def link_folder(folder: Path, to: Path) -> CellArchive:
    folder.symlink_to(to)
    return CellArchive(folder, "folder", None, None, False, folder.name)


def link_beside(folder: Path, to: Path) -> CellArchive:
    """Make a folder of images of its own, and with a linked folder that is not followed."""
    archive = lay_out(folder, cells(""))
    (folder / "unpacked").symlink_to(to)
    return archive


@pytest.mark.parametrize("link", [link_images, link_folder, link_beside])
@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_folder_that_leads_to_the_zips_tree_keeps_it(
    tmp_path: Path, zipped: Path, into: Path, link: Callable[[Path, Path], CellArchive], through_a_link: bool
) -> None:
    if through_a_link:
        (tmp_path / "disk").mkdir()
        into.parent.mkdir()
        into.symlink_to(tmp_path / "disk")
    root = unpack(pack(zipped, cells()), into, max_unpacked_bytes=ROOM).root
    archive = link(tmp_path / "mine", Path(os.path.realpath(root)))
    folder = unpack(archive, into, max_unpacked_bytes=ROOM, max_ignored_pct=50.0)
    assert tree(root) == tree(folder.root) == cells("")
    assert read_folder(into) == folder
    with pytest.raises(UnpackError, match=r"mine .*source\.path .*copy the images"):
        unpack(pack(zipped, cells(parasitized=5)), into, max_unpacked_bytes=ROOM)
    assert tree(root) == cells("")
    (into / "cell_images.json").unlink()
    unpack(pack(zipped, cells(parasitized=5)), into, max_unpacked_bytes=ROOM)
    assert tree(root) == cells("", parasitized=5)


def test_links_to_elsewhere_keep_no_tree_of_a_zip(tmp_path: Path, zipped: Path, into: Path) -> None:
    unpack(pack(zipped, cells()), into, max_unpacked_bytes=ROOM)
    lay_out(tmp_path / "elsewhere", cells(""))
    folder = unpack(link_images(tmp_path / "mine", tmp_path / "elsewhere"), into, max_unpacked_bytes=ROOM)
    assert [path.name for path in into.iterdir()] == ["cell_images.json"]
    assert tree(folder.root) == cells("")
    assert unpack(pack(zipped, cells()), into, max_unpacked_bytes=ROOM).root == into / "train"


def test_what_lies_behind_a_link_is_no_part_of_a_folder_above_it(tmp_path: Path, zipped: Path, into: Path) -> None:
    (tmp_path / "disk" / "store").mkdir(parents=True)
    into.parent.mkdir()
    into.symlink_to(tmp_path / "disk" / "store")
    unpack(pack(zipped, cells(uninfected=4)), into, max_unpacked_bytes=ROOM)
    given = lay_out(tmp_path / "disk", cells("", parasitized=5))
    assert unpack(given, into, max_unpacked_bytes=ROOM).counts == {"Parasitized": 5, "Uninfected": 2}
    assert tree(tmp_path / "disk" / "store").keys() == {"cell_images.json"}


# --- reading what was unpacked ----------------------------------------------------------------------------------


def test_what_was_unpacked_is_read_back(zipped: Path, into: Path) -> None:
    folder = unpack(pack(zipped, cells() | {"cell_images/Uninfected/Thumbs.db": b"x"}), into, max_unpacked_bytes=ROOM)
    assert read_folder(into) == folder


def test_a_moved_project_is_read_where_it_is_now(tmp_path: Path, into: Path) -> None:
    unpack(pack(tmp_path / "cells.zip", cells()), into, max_unpacked_bytes=ROOM)
    moved = into.rename(tmp_path / "moved")
    assert read_folder(moved).root == moved / "train"


def test_nothing_unpacked_says_what_to_run(into: Path) -> None:
    with pytest.raises(UnpackError, match="data_engineering"):
        read_folder(into)


@pytest.mark.parametrize("change", [{"complete": False}, {"root": None}, {"archive": {}}])
def test_a_manifest_that_is_not_whole_is_refused(zipped: Path, into: Path, change: dict[str, object]) -> None:
    unpack(pack(zipped, cells()), into, max_unpacked_bytes=ROOM)
    manifest = into / "cell_images.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(UnpackError, match="unreadable"):
        read_folder(into)


def test_images_lost_since_are_noticed(zipped: Path, into: Path) -> None:
    folder = unpack(pack(zipped, cells()), into, max_unpacked_bytes=ROOM)
    os.unlink(folder.root / "Uninfected" / "C2_cell_0.png")
    with pytest.raises(UnpackError, match=r"holds .*'Uninfected': 1"):
        read_folder(into)


# --- what the user sees -----------------------------------------------------------------------------------------


def test_the_tree_shows_classes_counts_and_what_was_skipped() -> None:
    archive = CellArchive(Path("cells.zip"), "zip", None, None, False, "cells.zip")
    counts = {"Parasitized": 13779, "Uninfected": 1}
    ignored = (Ignored("outside the class folders", "a", 3), Ignored("outside the class folders", "b", 2))
    folder = CellFolder(Path("train"), counts, {"Thumbs.db": 2, "linked folder": 1}, archive, ignored)
    assert describe_tree(folder).splitlines() == [
        "train",
        "├── Parasitized [13,779 images]",
        "└── Uninfected [1 image]",
        "skipped: 2 × Thumbs.db, 1 × linked folder",
        "images that are not cells: 5 outside the class folders",
    ]


def test_the_log_shows_the_tree(zipped: Path, into: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        folder = unpack(pack(zipped, cells()), into, max_unpacked_bytes=ROOM)
    assert describe_tree(folder) in caplog.text


# --- other names of classes, and labels from a table ------------------------------------------------------------

FLAT = {f"cells/{i}.png": png(i) for i in range(6)}
LABELS = {f"{i}.png": ("Parasitized", "Uninfected")[i % 2] for i in range(6)}


def labels(rows: dict[str, str], sha256: str = "0") -> GivenTable:
    return GivenTable("source.labels", "labels.csv", [sha256], [Row(*item) for item in rows.items()])


@pytest.fixture(params=["folder", "zip"])
def flat(request: pytest.FixtureRequest, tmp_path: Path, zipped: Path) -> CellArchive:
    return lay_out(tmp_path / "given", FLAT) if request.param == "folder" else pack(zipped, FLAT)


def test_a_table_tells_the_classes_of_any_layout(flat: CellArchive, into: Path) -> None:
    folder = unpack(flat, into, max_unpacked_bytes=ROOM, table=labels(LABELS))
    assert folder.cells() == dict(sorted(LABELS.items(), key=lambda item: (item[1], item[0])))
    assert tree(folder.root) == {name.removeprefix("cells/"): content for name, content in FLAT.items()}
    assert read_folder(into) == folder


def test_what_a_table_does_not_fit_is_limited_and_kept_in_the_manifest(flat: CellArchive, into: Path, caplog) -> None:
    given = labels({name: LABELS[name] for name in list(LABELS)[:5]} | {"gone.png": "Parasitized"})
    caplog.set_level(logging.INFO)
    folder = unpack(flat, into, max_unpacked_bytes=ROOM, max_ignored_pct=20.0, table=given)
    assert [(some.reason, some.count) for some in folder.ignored] == [("without a row in labels.csv", 1)]
    assert read_folder(into).table.notes() == {"rows in labels.csv": 6, "rows in labels.csv without an image": 1}
    assert "rows in labels.csv without an image: 1" in caplog.text
    with pytest.raises(UnpackError, match=r"1 of the 6 rows in labels\.csv .*'gone\.png'"):
        unpack(flat, into, max_unpacked_bytes=ROOM, max_ignored_pct=16.6, table=given)
    rows = dict(list(LABELS.items())[:5])
    with pytest.raises(UnpackError, match=r"1 without a row in labels\.csv.*Give them rows"):
        unpack(flat, into, max_unpacked_bytes=ROOM, max_ignored_pct=16.6, table=labels(rows, "1"))


def test_a_changed_table_is_noticed(flat: CellArchive, into: Path) -> None:
    unpack(flat, into, max_unpacked_bytes=ROOM, table=labels(LABELS))
    folder = unpack(flat, into, max_unpacked_bytes=ROOM, table=labels(LABELS | {"0.png": "Uninfected"}, "1"))
    assert folder.counts == {"Parasitized": 2, "Uninfected": 4}
    folder.require_labels({}, labels({}, "1"))
    for names, table in (({}, labels({}, "0")), ({}, None), ({"1": "Parasitized"}, labels({}, "1"))):
        with pytest.raises(UnpackError, match=r"source\.labels or source\.class_names"):
            folder.require_labels(names, table)


def test_the_same_archive_and_table_are_not_unpacked_again(zipped: Path, into: Path, caplog) -> None:
    archive = pack(zipped, FLAT)
    first = unpack(archive, into, max_unpacked_bytes=ROOM, table=labels(LABELS))
    caplog.set_level(logging.INFO)
    assert unpack(archive, into, max_unpacked_bytes=ROOM, table=labels(LABELS)) == first
    assert "already unpacked" in caplog.text


def test_a_labelled_image_that_has_gone_is_noticed(flat: CellArchive, into: Path) -> None:
    folder = unpack(flat, into, max_unpacked_bytes=ROOM, table=labels(LABELS))
    (folder.root / "0.png").unlink()
    with pytest.raises(UnpackError, match="held"):
        read_folder(into)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_images_of_one_name_in_a_zip_are_refused_with_a_table_too(zipped: Path, into: Path) -> None:
    with pytest.raises(UnpackError, match="two different images"):
        unpack(
            pack(zipped, [*FLAT.items(), ("cells/0.png", png(9))]), into, max_unpacked_bytes=ROOM, table=labels(LABELS)
        )


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_class_folders_of_other_names_are_unpacked_under_their_own(
    tmp_path: Path, zipped: Path, into: Path, kind: str
) -> None:
    files = {name.replace("Parasitized", "infected"): content for name, content in cells().items()}
    archive = lay_out(tmp_path / "given", files) if kind == "folder" else pack(zipped, files)
    folder = unpack(archive, into, max_unpacked_bytes=ROOM, class_names={"infected": "Parasitized"})
    assert folder.counts == {"Parasitized": 3, "Uninfected": 2}
    assert {path.split("/")[0] for path in folder.cells()} == {"infected", "Uninfected"}
    assert read_folder(into) == folder
    with pytest.raises(UnpackError, match=r"source\.class_names\.infected=Parasitized"):
        unpack(archive, into, max_unpacked_bytes=ROOM)
