"""An HTML page (or any text) as one local file, versioned."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro.io.core import get_protocol_and_path

from malaria_kedro.files import write_file


class HTMLDataset(AbstractVersionedDataset[str, str]):
    """A page of text, UTF-8, for the ``report``; what a run writes stands there whole or not at all.

    Example:
        ::

            report:
              type: malaria_kedro.datasets.html_dataset.HTMLDataset
              filepath: data/08_reporting/report.html
              versioned: true
    """

    def __init__(
        self, *, filepath: str | os.PathLike, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Name the file.

        Args:
            filepath: where the page lies, on this machine.
            version: Kedro's version, where the entry says ``versioned: true``.
            metadata: for kedro-viz and others; not used here.
        """
        super().__init__(local_path(filepath), version)
        self.metadata = metadata

    def load(self) -> str:
        """Return the page."""
        return Path(self._get_load_path()).read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        """Write the page."""
        write_file(Path(self._get_save_path()), lambda beside: beside.write_text(data, encoding="utf-8"))

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}


def local_path(filepath: str | os.PathLike) -> PurePosixPath:
    """Return a catalog entry's path.

    Raises:
        DatasetError: for an address of another machine (``s3://…``).
    """
    protocol, path = get_protocol_and_path(filepath)
    if protocol != "file":
        raise DatasetError(f"filepath {os.fspath(filepath)!r} is not on this machine: give a local path")
    return PurePosixPath(path)
