"""An exported ONNX graph on disk, and its int8 version where that was accepted: a versioned folder."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kedro_datasets._typing import JSONPreview
from pydantic import TypeAdapter

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import new_folder, write_json

if TYPE_CHECKING:
    from malaria_kedro.inference.onnx_graphs import OnnxGraphs

ABOUT = "onnx.json"


class OnnxDataset(LocalVersionedDataset[Any, Any]):
    """``model.onnx``, ``model.int8.onnx`` where int8 changes no result, and ``onnx.json``: parity and acceptance."""

    PARTS = (ABOUT,)

    def save(self, data: OnnxGraphs) -> None:
        """Write the folder beside, then rename it."""
        from malaria_kedro.inference.export import ONNX, ONNX_INT8

        with new_folder(self.save_path) as folder:
            (folder / ONNX).write_bytes(data.float32)
            if data.int8 is not None:
                (folder / ONNX_INT8).write_bytes(data.int8)
            write_json(folder / ABOUT, asdict(data.about))

    def load(self) -> OnnxGraphs:
        """Read the folder; ``BackendError``: a graph is not whole, or the extra that reads it is missing."""
        from malaria_kedro.inference.export import ONNX, ONNX_INT8, read_onnx
        from malaria_kedro.inference.onnx_graphs import OnnxDescription, OnnxGraphs

        folder = self.load_path
        about = TypeAdapter(OnnxDescription).validate_json((folder / ABOUT).read_bytes())
        int8 = read_onnx(folder / ONNX_INT8).data if about.int8.accepted else None
        return OnnxGraphs(read_onnx(folder / ONNX).data, int8, about)

    def preview(self) -> JSONPreview:
        """Show parity and acceptance in kedro-viz."""
        return JSONPreview((self.load_path / ABOUT).read_text(encoding="utf-8"))
