"""What this project's datasets share: one place on this machine, with Kedro's versions or without."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar

from kedro.io import AbstractDataset, AbstractVersionedDataset, DatasetError, Version
from kedro.io.core import get_protocol_and_path

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.machine import trouble

Metadata: TypeAlias = dict[str, Any]  # of a catalog entry, for kedro-viz and other plugins
In = TypeVar("In")
Out = TypeVar("Out")


class StoredDataError(MalariaKedroError, ValueError):
    """A file that the project has written is missing, damaged or of another version; the message names it."""

    def __init__(self, path: Path | str, reason: str | None = None) -> None:
        # With one argument where it comes from another process.
        super().__init__(path if reason is None else f"{path} cannot be read ({reason}); make it again")


class _Local:
    """Lets a dataset inherit ``__init__``, name what is damaged, and name the files without which it does not exist."""

    PARTS: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        inherited = "__init__" not in cls.__dict__
        if "load" in cls.__dict__:
            cls.load = _names_what_is_damaged(cls.load)  # type: ignore[attr-defined] # every dataset has it
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

    def __init__(self, *, filepath: str | os.PathLike, metadata: Metadata | None = None) -> None:
        self.path = self._filepath = Path(local_path(filepath))
        self.metadata = metadata

    def _exists(self) -> bool:
        return all((self.path / part).is_file() for part in self.PARTS)

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath)}


class LocalVersionedDataset(_Local, AbstractVersionedDataset[In, Out]):
    """A file or a folder, one for each version where the catalog entry says ``versioned: true``.

    Args:
        version: Kedro's, where there are versions. The others are as in ``LocalDataset``.
    """

    def __init__(
        self, *, filepath: str | os.PathLike, version: Version | None = None, metadata: Metadata | None = None
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

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath), "version": self._version}


def _names_what_is_damaged(load: Callable[[Any], Out]) -> Callable[[Any], Out]:
    """Let whatever a damaged file leads to, in whichever library, be a ``StoredDataError``.

    This one, and the project's own errors, get the path as ``stored``: ``malaria_kedro.hooks`` knows the command.
    """

    @functools.wraps(load)
    def loaded(self: Any) -> Out:
        try:
            return load(self)
        except DatasetError:  # Kedro's: there is no version
            raise
        except Exception as error:
            path = Path(self._filepath)
            with suppress(DatasetError, OSError):  # there is no version, or they cannot be looked at
                path = self.load_path if isinstance(self, LocalVersionedDataset) else path
            if isinstance(error, MalariaKedroError):
                error.stored = path  # type: ignore[attr-defined]
                raise
            if trouble(error) is not None:  # the machine's, which is told as it is
                raise
            reason = "it is not there" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
            damaged = StoredDataError(path, reason[:300] or type(error).__name__)
            damaged.stored = path  # type: ignore[attr-defined]
            raise damaged from error

    return loaded


def local_path(filepath: str | os.PathLike) -> PurePosixPath:
    """Return a catalog entry's path; ``DatasetError``: it is an address of another machine (``s3://…``)."""
    protocol, path = get_protocol_and_path(filepath)
    if protocol != "file":
        raise DatasetError(f"filepath {os.fspath(filepath)!r} is not on this machine: give a local path")
    return PurePosixPath(path)
