"""Images that are no cut-out blood cell, drawn without a download, to see which of them a quality gate lets through.

Every kind is a function of a generator and some cells (list of uint8 H×W×3) that returns one image, uint8 H×W×3. Sizes
are those of cell images, 40 to 220 px per side. Nothing here is ever used to fit a gate.
"""

from __future__ import annotations

import colorsys
import io
import re
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Cells = list[np.ndarray]
Kind = Callable[[np.random.Generator, Cells], np.ndarray]
RGB = tuple[int, int, int]

SIDES = (40, 220)
WORDS = re.findall(
    r"\S+",
    "the of slide cell count patient sample dose and fever blood smear was not found thin thick film report "
    "date name result positive negative per microlitre stain Giemsa 2015 1,240 37.5 °C 100x field",
)


def photograph(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """A piece of a photograph: a temple, a dahlia or a portrait; from a detail to the whole picture."""
    photo = _photographs()[rng.integers(3)]
    shortest = min(photo.size)
    side = int(np.exp(rng.uniform(np.log(60), np.log(shortest))))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
    return np.asarray(photo.crop((left, top, left + side, top + side)).resize(_size(rng)))


def masked_photograph(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """A piece of a photograph cut out on black by the outline of a cell: everything right but what it shows."""
    cell = _any(rng, cells)
    piece = Image.fromarray(photograph(rng, cells)).resize((cell.shape[1], cell.shape[0]))
    return np.where(cell.max(axis=2, keepdims=True) > 20, np.asarray(piece), 0).astype(np.uint8)


def text(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """A piece of a printed page, now and then white on black."""
    width, height = _size(rng)
    ink, paper = ((20, 20, 30), (250, 248, 240)) if rng.random() < 0.75 else ((230, 230, 230), (0, 0, 0))
    page = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(page)
    size = int(rng.integers(7, 26))
    for top in range(-int(rng.integers(0, size)), height, round(1.35 * size)):
        draw.text((rng.integers(-9, 6), top), " ".join(rng.choice(WORDS, 14)), fill=ink, font=_font(size))
    return np.asarray(page)


def noise(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """Uniform, normal or salt-and-pepper noise, in colour or grey, fine or coarse."""
    width, height = _size(rng)
    grain = int(rng.integers(1, 5))
    shape = (-(-height // grain), -(-width // grain), 3 if rng.random() < 0.6 else 1)
    values = {
        "uniform": lambda: rng.integers(0, 256, shape),
        "normal": lambda: rng.normal(rng.uniform(60, 200), rng.uniform(10, 60), shape),
        "salt and pepper": lambda: 255 * (rng.random(shape) < rng.uniform(0.05, 0.95)),
    }[rng.choice(["uniform", "normal", "salt and pepper"])]()
    values = np.clip(values, 0, 255).astype(np.uint8).repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]
    return np.broadcast_to(values, (height, width, 3)).copy()


def blank(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """One colour, often with a sensor's faint noise, or a slope from one colour to another; black and white too."""
    width, height = _size(rng)
    first, second = (rng.integers(0, 256, 3) * 1.0 for _ in range(2))
    kind = rng.integers(4)
    if kind == 0:
        first[:] = rng.choice([0, 255])
    if kind == 1:  # the colour of a cell
        first[:] = _any(rng, cells)[height % 7 + 18, width % 7 + 18]
    image = np.broadcast_to(first, (height, width, 3)).copy()
    if kind == 3:
        turn = rng.uniform(0, 2 * np.pi)
        along = np.cos(turn) * np.linspace(-0.5, 0.5, width) + np.sin(turn) * np.linspace(-0.5, 0.5, height)[:, None]
        image += (along[..., None] + 0.5) * (second - first)
    image += rng.normal(0, rng.choice([0.0, 1.5, 4.0]), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def blurred_cell(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """A cell behind a Gaussian blur of 6 to 15 % of its side: a ring form, about 15 % wide, is gone."""
    cell = Image.fromarray(_any(rng, cells))
    radius = rng.uniform(0.06, 0.15) * sum(cell.size) / 2
    return np.asarray(cell.filter(ImageFilter.GaussianBlur(radius)))


def chart(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """A figure of matplotlib's: lines, bars, points or a pie."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = _size(rng)
    dark = rng.random() < 0.25
    with style.context("dark_background" if dark else "default"):
        figure = Figure(figsize=(width / 60, height / 60), dpi=60)
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots()
        n = int(rng.integers(3, 30))
        kind = rng.integers(4)
        if kind == 0:
            axes.plot(rng.normal(size=(n, int(rng.integers(1, 4)))).cumsum(axis=0))
        elif kind == 1:
            axes.bar(np.arange(n), rng.random(n), color=rng.random(3))
        elif kind == 2:
            axes.scatter(rng.random(n), rng.random(n), c=rng.random(n))
        else:
            axes.pie(rng.uniform(0.2, 1, min(n, 7)))
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def screen(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """A window with a title bar, buttons, boxes and lines of text, light or dark, or a round icon on black."""
    width, height = _size(rng)
    light = rng.random() < 0.6
    ground, ink = ((246, 246, 248), (40, 40, 46)) if light else ((24, 26, 30), (220, 220, 224))
    image = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.2:
        draw.rectangle((0, 0, width, height), fill=(0, 0, 0))
        draw.ellipse((1, 1, width - 2, height - 2), fill=_vivid(rng))
        draw.text(
            (width // 3, height // 4), str(rng.choice(list("MQ?i+×"))), fill=(255, 255, 255), font=_font(height // 2)
        )
        return np.asarray(image)
    draw.rectangle((0, 0, width, height // 8), fill=_vivid(rng))
    draw.text((3, 1), str(rng.choice(WORDS)), fill=(255, 255, 255), font=_font(max(6, height // 11)))
    for _ in range(int(rng.integers(3, 9))):
        left, top = int(rng.integers(0, width * 2 // 3)), int(rng.integers(height // 8, height - 8))
        box = (left, top, left + int(rng.integers(8, width)), top + int(rng.integers(6, max(7, height // 4))))
        draw.rounded_rectangle(box, 3, fill=_vivid(rng) if rng.random() < 0.4 else None, outline=ink)
        draw.text((left + 3, top + 1), " ".join(rng.choice(WORDS, 3)), fill=ink, font=_font(max(6, height // 13)))
    return np.asarray(image)


def several_cells(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """Two to nine cells in one crop, side by side on black or scattered over the bright ground of a smear."""
    width, height = _size(rng)
    if rng.random() < 0.5:
        rows, columns = ((1, 2), (2, 1), (2, 2), (2, 3), (3, 3))[rng.integers(5)]
        image = Image.new("RGB", (width, height))
        for i in range(rows):
            for j in range(columns):
                cell = Image.fromarray(_any(rng, cells)).resize((width // columns, height // rows))
                image.paste(cell, (j * (width // columns), i * (height // rows)))
        return np.asarray(image)
    ground = rng.uniform((205, 190, 195), (240, 225, 230)).astype(np.uint8)
    smear = np.broadcast_to(ground, (height, width, 3)).copy()
    side = int(min(width, height) * rng.uniform(0.3, 0.7))
    for _ in range(int(rng.integers(3, 9))):
        cell = np.asarray(Image.fromarray(_any(rng, cells)).resize((side, side)))
        top, left = int(rng.integers(-side // 2, height - side // 2)), int(rng.integers(-side // 2, width - side // 2))
        rows = slice(max(top, 0), min(top + side, height))
        columns = slice(max(left, 0), min(left + side, width))
        part = cell[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        smear[rows, columns] = np.where(part.max(axis=2, keepdims=True) > 20, part, smear[rows, columns])
    return smear


def cut_cell(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """A cell of which one half or three quarters lie outside the crop."""
    cell = _any(rng, cells)
    height, width = cell.shape[:2]
    half = rng.uniform(0.4, 0.55)
    top, left = int(height * half), int(width * half)
    piece = (cell[:top], cell[:, :left], cell[:top, :left])[rng.integers(3)]
    return np.ascontiguousarray(np.rot90(piece, int(rng.integers(4))))


def other_stain(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """A cell in colours that Giemsa does not give: inverted within its outline, or turned to yellow, green or cyan."""
    cell = _any(rng, cells)
    if rng.random() < 0.3:
        return np.where(cell.max(axis=2, keepdims=True) > 20, 255 - cell, 0).astype(np.uint8)
    hue, saturation, value = Image.fromarray(cell).convert("HSV").split()
    # Yellow to cyan are 35 to 135 of Pillow's 256 hues. A grey cell gets a little colour, or it would stay as it is.
    hue = hue.point([int(rng.integers(35, 136))] * 256)
    saturation = saturation.point([max(level, 50) for level in range(256)])
    return np.asarray(Image.merge("HSV", (hue, saturation, value)).convert("RGB"))


def unfocused_cell(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """A cell that was blurred as ``blurred_cell`` is before it was cut out: its outline is as sharp as any."""
    cell = _any(rng, cells)
    shown = cell.max(axis=2, keepdims=True) > 20
    # Black must not bleed in: in a smear the ground around the cell is bright.
    filled = Image.fromarray(np.where(shown, cell, np.median(cell[shown[..., 0]], axis=0)).astype(np.uint8))
    radius = rng.uniform(0.06, 0.15) * sum(filled.size) / 2
    return np.where(shown, np.asarray(filled.filter(ImageFilter.GaussianBlur(radius))), 0).astype(np.uint8)


KINDS: dict[str, Kind] = {
    "photographs": photograph,
    "text": text,
    "noise": noise,
    "blank": blank,
    "blurred cells": blurred_cell,
    "charts": chart,
    "screens": screen,
    "several cells": several_cells,
}
# Those that share most with a cell: reported beside the others and not hidden among them.
HARD_KINDS: dict[str, Kind] = {
    "cells cut in half": cut_cell,
    "cells of another stain": other_stain,
    "photographs cut out as cells": masked_photograph,
    "cells blurred, then cut out": unfocused_cell,
}


def draw_kind(kind: Kind, cells: Cells, n: int, seed: int) -> list[np.ndarray]:
    """Draw ``n`` images of a kind; a seed always draws the same."""
    rng = np.random.default_rng(seed)
    return [kind(rng, cells) for _ in range(n)]


def _any(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    return cells[rng.integers(len(cells))]


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Return width and height, px: of any size that cell images have, and not far from square."""
    side = np.exp(rng.uniform(*np.log(SIDES)))
    return tuple(int(np.clip(side * rng.uniform(0.85, 1.18), *SIDES)) for _ in range(2))


def _vivid(rng: np.random.Generator) -> RGB:
    return tuple(
        int(255 * part) for part in colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.4, 1), rng.uniform(0.5, 1))
    )


@lru_cache
def _photographs() -> list[Image.Image]:
    """Return three photographs that scikit-learn and matplotlib bring along."""
    from matplotlib.cbook import get_sample_data
    from sklearn.datasets import load_sample_images

    with get_sample_data("grace_hopper.jpg") as file:
        portrait = Image.open(io.BytesIO(file.read()), formats=("JPEG",)).convert("RGB")
    return [*(Image.fromarray(image) for image in load_sample_images().images), portrait]


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib.font_manager import findfont

    return ImageFont.truetype(findfont("DejaVu Sans"), max(size, 5))
