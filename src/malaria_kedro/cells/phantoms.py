"""Phantom cells: drawn red blood cells in the layout of the NIH archive, so that everything runs without a download.

They are drawings, not blood: a model trained on them knows nothing about malaria. They copy what makes the NIH crops
easy or hard, and no more: each patient's stain, cells cut out on black, central pallor, rings and dots of parasites, a
few of them faint, and platelets, precipitate and specks that are no parasites. On purpose the parasite's colour tells
little: over many cells, debris gives the uninfected as many pixels of it as parasites give the parasitized, so a model
has to see where it lies and in what shape. Each cell has a generator of its own (seed, patient, number), so any one can
be drawn again without the others, and the place of its parasite is known.
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from malaria_kedro.files import write_file
from malaria_kedro.machine import megabytes
from malaria_kedro.names import CLASSES, PARASITIZED, UNINFECTED
from malaria_kedro.parameters import Phantoms

logger = logging.getLogger(__name__)

# Part of every archive's comment: raise it with any change to what is drawn, so that older archives are drawn anew.
DRAWING = 2

FOLDER = "cell_images"
SLIDES_PER_PATIENT = 4
# As in the NIH set: 50 of its 200 patients are healthy. Two thirds of three quarters balance the classes.
HEALTHY_EVERY = 4
UNINFECTED_EVERY = 3
LOWER_CASE_EVERY = 5  # some names of the NIH set spell thinF where most spell ThinF
FIRST_SMEAR = datetime(2015, 6, 1, 9, 0)

SIDE_SPREAD = 0.15
# Where a parasite took less than this share of the stain, an eye does not see it; a faint one is as large as another.
SEEN_SHARE = 0.1
# Uninfected cells without debris, which colour alone can tell.
CLEAN_SHARE = 0.3

RGB = tuple[float, float, float]
Point = tuple[float, float]

CREAM: RGB = (232.0, 205.0, 178.0)
BROWN: RGB = (150.0, 78.0, 62.0)
RED: RGB = (176.0, 70.0, 78.0)
PALE: RGB = (244.0, 234.0, 224.0)
WHITE: RGB = (240.0, 232.0, 226.0)


@dataclass(frozen=True)
class Stain:
    """How one patient's smear took the Giemsa stain and the light; colours are RGB, 0-255."""

    cytoplasm: RGB
    parasite: RGB
    brightness: float  # factor on all of it, about 1


@dataclass(frozen=True)
class PhantomCell:
    """A drawn cell; see ``draw_cell`` for image, centre and mask."""

    name: str  # of its file in the archive
    label: str  # its class
    image: np.ndarray
    parasite_centre: Point | None
    parasite_mask: np.ndarray


@dataclass(frozen=True)
class _Outline:
    """A cell's place in its crop, which it fills; ``r`` runs from 0 (centre) over 1 (membrane) to the corners."""

    rows: np.ndarray  # float32 H×1, px
    columns: np.ndarray  # float32 1×W, px
    r: np.ndarray  # float32 H×W
    angle: np.ndarray  # float32 H×W, radians
    radius: float  # mean, px
    centre: Point  # row, column, px
    scale: Point  # px per unit, rows and columns
    waves: np.ndarray  # float32 K×3: order, amplitude and phase of each wave of the membrane


