"""An exported classifier on disk: a versioned folder of weights and metadata."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import Version
from kedro_datasets._typing import JSONPreview

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset, Metadata
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import look_at, look_in, new_folder
from malaria_kedro.learning.metadata import METADATA, MODEL_CARD

if TYPE_CHECKING:  # torch and fastai take seconds to import, and a catalog is also loaded where nothing is trained
    from malaria_kedro.learning.classifier import Classifier


class ClassifierDataset(LocalVersionedDataset[Any, Any]):
    """``model.safetensors``, ``classifier.json``, ``quality_gate.json`` and a model card, ``README.md``.

    Loading checks that each is the one that was written; see ``malaria_kedro.learning.metadata``.
    """

    def save(self, data: Classifier) -> None:
        """Write the folder beside, then rename it."""
        from malaria_kedro.learning.classifier import write_classifier
        from malaria_kedro.report.model_card import write_model_card

        with new_folder(self.save_path) as folder:
            metadata = write_classifier(data, folder)
            (folder / MODEL_CARD).write_text(write_model_card(metadata, data.metrics), encoding="utf-8")

    def load(self) -> Classifier:
        """Read the folder."""
        from malaria_kedro.learning.classifier import read_classifier

        return read_classifier(self.load_path)

    def preview(self) -> JSONPreview:
        """Show the metadata in kedro-viz."""
        return JSONPreview((self.load_path / METADATA).read_text(encoding="utf-8"))


class MissingClassifierError(MalariaKedroError, ValueError):
    """There is no such classifier; the message names the versions that there are, or says to train one."""


class InferenceClassifierDataset(ClassifierDataset):
    """The classifier that reads new cells: one that a variant's own entry has written.

    Args:
        filepath: that of the variant's entry.
        load_version: which version; None = the newest. What ``kedro run --load-versions`` names comes first.
    """

    def __init__(
        self,
        *,
        filepath: str,
        load_version: str | None = None,
        version: Version | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        if load_version is not None and version is not None and version.load is None:
            version = Version(load_version, version.save)
        super().__init__(filepath=filepath, version=version, metadata=metadata)

    def load(self) -> Classifier:
        """Read the folder; ``MissingClassifierError``: there is none; ``OSError``: a version cannot be looked into."""
        folder = Path(self._filepath)
        named = (path for path in look_in(folder) if not path.name.startswith("."))
        versions = [path.name for path in named if look_at(path / folder.name) is not None]
        wanted = self._version and self._version.load
        if not versions or (wanted and wanted not in versions):
            trained = sorted(
                path.parents[2].name for path in folder.parent.parent.glob(f"*/{folder.name}/*/{folder.name}")
            )
            instead = f", or read with one that is trained (inference.model={trained[0]})" if trained else ""
            there_are = f"versions are {', '.join(versions)}"
            remedy = there_are if versions else f"train one first: kedro run --pipelines modeling{instead}"
            place = folder / wanted if wanted else folder
            raise MissingClassifierError(f"there is no classifier in {place}; {remedy}")
        return super().load()
