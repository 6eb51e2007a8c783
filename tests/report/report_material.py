"""What a report is made of, small and made up: a classifier without calibration, and one with everything."""

from __future__ import annotations

import io
from html.parser import HTMLParser

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from malaria_kedro.evaluation.bootstrap import Bootstrap
from malaria_kedro.evaluation.comparison import compare_variants
from malaria_kedro.evaluation.fold_metrics import measure_folds
from malaria_kedro.evaluation.measurements import CrossValidationMetrics, Measurement, Metrics
from malaria_kedro.evaluation.metrics import measure, measure_at
from malaria_kedro.evaluation.patients import false_positive_floor, patient_table
from malaria_kedro.evaluation.thresholds import sweep_thresholds
from malaria_kedro.figures.style import svg_of
from malaria_kedro.language import Language
from malaria_kedro.learning.calibration import apply_temperature, calibrate
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.learning.metadata import ClassifierMetadata
from malaria_kedro.names import CLASSES
from malaria_kedro.parameters import Image, Variant
from malaria_kedro.report.cross_validation_report import write_report as write_cross_validation_report
from malaria_kedro.report.inputs import RunRecord, VariantReport, gather_variant
from malaria_kedro.report.report import write_report
from metadata_material import metadata

VOID = {"meta", "img", "br", "hr", "link", "input"}
PARAMETERS = {"image": Image(size=64)}
RUN = RunRecord(written="2026-11-27 12:00 UTC", run="2026-11-27T11.58.00.000Z", version="0.1.0", commit="abc1234")
FEW_DRAWS = Bootstrap(draws=50)
FIGURES = (
    *("confusion_matrix", "loss_curves", "top_losses", "top_losses_heatmap", "true_positives_heatmap"),
    *("roc_curve", "precision_recall_curve", "reliability_diagram", "patients"),
)


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, and the tags that were never closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


def png() -> bytes:
    content = io.BytesIO()
    Figure(figsize=(2, 1), dpi=50).savefig(content, format="png")
    return content.getvalue()


def svg() -> bytes:
    return svg_of(Figure(figsize=(2, 1)))


def summary(**changes) -> DataBunchSummary:
    values = {
        "fingerprint": "0123abcd",
        "phantom": False,
        "origin": "cell_images.zip",
        "image_size": 64,
        "classes": list(CLASSES),
        "counts": {
            "train": {"Parasitized": 1200, "Uninfected": 1100},
            "valid": {"Parasitized": 3, "Uninfected": 2},
            "test": {"Parasitized": 0, "Uninfected": 0},
        },
        "patients": {"train": 40, "valid": 10, "test": 0},
        "n_patients": 50,
        "shared_patients": {"train/valid": 0, "train/test": 0, "valid/test": 0},
        "excluded": {"truncated image": 7},
        "strategy": "patient",
        "split": {"valid_pct": 0.2},
    }
    return DataBunchSummary.model_validate(values | changes)


def described_as(
    name: str = "resnet18", data: DataBunchSummary | None = None, rule: str | int = "last", **more
) -> ClassifierMetadata:
    stage = {"epochs": 3, "lr_max": [1e-5, 1e-4]}
    recipe = {"arch": "resnet18", "batch_size": 512, "stage_1": stage, "stage_2": {"epochs": 0, "lr_max": 1e-3}}
    values = {
        "name": name,
        "pretrained": "none",
        "input": {"size": 64, "channels": "RGB"},
        "parameters": recipe,
        "data": data or summary(),
        "selected": {"stage": "stage_1", "epoch": 3, "rule": str(rule), "valid_loss": 0.4222, "accuracy": 0.6},
        "seconds": 431.0,
        "n_parameters": 11_706_949,
        "hardware": {"device": "cpu", "threads": 2},
        "versions": {"malaria-kedro": "0.1.0", "torch": "2.15.0"},
        "intended_use": "Research and teaching.",
    }
    return metadata(**(values | more))


