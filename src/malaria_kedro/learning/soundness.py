"""How good a classifier's calls are, as its metadata tell, and what speaks against trusting them. Imports no torch."""

from __future__ import annotations

from typing import Any

from malaria_kedro.language import _, localize, ngettext
from malaria_kedro.learning.metadata import TEMPERATURE_BOUNDS, ClassifierMetadata, ThresholdScores
from malaria_kedro.names import split_name

LEAST_SPECIFICITY, LEAST_AUC, FEWEST_STEPS = 0.9, 0.9, 100
HEALTHY_CELLS = 1000
SCORES = ("sensitivity", "specificity", "roc_auc")


def scores_of(metadata: ClassifierMetadata) -> ThresholdScores | None:
    """Return the scores at the threshold; of a classifier of an earlier version those of its calibration.

    None where nothing was measured, or the number of cells is not known.
    """
    found, counts = metadata.calibration, metadata.data.counts.get("valid")
    if metadata.at_threshold or found is None or not counts or found.sensitivity is None:
        return metadata.at_threshold
    parasitized, uninfected = (counts.get(name, 0) for name in metadata.classes)
    return ThresholdScores(
        split="valid",
        n_parasitized=parasitized,
        n_uninfected=uninfected,
        sensitivity=found.sensitivity,
        specificity=found.specificity,
    )


def false_alarms(scores: ThresholdScores) -> float | None:
    """Return how many of a thousand healthy cells are called parasitized; None where it was not measured."""
    return None if scores.specificity is None else HEALTHY_CELLS * (1 - scores.specificity)


def summarise_scores(metadata: ClassifierMetadata) -> dict[str, Any]:
    """Return the scores as a program reads them; ``measured`` is false, and there is no other, where there are none."""
    scores = scores_of(metadata)
    if scores is None:
        return {"measured": False}
    told = scores.as_dict() | {"false_alarms_per_1000_healthy_cells": false_alarms(scores)}
    return {"measured": True, "threshold": metadata.threshold} | told


def describe_scores(metadata: ClassifierMetadata) -> str:
    """Say in one or two sentences how good the calls at the threshold are, on how many cells of whom."""
    scores = scores_of(metadata)
    if scores is None:
        return _("how many parasites it finds, and how many false alarms it gives, was not measured.")
    if n := scores.n_patients:
        whom = ngettext("on {split} cells of {n} patient", "on {split} cells of {n} patients", n)
    else:
        whom = _("on {split} cells")
    whom = whom.format(split=split_name(scores.split), n=localize(f"{n or 0:,}"))
    found, spared = _("it finds an unknown share of parasitized cells"), _("its false alarms were not measured")
    if scores.sensitivity is not None:
        found = _("it finds {share} of {n} parasitized cells (sensitivity)").format(
            share=_share(scores, "sensitivity"), n=localize(f"{scores.n_parasitized:,}")
        )
    alarms = false_alarms(scores)
    if alarms is not None:
        spared = _(
            "it calls {share} of {n} healthy cells uninfected (specificity): about {alarms} false alarms per {healthy} "
            "healthy cells"
        ).format(
            share=_share(scores, "specificity"),
            n=localize(f"{scores.n_uninfected:,}"),
            alarms=localize(f"{alarms:,.{0 if alarms >= 10 else 1}f}"),
            healthy=localize(f"{HEALTHY_CELLS:,}"),
        )
    if scores.split == "valid":
        said = _("{whom}, which also chose the threshold, {found}, and {spared}.")
    else:
        said = _("{whom}, {found}, and {spared}.")
    return said.format(whom=whom, found=found, spared=spared)


def find_doubts(metadata: ClassifierMetadata) -> list[str]:
    """List what speaks against trusting a classifier; each begins with a verb, for its name to stand before it."""
    scores, found = scores_of(metadata), metadata.calibration
    specificity, area = (getattr(scores, name, None) for name in ("specificity", "roc_auc"))
    steps = count_steps(metadata)
    doubts = {
        _("was trained on phantom cells drawn by this project: its calls say nothing about malaria"): (
            metadata.data.phantom
        ),
        _(
            "calls {share} of healthy {split} cells parasitized at its threshold (specificity under {least}): most of "
            "what it finds in blood will be false alarms"
        ).format(
            share=localize(f"{100 * (1 - (specificity or 0)):.1f} %"),
            split=split_name(scores.split) if scores else "",
            least=localize(f"{100 * LEAST_SPECIFICITY:.0f} %"),
        ): (specificity is not None and specificity < LEAST_SPECIFICITY),
        _("hardly tells parasitized from healthy cells (ROC AUC {area}, under {least})").format(
            area=localize(f"{area or 0:.3f}"), least=localize(f"{LEAST_AUC}")
        ): (area is not None and area < LEAST_AUC),
        _("has a temperature at the bound of its search ({temperature}): do not trust its probabilities").format(
            temperature=localize(f"{metadata.temperature:g}")
        ): (found is not None and metadata.temperature in TEMPERATURE_BOUNDS),
        _("was trained for {n} steps only (under {fewest}): train it for longer").format(
            n=steps, fewest=FEWEST_STEPS
        ): (steps is not None and steps < FEWEST_STEPS),
    }
    return [doubt for doubt, holds in doubts.items() if holds]


def count_steps(metadata: ClassifierMetadata) -> int | None:
    """Return after how many steps of training the exported epoch ended; None where the metadata do not tell."""
    recipe, chosen, counts = metadata.parameters, metadata.selected, metadata.data.counts.get("train")
    if not (recipe.batch_size and recipe.stage_1 and chosen.epoch and counts):
        return None
    cells = sum(counts.values())
    # As ``malaria_kedro.learning.loaders`` makes batches: whole ones only, at least one.
    epochs = chosen.epoch + (recipe.stage_1.epochs if chosen.stage == "stage_2" else 0)
    return epochs * (cells // min(recipe.batch_size, cells)) if cells else None


def _share(scores: ThresholdScores, name: str) -> str:
    bounds = scores.intervals.get(name)
    share = localize(f"{100 * getattr(scores, name):.1f} %")
    if not bounds:
        return share
    low, high = (localize(f"{100 * bound:.1f}") for bound in bounds)
    return _("{share} (95 % interval {low} to {high})").format(share=share, low=low, high=high)
