"""What does each ingredient of the sprint recipe bring? It is taken out once; what is not in the recipe is put in once.

    python benchmarks/ablation.py cell_images.zip ablation.json [--rows "the recipe" …] [--seeds 1 2 3] [--size PX]
    python benchmarks/ablation.py --table ablation.json

Every training goes through the project's own training loop with the split of `--env sprint`, on one thread; the seconds
are those of the processor, so that other work beside it does not count. A result is written as soon as it is there, and
the same command goes on where it was interrupted. Rows with an asterisk are not part of the project: they were tried
here, and stayed out unless the table says that they pay.
"""

from __future__ import annotations

import argparse
import json
import statistics
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
import pandas as pd
import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.losses import LabelSmoothingCrossEntropyFlat
from fastai.vision.augment import Hue, Saturation
from kedro.config import OmegaConfigLoader
from sklearn.metrics import roc_auc_score

from malaria_kedro.cells.splits import split_cells
from malaria_kedro.learning import loaders, training
from malaria_kedro.learning.checkpoints import Checkpoints
from malaria_kedro.learning.databunch import DataBunch, make_databunch
from malaria_kedro.learning.loaders import CellLoader, batch_transforms
from malaria_kedro.learning.network import build_network
from malaria_kedro.names import PARASITIZED
from malaria_kedro.parameters import Augment, Image, Split, Training, Variant
from malaria_kedro.settings import CONFIG_LOADER_ARGS
from measuring import ROOT, decode_folder, describe_machine, index_folder, unpack_cells, write_record

VARIANT, RECIPE = "resnet18", "the recipe"
SEEDS = (1, 2, 3)
FLIPPED = ", mean of 8 flips*"  # how the same network answers when it sees a cell in its eight orientations


class AverageWeights(Callback):
    """Exponential moving average of the weights, which the network has when training ends (Polyak & Juditsky 1992)."""

    def __init__(self, decay: float) -> None:
        """Take the share that the average keeps at a step."""
        self.decay = decay

    def before_fit(self) -> None:
        """Begin with the weights there are."""
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def after_step(self) -> None:
        """Move the average towards the new weights; what only counts is taken over."""
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
    """Apply a change to every learner that is made."""
    make = training.make_learner

    def make_and_change(*args: Any, **kwargs: Any) -> Learner:
        learner = make(*args, **kwargs)
        change(learner)
        return learner

    with patch.object(training, "make_learner", make_and_change):
        yield


def smoothed_labels(share: float) -> Callable[[], Any]:
    """Return a context in which the training loss takes so much of each label away (Szegedy et al. 2016)."""
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
    "without small images first": Ingredient(stage_1={"initial_size": None}),
    "without transposes and vertical flips": Ingredient(augment={"flip_vertical": False, "transpose": False}),
    "without any flip": Ingredient(augment={"flip_horizontal": False, "flip_vertical": False, "transpose": False}),
    "without changes of brightness and contrast": Ingredient(augment={"max_lighting": 0.0, "p_lighting": 0.0}),
    "rate of 0.001 instead of 0.004": Ingredient(stage_1={"lr_max": 1e-3}),
    "rate of 0.008": Ingredient(stage_1={"lr_max": 8e-3}),
    "warm-up of 10 % of the steps instead of 25 %": Ingredient(stage_1={"pct_start": 0.1}),
    "batches of 512 instead of 128, as the tutorial": Ingredient(variant={"batch_size": 512}),
    "batches of 64": Ingredient(variant={"batch_size": 64}),
    "without dropout": Ingredient(variant={"dropout": 0.0}),
    "with label smoothing 0.05*": Ingredient(around=smoothed_labels(0.05)),
    "with weights averaged, decay 0.99*": Ingredient(around=averaged_weights(0.99)),
    "with stain jitter*": Ingredient(around=stain_jitter),
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
        stage = training.train_stage(bunch, VARIANT, variant, "stage_1", settings, Checkpoints(Path(place)))
        took, on_the_clock = time.process_time() - started, time.perf_counter() - on_the_clock
    network = build_network(variant.arch, variant.dropout)
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


def table(results: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown: means over the seeds, and the least and the most of them."""
    lines = [
        "| | seeds | processor seconds | validation accuracy | difference | validation ROC AUC | test accuracy |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    frame = pd.DataFrame([_flat(result, "") for result in results] + [_flat(result, FLIPPED) for result in results])
    frame = frame.dropna(subset=["accuracy"])
    base = frame[frame["row"] == RECIPE].set_index("seed")["accuracy"]
    order = {name: place for place, name in enumerate([*ROWS, RECIPE + FLIPPED])}
    for name, group in sorted(frame.groupby("row"), key=lambda item: order.get(item[0], len(order))):
        if name not in order:
            continue
        paired = group.set_index("seed")["accuracy"].sub(base).dropna()
        cells = [
            name,
            len(group),
            f"{statistics.median(group['seconds']):.0f}",
            _percent(group["accuracy"]),
            f"{100 * paired.mean():+.2f}" if name != RECIPE and len(paired) else "",
            f"{group['auc'].mean():.4f}",
            _percent(group["test"]),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _flat(result: dict[str, Any], suffix: str) -> dict[str, Any]:
    valid, test = result.get("valid" + suffix, {}), result.get("test" + suffix, {})
    return {
        "row": result["row"] + suffix,
        "seed": result["seed"],
        "seconds": result["processor_seconds"],
        "accuracy": valid.get("accuracy"),
        "auc": valid.get("roc_auc"),
        "test": test.get("accuracy"),
    }


def _percent(values: pd.Series) -> str:
    values = 100 * values.dropna()
    if not len(values):
        return ""
    return f"{values.mean():.2f} %" + (f" ({values.min():.2f}-{values.max():.2f})" if len(values) > 1 else "")


def main() -> None:
    """Train what is not yet in the file, or print the file's table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, nargs="?", help="a zip of cells in class folders")
    parser.add_argument("json", type=Path, nargs="?", help="where the results are kept")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--size", type=int, help="side of the images, px; that of the environment when left out")
    parser.add_argument("--table", type=Path, help="print the table of these results and end")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))["results"]))
        return
    if not (options.archive and options.json):
        parser.error("give an archive and a file for the results, or --table")
    torch.set_num_threads(1)
    found = parameters(options.size)
    with tempfile.TemporaryDirectory() as place:
        bunch = prepare(options.archive, Path(place), found)
        about = {"machine": describe_machine(), "data_fingerprint": bunch.fingerprint, "recipe": found[VARIANT]}
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
                write_record(options.json, about | {"results": results})
                print(f"{name}, seed {seed}: {result}", flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
