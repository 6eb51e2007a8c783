"""An exported ONNX graph on disk, and its int8 version where that was accepted: a versioned folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractVersionedDataset, Version
from kedro_datasets._typing import JSONPreview
from pydantic import TypeAdapter

from malaria_kedro.files import new_folder, write_json

if TYPE_CHECKING:
    from malaria_kedro.inference.onnx_graphs import OnnxGraphs

ABOUT = "onnx.json"


class OnnxDataset(AbstractVersionedDataset[Any, Any]):
    """``model.onnx``, ``model.int8.onnx`` where int8 changes no result, and ``onnx.json``: parity and acceptance."""

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def save(self, data: OnnxGraphs) -> None:
        """Write the folder beside, then rename it."""
        from malaria_kedro.inference.export import ONNX, ONNX_INT8

        with new_folder(Path(self._get_save_path())) as folder:
            (folder / ONNX).write_bytes(data.float32)
            if data.int8 is not None:
                (folder / ONNX_INT8).write_bytes(data.int8)
            write_json(folder / ABOUT, asdict(data.about))

    def load(self) -> OnnxGraphs:
        """Read the folder."""
        from malaria_kedro.inference.export import ONNX, ONNX_INT8
        from malaria_kedro.inference.onnx_graphs import OnnxDescription, OnnxGraphs

        folder = Path(self._get_load_path())
        about = TypeAdapter(OnnxDescription).validate_json((folder / ABOUT).read_bytes())
        int8 = folder / ONNX_INT8
        return OnnxGraphs((folder / ONNX).read_bytes(), int8.read_bytes() if int8.exists() else None, about)

    def preview(self) -> JSONPreview:
        """Show parity and acceptance in kedro-viz."""
        return JSONPreview((Path(self._get_load_path()) / ABOUT).read_text(encoding="utf-8"))

    def _exists(self) -> bool:
        return (Path(self._get_load_path()) / ABOUT).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
