"""An HTML page, or any other text, as one file."""

from __future__ import annotations

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import write_file


class HTMLDataset(LocalVersionedDataset[str, str]):
    """A page of text in UTF-8, written whole or not at all."""

    def load(self) -> str:
        """Return the page."""
        return self.load_path.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        """Write the page."""
        write_file(self.save_path, lambda beside: beside.write_text(data, encoding="utf-8"))
