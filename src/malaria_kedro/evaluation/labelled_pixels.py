"""What measuring and drawing need of a databunch, whose own module imports torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd


class LabelledPixels(Protocol):
    """Row i of ``cells`` describes ``pixels[i]``."""

    @property
    def pixels(self) -> np.ndarray:
        """Pixels, uint8 N×H×W×3, may be memory-mapped."""
        ...

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell: columns cell_id, patient_id, label, split."""
        ...

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of one split, ascending."""
        ...
