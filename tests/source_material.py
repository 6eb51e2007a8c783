"""Folders, zips and lists of cells that tests read."""

from __future__ import annotations

import zipfile
from pathlib import Path

from malaria_kedro.inference.image_sets import ImageSet

NIH = r"^(C\d+)"
IDS = ["001", "NA", "null", "1e5", "True", "nan", "1.0"]  # text, whatever they look like


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            bundle.writestr(zipfile.ZipInfo(name), content)
    return path


def names(images: ImageSet, start: int = 0) -> list[str]:
    return [ref.name for ref in images.refs(start)]


def listed(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
