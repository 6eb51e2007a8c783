"""What tests of reading new cells share."""

from __future__ import annotations

from pathlib import Path

import pytest

from odd_images import png
from source_material import lay_out


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A folder of four cells in three folders, and what is no image."""
    return lay_out(
        tmp_path / "cells",
        {
            "b.png": png(2),
            "a.PNG": png(1),
            "slide 2/C2thin_IMG_1_cell_1.png": png(3),
            "slide 2/deep/er/C3_cell.tiff": png(4),
            "Thumbs.db": b"x",
            "slide 2/._C2thin_IMG_1_cell_1.png": b"x",
            "notes.txt": b"x",
        },
    )
