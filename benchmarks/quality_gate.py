"""Which real cells does the quality gate refuse, and which images that are no cell does it let through?

    python benchmarks/quality_gate.py cell_images.zip [more.zip ...] [--weights epoch_004.safetensors] [--json FILE]

The gate is fitted on the first archive's cells of four fifths of the patients; real cells of the other patients, of
every archive, are judged, and so are images of the kinds in non_cells.py. With the weights of a fold of a
cross-validation (``checkpoints/*/*/epoch_*.safetensors``) the network's features count too, and its held-out patients
are those judged. Goals: at most 1 % of the real cells refused, at most 2 % of any kind let through.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import non_cells
from malaria_kedro.cells.decoding import open_image
from malaria_kedro.cells.folds import fold_cells
from malaria_kedro.cells.names import is_image_name, patient_of
from malaria_kedro.cells.pixels import decode_cell
from malaria_kedro.inference.gate import QualityGate, fit_gate
from malaria_kedro.inference.image_statistics import measure_cells
from malaria_kedro.inference.training_gate import CELLS, REFUSED_SHARE

FOLDS, SEED = 5, 42
Images = list[np.ndarray]


class Network:
    """A classifier's body and pooling: what its head sees."""

    def __init__(self, weights: Path, arch: str, size: int):
        import torch
        from safetensors.torch import load_file

        from malaria_kedro.learning.databunch import IMAGENET_MEAN, IMAGENET_STD
        from malaria_kedro.learning.network import build_network

        network = build_network(arch)
        network.load_state_dict(load_file(weights))
        # The head begins with concat pooling and flattening.
        self.body = torch.nn.Sequential(network[0], network[1][0], network[1][1]).eval()
        self.size = size
        self.mean, self.std = (np.array(values, dtype=np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))

    def features(self, images: Images) -> np.ndarray:
        """Return float32 N×F."""
        import torch

        parts = []
        for start in range(0, len(images), 128):
            pixels = np.stack([self._resize(image) for image in images[start : start + 128]])
            batch = torch.from_numpy((pixels / np.float32(255) - self.mean) / self.std).permute(0, 3, 1, 2)
            with torch.inference_mode():
                parts.append(self.body(batch).numpy())
        return np.concatenate(parts)

    def _resize(self, image: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(image).resize((self.size, self.size), Image.Resampling.BILINEAR))


def list_cells(archive: Path) -> pd.DataFrame:
    """Return the cells of an archive in the NIH layout: ``name``, ``cell_id``, ``label``, ``patient_id``."""
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if is_image_name(name))
    return pd.DataFrame(
        {
            "name": names,
            "cell_id": [Path(name).stem for name in names],
            "label": [Path(name).parent.name for name in names],
            "patient_id": [patient_of(name) for name in names],
        }
    )


def read_cells(archive: Path, names: list[str]) -> Images:
    """Decode cells at the size they have."""
    with zipfile.ZipFile(archive) as file:
        return [open_image(file.read(name)).rgb() for name in names]


def fold_of_weights(weights: Path) -> tuple[int, int] | None:
    """Return seed and fold that a checkpoint of a cross-validation was trained without."""
    from safetensors import safe_open

    with safe_open(weights, framework="numpy") as file:
        description = json.loads((file.metadata() or {}).get("description", "{}"))
    split = description.get("data", {}).get("split", {})
    return (split["seed"], split["fold"]) if split.get("strategy") == "patient" and "fold" in split else None