def draw_archive(recipe: Phantoms, path: Path) -> Path:
    """Draw the recipe's cells into a zip in the layout of the official NIH archive; keep it when it is there already.

    The layout is ``cell_images/<Class>/<name>.png`` with a ``Thumbs.db`` in each class folder. The recipe stands in the
    zip's comment. Same recipe, same bytes (on one machine: another zlib or processor may differ in the last bit).
    Cells are drawn and written one at a time beside ``path``, which the file takes once it is whole.
    """
    comment = json.dumps({"phantoms": recipe.model_dump(), "drawing": DRAWING}, sort_keys=True).encode()
    if _is_drawn(path, comment):
        logger.info("the phantom cells in %s are of the same recipe: kept", path)
        return path
    cells = recipe.patients * recipe.cells_per_patient
    said = "drawing %d phantom cells of %d phantom patients into %s: drawings, not blood"
    logger.info(said, cells, recipe.patients, path)

    def draw(beside: Path) -> None:
        with (
            zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive,
            tqdm(total=cells, desc="phantom cells", unit="cell", leave=False, disable=None) as progress,
        ):
            archive.comment = comment
            for folder in (FOLDER, *(f"{FOLDER}/{label}" for label in CLASSES)):
                _write(archive, f"{folder}/", b"")
            for label in CLASSES:
                for patient, index in _numbers(recipe):
                    if _label(patient, index) == label:
                        cell = phantom_cell(recipe, patient, index)
                        _write(archive, f"{FOLDER}/{label}/{cell.name}", _png(cell.image))
                        progress.update()
                # The official archive carries Windows' thumbnail files: whoever reads it has to skip them.
                _write(archive, f"{FOLDER}/{label}/Thumbs.db", b"\xd0\xcf\x11\xe0 no thumbnails: phantom cells\n")

    write_file(path, draw)
    logger.info("drew %d phantom cells, %s", cells, megabytes(path.stat().st_size))
    return path


def phantom_cells(recipe: Phantoms) -> Iterator[PhantomCell]:
    """Draw all cells of a recipe, one at a time, patient by patient."""
    return (phantom_cell(recipe, patient, index) for patient, index in _numbers(recipe))


def phantom_cell(recipe: Phantoms, patient: int, index: int) -> PhantomCell:
    """Draw one cell of a recipe, the same as in its archive; ``IndexError``: the recipe has no such patient or cell.

    Patients count from 1, and a patient's cells from 0; the number in a cell's name is one more than its index.
    """
    stain, label = patient_stain(recipe, patient), _label(patient, index)
    if not 0 <= index < recipe.cells_per_patient:
        raise IndexError(f"cell {index}: a patient of this recipe has the cells 0 to {recipe.cells_per_patient - 1}")
    rng = _generator(recipe.seed, patient, index + 1)
    drawn = draw_cell(rng, stain=stain, parasitized=label == PARASITIZED, size=recipe.size)
    return PhantomCell(_name(recipe, patient, index), label, *drawn)


def patient_stain(recipe: Phantoms, patient: int) -> Stain:
    """Return the stain of a patient's smear: salmon to pink in two of three patients, else lilac to violet."""
    if not 1 <= patient <= recipe.patients:
        raise IndexError(f"patient {patient}: this recipe has the patients 1 to {recipe.patients}")
    rng = _generator(recipe.seed, patient)
    # The ends of both ranges are read off NIH crops, as are the parasites': magenta on pink, violet on lilac.
    if rng.random() < 0.65:
        ends, parasite = ((218, 162, 150), (203, 140, 160)), (142, 24, 104)
    else:
        ends, parasite = ((176, 172, 192), (160, 142, 190)), (104, 34, 142)
    mix = rng.random()
    red, green, blue = (a + (b - a) * mix + rng.uniform(-5, 5) for a, b in zip(*ends, strict=True))
    chromatin = tuple(value + rng.uniform(-12, 12) for value in parasite)
    return Stain((red, green, blue), (chromatin[0], chromatin[1], chromatin[2]), rng.uniform(0.9, 1.06))


