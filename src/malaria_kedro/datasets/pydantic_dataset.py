"""A pydantic model as one JSON file, versioned."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro_datasets._typing import JSONPreview
from pydantic import BaseModel, ValidationError

from malaria_kedro.datasets.html_dataset import local_path
from malaria_kedro.files import write_file


class PydanticDataset(AbstractVersionedDataset[BaseModel, BaseModel]):
    """Strict JSON, written without the fields that were never set, and checked when it is loaded.

    Example:
        ::

            resnet18.metrics:
              type: malaria_kedro.datasets.pydantic_dataset.PydanticDataset
              filepath: data/08_reporting/resnet18/metrics.json
              model: malaria_kedro.evaluation.measurements.Metrics
              versioned: true
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        model: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file and the class of what is in it.

        Args:
            filepath: the JSON file, on this machine.
            model: the class, with its module.
            version: Kedro's version, where the entry says ``versioned: true``.
            metadata: for kedro-viz and others; not used here.
        """
        super().__init__(local_path(filepath), version)
        self._model = model
        self.metadata = metadata

    def load(self) -> BaseModel:
        """Return the model.

        Raises:
            DatasetError: the file does not hold one, as where another version of the project wrote it.
        """
        module, name = self._model.rsplit(".", 1)
        path = Path(self._get_load_path())
        try:
            return getattr(import_module(module), name).model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise DatasetError(
                f"{path} is not a {name} of this version of malaria-kedro; run the pipeline that writes it again "
                f"({error})"
            ) from error

    def save(self, data: BaseModel) -> None:
        """Write the model."""
        text = data.model_dump_json(indent=2, exclude_unset=True)
        write_file(Path(self._get_save_path()), lambda beside: beside.write_text(text, encoding="utf-8"))

    def preview(self) -> JSONPreview:
        """Return the JSON for kedro-viz."""
        return JSONPreview(Path(self._get_load_path()).read_text(encoding="utf-8"))

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "model": self._model, "version": self._version}
