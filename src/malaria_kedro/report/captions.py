"""The report's pictures: embedded bytes, captions, and alternative texts with the numbers that they show."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from dataclasses import dataclass

from malaria_kedro.evaluation.measurements import SplitMetrics
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.names import SPLIT_NAMES
from malaria_kedro.report.formats import count, decimals, percent
from malaria_kedro.report.inputs import Epoch, VariantReport
from malaria_kedro.report.tables import with_interval

PNG_BEGINS = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A figure as the page embeds it: an address that holds the bytes, its size in pixels, and words for it."""

    uri: str
    width: int
    height: int
    alt: str
    caption: str


def picture(png: bytes, alt: str, caption: str) -> Picture:
    """Embed a figure.

    Raises:
        ValueError: where the bytes are not a PNG.
    """
    # A PNG begins with eight fixed bytes, and its first chunk (IHDR) with width and height.
    if png[:8] != PNG_BEGINS:
        raise ValueError(f"the figure for {caption!r} is not a PNG (it begins with {png[:8]!r}); draw it again")
    width, height = struct.unpack(">II", png[16:24])
    return Picture(f"data:image/png;base64,{base64.b64encode(png).decode()}", width, height, alt, caption)


def data_picture(name: str, png: bytes, summary: DataBunchSummary) -> Picture:
    """Embed a figure of the data (``batch_preview``)."""
    kind = "phantom cells" if summary.phantom else "cells"
    if name == "batch_preview":
        cells = sum(summary.counts.get("train", {}).values())
        alt = f"A grid of {kind} from the {count(cells)} training cells, each under its label."
        return picture(png, alt, "A batch as the network sees it: resized and augmented.")
    title = title_of(name)
    return picture(png, f"{title} of the {kind}.", f"{title}.")


def variant_picture(name: str, png: bytes, entry: VariantReport) -> Picture:
    """Embed a figure of a variant; one of an unknown name is described by its title and the accuracy."""
    describe = _VARIANT_PICTURES.get(name, _describe_unknown(name))
    alt, caption = describe(entry)
    return picture(png, alt, caption)


def _confusion_matrix(entry: VariantReport) -> tuple[str, str]:
    panels = [_confusion_in_words(split, values) for split, values in entry.metrics.splits.items()]
    alt = f"Confusion matrix of {entry.name} at threshold {entry.metrics.threshold:g}. {' '.join(panels)}"
    return alt, "Actual against predicted class: counts, and the share of the actual class."


def _loss_curves(entry: VariantReport) -> tuple[str, str]:
    onset = entry.onset.sentence if entry.onset else ""
    alt = f"Loss curves of {entry.name}. {_history_in_words(entry.history)} {onset}"
    return (
        alt.strip(),
        "Training and validation loss over batches (logarithmic); below, the learning rate of the head.",
    )


def _top_losses(entry: VariantReport) -> tuple[str, str]:
    alt = f"The validation cells with the greatest loss, by {entry.name}. {_errors_in_words(entry)}"
    caption = "The worst validation cells: prediction / actual / loss / probability of the predicted class; cell id."
    return alt, caption


def _top_losses_heatmap(entry: VariantReport) -> tuple[str, str]:
    alt = (
        f"The validation cells with the greatest loss, by {entry.name}, each with a heat map of what the call rests "
        f"on. {_errors_in_words(entry)}"
    )
    return alt, "The same cells with heat maps: warm is where covering a place would take most from the call."


def _true_positives_heatmap(entry: VariantReport) -> tuple[str, str]:
    found = entry.metrics.splits["valid"].confusion.tp
    alt = f"Heat maps of parasitized cells that {entry.name} found; {count(found)} were found in validation."
    return alt, "Parasitized cells that were found: the warm place should be the parasite."


def _roc_curve(entry: VariantReport) -> tuple[str, str]:
    alt = f"ROC curve of {entry.name}: sensitivity against false-positive rate. {_areas_in_words(entry, 'roc_auc')}"
    return alt, "Sensitivity against the share of uninfected cells that are called parasitized, over all thresholds."


