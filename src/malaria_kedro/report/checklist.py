"""A selection of two reporting guidelines, and where this report has the evidence.

CLAIM: Mongan et al. 2020, as updated by Tejani et al. 2024. TRIPOD+AI: Collins et al. 2024. The wording is this
project's own; the numbers are the guidelines'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.report.findings import RUN_CROSS_VALIDATION, describe_equal_pictures, describe_split
from malaria_kedro.report.formats import place, text
from malaria_kedro.report.inputs import VariantReport, all_patients_disjoint
from malaria_kedro.report.tables import Cell, Column, Table, heading, table_of

SOURCES = (
    "Mongan J, Moy L, Kahn CE Jr. Checklist for Artificial Intelligence in Medical Imaging (CLAIM): a guide for "
    "authors and reviewers. Radiology: Artificial Intelligence 2020;2(2):e200029. doi:10.1148/ryai.2020200029",
    "Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 "
    "update. Radiology: Artificial Intelligence 2024;6(4):e240300. doi:10.1148/ryai.240300",
    "Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for reporting clinical prediction "
    "models that use regression or machine learning methods. BMJ 2024;385:e078378. doi:10.1136/bmj-2023-078378",
)


NO_DEMOGRAPHY = "The cells come without age, sex, origin or any other trait of the patients."


class Item(NamedTuple):
    """What a guideline asks for, and the answer: what is there, or why it is not.

    ``claim`` and ``tripod`` are the numbers of the guidelines' items, such as ``28, 37``; empty where one has none.
    ``anchor`` is the id of the report's section that has the evidence; None: not done.
    """

    claim: str
    tripod: str
    asks: str
    anchor: str | None
    answer: str

    @property
    def done(self) -> bool:
        """Whether the report has evidence."""
        return self.anchor is not None


def checklist_table(items: list[Item]) -> Table:
    """Return the items as a table, each that is done with a link to its evidence."""
    return table_of(
        "Checklist",
        {
            heading("Asks for", "asks"): lambda item: item.asks,
            Column("Here"): lambda item: (
                Cell("shown", css="done", href=f"#{item.anchor}") if item.done else Cell("not done", css="open")
            ),
            Column("Evidence, or why not", css="answer"): lambda item: item.answer,
            Column("CLAIM"): lambda item: text(item.claim),
            Column("TRIPOD+AI"): lambda item: text(item.tripod),
        },
        items,
        css="checklist",
    )


def make_checklist(entries: list[VariantReport], summary: DataBunchSummary) -> list[Item]:
    """Map the items that apply to the evidence in the report; what only some variants have counts as not done."""
    people = "There are no people: the cells are drawn." if summary.phantom else "The cells come without it."
    how = "the source's own folders" if summary.strategy == "folder" else "with its shares and seed under Parameters"
    proof = " ".join(filter(None, [describe_split(summary), describe_equal_pictures(summary)]))
    disjoint = all_patients_disjoint(summary) and not any((summary.shared_pictures or {}).values())
    healthy = any(floor.n_healthy for entry in entries for floor in entry.metrics.patients.values())

    def every(found: Callable[[VariantReport], object]) -> bool:
        return bool(entries) and all(found(entry) for entry in entries)

    def heat(entry: VariantReport) -> bool:
        return any("heatmap" in name for name in entry.figures)

    def bounded(entry: VariantReport) -> bool:
        return all(any(split.intervals.values()) for split in entry.metrics.splits.values())

    def told(field: str, claim: str, tripod: str, asks: str, anchor: str, answer: str) -> Item:
        there = every(lambda entry: getattr(entry.metadata, field))
        return _item(claim, tripod, asks, anchor, there, answer, f"The classifier's metadata has no {field}.")

    return [
        # The purpose.
        Item(
            *("1", "1", "Says that it is deep learning, for what, and what is predicted", "summary"),
            "A residual network calls single red blood cells parasitized or uninfected.",
        ),
        Item(
            *("3, 41", "3b", "Intended use, users and role in care", "not-done"),
            "Research and teaching; there is no role in care, and none is claimed.",
        ),
        Item("", "4", "Aim: development, evaluation or both", "metrics", "Both, on splits of one set of cells."),
        Item("", "3c, 14", "Known inequalities and fairness between groups", None, NO_DEMOGRAPHY),
        # The data.
        _item(
            *("7", "5a", "Source of the data", "data", summary.origin),
            *(f"Origin and fingerprint: {place(summary.origin)}.", "Not recorded."),
        ),
        Item("8", "5b, 6a, 6b", "Which patients were taken, where, when and by which criteria", None, people),
        Item(
            *("9", "7, 12b", "Preprocessing", "data"),
            f"Cells squished to {summary.image_size} px, normalised with the channel statistics of ImageNet.",
        ),
        Item(
            *("12, 35", "11, 20a, 21", "Numbers of cells and patients, exclusions and their reasons", "data"),
            "Counts by split and class; each excluded cell has a reason, and the first of each are listed.",
        ),
        Item("13", "", "How the images were made (stain, microscope, camera)", None, people),
        Item(
            *("14, 15, 16", "8a, 8b", "How the reference standard was obtained, and by whom", None),
            "The label is the folder that a cell came in; who labelled it is not in the data.",
        ),
        Item(
            *("18", "", "Agreement between annotators", None),
            "There is one label per cell; the label audit of a cross-validation is not a second reader.",
        ),
        Item("21", "10", "Sample size and how it was reached", None, "Given by the source; nothing was calculated."),
        Item("36", "20b, 20c", "Demographic and clinical characteristics by split", None, NO_DEMOGRAPHY),
        Item("", "13", "Class imbalance", "data", "Counts by class; none was weighted or resampled."),
        # The splits.
        _item(
            *("19", "12a", "How cells were assigned to splits", "split", summary.strategy),
            *(f"Strategy “{summary.strategy}”, {how}.", "Not recorded."),
        ),
        _item("20", "", "Splits that share no patient", "split", disjoint, proof, proof),
        _item(
            *("32", "", "Evaluation on internal cells that nothing was chosen on", "metrics"),
            every(lambda entry: "test" in entry.metrics.splits),
            *("A test split was held out.", "No test split was held out: set split.test_pct."),
        ),
        Item(
            *("", "12c", "Internal validation by cross-validation", None),
            f"Not on this page: {RUN_CROSS_VALIDATION} writes a page of its own.",
        ),
        Item("33", "", "Testing on external data", None, "No cells of another source were tried."),
        # The network.
        told(
            *("architecture", "22", "22", "The network in enough detail to build it", "training"),
            "Architecture, input, output.",
        ),
        told(
            *("pretrained", "24", "", "Initial weights", "training"),
            "Random or pretrained weights, with the seed.",
        ),
        told("parameters", "25", "12c", "How it was trained", "parameters", "Every parameter as resolved."),
        told(
            *("selected", "26", "", "How the final weights were chosen", "training"),
            "The rule, and the losses of all epochs.",
        ),
        told("versions", "23", "", "Software and versions", "versions", "As installed while training."),
        # The results.
        Item("28", "12e", "Measures of performance", "metrics", "Those of the table, by split."),
        _item(
            *("29, 37, 38", "23a", "Uncertainty of each measure", "metrics", every(bounded)),
            "Bootstrap intervals; whole patients are drawn where they are known.",
            "No intervals were drawn, or none could be.",
        ),
        _item(
            *("", "12e", "Calibration", "calibration", every(lambda entry: entry.metrics.calibration)),
            "Before and after temperature scaling, fitted on validation only.",
            "This classifier has no calibration; export it again.",
        ),
        _item(
            *("", "15", "Output and choice of threshold", "operating-point"),
            every(lambda entry: entry.operating_point),
            "A target sensitivity on validation, reported beside 0.5.",
            "No operating point was chosen; calls are made at a fixed threshold.",
        ),
        _item(
            *("", "23b", "Differences between patients", "patients", every(lambda entry: entry.patients)),
            f"One row per patient{', and how far healthy ones differ' if healthy else '; none is healthy'}.",
            "No patient is known, or none was measured.",
        ),
        _item(
            *("31", "", "Explanation of calls", "losses", every(heat)),
            *("Heat maps (occlusion) of the worst calls and of parasites found.", "No heat map was drawn."),
        ),
        _item(
            *("39", "", "Analysis of failures", "losses"),
            every(lambda entry: "top_losses" in entry.figures or heat(entry)),
            *("The worst calls, cell by cell.", "No figure of the worst calls was drawn."),
        ),
        Item("30", "", "Robustness to stain, focus and noise", None, "No image was altered to find out."),
        Item("", "23a", "Performance in subgroups of people", None, NO_DEMOGRAPHY),
        # What surrounds it.
        Item("40", "26", "Limitations", "not-done", "Listed, with what they mean."),
        _item(
            *("", "27a", "What to do with images of poor quality", "versions"),
            every(lambda entry: entry.metadata.quality_gate),
            "New images that do not look like the training cells are not called (quality gate).",
            "Nothing checks whether an image shows a cell.",
        ),
        Item(
            "34, 42", "18c, 18d", "Registration and protocol", None, "There is neither; the parameters are all there."
        ),
        Item(
            *("43", "18e, 18f", "Availability of code, weights and data", "versions"),
            "The code is open (Apache-2.0); weights come with a model card; the data's origin is named.",
        ),
        Item("44", "17, 18a, 18b, 19", "Ethics, funding, interests, involvement of patients", None, "Not stated."),
    ]


def _item(claim: str, tripod: str, asks: str, anchor: str, holds: object, answer: str, otherwise: str) -> Item:
    return Item(claim, tripod, asks, anchor if holds else None, answer if holds else otherwise)
