"""What all figures share: the two styles, colours, titles, footnotes and sheets of tiles; without display or pyplot."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.textpath import TextToPath
from matplotlib.transforms import ScaledTranslation

from malaria_kedro.figures.numbers import write_ticks
from malaria_kedro.language import N_, _
from malaria_kedro.parameters import StyleName

PHANTOM_NOTE = N_("phantom cells drawn by malaria-kedro – not blood")

# Okabe and Ito's colours: distinguishable with any colour vision, and in grey by their lightness.
BLUE, ORANGE, VERMILLION, GREY = "#0072B2", "#E69F00", "#D55E00", "#5F5F5F"
INK, PAPER = "#1b1f24", "#ffffff"
# What an SVG shows instead on a dark page, whose own colours the first two are.
IN_THE_DARK = {INK: "#e8ebee", PAPER: "#14181d", BLUE: "#56b4e9", VERMILLION: "#ff8a4c", GREY: "#a3adb8"}
# Where an SVG has shapes, and digits of them that nobody sees.
_SHAPES, _DIGITS = re.compile(r'\s(?:d|x|y|transform)="[^"]*"'), re.compile(r"(\.\d\d)\d+")
# Texts on filled fields, which are alike on light and dark pages.
ON_DARK, ON_LIGHT = "#fefefe", "#010101"

POINTS_PER_INCH = 72
# Average width of a letter of DejaVu Sans, in font sizes.
LETTER_WIDTH = 0.62
# In font sizes of the legend: what the y axis and the signs of a legend below it take.
LEFT_OF_A_LEGEND = 9
# Width and height in inches: a smaller tile leaves no room for an image between its captions.
SMALLEST_TILE = (2.0, 1.6)
SHEET_DPI = 200  # at least, because tiles are small
# A longer name would leave the axes no room: its middle is left out here; the table has the whole name.
LETTERS_OF_A_NAME = 24

Inches = tuple[float, float]
Sheet = tuple[Figure, list[Axes]]  # with its tiles


_SHARED = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.grid": True,
    "axes.labelsize": "medium",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.labelsize": "small",
    "figure.titlesize": "large",
    "grid.alpha": 0.25,
    "image.interpolation": "nearest",
    "legend.fontsize": "small",
    "legend.frameon": False,
    # In the name of a variant, a cell or a patient, $ does not begin a formula.
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.labelsize": "small",
    "ytick.labelsize": "small",
}
STYLES: dict[StyleName, dict[str, Any]] = {
    "screen": _SHARED | {"figure.dpi": 100, "font.size": 10, "lines.linewidth": 1.5, "lines.markersize": 5},
    "print": _SHARED | {"figure.dpi": 300, "font.size": 8, "lines.linewidth": 1.2, "lines.markersize": 4},
}


@dataclass(frozen=True)
class Look:
    """A name in ``STYLES``, the title over the whole figure, and whether the project drew the cells itself."""

    style: StyleName = "screen"
    title: str = ""
    phantom: bool = False


@contextmanager
def open_figure(look: Look, size: Inches, footnote: str = "") -> Iterator[Figure]:
    """Open a figure whose artists have the style; title, footnote and the note on phantoms are already written.

    Args:
        look: how it looks.
        size: width and height in inches for a font of 10 points; scaled as the font is, so that a layout holds.
        footnote: what explains the figure, below it; long lines are wrapped.
    """
    with matplotlib.rc_context(matplotlib.RcParams(STYLES[look.style])):
        scale = matplotlib.rcParams["font.size"] / 10
        figure = Figure(figsize=(size[0] * scale, size[1] * scale), layout="constrained")
        if look.title:
            figure.suptitle(look.title, wrap=True)
        if lines := [line for line in (footnote, _(PHANTOM_NOTE) if look.phantom else "") if line]:
            figure.supxlabel("\n".join(lines), color=GREY, wrap=True)
        yield figure
        # Ticks take their size from the settings when they are made, and the later ones copy the first.
        for axis in figure.findobj(Axis):
            axis.label.set_wrap(True)
            write_ticks(axis)
            axis.get_major_ticks()


@contextmanager
def open_sheet(look: Look, size: Inches, images: np.ndarray | list[np.ndarray], footnote: str = "") -> Iterator[Sheet]:
    """Open a figure of these images, each on a tile of a grid as square as possible; see ``open_figure``.

    The sheet is larger than ``size`` where its tiles would otherwise be smaller than ``SMALLEST_TILE``.
    """
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    size = max(size[0], columns * SMALLEST_TILE[0]), max(size[1], rows * SMALLEST_TILE[1])
    with open_figure(look, size, footnote) as figure:
        figure.set_dpi(max(figure.dpi, SHEET_DPI))
        tiles = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in tiles[len(images) :]:
            axes.remove()
        for axes, image in zip(tiles, images, strict=False):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.imshow(image)
        yield figure, tiles[: len(images)]


def message_figure(look: Look, size: Inches, sentence: str) -> Figure:
    """Draw a figure that says why there is nothing to draw."""
    with open_figure(look, size) as figure:
        write_message(figure.subplots(), sentence)
    return figure


def write_message(axes: Axes, sentence: str) -> None:
    """Say in the place of a picture why there is none."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, textwrap.fill(sentence, 44), ha="center", va="center", transform=axes.transAxes)


