"""The folder of a variant's checkpoints, for the nodes that train and export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, DatasetError

if TYPE_CHECKING:  # torch takes seconds to import, and a catalog is also loaded where nothing is trained
    from malaria_kedro.learning.checkpoints import Checkpoints


class CheckpointsDataset(AbstractDataset[None, Any]):
    """Loads as a handle on a folder; the training itself writes to it, epoch by epoch."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self.folder = Path(filepath)
        self.metadata = metadata

    def load(self) -> Checkpoints:
        """Return the handle; the folder need not exist yet."""
        from malaria_kedro.learning.checkpoints import Checkpoints

        return Checkpoints(self.folder)

    def save(self, data: None) -> None:
        """Refuse: a node cannot output checkpoints."""
        raise DatasetError("checkpoints are written while a stage trains, not by a node's output")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.folder)}
