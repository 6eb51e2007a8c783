"""A dozen statistics that distinguish a cut-out blood cell from anything else, nearly independent of its size.

Each is measured after the image is reduced to a grid of at most ``GRID`` × ``GRID``, so that a crop of 130 px and its
copy of 50 px agree, and each is a ratio or a share, so that none depends on the image's size. An image smaller than the
grid is never enlarged: that would blur it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from malaria_kedro.cells.resizing import resize_cells

# The classifier sees 48 px or more, and the small copies of the NIH cells in circulation have 50: no image in use loses
# what the network judges by, and none has to be enlarged.
GRID = 48
# Brighter than this in at least one channel is cell: crops lie on black, which resizing and JPEG blur a little.
SURROUND_UP_TO = 20
# Fewer interior places than this describe nothing; the whole grid is described instead.
FEWEST_PLACES = 12
# Keeps ratios of dark colours finite; one grey level of 255.
ONE_LEVEL = np.float32(1.0)
# Cells measured at once; with fewer, threads wait for each other more than they compute.
AT_ONCE = 64

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


def measure_cells(cells: np.ndarray) -> dict[str, np.ndarray]:
    """Measure what ``STATISTICS`` lists of images of one size; each image's values depend on no other.

    Brightness is the largest of the three channels, which stained chromatin leaves high and a black surround does not.
    The interior is the cell without its membrane, where the outline's own step of brightness does not count.

    Args:
        cells: uint8 N×H×W×3, 0-255.

    Returns:
        A float64 array N per name of ``STATISTICS``, in its order; all finite.

    Raises:
        ValueError: the cells are of another type or shape.
    """
    if cells.ndim != 4 or cells.shape[3] != 3 or cells.dtype != np.uint8 or 0 in cells.shape[1:]:
        raise ValueError(f"an image is uint8 H×W×3, not {cells.dtype} {cells.shape[1:]}; decode it with cells.decoding")
    # Squished to the grid; smaller images stay as they are.
    height, width = (min(side, GRID) for side in cells.shape[1:3])
    parts = []
    for start in range(0, len(cells), AT_ONCE):
        some = cells[start : start + AT_ONCE]
        grids = some if (height, width) == some.shape[1:3] else resize_cells(some, height, width)
        parts.append(_measure(grids))
    return {name: np.concatenate([np.empty(0), *(part[name] for part in parts)]) for name in STATISTICS}


def _measure(grids: np.ndarray) -> dict[str, np.ndarray]:
    # Channels first and contiguous: sums over the last axis of a contiguous array are the same for an image alone and
    # among others.
    planes = np.ascontiguousarray(np.moveaxis(grids, 3, 0))
    value = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    shown = value > SURROUND_UP_TO
    return {
        "contrast": _contrast(value),
        **_outline(shown),
        "edge_width": _edge_width(value, shown),
        **_interior(planes, shown),
    }


def _contrast(value: np.ndarray) -> np.ndarray:
    """Return the standard deviation of brightness, from integers and thus exact up to the last rounding."""
    flat = value.reshape(len(value), -1).astype(np.uint32)
    n = flat.shape[1]
    total, squares = flat.sum(axis=1, dtype=np.int64), np.einsum("ij,ij->i", flat, flat).astype(np.int64)
    return np.sqrt(n * squares - total**2) / n


def _outline(shown: np.ndarray) -> dict[str, np.ndarray]:
    """Describe where the image is not black; the outline of a cell fills its crop and is nearly convex."""
    n, height, width = shown.shape
    # Beyond the image's sides all is black.
    steps = (
        _count(shown[:, :, 1:] != shown[:, :, :-1])
        + _count(shown[:, 1:] != shown[:, :-1])
        + _count(shown[:, :, (0, -1)])
        + _count(shown[:, (0, -1)])
    )
    corners = _corners(height, width)
    # The outermost row is left to chance: one copy has it grey, another black.
    down, along = height // 20, width // 20
    rows, columns = (np.add.reduce(shown.view(np.uint8), axis=axis, dtype=np.uint16) for axis in (2, 1))
    flatness = [
        *(rows[:, at] / width for at in (down, height - 1 - down)),
        *(columns[:, at] / height for at in (along, width - 1 - along)),
    ]
    return {
        "coverage": _count(shown) / (height * width),
        "corners": _count(shown[:, corners]) / corners.sum() if corners.any() else np.ones(n),
        "outline": steps / (2 * (height + width)),
        "waist": np.minimum(_waist(rows), _waist(columns)),
        "flatness": np.max(flatness, axis=0),
    }


def _waist(chords: np.ndarray) -> np.ndarray:
    """Return the shortest of the middle half of each image's chords (N×K), as a share of the longest; 0 without any."""
    quarter = chords.shape[1] // 4
    shortest = chords[:, quarter : chords.shape[1] - quarter].min(axis=1)
    return shortest / np.maximum(chords.max(axis=1), 1)


