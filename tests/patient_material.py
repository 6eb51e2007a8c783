"""Predictions of a few made-up patients."""

from __future__ import annotations

import numpy as np
import pandas as pd


def smear(patient: str | None, labels: str, flagged: str, split: str = "valid") -> pd.DataFrame:
    """Make a patient's predictions from a word of P and U and a word of + (flagged at 0.5) and -."""
    return pd.DataFrame(
        {
            "split": split,
            "patient_id": patient,
            "label": ["Parasitized" if letter == "P" else "Uninfected" for letter in labels],
            "p_calibrated": [0.9 if sign == "+" else 0.1 for sign in flagged],
        }
    )


def many(patients: int, healthy: int, seed: int = 0, split: str = "valid") -> pd.DataFrame:
    """Make patients of 5 to 120 cells, of whom the first ones are healthy."""
    generator = np.random.default_rng(seed)
    parts = []
    for number in range(patients):
        cells = int(generator.integers(5, 120))
        parasitized = generator.random(cells) < (0 if number < healthy else generator.random() * 0.8 + 0.1)
        p = np.where(parasitized, generator.beta(5, 1, cells), generator.beta(1, 6, cells))
        label = np.where(parasitized, "Parasitized", "Uninfected")
        parts.append(pd.DataFrame({"split": split, "patient_id": f"C{number}", "label": label, "p_calibrated": p}))
    return pd.concat(parts, ignore_index=True)


def three_patients() -> pd.DataFrame:
    """An infected patient, a healthy one with a false alarm, and one of the test part without an uninfected cell."""
    return pd.concat(
        [
            smear("C9", "PP", "+-", "test"),
            smear("C2", "UUUU", "+---"),
            smear("C1", "PPUUU", "++-+-"),
        ],
        ignore_index=True,
    )
