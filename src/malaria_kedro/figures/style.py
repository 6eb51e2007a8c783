"""The style that all figures share: colours, fonts, tiles, titles and footers. Drawn without a display and pyplot."""

from __future__ import annotations

import math
import textwrap

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

PHANTOM_NOTE = "phantom cells drawn by malaria-kedro – not blood"

# Okabe and Ito's colours: told apart with any colour vision, and in grey by their lightness.
BLUE, ORANGE, VERMILLION, GREY = "#0072B2", "#E69F00", "#D55E00", "#5F5F5F"

POINTS_PER_INCH = 72
# A letter of DejaVu Sans is about this wide and a line this high, measured in font sizes.
LETTER_WIDTH, LINE_HEIGHT = 0.62, 1.3
SMALLEST_FONT, LARGEST_FONT = 5.0, 20.0

Inches = tuple[float, float]


def make_tiles(count: int, size: Inches, dpi: int) -> tuple[Figure, list[Axes], float, float]:
    """Open a figure of ``count`` empty tiles, as square a grid as possible; also a tile's width and height, inches."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    figure = Figure(figsize=size, dpi=dpi, layout=ConstrainedLayoutEngine(h_pad=0.1))
    tiles = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in tiles[count:]:
        axes.remove()
    for axes in tiles[:count]:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    return figure, tiles[:count], size[0] / columns, size[1] / rows


def font_size(width: float, height: float, *, letters: int) -> float:
    """Return the size (points) at which a line of so many letters fits into a box of so many inches."""
    fits = min(width / (letters * LETTER_WIDTH), height / LINE_HEIGHT) * POINTS_PER_INCH
    return min(max(fits, SMALLEST_FONT), LARGEST_FONT)


def write_literally(figure: Figure) -> None:
    """Have a finished figure show every text as it is: in a name, ``$`` begins no formula.

    The ticks that matplotlib writes by itself keep their powers of ten. Only this figure is changed, not the settings
    of matplotlib.
    """
    numbers = set()
    for axis in figure.findobj(Axis):
        numbers.add(axis.offsetText)
        for formatter, ticks in (
            (axis.get_major_formatter(), axis.get_major_ticks()),
            (axis.get_minor_formatter(), axis.get_minor_ticks()),
        ):
            if not isinstance(formatter, (FixedFormatter, FuncFormatter)):
                numbers |= {label for tick in ticks for label in (tick.label1, tick.label2)}
    for text in figure.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)
            text.set_usetex(False)


def finish(figure: Figure, title: str, font: float, phantom: bool, legend: str = "") -> None:
    if title:
        figure.suptitle(title, fontsize=font * 1.15)
    foot = "\n".join(line for line in (legend, PHANTOM_NOTE if phantom else "") if line)
    if foot:
        figure.supxlabel(foot, fontsize=font * 0.85, color=GREY)
    write_literally(figure)


def show_message(axes: Axes, sentence: str, font: float) -> None:
    """Say in words, in place of a picture, why there is none."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, textwrap.fill(sentence, 44), fontsize=font, ha="center", va="center", transform=axes.transAxes)


def percent_axis(decimals: int = 0) -> FuncFormatter:
    """Write ticks from 0 to 1 as percentages."""
    return FuncFormatter(lambda value, _: f"{100 * value:.{decimals}f} %")