def _edge_width(value: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the mean width of the steps of brightness (uint8 N×h×w), px.

    A step of height L over w pixels has a sum of differences L and a sum of their squares L²/w. Differences that
    are too small to be part of a step do not count.
    """
    count = _count(shown)
    total = np.where(shown, value, 0).reshape(len(value), -1).sum(axis=1, dtype=np.int64)
    level = np.where(count > 0, total / np.maximum(count, 1), 1.0)
    steps = _steps(value.astype(np.int16)).astype(np.float32)
    steps *= steps > (0.02 * level[:, None]).astype(np.float32)
    # Integers with a sum below 2**24 for anything but a chessboard: exact in any order.
    total, squares = steps.sum(axis=1, dtype=np.float64), np.einsum("ij,ij->i", steps, steps).astype(np.float64)
    width = np.divide(level * total, squares, out=np.full(len(value), float(GRID)), where=squares > 0)
    return np.minimum(width, float(GRID))


def _interior(planes: np.ndarray, shown: np.ndarray) -> dict[str, np.ndarray]:
    """Describe colour and texture of the interior at half the grid, where a small copy's grain does not count."""
    colours = _halve(planes.astype(np.float32)) + ONE_LEVEL
    inside = _within(_halve(shown.astype(np.float32)) == 1)
    n = len(inside)
    few = _count(inside) < FEWEST_PLACES
    inside[few] = True
    weight = inside.reshape(n, -1).astype(np.float32)
    places = _count(inside)

    def centred(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean, and the deviations from it, 0 outside the interior."""
        values = values.reshape(n, -1)
        mean = np.einsum("ij,ij->i", values, weight) / places
        return mean, (values - mean[:, None].astype(np.float32)) * weight

    value = np.maximum(np.maximum(colours[0], colours[1]), colours[2])
    logs = np.log(colours)
    red, blue = logs[0] - logs[1], logs[2] - logs[1]
    brightness, deviation = centred(value)
    # The logarithm of the largest channel is the largest of the logarithms.
    _, tone = centred(np.maximum(np.maximum(logs[0], logs[1]), logs[2]))
    (red_green, reds), (blue_green, blues) = centred(red), centred(blue)
    tones = _dot(tone, tone)
    outside = ~np.concatenate(
        [(inside[:, 1:] & inside[:, :-1]).reshape(n, -1), (inside[:, :, 1:] & inside[:, :, :-1]).reshape(n, -1)], axis=1
    )
    roughness = _ascending(_steps(value), outside)
    mottle = _ascending(np.hypot(_steps(red), _steps(blue)), outside)
    neighbours = outside.shape[1] - _count(outside)
    return {
        "brightness": brightness,
        "red_green": red_green,
        "blue_green": blue_green,
        "tone_spread": np.sqrt(_dot(deviation, deviation) / places) / brightness,
        "colour_spread": np.sqrt((_dot(reds, reds) + _dot(blues, blues)) / places),
        "roughness": _percentile(roughness, neighbours, 50) / brightness,
        "roughest": _percentile(roughness, neighbours, 95) / brightness,
        "mottle": _percentile(mottle, neighbours, 50),
        # The constant keeps the slope of a flat cell near zero instead of leaving it to noise.
        "greening": -_dot(tone, reds + blues) / 2 / (tones + places * 0.02**2),
    }


def _within(shown: np.ndarray) -> np.ndarray:
    """Return the places (bool N×h×w) whose four neighbours are shown, too; all places of a narrow image."""
    # The membrane's step of brightness is up to two pixels of the grid wide.
    if min(shown.shape[1:]) <= 2:
        return shown
    inside = np.zeros_like(shown)
    inside[:, 1:-1, 1:-1] = (
        shown[:, 1:-1, 1:-1] & shown[:, :-2, 1:-1] & shown[:, 2:, 1:-1] & shown[:, 1:-1, :-2] & shown[:, 1:-1, 2:]
    )
    return inside


def _count(places: np.ndarray) -> np.ndarray:
    """Return how many places of each image are True, int64 N, of bool N×…"""
    return np.add.reduce(places.reshape(len(places), -1).view(np.uint8), axis=1, dtype=np.int64)


def _dot(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the sum of products of each row, float64 N."""
    return np.einsum("ij,ij->i", some, others).astype(np.float64)


def _halve(values: np.ndarray) -> np.ndarray:
    """Return the means of 2×2 places, float32; an odd last row or column is left out, a single one kept."""
    for axis in (-2, -1):
        if (length := values.shape[axis] // 2 * 2) > 0:
            pairs = values[..., :length, :] if axis == -2 else values[..., :length]
            first, second = (pairs[..., start::2, :] if axis == -2 else pairs[..., start::2] for start in (0, 1))
            values = (first + second) / np.float32(2)
    return values


def _steps(values: np.ndarray) -> np.ndarray:
    """Return the absolute differences between neighbours in columns, then in rows, N×K of N×h×w."""
    n = len(values)
    down, along = values[:, 1:] - values[:, :-1], values[:, :, 1:] - values[:, :, :-1]
    return np.abs(np.concatenate([down.reshape(n, -1), along.reshape(n, -1)], axis=1))


def _ascending(values: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return the values of each row, ascending, those outside at the end."""
    values = np.where(outside, np.float32(np.inf), values)
    values.sort(axis=1)
    return values


def _percentile(ascending: np.ndarray, counts: np.ndarray, percent: int) -> np.ndarray:
    """Return the percentile of the first ``counts`` values of each row; 0 without values."""
    if not ascending.shape[1]:
        return np.zeros(len(ascending))
    places = np.clip(counts * percent // 100, 0, np.maximum(counts - 1, 0))
    found = ascending[np.arange(len(ascending)), places]
    return np.where(counts > 0, found, 0).astype(np.float64)


@lru_cache(maxsize=GRID * GRID)
def _corners(height: int, width: int) -> np.ndarray:
    """Return which places of a grid lie clearly outside the ellipse that fits into it, bool h×w."""
    rows, columns = ((np.arange(side) + 0.5) / side * 2 - 1 for side in (height, width))
    return rows[:, None] ** 2 + columns[None, :] ** 2 > 1.3
