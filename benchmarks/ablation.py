"""What does each ingredient of the sprint recipe bring? Each is taken out once; what the recipe lacks is added once.

    python benchmarks/ablation.py cell_images.zip ablation.json [--rows "the recipe" …] [--seeds 1 2 3] [--save]

Every training goes through the project's own training loop with the split of `--env sprint`, on one thread; the seconds
are processor time, so that other work on the machine does not count. Each result is written to the JSON file as soon as
it is there, and the same command resumes after an interruption. ``--save`` puts the table into ``benchmarks/results``.
Label smoothing, averaged weights, stain jitter and flips at test time are not part of the project.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.losses import LabelSmoothingCrossEntropyFlat
from fastai.vision.augment import Hue, Saturation
from kedro.config import OmegaConfigLoader
from sklearn.metrics import roc_auc_score

from malaria_kedro.cells.splits import split_cells
from malaria_kedro.files import write_json
from malaria_kedro.learning import loaders, training
from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.databunch import DataBunch, make_databunch
from malaria_kedro.learning.loaders import CellLoader, batch_transforms
from malaria_kedro.learning.network import build_network
from malaria_kedro.names import PARASITIZED
from malaria_kedro.parameters import Augment, Image, Split, Training, Variant
from malaria_kedro.settings import CONFIG_LOADER_ARGS
from measuring import ROOT, decode_folder, describe_machine, index_folder, measured_here, save_results, unpack_cells
from records import Figure, add_save_option, figure_of
from render import table

VARIANT, RECIPE = "resnet18", "the recipe"
SEEDS = (1, 2, 3)
FLIPPED = ", mean of 8 flips at test time"  # the same network, on the eight orientations of each cell


class AverageWeights(Callback):
    """Moving average of the weights, which the network takes when training ends (Polyak & Juditsky 1992)."""

    def __init__(self, decay: float) -> None:
        """Take the share of the average that each step keeps."""
        self.decay = decay

    def before_fit(self) -> None:
        """Begin with the initial weights."""
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def after_step(self) -> None:
        """Move the average towards the new weights; integer buffers are copied."""
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value.detach(), 1 - self.decay)
            else:
                self.average[name].copy_(value)

    def after_fit(self) -> None:
        """Give the network the average."""
        self.model.load_state_dict(self.average)


@contextmanager
def learners_changed(change: Callable[[Learner], None]) -> Iterator[None]:
    """Apply a change to every learner that is made in this context."""
    make = training.make_learner

    def make_and_change(*args: Any, **kwargs: Any) -> Learner:
        learner = make(*args, **kwargs)
        change(learner)
        return learner

    with patch.object(training, "make_learner", make_and_change):
        yield


def smoothed_labels(share: float) -> Callable[[], Any]:
    """Return a context in which the training loss takes this share from each label (Szegedy et al. 2016)."""
    return lambda: learners_changed(
        lambda learner: setattr(learner, "loss_func", LabelSmoothingCrossEntropyFlat(share))
    )


def averaged_weights(decay: float) -> Callable[[], Any]:
    """Return a context in which training ends with averaged weights."""
    return lambda: learners_changed(lambda learner: learner.add_cb(AverageWeights(decay)))


@contextmanager
def stain_jitter() -> Iterator[None]:
    """Change hue and saturation of training cells at random, too."""
    make = loaders.augmentations

    def with_stain(augment: Augment) -> list:
        return [*make(augment), Hue(max_hue=0.05, p=0.75), Saturation(max_lighting=0.2, p=0.75)]

    with patch.object(loaders, "augmentations", with_stain):
        yield


@dataclass(frozen=True)
class Ingredient:
    """One row: what differs from the recipe.

    Attributes:
        stage_1: fields of the variant's first stage.
        variant: fields of the variant.
        augment: fields of the augmentation.
        around: a context manager around the training, for what the project does not offer.
    """

    stage_1: dict[str, Any] = field(default_factory=dict)
    variant: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    around: Callable[[], Any] | None = None


ROWS = {
    RECIPE: Ingredient(),
    "without progressive resizing": Ingredient(stage_1={"initial_size": None}),
    "without transposes and vertical flips": Ingredient(augment={"flip_vertical": False, "transpose": False}),
    "without any flip": Ingredient(augment={"flip_horizontal": False, "flip_vertical": False, "transpose": False}),
    "without changes of brightness and contrast": Ingredient(augment={"max_lighting": 0.0, "p_lighting": 0.0}),
    "rate of 0.001 instead of 0.004": Ingredient(stage_1={"lr_max": 1e-3}),
    "rate of 0.008": Ingredient(stage_1={"lr_max": 8e-3}),
    "warm-up of 10 % of the steps instead of 25 %": Ingredient(stage_1={"pct_start": 0.1}),
    "batches of 512 instead of 128, as the tutorial": Ingredient(variant={"batch_size": 512}),
    "batches of 64": Ingredient(variant={"batch_size": 64}),
    "without dropout": Ingredient(variant={"dropout": 0.0}),
    "with label smoothing 0.05": Ingredient(around=smoothed_labels(0.05)),
    "with weights averaged, decay 0.99": Ingredient(around=averaged_weights(0.99)),
    "with stain jitter (hue, saturation)": Ingredient(around=stain_jitter),
}


def parameters(size: int | None) -> dict[str, Any]:
    """Return the parameters of ``--env sprint``, with another image size when one is given."""
    found = OmegaConfigLoader(str(ROOT / "conf"), env="sprint", **CONFIG_LOADER_ARGS)["parameters"]
    return found | {"image": {**found["image"], "size": size or found["image"]["size"]}}


def prepare(archive: Path, folder: Path, found: dict[str, Any]) -> DataBunch:
    """Unpack, index, split and decode as the pipeline data_engineering does."""
    cells = unpack_cells(archive, folder)
    index = index_folder(cells)
    split = Split.model_validate(found["split"])
    return make_databunch(
        index,
        split_cells(index, split),
        decode_folder(cells, index, Image.model_validate(found["image"]).size, folder),
        augment=Augment.model_validate(found["augment"]),
        split=split,
        origin=cells.archive.origin,
        phantom=cells.archive.phantom,
    )


def run(row: Ingredient, seed: int, bunch: DataBunch, found: dict[str, Any]) -> dict[str, Any]:
    """Train once and judge the last epoch's network on the validation and test cells, as it is and over all flips."""
    block = found[VARIANT]
    block = block | row.variant | {"seed": seed, "stage_1": block["stage_1"] | row.stage_1}
    bunch = replace(bunch, augment=bunch.augment.model_copy(update=row.augment))
    settings = Training.model_validate(found["training"] | {"num_threads": 1, "resume": "never", "keep_epochs": "best"})
    variant = Variant.model_validate(block)
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        if row.around:
            stack.enter_context(row.around())
        started, on_the_clock = time.process_time(), time.perf_counter()
        stage = training.train_stage(bunch, variant, settings, Checkpoints(Path(place)))
        took, on_the_clock = time.process_time() - started, time.perf_counter() - on_the_clock
    network = build_network(variant.arch, variant.dropout, variant.slim_resnet)
    network.load_state_dict(stage.state)
    result = {"processor_seconds": round(took, 1), "clock_seconds": round(on_the_clock, 1)}
    for split in ("valid", "test"):
        rows = bunch.rows(split)
        if not len(rows):
            continue
        parasitized = (bunch.cells["label"].iloc[rows] == PARASITIZED).to_numpy()
        p = predict_flipped(network, bunch, rows)
        result[split] = judge(p[0], parasitized)
        result[split + FLIPPED] = judge(p.mean(axis=0), parasitized)
    return result


