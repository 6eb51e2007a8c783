"""The newest version counts, and one that is dated in the future is told."""

from pathlib import Path

import pytest
from kedro.io.core import generate_timestamp

from malaria_kedro.versions import newer_than_now, newest_version, timestamp

OLD, OLDER = "2026-01-02T00.00.00.000Z", "2026-01-01T00.00.00.000Z"


def test_the_present_is_written_as_kedro_writes_it():
    before = generate_timestamp()
    assert before <= timestamp() <= generate_timestamp()
    assert len(timestamp()) == len(before)


@pytest.mark.parametrize("version", ["2999-01-01T00.00.00.000Z", "final", "v2"])
def test_what_sorts_behind_the_present_is_newer_than_now(version):
    assert newer_than_now([OLD, version, timestamp()]) == [version]


def make(folder: Path, *versions: str) -> list[Path]:
    made = [folder / version / "report.html" for version in versions]
    for path in made:
        path.parent.mkdir(parents=True)
        path.write_text("")
    return made


def test_the_newest_counts_whatever_the_order(tmp_path, caplog):
    newest, other = make(tmp_path, OLD, OLDER)
    assert newest_version([newest, other], version_of=1) == newest
    assert newest_version([other, newest], version_of=1) == newest
    assert caplog.text == ""


def test_without_versions_there_is_none():
    assert newest_version([]) is None


def test_one_that_is_dated_in_the_future_is_warned_of_by_name(tmp_path, caplog):
    made = make(tmp_path, OLD, "2999-01-01T00.00.00.000Z")
    assert newest_version(made, version_of=1) == made[1]
    assert f"{made[1].parent} sorts as newer than now" in caplog.text
