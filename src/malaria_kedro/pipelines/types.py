"""Type names for the inputs and outputs of nodes.

Kedro imports every node and resolves its hints before anything runs, and the classes behind these names take seconds to
import (pandas, matplotlib, torch): ``kedro registry list`` should not wait for them. So they are names for a reader.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypedDict

Table: TypeAlias = Any  # pandas.DataFrame
Figure: TypeAlias = Any  # matplotlib.figure.Figure
CellArchive: TypeAlias = Any  # malaria_kedro.cells.archive.CellArchive
CellFolder: TypeAlias = Any  # malaria_kedro.cells.unpack.CellFolder
CellPixels: TypeAlias = Any  # malaria_kedro.cells.pixels
DecodedCells: TypeAlias = Any
DataBunch: TypeAlias = Any  # malaria_kedro.learning.databunch.DataBunch
RunRecord: TypeAlias = Any  # malaria_kedro.report.inputs
VariantReport: TypeAlias = Any


class RunParams(TypedDict, total=False):
    """What Kedro tells hooks of a run: its command line."""

    env: str | None
    runner: str
    load_versions: dict[str, str] | None
    only_missing_outputs: bool
