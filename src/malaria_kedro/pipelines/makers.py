"""Which registered pipeline makes what lies in a place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from kedro.io import DataCatalog
from kedro.pipeline import Pipeline


def place_of(catalog: DataCatalog, name: str) -> Path:
    """Return where a dataset lies, by which two entries of one file are one."""
    return Path(getattr(catalog.get(name), "_filepath", name))


def first_makers(registered: Mapping[str, Pipeline], catalog: DataCatalog) -> dict[Path, str]:
    """Return, by place, the name of the first pipeline that makes what lies there."""
    names: Iterable[str] = reversed([name for name in registered if name != "__default__"])
    return {place_of(catalog, output): name for name in names for output in registered[name].all_outputs()}
