"""The folder of a variant's checkpoints, for the nodes that train and export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError

from malaria_kedro.datasets.local_dataset import LocalDataset

if TYPE_CHECKING:  # torch takes seconds to import, and a catalog is also loaded where nothing is trained
    from malaria_kedro.learning.checkpoints import Checkpoints


class CheckpointsDataset(LocalDataset[None, Any]):
    """Loads as a handle on a folder; the training itself writes to it, epoch by epoch."""

    def load(self) -> Checkpoints:
        """Return the handle; the folder need not exist yet."""
        from malaria_kedro.learning.checkpoints import Checkpoints

        return Checkpoints(self.path)

    def save(self, data: None) -> None:
        """Refuse: checkpoints are not a node's output."""
        raise DatasetError("checkpoints are written while a stage trains, not by a node's output")
