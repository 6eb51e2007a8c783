"""A dozen numbers that tell a cut-out blood cell from anything else, the same for a large and a small copy of it.

Each is measured after the image was reduced to a grid of at most ``GRID`` × ``GRID``, so that a crop of 130 px and its
copy of 50 px agree, and each is a ratio or a share, so that none knows the image's size. An image smaller than the
grid is never enlarged: that would blur it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image as PillowImage

# The classifier sees 48 px or more, and the small copies of the NIH cells that go round have 50: no image in use
# loses what the network judges by, and none has to be enlarged.
GRID = 48
# Brighter than this in one channel at least is cell: crops lie on black, which resizing and JPEG blur a little.
SURROUND_UP_TO = 20
# Fewer interior places than this describe nothing; the whole grid is described instead.
FEWEST_PLACES = 12
# Keeps ratios of dark colours finite; one grey level of 255.
ONE_LEVEL = np.float32(1.0)

STATISTICS = {
    "contrast": "standard deviation of brightness over the whole image, 0-127 grey levels",
    "coverage": "share of the image that is not black, 0-1",
    "corners": "share of the image's corners (outside the inscribed ellipse) that is not black, 0-1",
    "outline": "steps between black and not black that rows and columns cross, 1 = two each, as in a convex outline",
    "waist": "shortest chord in the middle half of rows and columns, share of the longest one, 0-1; two cells have one",
    "flatness": "longest chord a twentieth inside one of the four sides, share of the side, 0-1; a cut cell has 1",
    "edge_width": "how wide the steps of brightness are, px of the grid; 1 = cut out with scissors",
    "brightness": "mean brightness of the interior, 0-255 grey levels",
    "red_green": "mean of ln(red / green) in the interior",
    "blue_green": "mean of ln(blue / green) in the interior",
    "tone_spread": "standard deviation of the interior's brightness, share of its mean",
    "colour_spread": "standard deviation of ln(red / green) and ln(blue / green) in the interior, root sum square",
    "roughness": "median step of brightness between neighbours in the interior, share of its mean",
    "roughest": "ninety-fifth percentile of these steps, share of the mean brightness",
    "mottle": "median step of ln(red / green) and ln(blue / green) between neighbours in the interior",
    "greening": "change of ln(green / red and blue) with ln(brightness) in the interior: stain takes green first",
}


def measure(rgb: np.ndarray) -> dict[str, float]:
    """Measure what ``STATISTICS`` lists; all of them are finite for any image.

    Brightness is the largest of the three channels, which stained chromatin leaves high and a black surround does not.
    The interior is the cell without its membrane, where the outline's own step of brightness does not count.

    Args:
        rgb: uint8 H×W×3, 0-255, at the size the file has.

    Returns:
        One float a name of ``STATISTICS``, in its order.

    Raises:
        ValueError: not such an array.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ValueError(f"an image is uint8 H×W×3, not {rgb.dtype} {rgb.shape}; decode it with cells.pixels.to_rgb")
    grid = _reduce(rgb)
    value = _largest(grid).astype(np.float32)
    shown = value > SURROUND_UP_TO
    return {
        "contrast": float(value.std()),
        **_outline(shown),
        "edge_width": _edge_width(value, shown),
        **_interior(grid, shown),
    }


def _reduce(rgb: np.ndarray) -> np.ndarray:
    """Return the image squished to the grid, uint8 h×w×3; where it is smaller already, as it is."""
    height, width = (min(side, GRID) for side in rgb.shape[:2])
    if (height, width) == rgb.shape[:2]:
        return rgb
    image = PillowImage.fromarray(np.ascontiguousarray(rgb))
    # The gap makes a photograph of many megapixels cheap and leaves cells as they are.
    return np.asarray(image.resize((width, height), PillowImage.Resampling.BILINEAR, reducing_gap=3.0))


def _outline(shown: np.ndarray) -> dict[str, float]:
    """Describe where the image is not black; the outline of a cell fills its crop and is nearly convex."""
    height, width = shown.shape
    # Beyond the image's sides all is black.
    steps = (
        np.count_nonzero(shown[:, 1:] != shown[:, :-1])
        + np.count_nonzero(shown[1:] != shown[:-1])
        + np.count_nonzero(shown[:, (0, -1)])
        + np.count_nonzero(shown[(0, -1), :])
    )
    corners = _corners(height, width)
    # The outermost row itself is all but chance: where one copy has it grey, another has it black.
    down, along = height // 20, width // 20
    return {
        "coverage": float(shown.mean()),
        "corners": float(shown[corners].mean()) if corners.any() else 1.0,
        "outline": float(steps) / (2 * (height + width)),
        "waist": min(_waist(shown.sum(axis=1)), _waist(shown.sum(axis=0))),
        "flatness": max(
            float(chord.mean()) for chord in (shown[down], shown[-1 - down], *shown.T[[along, -1 - along]])
        ),
    }


