"""The table of all cells: what each image file is, whose it is, and whether it can be used."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from malaria_kedro.cells.duplicates import exclude_contradictions, hash_pixels
from malaria_kedro.cells.exclusions import exclude_cells, read_exclusions
from malaria_kedro.cells.names import CLASSES, is_image_name, patient_of, slide_of
from malaria_kedro.cells.parallel import in_order
from malaria_kedro.cells.pixels import to_rgb
from malaria_kedro.cells.png import decode_plain_png

logger = logging.getLogger(__name__)

# 5,000 px a side, 75 MB decoded: no crop of one cell, but a whole slide or a decompression bomb. Pillow itself refuses
# from 179 million px on, which on many threads is gigabytes.
MAX_CELL_PIXELS = 25_000_000


class CellIndexError(ValueError):
    """The cells cannot be indexed; the message says which and what to do."""


class Inspection(NamedTuple):
    """What opening one image file told."""

    sha256: str
    pixels_sha256: str | None
    width: int | None
    height: int | None
    problem: str


def list_cells(root: Path) -> Iterator[tuple[str, str]]:
    """Yield ``(class, file name)`` of every image below ``root``'s class folders, sorted by name in each class."""
    for label in CLASSES:
        folder = root / label
        if not folder.is_dir():
            raise CellIndexError(f"{root} has no folder {label}; a cell folder needs {' and '.join(CLASSES)}")
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name for entry in entries if is_image_name(entry.name) and entry.is_file(follow_symlinks=False)
            )
        yield from ((label, name) for name in names)


def inspect_cell(path: Path) -> Inspection:
    """Read one image file and decode it whole, so that a truncated one is found now and not in training.

    Returns:
        Sizes in px; where the image cannot be used they are None, and ``problem`` says ``unreadable: <reason>``.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return Inspection(hashlib.sha256(b"").hexdigest(), None, None, None, f"unreadable: {error.strerror or error}")
    digest = hashlib.sha256(content).hexdigest()
    if not content:
        return Inspection(digest, None, None, None, "unreadable: the file is empty")
    if (rgb := decode_plain_png(content)) is not None:
        return Inspection(digest, hash_pixels(rgb), rgb.shape[1], rgb.shape[0], "")
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if width * height > MAX_CELL_PIXELS:
                return Inspection(
                    digest, None, None, None, f"unreadable: {width} × {height} px are too many for one cell"
                )
            rgb = np.asarray(to_rgb(image))  # as the decoder will, so that what is accepted here can be decoded there
            return Inspection(digest, hash_pixels(rgb), width, height, "")
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds; any of them means one unusable image
        # Pillow names the buffer (<_io.BytesIO object at 0x…>): of no use, and another text in every run.
        reason = " ".join(re.sub(r"<_io\.[^>]*>", "", str(error)).split())
        return Inspection(digest, None, None, None, f"unreadable: {reason or type(error).__name__}")


def index_cells(
    root: Path,
    *,
    patient_pattern: str,
    limit: int | None = None,
    max_broken_pct: float = 1.0,
    exclude: Path | None = None,
) -> pd.DataFrame:
    """Build the cell index of a folder.

    Args:
        root: folder with one folder a class.
        patient_pattern: regular expression on the file name; its first group is the patient.
        limit: cells per class to use, whole patients first; the rest stays in the table, excluded. None = all.
        max_broken_pct: share of unreadable images, in percent, above which the index is refused.
        exclude: a CSV whose first column names cells to leave out; they stay in the table, excluded.

    Returns:
        One row a cell, sorted by ``cell_id``; cells whose picture is there under both labels are excluded. Columns and
        types as in :class:`malaria_kedro.cells.schemas.CellIndex`.

    Raises:
        CellIndexError: a class folder is missing, no image at all, or more broken images than allowed.
        ExclusionError: the list of cells to leave out cannot be used.
    """
    left_out = read_exclusions(exclude) if exclude else []  # before the long work
    cells = list(list_cells(root))
    if not cells:
        raise CellIndexError(
            f"no image in {root}: nothing to index; run the pipeline data_engineering from its start, with cells at "
            "source.path"
        )
    inspections = list(
        tqdm(
            in_order(inspect_cell, (root / label / name for label, name in cells)),
            total=len(cells),
            desc="index",
            unit="cell",
            disable=None,
        )
    )
    paths = [f"{label}/{name}" for label, name in cells]
    stems = pd.Series([Path(name).stem for _, name in cells], dtype="str")
    # The NIH names are unique over both classes; names such as 1.png in both folders are told apart by their path,
    # which no bare name can equal, having a slash.
    cell_ids = stems.mask(stems.duplicated(keep=False), pd.Series(paths, dtype="str"))
    index = pd.DataFrame(
        {
            "cell_id": cell_ids,
            "path": pd.Series(paths, dtype="str"),
            "label": pd.Series([label for label, _ in cells], dtype="str"),
            # A group that matches nothing names no patient.
            "patient_id": pd.Series([patient_of(name, patient_pattern) or None for _, name in cells], dtype="str"),
            "slide_id": pd.Series([slide_of(name) for _, name in cells], dtype="str"),
            "width": pd.array([found.width for found in inspections], dtype="Int32"),
            "height": pd.array([found.height for found in inspections], dtype="Int32"),
            "sha256": pd.Series([found.sha256 for found in inspections], dtype="str"),
            "pixels_sha256": pd.Series([found.pixels_sha256 for found in inspections], dtype="str"),
            "excluded": pd.Series([found.problem for found in inspections], dtype="str"),
        }
    )
    index = index.sort_values("cell_id", ignore_index=True)
    _refuse_many_broken(index, max_broken_pct)
    if exclude:
        index = exclude_cells(index, left_out, exclude.name)
    index = exclude_contradictions(index)  # before the limit, which would hide some of them
    if limit is not None:
        index = limit_cells(index, limit)
    _log_index(index)
    return index


def limit_cells(index: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Exclude all but ``limit`` cells of each class, keeping whole patients as far as they go.

    Both classes take the patients in one order, so that they keep the same ones as far as these have cells of both.
    """
    index = index.copy()
    for _, cells in index[index["excluded"] == ""].groupby("label"):
        # Patients in an order that depends on their name alone, and not on the number in it.
        patient = cells["patient_id"].fillna(cells["cell_id"])
        order = patient.map({name: hashlib.sha256(name.encode()).hexdigest() for name in patient.unique()})
        beyond = cells.assign(order=order).sort_values(["order", "cell_id"]).index[limit:]
        index.loc[beyond, "excluded"] = f"beyond source.limit of {limit} cells a class"
    return index


