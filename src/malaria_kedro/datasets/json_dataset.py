"""Numbers and text as one JSON file, written whole or not at all."""

from __future__ import annotations

import json

from kedro_datasets._typing import JSONPreview

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import write_json


class JSONDataset(LocalVersionedDataset[object, object]):
    """What JSON can hold; see ``PydanticDataset`` for what has a model."""

    def load(self) -> object:
        """Return the content."""
        return json.loads(self.load_path.read_text(encoding="utf-8"))

    def save(self, data: object) -> None:
        """Write the content."""
        write_json(self.save_path, data)

    def preview(self) -> JSONPreview:
        """Return the JSON for kedro-viz."""
        return JSONPreview(self.load_path.read_text(encoding="utf-8"))