def _precision_recall_curve(entry: VariantReport) -> tuple[str, str]:
    areas = _areas_in_words(entry, "average_precision")
    alt = f"Precision-recall curve of {entry.name}: positive predictive value against sensitivity. {areas}"
    return (
        alt,
        "Positive predictive value against sensitivity, over all thresholds, at this mix of the classes.",
    )


def _reliability_diagram(entry: VariantReport) -> tuple[str, str]:
    found = entry.metrics.calibration
    alt = f"Reliability diagram of {entry.name}: predicted probability against the share that is parasitized."
    if found:
        alt += (
            f" On the {count(found.n)} validation cells the calibration error was "
            f"{decimals(found.ece_before)} before and {decimals(found.ece_after)} after temperature "
            f"scaling (T = {decimals(found.temperature, 3)})."
        )
    return alt, "Predicted probability against the share that is parasitized; on the diagonal p means what it says."


def _patients(entry: VariantReport) -> tuple[str, str]:
    words = [
        f"{SPLIT_NAMES.get(split, split).capitalize()}: {count(floor.n_patients)} patients, "
        f"{count(floor.n_healthy)} of them without a parasitized cell; "
        f"{percent(floor.false_positive_rate)} of all uninfected cells are called parasitized."
        for split, floor in entry.metrics.patients.items()
    ]
    alt = " ".join([f"One point per patient: what {entry.name} flags against what is labelled.", *words])
    caption = (
        "One point per patient: the share of cells that is flagged against the share that is labelled parasitized; "
        "beside it, the share of a healthy patient's cells that is flagged nevertheless."
    )
    return alt, caption


_VARIANT_PICTURES = {
    "confusion_matrix": _confusion_matrix,
    "loss_curves": _loss_curves,
    "top_losses": _top_losses,
    "top_losses_heatmap": _top_losses_heatmap,
    "true_positives_heatmap": _true_positives_heatmap,
    "roc_curve": _roc_curve,
    "precision_recall_curve": _precision_recall_curve,
    "reliability_diagram": _reliability_diagram,
    "patients": _patients,
}


def _describe_unknown(name: str) -> Callable[[VariantReport], tuple[str, str]]:
    def describe(entry: VariantReport) -> tuple[str, str]:
        valid = entry.metrics.splits["valid"]
        accuracy = percent(valid.accuracy, valid.n)
        return f"{title_of(name)} of {entry.name}, validation accuracy {accuracy}.", f"{title_of(name)}."

    return describe


def _confusion_in_words(split: str, values: SplitMetrics) -> str:
    counts = values.confusion
    return (
        f"{SPLIT_NAMES[split].capitalize()}, {count(values.n)} cells: {count(counts.tp)} parasitized cells found, "
        f"{count(counts.fn)} missed, {count(counts.tn)} uninfected cells left alone, {count(counts.fp)} called "
        "parasitized."
    )


def _errors_in_words(entry: VariantReport) -> str:
    valid = entry.metrics.splits["valid"]
    missed, alarms = valid.confusion.fn, valid.confusion.fp
    return (
        f"Of {count(valid.n)} cells {count(missed + alarms)} are predicted incorrectly: {count(missed)} parasitized "
        f"cells missed, {count(alarms)} uninfected cells called parasitized."
    )


def _areas_in_words(entry: VariantReport, name: str) -> str:
    areas = [
        f"{SPLIT_NAMES[split].capitalize()}: area {with_interval(values, name)}"
        for split, values in entry.metrics.splits.items()
    ]
    return f"{'; '.join(areas)}."


def _history_in_words(history: list[Epoch]) -> str:
    if not history:
        return "No epoch was trained."
    first, last = history[0], history[-1]
    return (
        f"Over {len(history)} epochs training loss went from {decimals(first.train_loss)} to "
        f"{decimals(last.train_loss)}, validation loss from {decimals(first.valid_loss)} to "
        f"{decimals(last.valid_loss)}."
    )


def title_of(name: str) -> str:
    """Return the name of a figure as a title."""
    return name.replace("_", " ").capitalize()
