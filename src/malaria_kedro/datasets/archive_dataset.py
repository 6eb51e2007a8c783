"""The archive of cells as a catalog entry: a small JSON file that points at it."""

from __future__ import annotations

from contextlib import suppress

from malaria_kedro.cells.archive import ArchiveError, CellArchive, read_pointer, write_pointer
from malaria_kedro.datasets.local_dataset import LocalDataset


class CellArchiveDataset(LocalDataset[CellArchive, CellArchive]):
    """Where the archive is; the zip or folder itself stays there."""

    def save(self, data: CellArchive) -> None:
        """Point at the archive."""
        write_pointer(data, self.path)

    def load(self) -> CellArchive:
        """Return the archive, if it is still where it was."""
        return read_pointer(self.path)

    def _exists(self) -> bool:
        with suppress(ArchiveError):
            return bool(read_pointer(self.path))
        return False
