"""The report's pictures: embedded bytes, captions, and alternative texts with the numbers that they show."""

from __future__ import annotations

import base64
import io
import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from malaria_kedro.evaluation.measurements import SplitMetrics
from malaria_kedro.language import N_, _, ngettext, retell
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.learning.description import EpochRow
from malaria_kedro.names import split_name
from malaria_kedro.report.formats import about, count, decimals, percent, shortest
from malaria_kedro.report.inputs import VariantReport
from malaria_kedro.report.tables import with_interval


@dataclass(frozen=True)
class Picture:
    """A figure as the page embeds it: an address that holds the bytes, its size in pixels, and words for it."""

    uri: str
    width: int
    height: int
    alt: str
    caption: str


# Pixels of a photograph on a page: twice the width that it has there.
LARGEST = (1400, 1400)


class Pictures(NamedTuple):
    """The same figure of each variant, to stand side by side over their caption."""

    caption: str
    pictures: list[Picture]


def picture(content: bytes, alt: str, caption: str) -> Picture:
    """Embed a figure.

    Raises:
        ValueError: where the bytes are neither a PNG nor an SVG.
    """
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        # After eight fixed bytes, the first chunk (IHDR) of a PNG begins with width and height.
        width, height = struct.unpack(">II", content[16:24])
        kind, content = _compress(content)
    elif box := re.search(rb'<svg [^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"', content):
        kind, (width, height) = "svg+xml", (round(float(points) * 4 / 3) for points in box.groups())
    else:
        raise ValueError(
            f"the figure for {caption!r} is neither a PNG nor an SVG (it begins with {content[:8]!r}); draw it again"
        )
    return Picture(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", width, height, alt, caption)


def _compress(png: bytes) -> tuple[str, bytes]:
    """Return the photographs as WebP where that is smaller: a page is sent by mail, and the PNG lies on disk."""
    webp, image = io.BytesIO(), Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB")
    image.thumbnail(LARGEST)
    image.save(webp, format="WEBP", quality=80)
    return ("webp", webp.getvalue()) if len(webp.getvalue()) < len(png) else ("png", png)


def batch_picture(png: bytes, summary: DataBunchSummary) -> Picture:
    """Embed the preview of a batch."""
    if summary.phantom:
        alt = _("A grid of phantom cells from the {n} training cells, each under its label.")
    else:
        alt = _("A grid of cells from the {n} training cells, each under its label.")
    n = sum(summary.counts.get("train", {}).values())
    return picture(png, alt.format(n=count(n)), _("A batch as the network sees it: resized and augmented."))


def roc_picture(content: bytes, entries: list[VariantReport]) -> Picture:
    """Embed the figure of all variants' ROC curves."""
    areas = " ".join(about(_areas_in_words(entry, "roc_auc"), entry.name) for entry in entries)
    what = _("ROC curves of {names}.").format(names=", ".join(entry.name for entry in entries))
    return picture(content, f"{what} {areas}", _(CAPTIONS["roc_curve"]))


def variant_pictures(entries: list[VariantReport]) -> dict[str, list[Pictures]]:
    """Return the variants' figures by the section that they stand in, those of one name side by side.

    A figure of an unknown name is described by its title and the accuracy.
    """
    by_section: dict[str, list[Pictures]] = {}
    for name in dict.fromkeys([*CAPTIONS, *(name for entry in entries for name in entry.figures)]):
        caption = _(CAPTIONS[name]) if name in CAPTIONS else f"{_title(name)}."
        drawn = [
            picture(entry.figures[name], _describe(name, entry), caption)
            for entry in entries
            # The heat maps stand beside the same cells.
            if name in entry.figures and not (name == "top_losses" and "top_losses_heatmap" in entry.figures)
        ]
        if drawn:
            by_section.setdefault(FIGURE_SECTIONS.get(name, "curves"), []).append(Pictures(caption, drawn))
    return by_section


# Where figures stand; the others are among the curves.
FIGURE_SECTIONS = {
    "loss_curves": "training",
    "reliability_diagram": "calibration",
    "top_losses": "losses",
    "top_losses_heatmap": "losses",
    "true_positives_heatmap": "losses",
    "patients": "patients",
}
CAPTIONS = {
    "confusion_matrix": N_("Actual against predicted class: counts, and the share of the actual class."),
    "loss_curves": N_("Training and validation loss over batches (logarithmic); below, the learning rate of the head."),
    "top_losses": N_("The worst validation cells: called / actual / loss / p(parasitized); cell id."),
    "top_losses_heatmap": N_(
        "The worst validation cells: called / actual / loss / p(parasitized); cell id. Beside each its heat map: warm "
        "is where covering would lower the call's odds most."
    ),
    "true_positives_heatmap": N_("Parasitized cells that were found: the warm place should be the parasite."),
    "roc_curve": N_(
        "Sensitivity against the share of uninfected cells that are called parasitized, over all thresholds."
    ),
    "precision_recall_curve": N_(
        "Positive predictive value against sensitivity over all thresholds, at this share of parasitized cells."
    ),
    "reliability_diagram": N_(
        "Predicted probability against the share that is parasitized; calibrated: on the diagonal."
    ),
    "patients": N_(
        "One point per patient: the share of cells that is flagged against the share that is labelled parasitized; "
        "beside it, the share of a healthy patient's cells that is flagged nevertheless."
    ),
}


def _describe(name: str, entry: VariantReport) -> str:
    """Return the alternative text of a figure, with the numbers that it shows."""
    of, metrics, valid = entry.name, entry.metrics, entry.metrics.splits["valid"]
    match name:
        case "confusion_matrix":
            panels = [_confusion_in_words(split, values) for split, values in metrics.splits.items()]
            what = _("Confusion matrix of {of} at threshold {threshold}.")
            return f"{what.format(of=of, threshold=shortest(metrics.threshold))} {' '.join(panels)}"
        case "loss_curves":
            onset = f" {retell(entry.onset.sentence)}" if entry.onset else ""
            what = _("Loss curves of {of}.").format(of=of)
            return f"{what} {_history_in_words(entry.history)}{onset}"
        case "top_losses" | "top_losses_heatmap":
            if name.endswith("_heatmap"):
                what = _("The validation cells with the greatest loss, by {of}, each with a heat map of the evidence.")
            else:
                what = _("The validation cells with the greatest loss, by {of}.")
            missed, alarms = valid.confusion.fn, valid.confusion.fp
            wrong = _(
                "Of {n} cells {wrong} are predicted incorrectly: {missed} parasitized cells missed, {alarms} "
                "uninfected cells called parasitized."
            )
            counts = {"wrong": count(missed + alarms), "missed": count(missed), "alarms": count(alarms)}
            return f"{what.format(of=of)} {wrong.format(n=count(valid.n), **counts)}"
        case "true_positives_heatmap":
            found = valid.confusion.tp
            return ngettext(
                "Heat maps of parasitized cells that {of} found; {n} was found in validation.",
                "Heat maps of parasitized cells that {of} found; {n} were found in validation.",
                found,
            ).format(of=of, n=count(found))
        case "roc_curve":
            what = _("ROC curve of {of}: sensitivity against false-positive rate.").format(of=of)
            return f"{what} {_areas_in_words(entry, 'roc_auc')}"
        case "precision_recall_curve":
            what = _("Precision-recall curve of {of}: positive predictive value against sensitivity.").format(of=of)
            return f"{what} {_areas_in_words(entry, 'average_precision')}"
        case "reliability_diagram":
            what = _("Reliability diagram of {of}: predicted probability against the share that is parasitized.")
            words = [what.format(of=of)]
            if calibration := metrics.calibration:
                scaled = _(
                    "On the {n} validation cells the calibration error was {before} before and {after} after "
                    "temperature scaling (T = {temperature})."
                ).format(
                    n=count(calibration.n),
                    before=decimals(calibration.ece_before),
                    after=decimals(calibration.ece_after),
                    temperature=decimals(calibration.temperature, 3),
                )
                words.append(scaled)
            return " ".join(words)
        case "patients":
            floors = [
                ngettext(
                    "{split}: {n} patient, {healthy} of them without a parasitized cell; {rate} of all uninfected "
                    "cells are called parasitized.",
                    "{split}: {n} patients, {healthy} of them without a parasitized cell; {rate} of all uninfected "
                    "cells are called parasitized.",
                    floor.n_patients,
                ).format(
                    split=split_name(split).capitalize(),
                    n=count(floor.n_patients),
                    healthy=count(floor.n_healthy),
                    rate=percent(floor.false_positive_rate),
                )
                for split, floor in metrics.patients.items()
            ]
            what = _("One point per patient: what {of} flags against what is labelled.").format(of=of)
            return " ".join([what, *floors])
    said = _("{title} of {of}, validation accuracy {accuracy}.")
    return said.format(title=_title(name), of=of, accuracy=percent(valid.accuracy, valid.n))


def _confusion_in_words(split: str, values: SplitMetrics) -> str:
    counts = values.confusion
    return _(
        "{split}, {n} cells: {found} parasitized cells found, {missed} missed, {spared} uninfected cells recognised, "
        "{alarms} called parasitized."
    ).format(
        split=split_name(split).capitalize(),
        n=count(values.n),
        found=count(counts.tp),
        missed=count(counts.fn),
        spared=count(counts.tn),
        alarms=count(counts.fp),
    )


def _areas_in_words(entry: VariantReport, name: str) -> str:
    splits = entry.metrics.splits.items()
    areas = [
        _("{split}: area {area}").format(split=split_name(split).capitalize(), area=with_interval(values, name))
        for split, values in splits
    ]
    return f"{'; '.join(areas)}."


def _history_in_words(history: list[EpochRow]) -> str:
    if not history:
        return _("No epoch was trained.")
    first, last = history[0], history[-1]
    return ngettext(
        "Over {n} epoch training loss went from {train_first} to {train_last}, validation loss from {valid_first} to "
        "{valid_last}.",
        "Over {n} epochs training loss went from {train_first} to {train_last}, validation loss from {valid_first} to "
        "{valid_last}.",
        len(history),
    ).format(
        n=len(history),
        train_first=decimals(first.train_loss),
        train_last=decimals(last.train_loss),
        valid_first=decimals(first.valid_loss),
        valid_last=decimals(last.valid_loss),
    )


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