def _refuse_many_broken(index: pd.DataFrame, max_broken_pct: float) -> None:
    broken = index[index["excluded"] != ""]
    percent = 100 * len(broken) / len(index)
    for cell in broken.head(10).itertuples():
        logger.warning("%s is not used: %s", cell.path, cell.excluded)
    if len(broken) > 10:
        logger.warning("… and %d more unreadable images", len(broken) - 10)
    if percent > max_broken_pct:
        first = broken.iloc[0]
        raise CellIndexError(
            f"{len(broken)} of {len(index)} images ({percent:.2f} %) cannot be read, more than source.max_broken_pct "
            f"({max_broken_pct} %); the first is {first['path']} ({first['excluded']}). Unpack the archive again, "
            "or raise source.max_broken_pct to go on without them"
        )


def _log_index(index: pd.DataFrame) -> None:
    used = index[index["excluded"] == ""]
    logger.info(
        "%d cells (%s) of %d patients on %d slide images; %d not used; sides %d-%d px",
        len(used),
        ", ".join(f"{count} {label}" for label, count in used["label"].value_counts().sort_index().items()),
        used["patient_id"].nunique(),
        used["slide_id"].nunique(),
        len(index) - len(used),
        used[["width", "height"]].min().min() if len(used) else 0,
        used[["width", "height"]].max().max() if len(used) else 0,
    )
    if used["patient_id"].isna().any():
        logger.warning(
            "%d cells name no patient (source.patient_pattern): split.strategy=patient will refuse them",
            used["patient_id"].isna().sum(),
        )
