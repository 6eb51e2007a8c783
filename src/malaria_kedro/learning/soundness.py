"""How good a classifier's calls are, as its metadata tell, and what speaks against trusting them. Imports no torch."""

from __future__ import annotations

from typing import Any

from malaria_kedro.learning.metadata import TEMPERATURE_BOUNDS, ClassifierMetadata, ThresholdScores
from malaria_kedro.names import SPLIT_NAMES

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
        return "how many parasites it finds, and how many false alarms it gives, was not measured."
    of = f" of {scores.n_patients:,} patient{'s' * (scores.n_patients != 1)}" if scores.n_patients else ""
    chose = ", which also chose the threshold" if scores.split == "valid" else ""
    found, spared = "it finds an unknown share of parasitized cells", "its false alarms were not measured"
    if scores.sensitivity is not None:
        found = f"it finds {_share(scores, 'sensitivity')} of {scores.n_parasitized:,} parasitized cells (sensitivity)"
    alarms = false_alarms(scores)
    if alarms is not None:
        spared = (
            f"it calls {_share(scores, 'specificity')} of {scores.n_uninfected:,} healthy cells uninfected "
            f"(specificity): about {alarms:,.{0 if alarms >= 10 else 1}f} false alarms per {HEALTHY_CELLS:,} healthy "
            "cells"
        )
    return f"on {SPLIT_NAMES.get(scores.split, scores.split)} cells{of}{chose}, {found}, and {spared}."


def find_doubts(metadata: ClassifierMetadata) -> list[str]:
    """List what speaks against trusting a classifier; each begins with a verb, for its name to stand before it."""
    scores, found = scores_of(metadata), metadata.calibration
    specificity, area = (getattr(scores, name, None) for name in ("specificity", "roc_auc"))
    steps = count_steps(metadata)
    doubts = {
        "was trained on phantom cells drawn by this project: its calls say nothing about malaria": (
            metadata.data.phantom
        ),
        f"calls {100 * (1 - (specificity or 0)):.1f} % of healthy cells parasitized at its threshold (specificity "
        f"under {100 * LEAST_SPECIFICITY:.0f} %): most of what it finds in blood will be false alarms": (
            specificity is not None and specificity < LEAST_SPECIFICITY
        ),
        f"hardly tells parasitized from healthy cells (ROC AUC {area or 0:.3f}, under {LEAST_AUC})": (
            area is not None and area < LEAST_AUC
        ),
        f"has a temperature at the bound of its search ({metadata.temperature:g}): do not trust its probabilities": (
            found is not None and metadata.temperature in TEMPERATURE_BOUNDS
        ),
        f"was trained for {steps} steps only (under {FEWEST_STEPS}): train it for longer": (
            steps is not None and steps < FEWEST_STEPS
        ),
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
    interval = f" (95 % interval {100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})" if bounds else ""
    return f"{100 * getattr(scores, name):.1f} %{interval}"
