"""A pydantic model as one JSON file, versioned."""

from __future__ import annotations

import os
from pkgutil import resolve_name

from kedro.io import DatasetError, Version
from kedro_datasets._typing import JSONPreview
from pydantic import BaseModel, ValidationError

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset, Metadata, StoredDataError
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import write_file


class RecordError(MalariaKedroError, TypeError):
    """A catalog entry names another model than that of what is to be saved; the message names both."""


class PydanticDataset(LocalVersionedDataset[BaseModel, BaseModel]):
    """Strict JSON, written without the fields that were never set, and checked when it is loaded.

    Args:
        model: the class of what is in the file, with its module; ``DatasetError``: there is none of that name. The
            others are as in ``LocalVersionedDataset``.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        model: str,
        version: Version | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._name, self._model = model, _find_model(model)

    def load(self) -> BaseModel:
        """Return the model; ``StoredDataError``: the file does not hold one, as another version of the project's."""
        model, path = self._model, self.load_path
        try:
            return model.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            what = f"it is no {model.__name__} of this version of malaria-kedro: {place or 'all of it'}: {first['msg']}"
            raise StoredDataError(path, what) from error

    def save(self, data: BaseModel) -> None:
        """Write the model; ``RecordError``: it is of another class than the entry says, and would be read as that."""
        if type(data) is not self._model:
            needed = f"{type(data).__module__}.{type(data).__qualname__}"
            raise RecordError(f"{self._filepath}: its model in the catalog is {self._name}: give {needed}")
        text = data.model_dump_json(indent=2, exclude_unset=True)
        write_file(self.save_path, lambda beside: beside.write_text(text, encoding="utf-8"))

    def preview(self) -> JSONPreview:
        """Return the JSON for kedro-viz."""
        return JSONPreview(self.load_path.read_text(encoding="utf-8"))

    def _describe(self) -> dict[str, object]:
        return super()._describe() | {"model": self._name}


def _find_model(name: object) -> type[BaseModel]:
    try:
        found = resolve_name(name) if isinstance(name, str) else None
    except (ImportError, AttributeError, ValueError):
        found = None
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise DatasetError(
            f"model is {name!r}, which is no pydantic model: give its class with its module, as "
            "malaria_kedro.evaluation.measurements.Metrics"
        )
    return found
