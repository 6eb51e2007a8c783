"""A selection of two reporting guidelines, and where this report has the evidence.

CLAIM: Mongan et al. 2020, as updated by Tejani et al. 2024. TRIPOD+AI: Collins et al. 2024. The wording is this
project's own; the numbers are the guidelines'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from malaria_kedro.language import N_, _
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.names import strategy_name
from malaria_kedro.report.findings import describe_equal_pictures, describe_split, tell_of_cross_validation
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


NO_DEMOGRAPHY = N_("The cells come without age, sex, origin or any other trait of the patients.")


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
        _("Checklist"),
        {
            heading(_("Asks for"), "asks"): lambda item: item.asks,
            Column(_("Here")): lambda item: (
                Cell(_("shown"), css="done", href=f"#{item.anchor}") if item.done else Cell(_("not done"), css="open")
            ),
            Column(_("Evidence, or why not"), css="answer"): lambda item: item.answer,
            Column("CLAIM"): lambda item: text(item.claim),
            Column("TRIPOD+AI"): lambda item: text(item.tripod),
        },
        items,
        css="checklist",
    )


def make_checklist(entries: list[VariantReport], summary: DataBunchSummary) -> list[Item]:
    """Map the items that apply to the evidence in the report; what only some variants have counts as not done."""
    people = _("There are no people: the cells are drawn.") if summary.phantom else _("The cells come without it.")
    if summary.strategy == "folder":
        assigned = _("Strategy “{strategy}”, the source's own folders.")
    else:
        assigned = _("Strategy “{strategy}”, with its shares and seed under Parameters.")
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
        return _item(
            claim,
            tripod,
            asks,
            anchor,
            there,
            answer,
            _("The classifier's metadata has no {field}.").format(field=field),
        )

    return [
        # The purpose.
        Item(
            *("1", "1", _("Says that it is deep learning, for what, and what is predicted"), "summary"),
            _("A residual network calls single red blood cells parasitized or uninfected."),
        ),
        Item(
            *("3, 41", "3b", _("Intended use, users and role in care"), "not-done"),
            _("Research and teaching; there is no role in care, and none is claimed."),
        ),
        Item("", "4", _("Aim: development, evaluation or both"), "metrics", _("Both, on splits of one set of cells.")),
        Item("", "3c, 14", _("Known inequalities and fairness between groups"), None, _(NO_DEMOGRAPHY)),
        # The data.
        _item(
            *("7", "5a", _("Source of the data"), "data", summary.origin),
            *(_("Origin and fingerprint: {origin}.").format(origin=place(summary.origin)), _("Not recorded.")),
        ),
        Item("8", "5b, 6a, 6b", _("Which patients were taken, where, when and by which criteria"), None, people),
        Item(
            *("9", "7, 12b", _("Preprocessing"), "data"),
            _("Cells squished to {size} px, normalised with the channel statistics of ImageNet.").format(
                size=summary.image_size
            ),
        ),
        Item(
            *("12, 35", "11, 20a, 21", _("Numbers of cells and patients, exclusions and their reasons"), "data"),
            _("Counts by split and class; each excluded cell has a reason, and the first of each are listed."),
        ),
        Item("13", "", _("How the images were made (stain, microscope, camera)"), None, people),
        Item(
            *("14, 15, 16", "8a, 8b", _("How the reference standard was obtained, and by whom"), None),
            _("The label is the folder that a cell came in; who labelled it is not in the data."),
        ),
        Item(
            *("18", "", _("Agreement between annotators"), None),
            _("There is one label per cell; the label audit of a cross-validation is not a second reader."),
        ),
        Item(
            "21", "10", _("Sample size and how it was reached"), None, _("Given by the source; nothing was calculated.")
        ),
        Item("36", "20b, 20c", _("Demographic and clinical characteristics by split"), None, _(NO_DEMOGRAPHY)),
        Item("", "13", _("Class imbalance"), "data", _("Counts by class; none was weighted or resampled.")),
        # The splits.
        _item(
            *("19", "12a", _("How cells were assigned to splits"), "split", summary.strategy),
            *(assigned.format(strategy=strategy_name(text(summary.strategy))), _("Not recorded.")),
        ),
        _item("20", "", _("Splits that share no patient"), "split", disjoint, proof, proof),
        _item(
            *("32", "", _("Evaluation on internal cells that nothing was chosen on"), "metrics"),
            every(lambda entry: "test" in entry.metrics.splits),
            *(_("A test split was held out."), _("No test split was held out: set split.test_pct.")),
        ),
        Item(
            *("", "12c", _("Internal validation by cross-validation"), None),
            tell_of_cross_validation(),
        ),
        Item("33", "", _("Testing on external data"), None, _("No cells of another source were tried.")),
        # The network.
        told(
            *("architecture", "22", "22", _("The network in enough detail to build it"), "training"),
            _("Architecture, input, output."),
        ),
        told(
            *("pretrained", "24", "", _("Initial weights"), "training"),
            _("Random or pretrained weights, with the seed."),
        ),
        told("parameters", "25", "12c", _("How it was trained"), "parameters", _("Every parameter as resolved.")),
        told(
            *("selected", "26", "", _("How the final weights were chosen"), "training"),
            _("The rule, and the losses of all epochs."),
        ),
        told("versions", "23", "", _("Software and versions"), "versions", _("As installed while training.")),
        # The results.
        Item("28", "12e", _("Measures of performance"), "metrics", _("Those of the table, by split.")),
        _item(
            *("29, 37, 38", "23a", _("Uncertainty of each measure"), "metrics", every(bounded)),
            _("Bootstrap intervals; whole patients are drawn where they are known."),
            _("No intervals were drawn, or none could be."),
        ),
        _item(
            *("", "12e", _("Calibration"), "calibration", every(lambda entry: entry.metrics.calibration)),
            _("Before and after temperature scaling, fitted on validation only."),
            _("This classifier has no calibration; export it again."),
        ),
        _item(
            *("", "15", _("Output and choice of threshold"), "operating-point"),
            every(lambda entry: entry.operating_point),
            _("A target sensitivity on validation, reported beside 0.5."),
            _("No operating point was chosen; calls are made at a fixed threshold."),
        ),
        _item(
            *("", "23b", _("Differences between patients"), "patients", every(lambda entry: entry.patients)),
            _("One row per patient, and how far healthy ones differ.")
            if healthy
            else _("One row per patient; none is healthy."),
            _("No patient is known, or none was measured."),
        ),
        _item(
            *("31", "", _("Explanation of calls"), "losses", every(heat)),
            *(_("Heat maps (occlusion) of the worst calls and of parasites found."), _("No heat map was drawn.")),
        ),
        _item(
            *("39", "", _("Analysis of failures"), "losses"),
            every(lambda entry: "top_losses" in entry.figures or heat(entry)),
            *(_("The worst calls, cell by cell."), _("No figure of the worst calls was drawn.")),
        ),
        Item("30", "", _("Robustness to stain, focus and noise"), None, _("No image was altered to find out.")),
        Item("", "23a", _("Performance in subgroups of people"), None, _(NO_DEMOGRAPHY)),
        # What surrounds it.
        Item("40", "26", _("Limitations"), "not-done", _("Listed, with what they mean.")),
        _item(
            *("", "27a", _("What to do with images of poor quality"), "versions"),
            every(lambda entry: entry.metadata.quality_gate),
            _("New images that do not look like the training cells are not called (quality gate)."),
            _("Nothing checks whether an image shows a cell."),
        ),
        Item(
            "34, 42",
            "18c, 18d",
            _("Registration and protocol"),
            None,
            _("There is neither; the parameters are all there."),
        ),
        Item(
            *("43", "18e, 18f", _("Availability of code, weights and data"), "versions"),
            _("The code is open (Apache-2.0); weights come with a model card; the data's origin is named."),
        ),
        Item(
            "44", "17, 18a, 18b, 19", _("Ethics, funding, interests, involvement of patients"), None, _("Not stated.")
        ),
    ]


def _item(claim: str, tripod: str, asks: str, anchor: str, holds: object, answer: str, otherwise: str) -> Item:
    return Item(claim, tripod, asks, anchor if holds else None, answer if holds else otherwise)
