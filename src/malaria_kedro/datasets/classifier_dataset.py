"""An exported classifier on disk: a versioned folder of weights and card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_datasets._typing import JSONPreview

from malaria_kedro.datasets.local_dataset import LocalVersionedDataset
from malaria_kedro.files import new_folder
from malaria_kedro.learning.card import CARD, MODEL_CARD

if TYPE_CHECKING:  # torch and fastai take seconds to import, and a catalog is also loaded where nothing is trained
    from malaria_kedro.learning.classifier import Classifier


class ClassifierDataset(LocalVersionedDataset[Any, Any]):
    """``model.safetensors``, ``classifier.json``, ``quality_gate.json`` and a model card, ``README.md``.

    Loading checks that each is the one that was written; see ``malaria_kedro.learning.card``.
    """

    def save(self, data: Classifier) -> None:
        """Write the folder beside, then rename it."""
        from malaria_kedro.learning.classifier import write_classifier
        from malaria_kedro.report.model_card import write_model_card

        with new_folder(self.save_path) as folder:
            card = write_classifier(data, folder)
            (folder / MODEL_CARD).write_text(write_model_card(card, data.metrics), encoding="utf-8")

    def load(self) -> Classifier:
        """Read the folder."""
        from malaria_kedro.learning.classifier import read_classifier

        return read_classifier(self.load_path)

    def preview(self) -> JSONPreview:
        """Show the card in kedro-viz."""
        return JSONPreview((self.load_path / CARD).read_text(encoding="utf-8"))
