"""The scores of a classifier on test cells, which chose nothing, where the pipeline reporting has measured them."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from malaria_kedro.evaluation.measurements import ClassifierIdentity, Metrics, SplitMetrics
from malaria_kedro.learning.metadata import ClassifierMetadata, ThresholdScores
from malaria_kedro.learning.soundness import SCORES

# Below the data folder, where the catalog keeps the metrics of a variant; a version's folder is in between.
METRICS = "08_reporting/{variant}/metrics.json"


def identify(metadata: ClassifierMetadata) -> ClassifierIdentity:
    """Return what tells this classifier from others."""
    return ClassifierIdentity(
        training_id=metadata.training_id,
        stage=metadata.selected.stage,
        epoch=metadata.selected.epoch,
        temperature=metadata.temperature,
    )


def with_test_scores(metadata: ClassifierMetadata, folder: Path) -> ClassifierMetadata:
    """Return the metadata with ``at_threshold`` of test cells, if metrics of this classifier lie where it does.

    Without them, and of a folder elsewhere than in a project's data folder, the metadata stay as they are.
    """
    above = Path(folder).absolute().parents  # <data>/06_models/<variant>/classifier/<version>/classifier
    if len(above) < 5:
        return metadata
    own = identify(metadata)
    for file in sorted((above[4] / METRICS.format(variant=above[2].name)).glob("*/metrics.json"), reverse=True):
        try:
            found = Metrics.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):  # of another version of the project; the classifier is what counts here
            continue
        point = found.operating_point
        same = all(getattr(found.classifier, name) == value for name, value in own)
        if same and point and point.threshold == metadata.threshold and "test" in point.splits:
            both = point.splits["test"], found.splits["test"]
            return metadata.model_copy(update={"at_threshold": threshold_scores("test", *both)})
    return metadata


def threshold_scores(split: str, at_threshold: SplitMetrics, ranked: SplitMetrics) -> ThresholdScores:
    """Return the scores of a split as a classifier's metadata have them; ``ranked`` has the area under the curve."""
    of = {name: ranked if name == "roc_auc" else at_threshold for name in SCORES}
    return ThresholdScores(
        split=split,
        n_parasitized=at_threshold.n_parasitized,
        n_uninfected=at_threshold.n - at_threshold.n_parasitized,
        n_patients=at_threshold.n_patients,
        unit=at_threshold.bootstrap.unit if at_threshold.bootstrap else None,
        **{name: its.score(name) for name, its in of.items()},
        intervals={name: bounds and list(bounds) for name, its in of.items() if (bounds := its.intervals.get(name))},
    )