def draw_cell(
    rng: np.random.Generator, *, stain: Stain, parasitized: bool, size: int
) -> tuple[np.ndarray, Point | None, np.ndarray]:
    """Draw one cell, cut out on black as the NIH crops are.

    Args:
        rng: decides everything that the other arguments leave open.
        stain: the patient's colours.
        parasitized: whether to draw a parasite (in one of ten such cells, two).
        size: mean side, px; height and width are each within 15 % of it.

    Returns:
        The image, uint8 H×W×3, RGB.
        Where its parasite lies, (row, column) in px: the centre of gravity of the stain; of two parasites, of the one
        drawn at the higher contrast. None when uninfected.
        The mask of all its parasites, bool H×W: where they took a visible share of the stain (``SEEN_SHARE``), and the
        vacuole within a ring, which is parasite too.
    """
    height, width = (round(size * rng.uniform(1 - SIDE_SPREAD, 1 + SIDE_SPREAD)) for _ in range(2))
    outline = _outline(rng, height, width)
    image = _cytoplasm(rng, outline, stain)
    if rng.random() < 0.14:
        _add_artefact(rng, image, outline)
    share, centre, mask = _take_stain(rng, outline, parasitized)
    _blend(image, share, stain.parasite)
    image *= stain.brightness
    image += rng.standard_normal((height, width, 1), dtype=np.float32) * 1.2
    # A membrane one pixel wide: coverage of the pixel, by its distance from the outline. Beyond it, debris is seen: on
    # the cell's colour, as a parasite is, or its dark edge on black would tell the classes apart.
    membrane = np.clip((1 - outline.r) * outline.radius + 0.5, 0, 1)
    image *= np.maximum(membrane, np.clip(2.5 * share, 0, 1))[..., None]
    return np.clip(image + 0.5, 0, 255).astype(np.uint8), centre, mask


def _outline(rng: np.random.Generator, height: int, width: int) -> _Outline:
    """Draw an irregular disc, one of four deformed, that touches all four sides of its crop, one pixel short."""
    steps = [0.10, 0.07, 0.035, 0.025, 0.016] if rng.random() < 0.25 else [0.04, 0.025, 0.018, 0.014, 0.01]
    waves = np.stack([np.arange(2, 7), rng.uniform(-1, 1, 5) * steps, rng.uniform(0, 2 * np.pi, 5)], axis=1)
    turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    membrane = _membrane(waves, turn)
    edges = membrane * np.sin(turn), membrane * np.cos(turn)
    (top, bottom), (left, right) = ((float(edge.min()), float(edge.max())) for edge in edges)
    scale = (height - 3) / (bottom - top), (width - 3) / (right - left)
    centre = 1 - top * scale[0], 1 - left * scale[1]
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    down = (rows - np.float32(centre[0])) / np.float32(scale[0])
    along = (columns - np.float32(centre[1])) / np.float32(scale[1])
    angle = np.arctan2(down, along)
    r = np.hypot(down, along) / _membrane(waves.astype(np.float32), angle)
    return _Outline(rows, columns, r, angle, (scale[0] + scale[1]) / 2, centre, scale, waves)


def _membrane(waves: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return the membrane's distance from the centre at each angle (radians), about 1."""
    return 1 + sum(amplitude * np.cos(order * angle + phase) for order, amplitude, phase in waves)


def _cytoplasm(rng: np.random.Generator, outline: _Outline, stain: Stain) -> np.ndarray:
    """Return the empty cell, float32 H×W×3: stain, texture, light from one side, central pallor and a bright rim."""
    height, width = outline.r.shape
    colour = np.array(stain.cytoplasm, dtype=np.float32) * rng.uniform(0.96, 1.03)
    clouds = _clouds(rng, outline, 7)
    lit_from, light = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.06)
    slope = np.float32(light * np.sin(lit_from) / height) * (outline.rows - height / 2)
    slope = slope + np.float32(light * np.cos(lit_from) / width) * (outline.columns - width / 2)
    # A red cell is thickest in a ring at two thirds of its radius: there it takes most stain.
    thickness = np.float32(0.05) * (outline.r * (2 - outline.r) - 0.5)
    tone = 1 + slope - thickness + np.float32(0.012) * clouds
    image = tone[..., None] * colour
    if rng.random() < 0.6:
        row, column = _place(rng, outline, 0.12)
        pallor = rng.uniform(0.15, 0.42) * outline.radius
        softness = rng.uniform(0.5, 1.2) * pallor
        mask = _ellipse(outline, row, column, pallor, pallor * rng.uniform(0.8, 1.1), 0.0, softness)
        _blend(image, mask * rng.uniform(0.15, 0.55), tuple((colour + PALE) / 2))
    rim = np.exp(-np.square((1 - outline.r) * np.float32(outline.radius / max(1.2, 0.045 * outline.radius))))
    lit = 0.5 + 0.5 * np.cos(outline.angle - np.float32(rng.uniform(0, 2 * np.pi)))
    _blend(image, rim * lit * rng.uniform(0.2, 0.8), CREAM)
    return image


