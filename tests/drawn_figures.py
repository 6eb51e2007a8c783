"""What a figure shows: its texts, and the size of its picture."""

from __future__ import annotations

import io

from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image


def texts(figure: Figure) -> list[str]:
    """Return every text that is not empty."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def png_size(figure: Figure) -> tuple[int, int]:
    """Return width and height of the figure as a PNG, px."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=figure.dpi)
    return Image.open(png).size
