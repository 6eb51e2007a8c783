"""A trained stage on disk: a versioned folder of weights, description, epochs and batches.

``stage.json`` has the hashes of all: a part that was edited or is another stage's is an error, not a start.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import hash_json, new_folder, sha256_of
from malaria_kedro.learning.description import StageDescription
from malaria_kedro.learning.history import TrainedStage, TrainingError

HASHED = ("model.safetensors", "history.parquet", "batches.parquet")


class StageDataset(LocalVersionedDataset[Any, Any]):
    """``model.safetensors``, ``stage.json``, ``history.parquet`` and ``batches.parquet``."""

    def save(self, data: TrainedStage) -> None:
        """Write the folder beside, then rename it."""
        from malaria_kedro.learning.tensors import write_tensors

        with new_folder(self.save_path) as folder:
            write_tensors(data.state, folder / "model.safetensors", metadata={"format": "pt"})
            data.history.to_parquet(folder / "history.parquet", index=False)
            data.batches.to_parquet(folder / "batches.parquet", index=False)
            described = data.description.as_dict() | {"files": {part: sha256_of(folder / part) for part in HASHED}}
            described |= {"sha256": hash_json(described)}
            text = json.dumps(described, indent=2, ensure_ascii=False, allow_nan=False)
            (folder / "stage.json").write_text(text + "\n", encoding="utf-8")

    def load(self) -> TrainedStage:
        """Read the folder; ``TrainingError``: a part is missing, damaged, edited, or another stage's."""
        from malaria_kedro.learning.tensors import read_tensors

        folder = self.load_path
        description = _read_description(folder)
        history, batches = (pd.read_parquet(folder / f"{part}.parquet") for part in ("history", "batches"))
        return TrainedStage(read_tensors(folder / "model.safetensors"), description, history, batches)


def _read_description(folder: Path) -> StageDescription:
    """Return the description, if all parts are there and are the ones that it was written with."""
    again = "train again (kedro run --pipelines modeling)"
    try:
        description = json.loads((folder / "stage.json").read_text(encoding="utf-8"))
        sha256 = description.pop("sha256", None)
        changed = []
        if sha256 is not None:  # else an earlier version's: nothing tells what its parts were
            changed += [] if hash_json(description) == sha256 else ["stage.json"]
            changed += [part for part, its in description.pop("files").items() if sha256_of(folder / part) != its]
        if not changed:
            return StageDescription.model_validate(description)
    except ValidationError as error:
        raise TrainingError(f"{folder} is another version's trained stage, which cannot be read; {again}") from error
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise TrainingError(f"{folder} is not a complete trained stage ({error}); {again}") from error
    raise TrainingError(f"{folder / changed[0]} is not what the training wrote; {again}")