def _add_artefact(rng: np.random.Generator, image: np.ndarray, outline: _Outline) -> None:
    """Draw an artefact onto the cell: a few specks of precipitated stain, a smudge or a bright bubble."""
    radius = outline.radius
    kind = rng.choice(["specks", "smudge", "bubble"], p=[0.5, 0.25, 0.25])
    for _ in range(rng.integers(1, 4) if kind == "specks" else 1):
        row, column = _place(rng, outline, 0.85)
        turn = rng.uniform(0, np.pi)
        if kind == "specks":
            size = rng.uniform(0.03, 0.07) * radius
            mask = _ellipse(outline, row, column, size, size * rng.uniform(0.5, 1), turn, 0.05 * radius)
            _blend(image, mask * rng.uniform(0.3, 0.7), BROWN if rng.random() < 0.6 else RED)
        elif kind == "smudge":
            size = rng.uniform(0.12, 0.28) * radius
            mask = _ellipse(outline, row, column, size, size * rng.uniform(0.3, 0.8), turn, size)
            _blend(image, mask * rng.uniform(0.15, 0.3), RED)
        else:
            size = rng.uniform(0.06, 0.14) * radius
            _blend(image, _ellipse(outline, row, column, size * 1.5, size * 1.5, turn, size) * 0.25, BROWN)
            _blend(image, _ellipse(outline, row, column, size, size, turn, 0.06 * radius) * 0.8, WHITE)


def _take_stain(
    rng: np.random.Generator, outline: _Outline, parasitized: bool
) -> tuple[np.ndarray, Point | None, np.ndarray]:
    """Draw what takes the parasite's colour: in a parasitized cell a parasite, in an uninfected one debris or nothing.

    In one of five cells there is more of it: debris, or in half of the parasitized ones a second parasite. One of ten
    is faint.

    Returns how much stain each pixel took, float32 H×W in 0-1; the parasites' centre and mask, see ``draw_cell``.
    """
    share, centre, mask = np.zeros_like(outline.r), None, np.zeros(outline.r.shape, dtype=bool)
    if not parasitized and rng.random() < CLEAN_SHARE:
        return share, centre, mask
    strength = rng.uniform(0.4, 0.6) if rng.random() < 0.1 else rng.uniform(0.7, 1.0)
    for first in (True, False) if rng.random() < 0.2 else (True,):
        # Debris has a parasite's size.
        stained, lies_at = _parasite(rng, outline)
        if parasitized and (first or rng.random() < 0.5):
            mask |= lies_at & (outline.r < 1)
            centre = centre or _centre_of_gravity(outline, stained)
        else:
            stained = _debris(rng, outline, float(stained.sum()))
        share = np.maximum(share, stained * np.float32(strength))
        strength *= rng.uniform(0.6, 0.9)
    return share, centre, mask


def _centre_of_gravity(outline: _Outline, share: np.ndarray) -> Point:
    weight = np.where(outline.r < 1, share, 0)
    total = weight.sum()
    return float((weight * outline.rows).sum() / total), float((weight * outline.columns).sum() / total)


