"""Names for what nodes hand on.

Kedro imports every node and resolves its hints before anything runs, and the classes behind these names take seconds to
import (pandas, matplotlib, torch): ``kedro registry list`` should not wait for them. So they are names for a reader.
"""

from __future__ import annotations

from typing import Any

Table = Any  # pandas.DataFrame
Figure = Any  # matplotlib.figure.Figure
CellArchive = ArchiveRequest = Any  # malaria_kedro.cells.archive
CellFolder = UnpackPlan = Any  # malaria_kedro.cells.unpack
CellPixels = PixelPlan = Any  # malaria_kedro.cells.pixels
DataBunch = Any  # malaria_kedro.learning.databunch.DataBunch
