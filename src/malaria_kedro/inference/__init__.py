"""Reading new cells: from files to calibrated calls, without Kedro."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Late, because pandas takes a second to import; CellReader is the former name of CellPredictor.
    if name in ("CellPredictor", "CellReader"):
        from malaria_kedro.inference.reader import CellPredictor

        return CellPredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
