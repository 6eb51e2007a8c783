"""A text as one file."""

from __future__ import annotations

from typing import NewType

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import write_file

TextPreview = NewType("TextPreview", str)  # kedro-viz shows it as it is, by this name


class TextDataset(LocalVersionedDataset[str, str]):
    """A text in UTF-8, written whole or not at all."""

    def load(self) -> str:
        """Return the text."""
        return self.load_path.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        """Write the text."""
        write_file(self.save_path, lambda beside: beside.write_text(data, encoding="utf-8"))

    def preview(self) -> TextPreview:
        """Return the text for kedro-viz."""
        return TextPreview(self.load())
