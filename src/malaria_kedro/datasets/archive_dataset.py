"""The archive of cells as a catalog entry: saving a request acquires it, loading returns where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from malaria_kedro.cells.archive import ArchiveError, ArchiveRequest, CellArchive, acquire, read_pointer, write_pointer


class CellArchiveDataset(AbstractDataset[ArchiveRequest, CellArchive]):
    """The archive, acquired when a request for it is saved, so that the node that asks stays pure.

    ``filepath`` is a small JSON file that points at the archive; what is downloaded or drawn lies beside it.

    Example::

        cell_archive:
          type: malaria_kedro.datasets.archive_dataset.CellArchiveDataset
          filepath: data/01_raw/cell_archive.json
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Point at ``filepath``; ``metadata`` is for kedro-viz and other plugins, and ignored here."""
        self._filepath = Path(filepath)
        self.metadata = metadata

    def save(self, data: ArchiveRequest) -> None:
        """Acquire what is asked for (perhaps over the network), then point at it."""
        write_pointer(acquire(data, self._filepath.parent), self._filepath)

    def load(self) -> CellArchive:
        """Return the archive, if it is still where it was."""
        return read_pointer(self._filepath)

    def _exists(self) -> bool:
        try:
            read_pointer(self._filepath)
        except ArchiveError:
            return False
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
