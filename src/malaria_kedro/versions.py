"""Versions of data and models: folders named by timestamp, of which the newest counts."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)


def timestamp() -> str:
    """Return the current time as Kedro names a version: ``2026-01-31T12.00.00.000Z``, UTC."""
    return f"{datetime.now(tz=UTC):%Y-%m-%dT%H.%M.%S.%f}"[:-3] + "Z"


def newer_than_now(versions: Iterable[str]) -> list[str]:
    """Return, sorted, the versions after the current time: of a wrong clock, or a folder renamed by hand ("final")."""
    present = timestamp()
    return sorted(version for version in versions if version > present)


@cache
def commit() -> str | None:
    """Return the commit of this package's source, ``-dirty`` where files differ; None where git has none of it."""
    try:
        for command in (
            # In a package that is installed in somebody's repository, git would describe that one.
            ["git", "ls-files", "--error-unmatch", Path(__file__).name],
            ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"],
        ):
            done = subprocess.run(
                command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@cache  # once per version
def warn_of_newer(version: Path) -> None:
    """Warn that a version dated in the future counts as the newest."""
    logger.warning(
        "%s sorts as newer than now (%s), so it counts as the newest version until then: rename or remove it if that "
        "is not meant",
        version,
        timestamp(),
    )


def newest_version(folders: Iterable[Path], *, version_of: int = 0) -> Path | None:
    """Return the path of the newest version, or None; warn if it is dated in the future.

    The version's folder is ``version_of`` parents above its path.
    """
    versions = {path: (path, *path.parents)[version_of] for path in folders}
    newest = max(versions, key=lambda path: versions[path].name, default=None)
    if newest is not None and newer_than_now([versions[newest].name]):
        warn_of_newer(versions[newest])
    return newest