def _debris(rng: np.random.Generator, outline: _Outline, stain: float) -> np.ndarray:
    """Draw what has the parasite's colour and is none: a platelet or precipitate beside the cell, or fine grains on it.

    A parasite took as much stain as ``stain`` says (the sum over its pixels). Debris takes so much more that over many
    cells, clean ones included, it darkens as many pixels.

    Returns how much stain it took, float32 H×W in 0-1.
    """
    kind = rng.choice(["platelet", "precipitate", "grains"], p=[0.6, 0.32, 0.08])
    beside = np.clip((outline.r - 1) * np.float32(outline.radius), 0, 1)
    if kind == "platelet":
        # A crop that its cell fills has room for a platelet only in the corners.
        down, right = rng.choice([-1, 1], 2)
        corner = np.arctan2(down * outline.rows.size, right * outline.columns.size)
        row, column = _at(outline, corner + rng.uniform(-0.15, 0.15), rng.uniform(1.08, 1.18))
        radius = np.sqrt(2.4 * stain / np.pi)
        turn, soft = rng.uniform(0, np.pi), 0.06 * outline.radius
        body = _ellipse(outline, row, column, radius * 1.1, radius * rng.uniform(0.7, 0.95), turn, soft)
        return np.float32(0.8) * beside * body * _grain(_clouds(rng, outline, 13))
    onto, across = (beside, 9) if kind == "precipitate" else (1 - beside, 26)
    lumps = _clouds(rng, outline, across)
    free = lumps[onto > 0.5]
    lowest = np.quantile(free, max(0.0, 1 - 1.8 * stain / free.size))
    return onto * np.clip((lumps - np.float32(lowest)) / np.float32(0.6), 0, 1)


def _parasite(rng: np.random.Generator, outline: _Outline) -> tuple[np.ndarray, np.ndarray]:
    """Draw a parasite: a ring (an open one is an amoeboid form) or a dot.

    Returns how much stain it took, float32 H×W in 0-1, and where it lies, bool H×W.
    """
    radius = outline.radius
    row, column = _place(rng, outline, 0.72)
    turn = rng.uniform(0, 2 * np.pi)
    soft = rng.uniform(0.05, 0.08) * radius
    uneven = _clouds(rng, outline, 13)
    if rng.random() < 0.4:
        long = rng.uniform(0.12, 0.21) * radius
        dot = _ellipse(outline, row, column, long, long * rng.uniform(0.5, 0.9), turn, soft)
        halo = _ellipse(outline, row, column, long * 1.5, long * 1.3, turn, long)
        share = np.maximum(dot, halo * 0.35) * _grain(uneven)
        return share, share >= SEEN_SHARE
    size = rng.uniform(0.17, 0.28) * radius
    long, short = size, size * rng.uniform(0.75, 1)
    chromatin = rng.uniform(0.09, 0.13) * radius
    down, along = _turned(outline, row, column, turn)
    away = np.sqrt(np.square(along / long) + np.square(down / short)) * (1 + np.float32(0.09) * uneven)
    away += np.float32(1e-6)
    thread = np.exp(-np.square((away - 1) * np.float32(size / (rng.uniform(0.04, 0.06) * radius))))
    # Thickest where the chromatin sits (along the turned axis), thinning out to the far side.
    closed = rng.uniform(0.1, 0.9)
    thread *= np.float32(closed) + np.float32((1 - closed) / 2) * (1 + along / (away * np.float32(long)))
    vacuole = np.clip(1 - away, 0, 1)
    dot_at = row + long * np.sin(turn), column + long * np.cos(turn)
    dot = _ellipse(outline, *dot_at, chromatin, chromatin * rng.uniform(0.65, 1), turn + np.pi / 2, soft)
    share = np.maximum(dot, thread * rng.uniform(0.45, 0.75) + vacuole * 0.12) * _grain(uneven)
    return share, (share >= SEEN_SHARE) | (away < 1)


def _clouds(rng: np.random.Generator, outline: _Outline, across: int) -> np.ndarray:
    """Return smooth noise with about ``across`` lumps a side, float32 H×W, of mean 0 and deviation below 1."""
    height, width = outline.r.shape
    lumps = rng.standard_normal((across, across), dtype=np.float32)
    return np.asarray(Image.fromarray(lumps).resize((width, height), Image.Resampling.BICUBIC))


