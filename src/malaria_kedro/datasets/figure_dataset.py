"""A matplotlib figure as a PNG file."""

from __future__ import annotations

import base64
from functools import partial

from kedro_datasets._typing import ImagePreview
from matplotlib.figure import Figure

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset, StoredDataError
from malaria_kedro.files import write_file


class FigureDataset(LocalVersionedDataset[Figure, bytes]):
    """Saves a matplotlib ``Figure`` as PNG at the figure's own dpi, and loads the PNG's bytes.

    The same figure is written as the same bytes: neither a date nor a software name goes into the file.
    """

    def load(self) -> bytes:
        """Return the PNG; ``StoredDataError``: it is none, or was cut off."""
        png = self.load_path.read_bytes()
        if not png.startswith(b"\x89PNG") or not png.endswith(b"IEND\xaeB`\x82"):  # a page would show half a figure
            raise StoredDataError(self.load_path, "it is no whole PNG")
        return png

    def save(self, data: Figure) -> None:
        """Draw the figure into the PNG."""
        write_file(self.save_path, partial(data.savefig, format="png", dpi=data.dpi, metadata={"Software": None}))

    def preview(self) -> ImagePreview:
        """Return the PNG for kedro-viz, as base64."""
        return ImagePreview(base64.b64encode(self.load()).decode())
