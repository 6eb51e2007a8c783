"""An exported ONNX graph on disk, and its int8 version where that was accepted: a versioned folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_datasets._typing import JSONPreview

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import new_folder

if TYPE_CHECKING:
    from malaria_kedro.inference.onnx_plan import OnnxPlan

ABOUT = "onnx.json"


class OnnxDataset(LocalVersionedDataset[Any, Path]):
    """``model.onnx``, ``model.int8.onnx`` where int8 changes no result, and ``onnx.json``: parity and acceptance."""

    PARTS = (ABOUT,)

    def save(self, data: OnnxPlan) -> None:
        """Export, check and quantise as planned, beside, then rename the folder."""
        with new_folder(self.save_path) as folder:
            data.write(folder)

    def load(self) -> Path:
        """Return the folder."""
        return self.load_path

    def preview(self) -> JSONPreview:
        """Show parity and acceptance in kedro-viz."""
        return JSONPreview((self.load_path / ABOUT).read_text(encoding="utf-8"))