def _grain(clouds: np.ndarray) -> np.ndarray:
    """Return how unevenly a parasite takes the stain, 0.6-1."""
    return np.clip(np.float32(0.9) + np.float32(0.14) * clouds, 0.6, 1)


def _place(rng: np.random.Generator, outline: _Outline, reach: float) -> Point:
    """Return a (row, column) in px, evenly likely anywhere within ``reach`` (0-1) of the way to the membrane."""
    return _at(outline, rng.uniform(0, 2 * np.pi), reach * np.sqrt(rng.random()))


def _at(outline: _Outline, angle: float, r: float) -> Point:
    """Return the (row, column) in px at an angle (radians), ``r`` of the way to the membrane."""
    far = r * float(_membrane(outline.waves, np.array(angle)))
    down, along = outline.scale[0] * far * np.sin(angle), outline.scale[1] * far * np.cos(angle)
    return float(outline.centre[0] + down), float(outline.centre[1] + along)


def _turned(outline: _Outline, row: float, column: float, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Return every pixel's distance from (row, column) across and along an axis at ``turn`` radians, px, H×W each."""
    down, right = outline.rows - np.float32(row), outline.columns - np.float32(column)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return down * cos - right * sin, right * cos + down * sin


def _ellipse(
    outline: _Outline, row: float, column: float, long: float, short: float, turn: float, softness: float
) -> np.ndarray:
    """Return a filled ellipse, float32 H×W in 0-1, whose edge fades over ``softness`` px (at least one)."""
    down, along = _turned(outline, row, column, turn)
    away = np.sqrt(np.square(along / np.float32(long)) + np.square(down / np.float32(short)))
    edge = np.clip((1 - away) * np.float32(min(long, short) / max(softness, 1.0)) + np.float32(0.5), 0, 1)
    return edge * edge * (3 - 2 * edge)


def _blend(image: np.ndarray, mask: np.ndarray, colour: RGB) -> None:
    """Lay ``colour`` over the image, in place, as thickly as ``mask`` (H×W, 0-1) says."""
    image += mask[..., None].astype(np.float32) * (np.array(colour, dtype=np.float32) - image)


def _numbers(recipe: Phantoms) -> Iterator[tuple[int, int]]:
    return product(range(1, recipe.patients + 1), range(recipe.cells_per_patient))


def _label(patient: int, index: int) -> str:
    """Return the class of a cell, which depends on its number alone: every infected patient has both classes."""
    healthy = patient % HEALTHY_EVERY == 0
    return UNINFECTED if healthy or (index + patient) % UNINFECTED_EVERY == 0 else PARASITIZED


def _name(recipe: Phantoms, patient: int, index: int) -> str:
    slide = index * SLIDES_PER_PATIENT // recipe.cells_per_patient
    taken = FIRST_SMEAR + timedelta(days=patient, minutes=7 * patient, seconds=53 * slide)
    thin = "thinF" if patient % LOWER_CASE_EVERY == 0 else "ThinF"
    return f"C{patient}P{patient + 100}{thin}_IMG_{taken:%Y%m%d_%H%M%S}_cell_{index + 1}.png"


def _generator(*numbers: int) -> np.random.Generator:
    # PCG64 by its name: numpy may change what default_rng is.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # The earliest time a zip can hold, so that an archive does not tell when it was drawn.
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix everywhere: Windows would write another byte
    entry.external_attr = (0o40755 << 16 | 0x10) if name.endswith("/") else 0o100644 << 16
    archive.writestr(entry, content)


def _is_drawn(path: Path, comment: bytes) -> bool:
    """Return whether ``path`` is a complete archive of the same recipe and drawing version."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.comment != comment:
                return False
            if broken := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {broken}")
            return True
    except FileNotFoundError:
        return False
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        logger.warning("%s is damaged (%s): drawing it anew.", path, error)
        return False