def history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "stage": ["stage_1"] * 3,
            "epoch": [1, 2, 3],
            "train_loss": [0.7, 0.4, 0.2],
            "valid_loss": [0.6, 0.3111, 0.4222],
            "accuracy": [0.5, 0.7, 0.6],
            "error_rate": [0.5, 0.3, 0.4],
            "lr": [1e-3, 3e-3, 1e-5],
            "seconds": [4.2, 4.1, 200.0],
        }
    )


def entry(name: str = "resnet18", data: DataBunchSummary | None = None, rule: str | int = "last") -> VariantReport:
    """A variant without calibration, patients, intervals and cost: five validation cells."""
    predictions = pd.DataFrame(
        {
            "split": "valid",
            "label": ["Parasitized"] * 3 + ["Uninfected"] * 2,
            "p_parasitized": [0.9, 0.8, 0.1, 0.6, 0.2],
            "loss": [0.1, 0.2, 2.3, 0.9, 0.2],
        }
    )
    figures = {"confusion_matrix": png(), "loss_curves": png(), "top_losses": png()}
    described = described_as(name, data, rule)
    return gather_variant(described, metrics_of(described, measure(predictions, threshold=0.5)), history(), figures)


def metrics_of(described: ClassifierMetadata, measured: Measurement, **more) -> Metrics:
    """What the pipeline stores of a classifier; only what it cost is known, and ``more``."""
    cost = {"weights_bytes": 46_900_000, "ms_per_cell": 3.41, "device": "a small processor"}
    values = {
        "classifier": {
            "name": described.name,
            "selected": described.selected,
            "versions": described.versions,
            "data_fingerprint": described.data.fingerprint,
            "phantom": described.data.phantom,
        },
        "calibration": None,
        "operating_point": None,
        "patients": {},
        "cost": {"n_parameters": 11_706_949, "train_seconds": 431.0, **cost},
    }
    return Metrics.model_validate(dict(measured) | values | more)


def predictions() -> pd.DataFrame:
    """120 cells of twelve patients, six in each split; patients 1, 5 and 9 are healthy; a tenth is called wrongly."""
    cells, random = np.arange(120), np.random.default_rng(7)
    patients = cells % 12
    parasitized = (cells % 2 == 0) | (random.random(120) < 0.3)
    parasitized &= ~np.isin(patients, (1, 5, 9))
    right = 0.55 + 0.44 * random.random(120)
    p = np.where(parasitized == (cells % 10 != 3), right, 1 - right)
    return pd.DataFrame(
        {
            "cell_id": [f"C{patient}_IMG_cell_{cell}" for patient, cell in zip(patients, cells, strict=True)],
            "patient_id": [f"C{patient}" for patient in patients],
            "split": np.where(patients < 6, "valid", "test"),
            "label": np.where(parasitized, *CLASSES),
            "p_parasitized": p,
            "loss": -np.log(np.where(parasitized, p, 1 - p)),
        }
    )


def full_summary(**changes) -> DataBunchSummary:
    cells = predictions()
    counts = {
        split: {name: int(((cells["split"] == split) & (cells["label"] == name)).sum()) for name in CLASSES}
        for split in ("valid", "test")
    }
    patients = {"train": 40, "valid": 6, "test": 6}
    counts = {"train": {"Parasitized": 1200, "Uninfected": 1100}} | counts
    return summary(**{"counts": counts, "patients": patients, "n_patients": 52} | changes)


def full_entry(
    name: str = "resnet18", data: DataBunchSummary | None = None, cells: pd.DataFrame | None = None
) -> VariantReport:
    """A variant with all that the pipelines make of these cells (or of ``predictions()``)."""
    cells = predictions() if cells is None else cells
    found = calibrate(cells[cells["split"] == "valid"], 0.9)
    cells = cells.assign(p_calibrated=apply_temperature(cells["p_parasitized"], found.temperature))
    threshold = 0.5 if found.threshold is None else found.threshold
    table = patient_table(cells, threshold=threshold)
    described = described_as(name, data or full_summary(), calibration=found)
    metrics = metrics_of(
        described,
        measure(cells, threshold=0.5, intervals=FEW_DRAWS),
        calibration=found,
        operating_point=measure_at(cells, threshold=threshold, intervals=FEW_DRAWS),
        patients={str(split): false_positive_floor(rows) for split, rows in table.groupby("split")},
    )
    return gather_variant(
        described,
        metrics,
        history(),
        {figure: png() for figure in FIGURES},
        table,
        version="2026-11-26T09.00.00.000Z",
        sweep=sweep_thresholds(cells, metrics.main_split),
    )


