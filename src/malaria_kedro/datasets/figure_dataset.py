"""A matplotlib figure as a PNG file, versioned and previewed in kedro-viz."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, Version
from kedro_datasets._typing import ImagePreview
from matplotlib.figure import Figure

from malaria_kedro.datasets.html_dataset import local_path
from malaria_kedro.files import write_file


class FigureDataset(AbstractVersionedDataset[Figure, bytes]):
    """Takes a matplotlib ``Figure``, keeps it as PNG at the figure's own dpi, gives back the PNG's bytes.

    The same figure is written as the same bytes: no date and no software name go into the file.

    Example:
        ::

            resnet18.loss_curves:
              type: malaria_kedro.datasets.figure_dataset.FigureDataset
              filepath: data/08_reporting/resnet18/loss_curves.png
              versioned: true
    """

    def __init__(
        self, *, filepath: str | os.PathLike, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Name the file.

        Args:
            filepath: where the PNG lies, on this machine.
            version: Kedro's version, where the entry says ``versioned: true``.
            metadata: for kedro-viz and others; not used here.
        """
        super().__init__(local_path(filepath), version)
        self.metadata = metadata

    def load(self) -> bytes:
        """Return the PNG."""
        return Path(self._get_load_path()).read_bytes()

    def save(self, data: Figure) -> None:
        """Draw the figure into the PNG."""
        write_file(
            Path(self._get_save_path()),
            lambda beside: data.savefig(beside, format="png", dpi=data.dpi, metadata={"Software": None}),
        )

    def preview(self) -> ImagePreview:
        """Return the PNG for kedro-viz, as base64."""
        return ImagePreview(base64.b64encode(self.load()).decode())

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
