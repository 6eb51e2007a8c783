"""A folder that a node writes to itself: a download that resumes, a tree that is unpacked, parts of a stream."""

from __future__ import annotations

from pathlib import Path

from kedro.io import DatasetError

from malaria_kedro.datasets.local_dataset import LocalDataset


class DirectoryDataset(LocalDataset[None, Path]):
    """Loads as the folder's path; the folder need not exist yet."""

    def load(self) -> Path:
        """Return the path."""
        return self.path

    def save(self, data: None) -> None:
        """Refuse: a folder is not a node's output."""
        raise DatasetError(f"{self.path} is written to by the nodes that take it as an input, not by a node's output")
