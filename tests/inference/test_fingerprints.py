"""A fingerprint changes with every file behind a source."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pandas as pd
import pytest

from malaria_kedro.inference import fingerprints
from malaria_kedro.inference.sources import open_images
from odd_images import png
from source_material import NIH, lay_out, listed, pack


def test_the_fingerprint_of_a_folder_changes_with_what_is_in_it(cells: Path, work: Path) -> None:
    def fingerprint(pattern: str | None = NIH) -> str:
        return open_images(cells, work, patient_pattern=pattern).fingerprint

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    seen.append(fingerprint(None))
    (cells / "notes.txt").write_bytes(b"longer")
    assert fingerprint() == seen[0]
    os.utime(cells / "b.png", (1, 1))
    seen.append(fingerprint())
    (cells / "c.png").write_bytes(png())
    seen.append(fingerprint())
    (cells / "c.png").rename(cells / "d.png")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)


def swap(path: Path, content: bytes, *, touch: bool = False) -> None:
    """Give a file other content of the same size and, unless touched, of the same time of modification."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    if not touch:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder", "zip"])
@pytest.mark.parametrize("touch", [False, True])
def test_the_fingerprint_changes_with_a_file_behind_it(tmp_path: Path, work: Path, kind: str, touch: bool) -> None:
    lay_out(tmp_path / "cells", {"a.png": png(1), "b.png": png(2)})
    rows = {"path": ["cells/a.png", "cells/b.png", "cells/gone.png"]}
    source = {
        "csv": lambda: listed(tmp_path, "path\n" + "\n".join(rows["path"])),
        "parquet": lambda: pd.DataFrame(rows).to_parquet(tmp_path / "list.parquet") or tmp_path / "list.parquet",
        "folder": lambda: tmp_path / "cells",
        "zip": lambda: pack(tmp_path / "a.zip", {"a.png": png(1)}),
    }[kind]()

    def fingerprint() -> str:
        return open_images(source, work, patient_pattern=NIH).fingerprint

    seen = [fingerprint(), fingerprint()]
    assert seen[0] == seen[1]
    swapped = source if kind == "zip" else tmp_path / "cells" / "a.png"
    # At once: the clock of the file system has hardly moved since the file was listed.
    swap(swapped, swapped.read_bytes()[:-1] + b"x", touch=touch)
    seen.append(fingerprint())
    assert seen[2] != seen[0]
    if kind in ("csv", "parquet"):
        lay_out(tmp_path, {"cells/gone.png": png(3)})
        assert fingerprint() != seen[2]


def test_a_link_that_leads_elsewhere_now_is_another_file(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path, {"a.png": png(1), "b.png": png(22)})
    (tmp_path / "link.png").symlink_to("a.png")
    path = listed(tmp_path, "path\nlink.png\n")
    before = open_images(path, work, patient_pattern=NIH).fingerprint
    (tmp_path / "link.png").unlink()
    (tmp_path / "link.png").symlink_to("b.png")
    assert open_images(path, work, patient_pattern=NIH).fingerprint != before


@pytest.mark.parametrize("times", ["none", "future"])
def test_where_times_do_not_tell_the_content_does(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, times: str
) -> None:
    lay_out(tmp_path, {"a.png": png(1)})
    path = listed(tmp_path, "path\na.png\n")
    real = os.stat
    changed = 0 if times == "none" else 2**62

    class Told:
        st_mode, st_mtime_ns, st_ctime_ns, st_dev = stat.S_IFREG, 1, changed, 0

        def __init__(self, found: os.stat_result) -> None:
            self.st_size = found.st_size

    seen = []
    for content in (png(1), png(1), png(2)):
        (tmp_path / "a.png").write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", lambda path, **options: Told(real(path)) if "a.png" in str(path) else real(path))
            seen.append(open_images(path, work, patient_pattern=NIH).fingerprint)
    assert seen[0] == seen[1] != seen[2]


MOUNT = "36 25 {device} / /media/stick rw,relatime shared:1 - {kind} /dev/sdb1 rw\n"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("exfat", False),
        ("fuseblk", False),
        ("fuse", False),
        ("fuse.ntfs", False),
        ("vfat", False),
        ("ext4", True),
        (None, False),
    ],
)
def test_content_counts_where_a_mount_dates_no_change_even_one_that_is_new(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None, told: bool
) -> None:
    """A file is replaced by one of equal size and times, where the time of change is that of modification."""
    real, table = os.stat, tmp_path / "mountinfo"
    now = time.time_ns() - 10**10

    class Told:
        def __init__(self, found: os.stat_result) -> None:
            self.st_size, self.st_mode = 100, found.st_mode
            self.st_mtime_ns = self.st_ctime_ns = now
            self.st_dev = os.makedev(8, 17)

    def fingerprint(content: bytes) -> str:
        (tmp_path / "a.png").write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(fingerprints, "MOUNTS", table)
            patch.setattr(os, "stat", lambda path, **_: Told(real(path)) if "a.png" in str(path) else real(path))
            return open_images(path, work, patient_pattern=NIH).fingerprint

    path = listed(tmp_path, "path\na.png\n")
    table.write_text("")
    fingerprint(png(1))  # before the stick is there
    if kind:
        table.write_text(MOUNT.format(device="8:17", kind=kind))
    else:
        table.unlink()  # no Linux
    assert (fingerprint(png(1)) == fingerprint(png(2))) is told


def test_the_fingerprint_of_a_list_or_zip_is_of_its_bytes_and_place(tmp_path: Path, work: Path) -> None:
    def fingerprint(path: Path) -> str:
        return open_images(path, work, patient_pattern=NIH).fingerprint

    path = listed(tmp_path, "path\na.png\n")
    seen = [fingerprint(path), fingerprint(listed(tmp_path, "path\nb.png\n"))]
    assert fingerprint(listed(tmp_path, "path\na.png\n")) == seen[0]
    seen.append(fingerprint(path.rename(tmp_path / "other.csv")))
    seen.append(fingerprint(pack(tmp_path / "a.zip", {"a.png": png(1)})))
    seen.append(fingerprint(pack(tmp_path / "a.zip", {"a.png": png(2)})))
    assert len(set(seen)) == len(seen)
