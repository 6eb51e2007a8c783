"""The DataBunch: the cells as training needs them, whatever the batch size."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import JsonValue

from malaria_kedro.cells.duplicates import LISTED, count_equal, list_equal
from malaria_kedro.cells.pixel_hashes import hash_pixel_array
from malaria_kedro.cells.pixels import CellPixels, PixelError
from malaria_kedro.cells.splits import SPLITS, shared_patients, shared_pictures
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.learning.databunch_summary import DataBunchSummary, EqualCells, EqualPicture, ListedCell, ListedCells
from malaria_kedro.names import CLASSES, natural_order
from malaria_kedro.parameters import Augment, Split

logger = logging.getLogger(__name__)


class OtherDataError(MalariaKedroError, ValueError):
    """Something was trained on other data than the databunch at hand; the message names both."""


@dataclass(frozen=True, eq=False)  # arrays and tables have no single answer to ==
class DataBunch:
    """Pixels, labels, splits and augmentation of all used cells; row i of ``cells`` describes ``pixels[i]``."""

    pixels: np.ndarray  # uint8 N×H×W×3, memory-mapped
    cells: pd.DataFrame  # cell_id, label, patient_id, slide_id, pixels_sha256, split
    augment: Augment  # what may happen to a training image
    summary: DataBunchSummary = field(repr=False)
    pixels_path: Path  # the file behind ``pixels``
    listed: ListedCells = field(default_factory=ListedCells, repr=False)  # excluded and equal cells, for the report
    # The parameters of source and image, see ``malaria_kedro.learning.other_parameters``; empty = unknown. They name
    # places on this machine, so they stay with the data, too.
    made_with: dict[str, dict[str, JsonValue]] = field(default_factory=dict, repr=False)

    @property
    def phantom(self) -> bool:
        """Whether the cells were drawn by the project itself."""
        return self.summary.phantom

    @property
    def fingerprint(self) -> str:
        """Sha256 of the images, their labels and their splits."""
        return self.summary.fingerprint

    @property
    def image_size(self) -> int:
        """Side of the pixels' squares, px."""
        return int(self.pixels.shape[1])

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of one split, ascending, int64."""
        return np.flatnonzero((self.cells["split"] == split).to_numpy())

    def targets(self) -> np.ndarray:
        """Return the class number of every row, int64: 0 parasitized, 1 uninfected."""
        return self.cells["label"].map({label: number for number, label in enumerate(CLASSES)}).to_numpy("int64")

    def verify(self) -> None:
        """Raise PixelError if any pixel has changed since it was decoded; loading compares a sample only."""
        if hash_pixel_array(self.pixels) != self.summary.array_sha256:
            raise PixelError(
                f"{self.pixels_path} is not the array that was decoded (its sha256 is another): anything trained or "
                "measured with it is void; run the pipeline data_engineering, and train again"
            )

    def require(self, fingerprint: str, who: str, why: str) -> None:
        """Raise OtherDataError, which says who and why, for what was trained on other images, labels or splits."""
        if fingerprint != self.fingerprint:
            raise OtherDataError(
                f"{who} was trained on other data ({fingerprint[:12]}) than this databunch ({self.fingerprint[:12]}), "
                f"so {why}; train again (kedro run --pipelines modeling), or run with the parameters of that training"
            )

    def __str__(self) -> str:
        size = self.image_size
        lines = [f"DataBunch of {len(self.cells)} cells, classes {list(CLASSES)}"]
        for split in SPLITS:
            labels = self.cells.loc[self.cells["split"] == split, "label"]
            items = f"{len(labels)} items; x: uint8 ({size}, {size}, 3); y: {', '.join(labels.head(5))}, …"
            lines.append(f"  {split}: {items if len(labels) else 'none'}")
        return "\n".join(lines)


def make_databunch(
    index: pd.DataFrame,
    splits: pd.DataFrame,
    pixels: CellPixels,
    *,
    augment: Augment,
    split: Split,
    origin: str,
    phantom: bool,
    ignored: Mapping[str, int] | None = None,
    tables: Mapping[str, int] | None = None,
    made_with: dict[str, dict[str, JsonValue]] | None = None,
) -> DataBunch:
    """Join pixels, labels and splits; see ``DataBunchSummary`` for what is said about them.

    Raises:
        PixelError: index, splits and pixels describe different cells or files, or the splits contradict ``split``.
    """
    cells = pd.DataFrame({"cell_id": pixels.cell_ids})
    columns = ["cell_id", "label", "patient_id", "slide_id", "sha256", "pixels_sha256"]
    cells = cells.merge(index[columns], on="cell_id", how="left").merge(splits, on="cell_id", how="left")
    strangers = {
        "decoded cells are not in cell_index": cells.loc[cells["label"].isna(), "cell_id"],
        "decoded cells are not in cell_splits": cells.loc[cells["split"].isna(), "cell_id"],
        "cells of cell_splits are not decoded": splits.loc[~splits["cell_id"].isin(cells["cell_id"]), "cell_id"],
    }
    if found := [f"{len(ids)} {what} (e.g. {ids.iloc[0]})" for what, ids in strangers.items() if len(ids)]:
        raise PixelError(
            f"cell_index, cell_splits and cell_pixels do not describe the same cells: {'; '.join(found)}. "
            "Run the pipeline data_engineering again"
        )
    of_other_files = cells.loc[cells["sha256"] != cells["cell_id"].map(pixels.files), "cell_id"]
    if len(of_other_files):
        raise PixelError(
            f"{len(of_other_files)} cells were decoded from other files than cell_index describes (e.g. "
            f"{of_other_files.iloc[0]}); run the pipeline data_engineering again"
        )
    in_common, of_pictures = shared_patients(cells), shared_pictures(cells)
    if split.strategy == "patient":
        _check_unshared("patients", in_common, split.strategy)
    if split.strategy != "folder":
        _check_unshared("pictures", of_pictures, split.strategy)
    left_out = index[index["excluded"] != ""]
    reasons = left_out["excluded"].str.split(":").str[0]
    summary = DataBunchSummary(
        fingerprint=fingerprint_of(pixels.fingerprint, cells[["cell_id", "sha256", "label", "split"]]),
        pixels_fingerprint=pixels.fingerprint,
        array_sha256=pixels.sha256,
        labels_sha256=hashlib.sha256(json.dumps(cells[["cell_id", "label"]].to_numpy().tolist()).encode()).hexdigest(),
        phantom=phantom,
        origin=origin,
        image_size=int(pixels.array.shape[1]),
        bit_depth=pixels.bit_depth,
        classes=list(CLASSES),
        counts={
            str(part): {label: int((group["label"] == label).sum()) for label in CLASSES}
            for part, group in cells.groupby("split")
        },
        patients={str(part): int(group.nunique()) for part, group in cells.groupby("split")["patient_id"]},
        n_patients=int(cells["patient_id"].nunique()),
        shared_patients=in_common,
        shared_pictures=of_pictures,
        equal_cells=EqualCells.model_validate(count_equal(cells)),
        excluded={str(reason): int(count) for reason, count in reasons.value_counts().items()},
        ignored=None if ignored is None else dict(ignored),
        strategy=split.strategy,
        split=split.model_dump(mode="json"),
        augment=augment.model_dump(mode="json"),
        tables=dict(tables or {}),
    )
    listed = ListedCells(
        excluded={str(reason): _list_cells(group) for reason, group in left_out.groupby(reasons)},
        equal=[EqualPicture.model_validate(picture) for picture in list_equal(cells)],
    )
    bunch = DataBunch(
        pixels.array, cells.drop(columns="sha256"), augment, summary, pixels.path, listed, made_with or {}
    )
    logger.info("%s", bunch)
    return bunch


def fingerprint_of(pixels_fingerprint: str, cells: pd.DataFrame) -> str:
    """Return a sha256 of decoded pixels and a table of text, row by row."""
    digest = hashlib.sha256(pixels_fingerprint.encode())
    for row in cells.itertuples(index=False):
        digest.update("\n".join(row).encode())
    return digest.hexdigest()


def _check_unshared(what: str, shared: dict[str, int], strategy: str) -> None:
    """Refuse splits that were made from another index or with other parameters, where that can be seen."""
    if found := max(shared.values(), default=0):
        raise PixelError(
            f"{found} {what} are in two splits in cell_splits, which split.strategy={strategy} never does: it was "
            "made with other parameters or from another cell_index; run the pipeline data_engineering again"
        )


def _list_cells(cells: pd.DataFrame) -> list[ListedCell]:
    listed = (
        cells.sort_values("cell_id", key=lambda ids: ids.map(natural_order))
        .head(LISTED)[list(ListedCell.model_fields)]
        .astype(object)
    )
    return [ListedCell.model_validate(cell) for cell in listed.where(listed.notna(), None).to_dict("records")]
