"""An exported ONNX graph on disk, and its int8 version where that was accepted: a versioned folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractVersionedDataset, Version
from kedro_datasets._typing import JSONPreview

from malaria_kedro.files import new_folder

if TYPE_CHECKING:
    from malaria_kedro.inference.onnx_plan import OnnxPlan

ABOUT = "onnx.json"


class OnnxDataset(AbstractVersionedDataset[Any, Path]):
    """``model.onnx``, ``model.int8.onnx`` where int8 changes no result, and ``onnx.json``: parity and acceptance."""

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def save(self, data: OnnxPlan) -> None:
        """Export, check and quantise as planned, beside, then rename the folder."""
        with new_folder(Path(self._get_save_path())) as folder:
            data.write(folder)

    def load(self) -> Path:
        """Return the folder."""
        return Path(self._get_load_path())

    def preview(self) -> JSONPreview:
        """Show parity and acceptance in kedro-viz."""
        return JSONPreview((Path(self._get_load_path()) / ABOUT).read_text(encoding="utf-8"))

    def _exists(self) -> bool:
        return (Path(self._get_load_path()) / ABOUT).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