def resized(side: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that makes a copy of ``side`` px a side."""
    return lambda cell: np.asarray(Image.fromarray(cell).resize((side, side), Image.Resampling.BILINEAR))


def as_jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that sends a cell through JPEG."""

    def copy(cell: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(cell).save(buffer, format="JPEG", quality=quality)
        return np.asarray(Image.open(buffer, formats=("JPEG",)).convert("RGB"))

    return copy


COPIES = {
    "32 px copies": resized(32),
    "64 px copies": resized(64),
    "200 px copies": resized(200),
    "JPEG 90": as_jpeg(90),
    "JPEG 75": as_jpeg(75),
}


def measure_as_served(images: Images, size: int) -> dict[str, np.ndarray]:
    """Measure what the network would see of images, as reading new cells does."""
    return measure_cells(np.stack([decode_cell(Image.fromarray(image), size) for image in images]))


def judge(
    name: str, real: bool, images: Images, gate: QualityGate, network: Network | None, size: int
) -> dict[str, object]:
    """Return a row of the table: shares refused by the statistics, by the features and by both, and the flags."""
    statistics = measure_as_served(images, size)
    row: dict[str, object] = {"images": name, "real": real, "n": len(images)}
    by_statistics = gate.judge(statistics)
    row["statistics"] = np.mean([bool(flags) for flags, _ in by_statistics])
    verdicts = by_statistics
    if network is not None:
        features = network.features(images)
        row["features"] = np.mean(gate.features.distances(features) > gate.features.limit)
        verdicts = gate.judge(statistics, features)
    row["gate"] = np.mean([bool(flags) for flags, _ in verdicts])
    row["flags"] = pd.Series([flag for flags, _ in verdicts for flag in flags], dtype=str).value_counts().to_dict()
    return row


def main() -> None:
    """Run the benchmark, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="+", type=Path, help="zips in the NIH layout; the first one's cells fit")
    parser.add_argument("--weights", type=Path, help="a fold's checkpoint; without it the statistics judge alone")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=48, help="px, what the network was trained at")
    parser.add_argument("--fit-on", type=int, default=CELLS, help="most cells to fit on")
    parser.add_argument("--judge", type=int, default=1_000_000, help="most real cells to judge of each archive")
    parser.add_argument("--per-kind", type=int, default=500, help="images of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the images that are no cell")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    network = Network(options.weights, options.arch, options.size) if options.weights else None
    found = fold_of_weights(options.weights) if options.weights else None
    if options.weights and found is None:
        parser.error(f"{options.weights} is no fold of a patient cross-validation: judged cells could have trained it")
    seed, fold = found or (SEED, 1)

    cells = list_cells(options.archives[0])
    held_out = fold_cells(cells, strategy="patient", folds=FOLDS, seed=seed) == fold
    patients = set(cells.loc[held_out, "patient_id"])
    train = cells[~held_out]
    train = train.sample(min(options.fit_on, len(train)), random_state=0)
    images = read_cells(options.archives[0], train["name"].tolist())
    started = time.process_time()
    statistics = measure_as_served(images, options.size)
    cost = (time.process_time() - started) / len(images)
    gate = fit_gate(statistics, network.features(images) if network else None, refused_share=REFUSED_SHARE)
    del images

    rows, sources = [], []
    for archive in options.archives:
        judged = list_cells(archive).query("patient_id in @patients")
        judged = judged.sample(min(options.judge, len(judged)), random_state=0)
        real = read_cells(archive, judged["name"].tolist())
        rows.append(judge(f"real: {archive.name}", True, real, gate, network, options.size))
        sources += real[:500]
    for name, copy in COPIES.items():
        rows.append(judge(f"real, {name}", True, [copy(cell) for cell in sources[-500:]], gate, network, options.size))
    n_real = len(rows)
    for i, (name, kind) in enumerate({**non_cells.KINDS, **non_cells.HARD_KINDS}.items()):
        drawn = non_cells.draw_kind(kind, sources, options.per_kind, seed=options.seed + i)
        rows.append(judge(name, False, drawn, gate, network, options.size) | {"hard": name in non_cells.HARD_KINDS})

    parts = ("statistics", "features", "gate") if network else ("statistics", "gate")
    easy = [row for row in rows[n_real:] if not row["hard"]]
    # Of each kind as many were drawn, so their mean is the share of all.
    rows.append(
        {"images": "all kinds but the hard ones", "real": False, "hard": False, "flags": {}}
        | {"n": sum(row["n"] for row in easy)}
        | {part: np.mean([row[part] for row in easy]) for part in parts}
    )

    print(f"{platform.processor() or platform.machine()}; fitted on {len(train)} cells of {train.patient_id.nunique()}")
    print(f"patients, judged on {len(patients)} others; {1000 * cost:.2f} ms a cell to resize and measure (one core)\n")
    for i, row in enumerate(rows):
        if i in (0, n_real):
            what = "wrongly refused, %" if row["real"] else "let through, %"
            print(f"{what:<40}{'n':>6}{'statistics':>12}{'features':>10}{'gate':>8}")
        shares = [100 * (row[part] if row["real"] else 1 - row[part]) if part in row else np.nan for part in PARTS]
        name = f"{row['images']}{' (hard)' if row.get('hard') else ''}"
        print(f"{name:<40}{row['n']:>6}{shares[0]:>12.2f}{shares[1]:>10.2f}{shares[2]:>8.2f}   {row['flags']}")
    if options.json:
        report = {"gate": gate.id, "fitted_on": len(train), "patients_judged": len(patients), "ms_a_cell": 1000 * cost}
        options.json.write_text(json.dumps(report | {"rows": rows}, indent=2, default=float) + "\n", encoding="utf-8")


PARTS = ("statistics", "features", "gate")


if __name__ == "__main__":
    main()