def _waist(chords: np.ndarray) -> float:
    """Return the shortest of the middle half of the chords, as a share of the longest; 0 without any."""
    quarter = len(chords) // 4
    return float(chords[quarter : len(chords) - quarter].min() / max(chords.max(), 1))


def _edge_width(value: np.ndarray, shown: np.ndarray) -> float:
    """Return the mean width of the steps of brightness (float32 h×w), px.

    A step of height L over w pixels has a sum of differences L and a sum of their squares L²/w. What a step is made of
    counts, and what is too small to be part of one does not.
    """
    level = float(value[shown].mean()) if shown.any() else 1.0
    steps = np.abs(np.concatenate([(value[1:] - value[:-1]).ravel(), (value[:, 1:] - value[:, :-1]).ravel()]))
    steps = steps[steps > 0.02 * level]
    squares = float(steps @ steps)
    width = level * float(steps.sum()) / squares if squares else float(GRID)
    return min(width, float(GRID))


def _interior(grid: np.ndarray, shown: np.ndarray) -> dict[str, float]:
    """Describe colour and texture of the interior at half the grid: a small copy's grain would count otherwise."""
    colours = _halve(grid.astype(np.float32)) + ONE_LEVEL
    inside = shown = _halve(shown.astype(np.float32)) == 1
    if min(inside.shape) > 2:  # the membrane's step of brightness is up to two pixels of the grid wide
        inside = np.zeros_like(shown)
        inside[1:-1, 1:-1] = shown[1:-1, 1:-1] & shown[:-2, 1:-1] & shown[2:, 1:-1] & shown[1:-1, :-2] & shown[1:-1, 2:]
    if np.count_nonzero(inside) < FEWEST_PLACES:
        inside = np.ones_like(inside)
    value = _largest(colours)
    logs = np.log(colours)
    red, blue = logs[..., 0] - logs[..., 1], logs[..., 2] - logs[..., 1]
    brightness = value[inside]
    mean = float(brightness.mean())
    reds, blues = red[inside], blue[inside]
    tone = np.log(brightness)
    tone -= tone.mean()
    red_green, blue_green = float(reds.mean()), float(blues.mean())
    reds, blues = reds - red_green, blues - blue_green
    steps, mottle = _steps(value, inside) / mean, np.hypot(_steps(red, inside), _steps(blue, inside))
    return {
        "brightness": mean,
        "red_green": red_green,
        "blue_green": blue_green,
        "tone_spread": float(brightness.std()) / mean,
        "colour_spread": float(np.sqrt((reds @ reds + blues @ blues) / len(reds))),
        "roughness": _percentile(steps, 50),
        "roughest": _percentile(steps, 95),
        "mottle": _percentile(mottle, 50),
        # The constant keeps a flat cell's slope near zero rather than at the mercy of its noise.
        "greening": -float(tone @ (reds + blues)) / 2 / (float(tone @ tone) + len(tone) * 0.02**2),
    }


def _largest(colours: np.ndarray) -> np.ndarray:
    """Return the largest channel of each place; over three values numpy's own takes three times as long."""
    return np.maximum(np.maximum(colours[..., 0], colours[..., 1]), colours[..., 2])


def _halve(values: np.ndarray) -> np.ndarray:
    """Return the means of 2×2 places, float32; an odd last row or column is left out, a single one kept."""
    for axis in (0, 1):
        if (length := values.shape[axis] // 2 * 2) > 0:
            first, second = (slice(start, length, 2) for start in (0, 1))
            values = (values[first] + values[second]) / 2 if axis == 0 else (values[:, first] + values[:, second]) / 2
    return values


def _steps(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the absolute differences between neighbours that both lie inside, rows and columns in one list."""
    down = (values[1:] - values[:-1])[inside[1:] & inside[:-1]]
    along = (values[:, 1:] - values[:, :-1])[inside[:, 1:] & inside[:, :-1]]
    return np.abs(np.concatenate([down, along]))


def _percentile(values: np.ndarray, percent: int) -> float:
    """Return the value that so many percent do not exceed; 0 of nothing. numpy's own takes five times as long."""
    if not len(values):
        return 0.0
    place = min(len(values) * percent // 100, len(values) - 1)
    return float(np.partition(values, place)[place])


@lru_cache(maxsize=GRID * GRID)
def _corners(height: int, width: int) -> np.ndarray:
    """Return which places of a grid lie clearly outside the ellipse that fits into it, bool h×w."""
    rows, columns = ((np.arange(side) + 0.5) / side * 2 - 1 for side in (height, width))
    return rows[:, None] ** 2 + columns[None, :] ** 2 > 1.3
