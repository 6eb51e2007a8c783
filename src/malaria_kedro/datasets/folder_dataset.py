"""The class folders as a catalog entry: saving a plan unpacks the archive, loading lists what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from malaria_kedro.cells.unpack import CellFolder, UnpackError, UnpackPlan, read_folder, unpack


class CellFolderDataset(AbstractDataset[UnpackPlan, CellFolder]):
    """Images in class folders, unpacked when a plan is saved, so that the node that plans stays pure.

    ``filepath`` is the folder for the tree and its manifest; an archive that is a folder stays where it is, and only
    the manifest is written.

    Example::

        cell_images:
          type: malaria_kedro.datasets.folder_dataset.CellFolderDataset
          filepath: data/02_intermediate/cell_images
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Point at the folder ``filepath``; ``metadata`` is for kedro-viz and other plugins, and ignored here."""
        self._filepath = Path(filepath)
        self.metadata = metadata

    def save(self, data: UnpackPlan) -> None:
        """Unpack as planned, unless that was done before."""
        unpack(
            data.archive,
            self._filepath,
            max_unpacked_bytes=data.max_unpacked_bytes,
            max_ignored_pct=data.max_ignored_pct,
        )

    def load(self) -> CellFolder:
        """Return the class folders, if they are complete."""
        return read_folder(self._filepath)

    def _exists(self) -> bool:
        try:
            read_folder(self._filepath)
        except UnpackError:
            return False
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
