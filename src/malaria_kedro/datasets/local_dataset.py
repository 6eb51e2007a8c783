"""What this project's datasets share: one place on this machine, with Kedro's versions or without."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from kedro.io import AbstractDataset, AbstractVersionedDataset, DatasetError, Version
from kedro.io.core import get_protocol_and_path

In = TypeVar("In")
Out = TypeVar("Out")


class _Local:
    """Lets a dataset inherit ``__init__``, and name the files of a folder without which it does not exist."""

    PARTS: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        inherited = "__init__" not in cls.__dict__
        super().__init_subclass__(**kwargs)
        # Kedro wraps __init__ in every subclass to note its arguments, and of a wrapped one notes "args" and "kwargs",
        # which `kedro catalog resolve-patterns` would write out. The parent's wrapper has noted them already.
        if inherited:
            del cls.__init__


class LocalDataset(_Local, AbstractDataset[In, Out]):
    """A file or a folder, at ``path``.

    Args:
        filepath: a local path.
        metadata: for kedro-viz and other plugins; not used here.
    """

    def __init__(self, *, filepath: str | os.PathLike, metadata: dict[str, Any] | None = None) -> None:
        self.path = self._filepath = Path(local_path(filepath))
        self.metadata = metadata

    def _exists(self) -> bool:
        return all((self.path / part).is_file() for part in self.PARTS)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class LocalVersionedDataset(_Local, AbstractVersionedDataset[In, Out]):
    """A file or a folder, one for each version where the catalog entry says ``versioned: true``.

    Args:
        version: Kedro's, where there are versions. The others are as in ``LocalDataset``.
    """

    def __init__(
        self, *, filepath: str | os.PathLike, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(local_path(filepath), version)
        self.metadata = metadata

    @property
    def load_path(self) -> Path:
        """The file or folder of the version to load; ``VersionNotFoundError``: there is none."""
        return Path(self._get_load_path())

    @property
    def save_path(self) -> Path:
        """The file or folder of the version to save."""
        return Path(self._get_save_path())

    def _exists(self) -> bool:
        path = self.load_path
        return path.exists() and all((path / part).is_file() for part in self.PARTS)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}


def local_path(filepath: str | os.PathLike) -> PurePosixPath:
    """Return a catalog entry's path; ``DatasetError``: it is an address of another machine (``s3://…``)."""
    protocol, path = get_protocol_and_path(filepath)
    if protocol != "file":
        raise DatasetError(f"filepath {os.fspath(filepath)!r} is not on this machine: give a local path")
    return PurePosixPath(path)
