"""Do the heat maps mean anything? Measured on drawn cells, where the place of the parasite is known.

    kedro run --env demo
    python benchmarks/heatmap_sanity.py data/demo/06_models/resnet18/classifier [--patients 16] [--seed 4711] [--save]

Pointing game (Zhang et al. 2018): the share of detected parasitized cells whose hottest point lies on the parasite,
against chance (the parasite's share of the cell's pixels). Then the sanity check of Adebayo et al. 2018
(arXiv:1810.03292): the weights are randomised from the head down, stage by stage, and the maps must lose the parasite.
``--save`` puts the table into ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from malaria_kedro.cells.decoding import decode_cell
from malaria_kedro.cells.phantoms import phantom_cells
from malaria_kedro.learning.classifier import Classifier, read_classifier
from malaria_kedro.learning.heatmaps import heat_maps
from malaria_kedro.learning.metadata import newest_classifier
from malaria_kedro.learning.network import build_network
from malaria_kedro.learning.normalisation import IMAGENET_MEAN, IMAGENET_STD
from malaria_kedro.names import PARASITIZED
from malaria_kedro.parameters import Phantoms
from measuring import measured_here, save_results
from records import Figure, add_save_option, figure_of
from render import number, with_span

# What is randomised, cumulatively, from the output down: names of the body's children (torchvision's order).
CASCADE = (("head", "1"), ("stage 4", "0.7"), ("stage 3", "0.6"), ("stage 2", "0.5"), ("stage 1", "0.4"), ("all", "0"))


def parasitized_cells(recipe: Phantoms, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the drawn parasitized cells at the classifier's size, uint8 N×S×S×3, and their parasites, bool N×S×S."""
    images, masks = [], []
    for cell in phantom_cells(recipe):
        if cell.label == PARASITIZED:
            images.append(decode_cell(Image.fromarray(cell.image), size))
            mask = Image.fromarray(cell.parasite_mask.astype(np.uint8) * 255).resize((size, size), Image.Resampling.BOX)
            masks.append(np.asarray(mask) >= 128)
    return np.stack(images), np.stack(masks)


def detected(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Tell which cells the network calls parasitized, bool N."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    called = []
    with torch.inference_mode():
        for start in range(0, len(images), 64):
            batch = torch.from_numpy(images[start : start + 64]).permute(0, 3, 1, 2).float() / 255
            called.append(network((batch - mean) / std).argmax(dim=1) == 0)
    return torch.cat(called).numpy()


def on_parasite(network: nn.Sequential, images: np.ndarray, masks: np.ndarray) -> float:
    """Return the share of cells whose hottest point lies on the parasite; a map of zeros points nowhere."""
    maps = heat_maps(network, images, np.zeros(len(images), dtype=np.int64))
    number, flat = np.arange(len(masks)), maps.reshape(len(maps), -1)
    hits = masks.reshape(len(masks), -1)[number, flat.argmax(axis=1)] & (flat.max(axis=1) > 0)
    return float(hits.mean())


def randomised(classifier: Classifier, prefixes: list[str], seed: int) -> nn.Sequential:
    """Return the network with all weights under these names drawn anew."""
    torch.manual_seed(seed)
    fresh = build_network(classifier.metadata.architecture, slim_resnet=classifier.metadata.slim_resnet).state_dict()
    state = copy.copy(classifier.state)
    for key in state:
        if any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes):
            state[key] = fresh[key]
    return Classifier(state, classifier.metadata).network()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classifier", type=Path, help="a classifier's folder, trained on phantom cells")
    parser.add_argument("--patients", type=int, default=16, help="unseen phantom patients, 24 cells each")
    parser.add_argument("--seed", type=int, default=4711, help="of the unseen phantoms; not the seed of the demo")
    parser.add_argument("--random-seeds", type=int, default=3, help="draws of random weights")
    add_save_option(parser)
    options = parser.parse_args()
    folder = newest_classifier(options.classifier)
    if folder is None:
        sys.exit(f"{options.classifier} has no classifier; run `kedro run --env demo` first")
    classifier = read_classifier(folder)
    if not classifier.metadata.data.phantom:
        sys.exit(
            f"{folder} was trained on real cells; phantoms say nothing about it; give one of `kedro run --env demo`"
        )
    size = classifier.metadata.input.size
    recipe = Phantoms(patients=options.patients, cells_per_patient=24, size=72, seed=options.seed)
    images, masks = parasitized_cells(recipe, size)
    network = classifier.network()
    found = detected(network, images)
    images, masks = images[found], masks[found]
    rows = {
        "cells": {
            "parasitized": Figure(value=len(found), unit=""),
            "detected": Figure(value=int(found.sum()), unit=""),
        },
        "trained": {"hit": figure_of([100 * on_parasite(network, images, masks)], "%")},
        "chance": {"hit": Figure(value=100 * float(masks.mean()), unit="%")},
    }
    for position, (name, _) in enumerate(CASCADE):
        prefixes = [prefix for _, prefix in CASCADE[: position + 1]]
        draws = [
            100 * on_parasite(randomised(classifier, prefixes, seed), images, masks)
            for seed in range(options.random_seeds)
        ]
        rows[name if name in ("head", "all") else f"head to {name}"] = {"hit": figure_of(draws, "%", "mean")}
    what = f"hottest point on the parasite; unseen phantoms of seed {options.seed}, {size} px"
    print(f"{what}: {number(rows['cells']['detected'])} of {len(found)} parasitized cells detected")
    for name, row in rows.items():
        if "hit" in row:
            print(f"  {name:<18} {with_span(row['hit'], 1, ' %')}")
    if options.save:
        setting = {"px": size, "seed": options.seed, "patients": options.patients}
        measurement = measured_here(what, rows, "phantom cells", setting)
        about = "Pointing game on drawn cells, with trained and with randomised weights."
        save_results(options.save, "heatmap_sanity", about, {classifier.metadata.architecture: measurement})


if __name__ == "__main__":
    main()
