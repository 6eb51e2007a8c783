"""A dataset that may not be there: what a pipeline off the default path leaves for the report."""

from __future__ import annotations

from typing import Any

from kedro.io import AbstractDataset, DatasetError


class OptionalDataset(AbstractDataset[None, Any]):
    """Loads what another catalog entry has written, or None where it has written nothing yet.

    Attributes:
        dataset: the other entry's data on disk.
    """

    def __init__(self, *, dataset: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Take the other entry's configuration, as a catalog gives it."""
        self.dataset = AbstractDataset.from_config("dataset", dict(dataset))
        self.metadata = metadata

    def load(self) -> Any:
        """Return the other entry's data, or None."""
        return self.dataset.load() if self.dataset.exists() else None

    def save(self, data: None) -> None:
        """Refuse: the other entry is the one to write to."""
        raise DatasetError("an optional dataset is only read; write to the entry that it stands for")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"dataset": str(self.dataset)}
