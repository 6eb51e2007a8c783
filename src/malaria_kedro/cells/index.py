"""The cell index: for each image file its label, patient, size and hash, and whether it can be used."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tqdm import tqdm

from malaria_kedro.cells.decoding import EXIF_ROTATED, SEVERAL_PAGES, UNREADABLE, ImageError, explain, open_image
from malaria_kedro.cells.duplicates import exclude_contradictions
from malaria_kedro.cells.exclusions import exclude_cells, names_of_cells, read_exclusions
from malaria_kedro.cells.listing import cells_below
from malaria_kedro.cells.parallel import ordered_parallel_map
from malaria_kedro.cells.patient_pattern import tried
from malaria_kedro.cells.plain_files import read_file
from malaria_kedro.cells.tables import GivenTable, attribute_patients
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.language import N_
from malaria_kedro.machine import is_scarce
from malaria_kedro.names import patient_of, printable, slide_of

logger = logging.getLogger(__name__)


class CellIndexError(MalariaKedroError, ValueError):
    """The cells cannot be indexed; the message says which and what to do."""


class Inspection(NamedTuple):
    """What the index says of an image file once it was opened."""

    width: int | None = None  # px; None where it cannot be used
    height: int | None = None  # px; None where it cannot be used
    sha256: str = hashlib.sha256(b"").hexdigest()  # of the file's bytes; of none where it cannot be read
    pixels_sha256: str | None = None  # of the decoded image, before it is resized; None where it cannot be used
    peak: int | None = None  # the largest value of a 16-bit image; None for others
    quality: str = ""  # flags of what is worth knowing of an image that can be used, separated by ;
    excluded: str = ""  # "unreadable: <reason>" or "too_small: <reason>"; empty = it can be used


def list_cells(root: Path) -> list[tuple[str, str]]:
    """List ``(class, path below root)`` of every image below ``root``'s class folders, sorted by path in each class.

    The class folders lie in ``root``, or in folders of splits (``train/``, ``valid/``, ``test/``) there.
    ``ListingError``: one is missing. ``CellIndexError``: the root cannot be listed.
    """
    try:
        return [(label, path) for path, label in cells_below(root).items()]
    except OSError as error:
        raise CellIndexError(f"{root} cannot be listed ({error.strerror or error}): check its permissions") from error


def inspect_cell(path: Path) -> Inspection:
    """Read one image file and decode it whole, so that a truncated one is found now and not in training."""
    try:
        content = read_file(path)
    except (OSError, ValueError) as error:
        if is_scarce(error):  # no fault of the image, which must not be left out for it
            raise
        return Inspection(excluded=f"{UNREADABLE}: {explain(error)}")
    digest = hashlib.sha256(content).hexdigest()
    try:
        image = open_image(content)
    except ImageError as error:
        return Inspection(sha256=digest, excluded=f"{error.flag}: {error.reason}")
    return Inspection(*image.size, digest, image.sha256, image.peak, ";".join(image.remarks))


def index_cells(
    root: Path,
    *,
    patient_pattern: str,
    cells: Mapping[str, str] | None = None,
    patients: GivenTable | None = None,
    max_missing_pct: float = 5.0,
    limit: int | None = None,
    max_broken_pct: float = 1.0,
    exclude: Path | None = None,
) -> pd.DataFrame:
    """Build the cell index of a folder.

    Args:
        root: folder with one folder per class, or with folders of splits that have one each.
        patient_pattern: regular expression on the file name; its first group is the patient.
        cells: path below the root → class; None = as the class folders tell.
        patients: a table that names the patients instead of the file names; see `attribute_patients`.
        max_missing_pct: share of cells without a patient in that table, in percent, above which it is refused.
        limit: cells per class to use, whole patients first; the rest stays in the table, excluded. None = all.
        max_broken_pct: share of unreadable images, in percent, above which the index is refused.
        exclude: a CSV whose first column names cells to leave out; they stay in the table, excluded.

    Returns:
        One row per cell, sorted by ``cell_id``; cells whose picture is there under both labels are excluded. Columns
        and types as in ``malaria_kedro.cells.schemas.CellIndex``. ``attrs["tables"]`` tells what was
        counted of the table of patients.

    Raises:
        ListingError: a class folder is missing.
        CellIndexError: no image at all, or more broken images than allowed.
        ExclusionError: the list of cells to leave out cannot be used.
        TableError: the table of patients cannot be used.
    """
    listed = list_cells(root) if cells is None else [(label, path) for path, label in cells.items()]
    if not listed:
        again = "run the pipeline data_engineering from its start, with cells at source.path"
        raise CellIndexError(f"no image in {root}: nothing to index; {again}")
    paths = [printable(path) for _, path in listed]
    if twins := [path for path, count in Counter(paths).items() if count > 1]:
        why = "one of them with bytes that are not UTF-8: rename one"
        raise CellIndexError(f"two files below {root} are both written as {twins[0]}, {why}")
    stems = pd.Series([Path(path).stem for path in paths], dtype="str")
    # The NIH names are unique over both classes; names such as 1.png in both folders are told apart by their path,
    # which no bare name can equal, having a slash; so are those of two sub-folders or splits.
    cell_ids = stems.mask(stems.duplicated(keep=False), pd.Series(paths, dtype="str"))
    # Before the long work, which an unusable list or pattern would end.
    deque(tried(patient_pattern, paths), maxlen=0)
    left_out = read_exclusions(exclude, names_of_cells(cell_ids, paths)) if exclude else []
    # An empty match names no patient.
    patient_ids = [patient_of(path, patient_pattern) or None for path in paths]
    notes: dict[str, int] = {}
    if patients is not None:
        patient_ids, notes = attribute_patients(patients, paths, patient_ids, max_missing_pct)
    inspecting = ordered_parallel_map(inspect_cell, (root / path for _, path in listed))
    inspections = list(tqdm(inspecting, total=len(listed), desc="index", unit="cell", leave=False, disable=None))
    columns = {
        "cell_id": cell_ids,
        "path": paths,
        "label": [label for label, _ in listed],
        "patient_id": patient_ids,
        "slide_id": [slide_of(path) for path in paths],
        **{name: [getattr(found, name) for found in inspections] for name in Inspection._fields},
    }
    types = dict.fromkeys(columns, "str") | dict.fromkeys(("width", "height", "peak"), "Int32")
    index = pd.DataFrame(columns).astype(types).sort_values("cell_id", ignore_index=True)
    _refuse_many_broken(index, max_broken_pct)
    if exclude:
        index = exclude_cells(index, left_out, exclude.name)
    index = exclude_contradictions(index)  # before the limit, which would hide some of them
    if limit is not None:
        index = limit_cells(index, limit)
    index.attrs["tables"] = notes
    _log_index(index)
    return index


def limit_cells(index: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Exclude all but ``limit`` cells of each class, keeping whole patients as far as they go.

    Both classes take the patients in one order, so that they keep the same ones as far as these have cells of both.
    """
    index = index.copy()
    for _, cells in index[index["excluded"] == ""].groupby("label"):
        # Patients in an order that depends on their name alone, and not on the number in it. A cell of an
        # unknown patient counts by itself: a NUL, which no name has, keeps it apart from a patient of that name.
        patient = cells["patient_id"].fillna("\0" + cells["cell_id"])
        order = patient.map({name: hashlib.sha256(name.encode()).hexdigest() for name in patient.unique()})
        beyond = cells.assign(order=order).sort_values(["order", "cell_id"]).index[limit:]
        index.loc[beyond, "excluded"] = N_("beyond source.limit of {limit} cells a class").format(limit=limit)
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
            "or raise source.max_broken_pct to continue without them"
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
    if unknown := used["patient_id"].isna().sum():
        logger.warning(
            "%d cells name no patient (source.patient_pattern): split.strategy=patient will refuse them",
            unknown,
        )
    for flag, meaning in (
        (EXIF_ROTATED, "have an orientation: PNG and JPEG are used as their pixels lie, TIFF is turned"),
        (SEVERAL_PAGES, "have several pages, of which the first is used"),
    ):
        flagged = used.loc[used["quality"].str.contains(flag), "path"]
        if len(flagged):
            logger.warning("%d cells %s (%s; e.g. %s)", len(flagged), meaning, flag, flagged.iloc[0])
