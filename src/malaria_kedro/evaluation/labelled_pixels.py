"""What measuring and drawing need of a databunch, whose own module imports torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd


class LabelledPixels(Protocol):
    """Row i of ``cells`` describes ``pixels[i]``."""

    pixels: np.ndarray  # uint8 N×H×W×3, may be memory-mapped
    cells: pd.DataFrame  # columns cell_id, patient_id, label, split

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of one split, ascending."""
        ...
