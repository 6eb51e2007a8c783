"""The model card: a README.md in the format of the Hugging Face Hub, written beside a classifier's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from malaria_kedro.evaluation.measurements import Measurement, Scores, SplitMetrics
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.learning.metadata import ClassifierMetadata
from malaria_kedro.names import CLASSES, SPLIT_NAMES
from malaria_kedro.report.findings import describe_split
from malaria_kedro.report.formats import count, place, template
from malaria_kedro.report.tables import Column, Row, Table, measured_table, number

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# Our metrics by the names that the Hub knows; others have none there.
HUB_METRICS = {
    "accuracy": "accuracy",
    "sensitivity": "recall",
    "precision": "precision",
    "f1": "f1",
    "mcc": "matthews_correlation",
    "roc_auc": "roc_auc",
    "brier": "brier_score",
}
HUB_NAMES = {"sensitivity": "Sensitivity", "precision": "Positive predictive value"}


def write_model_card(metadata: ClassifierMetadata, metrics: Measurement | None = None) -> str:
    """Write the model card.

    The header follows the Hub's model card metadata, the body its template (Mitchell et al. 2019, "Model Cards for
    Model Reporting"). What is not known is left out or said to be unknown: nobody's name or address is made up.

    Args:
        metadata: the classifier's metadata.
        metrics: what ``measure`` found, on validation at export and on all splits in reporting; without it, only what
            the metadata have of the exported epoch is told.

    Returns:
        Markdown with a YAML header. Scores of phantom cells are in no ``model-index``.
    """
    name, splits = metadata.name or metadata.architecture, metrics.splits if metrics else {}
    return template("model_card.md.j2").render(
        header=_header(name, metadata, splits),
        metadata=metadata,
        name=name,
        counts=_counts(metadata.data),
        proof=describe_split(metadata.data),
        measured=measured_table({"": metrics}, "") if metrics and splits else None,
        metrics=metrics,
    )


def _counts(data: DataBunchSummary) -> Table:
    return Table(
        "",
        [Column("split"), *(number(name) for name in CLASSES), number("patients")],
        [
            Row([name, *(count(data.counts[split].get(c, 0)) for c in CLASSES), count(data.patients.get(split))])
            for split, name in SPLIT_NAMES.items()
            if split in data.counts
        ],
    )


def _header(name: str, metadata: ClassifierMetadata, splits: Mapping[str, SplitMetrics]) -> str:
    from huggingface_hub import ModelCardData  # late: only a run that writes a model card should wait for it

    phantom = metadata.data.phantom
    results = [] if phantom else _results(metadata, splits)
    measured = {result.metric_type for result in results}
    return ModelCardData(
        license="apache-2.0",
        library_name="malaria-kedro",  # not fastai, whose loader on the Hub expects a pickled Learner
        pipeline_tag="image-classification",
        tags=[
            *("malaria", "microscopy", "blood-smear", "medical-imaging", "image-classification"),
            *("fastai", "pytorch", "safetensors", metadata.architecture),
            *(["phantom-cells"] if phantom else []),
        ],
        metrics=[name for name in HUB_METRICS.values() if name in measured] or None,
        model_name=name if results else None,
        eval_results=results or None,
    ).to_yaml()


def _results(metadata: ClassifierMetadata, splits: Mapping[str, SplitMetrics]) -> list[EvalResult]:
    """Return the Hub's results, one per split and metric; from the metadata alone, that of the exported epoch."""
    from huggingface_hub import EvalResult

    data = metadata.data
    scores: Mapping[str, Scores] = splits or {"valid": Scores(accuracy=metadata.selected.accuracy)}
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",
            dataset_name=place(data.origin),
            dataset_split=SPLIT_NAMES.get(split, split),
            dataset_args={"fingerprint": data.fingerprint, "split_strategy": data.strategy},
            metric_type=kind,
            metric_value=value,
            metric_name=HUB_NAMES.get(name, kind),
        )
        for split, values in scores.items()
        for name, kind in HUB_METRICS.items()
        if (value := values.score(name)) is not None
    ]
