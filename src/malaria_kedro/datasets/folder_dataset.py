"""The class folders as a catalog entry: a manifest of what the folder holds."""

from __future__ import annotations

from contextlib import suppress

from malaria_kedro.cells.unpack import CellFolder, UnpackError, read_folder, write_folder
from malaria_kedro.datasets.local_dataset import LocalDataset


class CellFolderDataset(LocalDataset[CellFolder, CellFolder]):
    """Images in class folders: the manifest is saved, and loading checks that it still holds.

    ``filepath`` is the folder with the manifest and, where the archive was a zip, the tree that was unpacked from it.
    """

    def save(self, data: CellFolder) -> None:
        """Write the manifest."""
        write_folder(data, self.path)

    def load(self) -> CellFolder:
        """Return the class folders, if they are complete."""
        return read_folder(self.path)

    def _exists(self) -> bool:
        with suppress(UnpackError):
            return bool(read_folder(self.path))
        return False