def caption_tile(axes: Axes, caption: str, name: str, *, colour: str, size: str = "small") -> None:
    """Write a caption over a tile and the name of its cell below it, in as many lines as they need."""
    subplot = axes.get_subplotspec()
    columns = subplot.get_gridspec().ncols if subplot else 1
    points = _width(axes) / columns
    letters = int(points / (FontProperties(size=size).get_size_in_points() * LETTER_WIDTH)) - 2
    lines = (textwrap.fill(line, letters) for line in caption.splitlines())
    axes.set_title("\n".join(lines), fontsize=size, color=colour)
    # Not wrapped by words, which would lose spaces: a name is shown as it is.
    broken = "\n".join(name[start : start + letters] for start in range(0, len(name), letters))
    axes.set_xlabel(broken, fontsize=size, color=GREY)


def shorten_name(name: str) -> str:
    """Return a name as the ticks of an axis have room for it: of a long one the middle is left out."""
    if len(name) <= LETTERS_OF_A_NAME:
        return name
    half = LETTERS_OF_A_NAME // 2
    return f"{name[: half - 1]}…{name[-half:]}"


def legend_below(axes: Axes, handles: list[Line2D]) -> None:
    """Put a legend below the ticks and the label of the x axis, where it never covers what is drawn."""
    below = ScaledTranslation(0, -3.4 * matplotlib.rcParams["font.size"] / POINTS_PER_INCH, axes.figure.dpi_scale_trans)
    size = FontProperties(size=matplotlib.rcParams["legend.fontsize"]).get_size_in_points()
    room = _width(axes) - LEFT_OF_A_LEGEND * size
    for handle in handles:
        handle.set_label(wrap_text(str(handle.get_label()), room, "legend.fontsize"))
    at: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": axes.transAxes + below}
    axes.legend(handles=handles, borderaxespad=0, **at)


def title_panel(axes: Axes, title: str) -> None:
    """Write a title over one panel of several side by side, in as many lines as its width asks for."""
    subplot = axes.get_subplotspec()
    room = _width(axes) / (subplot.get_gridspec().ncols if subplot else 1)
    axes.set_title("\n".join(wrap_text(line, 0.85 * room, "axes.titlesize") for line in title.splitlines()))


def wrap_text(text: str, room: float, setting: Literal["axes.titlesize", "legend.fontsize"]) -> str:
    """Break a text between words where a line would be wider than so many points; ``setting`` names its font size."""
    font, measure = FontProperties(size=matplotlib.rcParams[setting]), TextToPath().get_text_width_height_descent
    lines = [""]
    for number, word in enumerate(text.split(" ")):
        longer = f"{lines[-1]} {word}" if number else word
        if measure(longer, font, ismath=False)[0] <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _width(axes: Axes) -> float:
    return axes.figure.bbox.width / axes.figure.dpi * POINTS_PER_INCH


def svg_of(figure: Figure) -> bytes | None:
    """Return a figure as an SVG that follows light and dark; None of one with photographs, which stay pixels.

    Its letters are text, so that it is small and a reader can search it. The same figure gives the same bytes.
    """
    if figure.findobj(AxesImage):
        return None
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "malaria-kedro"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    rules = "".join(
        f'[style*="{kind}: {light.lower()}"]{{{kind}:{dark}!important}}'
        for light, dark in IN_THE_DARK.items()
        for kind in ("fill", "stroke")
    )
    dark = f"@media screen and (prefers-color-scheme:dark){{{rules}}}</style>"
    # A name may hold signs that no XML can.
    svg = _SHAPES.sub(lambda found: _DIGITS.sub(r"\1", found[0]), file.getvalue())
    svg = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", svg)
    return svg.replace("</style>", dark, 1).encode()
