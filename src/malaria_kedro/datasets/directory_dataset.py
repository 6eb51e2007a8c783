"""A folder that nodes write to themselves, while they stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError


class DirectoryDataset(AbstractDataset[None, Path]):
    """Loads as the folder's path; the folder need not exist yet."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Name the folder; ``metadata`` is for kedro-viz and other plugins, and ignored here."""
        self.folder = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Return the path."""
        return self.folder

    def save(self, data: None) -> None:
        """Refuse: a node cannot output a place."""
        raise DatasetError(f"{self.folder} is written to by the nodes that work in it, not by a node's output")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.folder)}