def judge(p: np.ndarray, parasitized: np.ndarray) -> dict[str, float]:
    """Return accuracy at 0.5 and ROC AUC."""
    return {"accuracy": float(np.mean((p >= 0.5) == parasitized)), "roc_auc": float(roc_auc_score(parasitized, p))}


def predict_flipped(network: torch.nn.Module, bunch: DataBunch, rows: np.ndarray) -> np.ndarray:
    """Return p(parasitized) of the cells in eight orientations, float64 8×N; the first is as they are."""
    loader = CellLoader(bunch.pixels, bunch.targets(), rows, bs=512, after_batch=batch_transforms("cpu"), device="cpu")
    network.eval()
    found: list[list[torch.Tensor]] = [[] for _ in range(8)]
    with torch.inference_mode():
        for images, _ in loader:
            for number in range(8):
                seen = images.as_subclass(torch.Tensor)
                seen = torch.rot90(seen.flip(-1) if number >= 4 else seen, number % 4, (-2, -1))
                found[number].append(network(seen).double().softmax(dim=1)[:, 0])
    return np.stack([torch.cat(parts).numpy() for parts in found])


def rows_of(results: list[dict[str, Any]]) -> dict[str, dict[str, Figure]]:
    """Return a row per ingredient: over the seeds the mean and range of scores, and the median of seconds."""
    suffixes = ("", FLIPPED)
    judged = {(result["row"] + suffix, result["seed"]): (result, suffix) for suffix in suffixes for result in results}
    rows = {}
    for name in [*ROWS, RECIPE + FLIPPED]:
        found = {seed: value for (row, seed), value in judged.items() if row == name and "valid" + value[1] in value[0]}
        if not found:
            continue
        accuracy = {seed: 100 * result["valid" + suffix]["accuracy"] for seed, (result, suffix) in found.items()}
        recipe = {seed: judged[RECIPE, seed][0] for seed in found if (RECIPE, seed) in judged}
        differences = [accuracy[seed] - 100 * result["valid"]["accuracy"] for seed, result in recipe.items()]
        rows[name] = {
            "processor time": figure_of([result["processor_seconds"] for result, _ in found.values()], "s"),
            "validation accuracy": figure_of(list(accuracy.values()), "%", "mean"),
            "validation ROC AUC": figure_of(
                [result["valid" + suffix]["roc_auc"] for result, suffix in found.values()], "", "mean"
            ),
        }
        if name != RECIPE and differences:
            rows[name]["difference"] = figure_of(differences, "points", "mean")
        tested = [100 * result["test" + suffix]["accuracy"] for result, suffix in found.values() if "test" in result]
        if tested:
            rows[name]["test accuracy"] = figure_of(tested, "%", "mean")
    return rows