def baseline() -> Measurement:
    """What colour alone gives on these cells, made up."""
    cells = predictions()
    return measure(cells.assign(p_parasitized=0.5 + (cells["p_parasitized"] - 0.5) / 3), threshold=0.55)


def folds(**changes) -> CrossValidationMetrics:
    """A cross-validation by both protocols."""
    cells = predictions()
    table = pd.concat(
        [
            cells.assign(strategy="patient", seed=42, fold=cells["patient_id"].str[1:].astype(int) % 3 + 1),
            cells.assign(strategy="random", seed=42, fold=np.arange(len(cells)) % 5 + 1),
        ]
    )
    about = {"variant": "resnet18", "architecture": "resnet18", "folds": 3, "seeds": [42], "phantom": False}
    about |= {"data_fingerprint": "0123abcd", "labels_sha256": "1abe1", "image_size": 64, "epochs": 8}
    about |= {"origin": "cell_images.zip", "train_seconds": {"patient": 60.0, "random": 61.0}}
    measured = measure_folds(table, threshold=0.5, intervals=FEW_DRAWS)
    return CrossValidationMetrics.model_validate(dict(measured) | about | changes)


def label_audit() -> pd.DataFrame:
    """Three labels, two of them suspected."""
    return pd.DataFrame(
        {
            "audit_rank": [1, 2, 3],
            "cell_id": ["C1_cell_7", "C2_cell_8", "C3_cell_9"],
            "patient_id": ["C1", "C2", None],
            "given_label": ["Parasitized", "Uninfected", "Uninfected"],
            "suggested_label": ["Uninfected", "Parasitized", "Uninfected"],
            "score": [0.0001, 0.02, 0.7],
            "p_parasitized": [0.0001, 0.98, 0.3],
            "is_issue": [True, True, False],
        }
    )


def folds_html(
    metrics: CrossValidationMetrics | None = None, audit: pd.DataFrame | None = None, language: Language = "en"
) -> str:
    """The page of a cross-validation."""
    audit = label_audit() if audit is None else audit
    stage = {"epochs": 4, "lr_max": 1e-3}
    recipe = Variant(
        name="resnet18", arch="resnet18", pretrained="none", batch_size=512, seed=42, stage_1=stage, stage_2=stage
    )
    return write_cross_validation_report(
        metrics or folds(), audit, recipe, RUN, folds=svg(), label_audit_sheet=png(), language=language
    )


def html_of(
    *entries: VariantReport,
    data: DataBunchSummary | None = None,
    colour: Measurement | None = None,
    listed: dict | None = None,
    language: Language = "en",
) -> str:
    entries = entries or (entry(),)
    comparison = compare_variants([e.metadata for e in entries], [e.metrics for e in entries])
    return write_report(
        list(entries),
        comparison,
        data or summary(),
        run=RUN,
        roc_curves=svg(),
        batch_preview=png(),
        parameters=PARAMETERS,
        baseline=colour,
        listed=ListedCells.model_validate(listed or {}),
        language=language,
    )


def page(
    *entries: VariantReport,
    data: DataBunchSummary | None = None,
    colour: Measurement | None = None,
    listed: dict | None = None,
) -> Page:
    return Page(html_of(*entries, data=data, colour=colour, listed=listed))


def full_html(language: Language = "en") -> str:
    """The page with everything, of two variants."""
    entries = full_entry("resnet34"), full_entry("resnet18")
    return html_of(*entries, data=full_summary(), colour=baseline(), language=language)
