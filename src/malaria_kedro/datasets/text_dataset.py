"""A text as one file."""

from __future__ import annotations

from html import escape

from kedro_datasets._typing import HTMLPreview

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import write_file


class TextDataset(LocalVersionedDataset[str, str]):
    """A text in UTF-8, written whole or not at all."""

    def load(self) -> str:
        """Return the text."""
        return self.load_path.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        """Write the text."""
        write_file(self.save_path, lambda beside: beside.write_text(data, encoding="utf-8"))

    def preview(self) -> HTMLPreview:
        """Return the text for kedro-viz, in letters of one width."""
        return HTMLPreview(f"<pre>{escape(self.load())}</pre>")
