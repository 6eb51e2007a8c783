"""A matplotlib figure as a PNG file, and as an SVG beside it."""

from __future__ import annotations

import base64
from functools import partial

from kedro_datasets._typing import ImagePreview
from matplotlib.figure import Figure

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset, StoredDataError
from malaria_kedro.figures.style import svg_of
from malaria_kedro.files import write_file


class FigureDataset(LocalVersionedDataset[Figure, bytes]):
    """Saves a matplotlib ``Figure`` as PNG at the figure's own dpi and, without photographs in it, as SVG beside it.

    The same figure is written as the same bytes: neither a date nor a software name goes into the files.
    """

    def load(self) -> bytes:
        """Return the SVG, or the PNG of a figure that has none; ``StoredDataError``: either was cut off."""
        png = self.load_path.read_bytes()
        if not png.startswith(b"\x89PNG") or not png.endswith(b"IEND\xaeB`\x82"):  # a page would show half a figure
            raise StoredDataError(self.load_path, "it is no whole PNG")
        svg = self.load_path.with_suffix(".svg")
        if not svg.is_file():
            return png
        drawing = svg.read_bytes()
        if not drawing.rstrip().endswith(b"</svg>"):
            raise StoredDataError(svg, "it is no whole SVG")
        return drawing

    def save(self, data: Figure) -> None:
        """Draw the figure into the files; the PNG comes last, so that a figure with one is whole."""
        svg, beside = svg_of(data), self.save_path.with_suffix(".svg")
        if svg is None:
            beside.unlink(missing_ok=True)  # of another figure of that name
        else:
            write_file(beside, lambda file: file.write_bytes(svg))
        write_file(self.save_path, partial(data.savefig, format="png", dpi=data.dpi, metadata={"Software": None}))

    def preview(self) -> ImagePreview:
        """Return the PNG for kedro-viz, as base64."""
        return ImagePreview(base64.b64encode(self.load_path.read_bytes()).decode())