def publish(results: list[dict[str, Any]], archive: str, size: int, save: Path | None) -> None:
    """Print the table; with ``save`` it is kept among the results."""
    what = "resnet18, one ingredient changed per row"
    measurement = measured_here(what, rows_of(results), archive, {"px": size}, threads=1)
    print(table("ingredients", measurement))
    if save:
        save_results(save, "ablation", "What each ingredient of the sprint brings.", {"sprint": measurement})


def main() -> None:
    """Train what is not yet in the file, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="a zip of cells in class folders")
    parser.add_argument("json", type=Path, help="where the results are kept")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--size", type=int, help="side of the images, px; that of the environment when left out")
    add_save_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = parameters(options.size)
    with tempfile.TemporaryDirectory() as place:
        bunch = prepare(options.archive, Path(place), found)
        about = {
            "machine": describe_machine(threads=1),
            "data_fingerprint": bunch.fingerprint,
            "recipe": found[VARIANT],
        }
        results: list[dict[str, Any]] = []
        if options.json.exists():
            before = json.loads(options.json.read_text(encoding="utf-8"))
            if any(before[key] != about[key] for key in ("data_fingerprint", "recipe")):
                sys.exit(f"{options.json} holds results of other cells or another recipe; give another file")
            results = before["results"]
        done = {(result["row"], result["seed"]) for result in results}
        for seed in options.seeds:
            for name in options.rows:
                if (name, seed) in done:
                    continue
                result = run(ROWS[name], seed, bunch, found)
                results.append({"row": name, "seed": seed, **result})
                write_json(options.json, about | {"results": results})
                print(f"{name}, seed {seed}: {result}", flush=True)
    publish(results, options.archive.name, found["image"]["size"], options.save)


if __name__ == "__main__":
    main()
