"""What the tables of cells must hold, as Pandera schemas that the catalog checks on every save and load."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa
from pandera.typing.pandas import Series

from malaria_kedro.cells.splits import SPLITS
from malaria_kedro.names import CLASSES


class CellTable(pa.DataFrameModel):
    """A table in which an extra or a missing column is an error."""

    class Config:
        """Pandera's."""

        strict = True
        coerce = True


class CellIndex(CellTable):
    """One row per cell image, readable or not, in the order of ``cell_id``."""

    cell_id: Series[str] = pa.Field(unique=True, str_length={"min_value": 1})
    path: Series[str] = pa.Field(
        unique=True,
        str_matches=r"^[^/]+(/[^/]+)*$",
        description="below the root of cell_images, with forward slashes; begins with the folder of the source's own "
        "split where it has such folders",
    )
    label: Series[str] = pa.Field(isin=CLASSES)
    patient_id: Series[str] = pa.Field(nullable=True, description="null if neither name nor table says")
    slide_id: Series[str] = pa.Field(str_length={"min_value": 1})
    width: Series[pd.Int32Dtype] = pa.Field(gt=0, nullable=True, description="px; null where unreadable")
    height: Series[pd.Int32Dtype] = pa.Field(gt=0, nullable=True, description="px; null where unreadable")
    sha256: Series[str] = pa.Field(str_matches=r"^[0-9a-f]{64}$", description="of the file's bytes")
    pixels_sha256: Series[str] = pa.Field(
        nullable=True, str_matches=r"^[0-9a-f]{64}$", description="of the decoded image; null where unreadable"
    )
    peak: Series[pd.Int32Dtype] = pa.Field(
        ge=0, le=65_535, nullable=True, description="largest value of a 16-bit image; null for others"
    )
    quality: Series[str] = pa.Field(description="flags of a used cell, separated by ;; empty = none")
    excluded: Series[str] = pa.Field(description="why the cell is not used; empty = it is used")

    @pa.dataframe_check(error="width and height must be there where excluded is empty: a used cell has been read")
    @classmethod
    def _used_cells_were_read(cls, table: pd.DataFrame) -> bool:
        # One answer for the table: Pandera would repeat an answer for each row under every column's name.
        used = table[table["excluded"] == ""]
        return bool(used[["width", "height"]].notna().all(axis=None))


class CellSplits(CellTable):
    """The split of each used cell."""

    cell_id: Series[str] = pa.Field(unique=True, str_length={"min_value": 1})
    split: Series[str] = pa.Field(isin=SPLITS)
