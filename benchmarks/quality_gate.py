"""Which real cells of each class does the quality gate refuse, and which images that are not a cell does it let pass?

    python benchmarks/quality_gate.py cell_images.zip [more.zip ...] [--all-folds] [--json FILE] [--save]

A gate is fitted on the first archive's cells of four fifths of the patients; it judges real cells of the other
patients, from every archive, and images of the kinds in non_cells.py. ``--all-folds`` repeats this until every patient
is judged by a gate that has not seen them. Goals: at most 1 % of the real cells refused, at most 1.5 times as many of
one class as of the other, and at most 2 % of any kind let through. ``--save`` puts the shares into
``benchmarks/results``; ``--json`` writes every count by fold and limit.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import non_cells
from malaria_kedro.cells.decoding import decode_cell, open_image
from malaria_kedro.cells.folds import fold_cells
from malaria_kedro.inference.gate import QualityGate, count_refused, differ_by_chance, fit_gate
from malaria_kedro.inference.image_statistics import measure_cells
from malaria_kedro.inference.training_gate import CELLS, REFUSED_SHARE
from malaria_kedro.names import CLASSES, is_image_name, patient_of
from measuring import measured_here, save_results
from records import Figure, add_save_option

FOLDS, SEED = 5, 42
RESAMPLES = 2000
Images = list[np.ndarray]


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


def resized(side: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that makes a copy of ``side`` px per side."""
    return lambda cell: np.asarray(Image.fromarray(cell).resize((side, side), Image.Resampling.BILINEAR))


def as_jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that compresses a cell as JPEG."""

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
    """Measure images as the network sees them, as reading new cells does."""
    return measure_cells(np.stack([decode_cell(Image.fromarray(image), size) for image in images]))


@dataclass
class Judged:
    """The verdicts on images of one kind over all folds, and how often each limit is exceeded."""

    name: str
    real: bool
    hard: bool = False
    refused: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    flags: Counter = field(default_factory=Counter)
    outside: dict[str, Counter] = field(default_factory=dict)

    def add(self, images: Images, gate: QualityGate, size: int, cells: pd.DataFrame | None = None) -> None:
        """Judge images; ``cells`` has the classes and patients of real ones, in the same order."""
        statistics = measure_as_served(images, size)
        verdicts = gate.judge(statistics)
        limits = gate.outside(statistics)
        self.refused.append(refusals(verdicts))
        self.flags.update(flag for flags, _ in verdicts for flag in flags)
        labels = ["" for _ in images] if cells is None else cells["label"].tolist()
        for limit, exceeded in limits.items():
            for label in np.array(labels)[exceeded]:
                self.outside.setdefault(str(label), Counter())[limit] += 1
        if cells is not None:
            self.labels += labels
            self.patients += cells["patient_id"].tolist()

    def row(self) -> dict[str, object]:
        """Return the share refused; of real cells by class, too."""
        refused = np.concatenate(self.refused)
        row: dict[str, object] = {"images": self.name, "real": self.real, "hard": self.hard, "n": len(refused)}
        row |= {"refused": float(refused.mean()), "flags": dict(self.flags)}
        row["outside"] = {label: dict(counts) for label, counts in self.outside.items()}
        if self.labels:
            row["by_class"] = by_class(refused, self.labels, self.patients, self.refused)
        return row


def refusals(verdicts: list) -> np.ndarray:
    """Return which verdicts refuse, bool N."""
    return np.array([bool(flags) for flags, _ in verdicts], dtype=bool)


def by_class(refused: np.ndarray, labels: list[str], patients: list[str], folds: list[np.ndarray]) -> dict[str, object]:
    """Return the refusals of each class, over all folds and in each, and the ratio of parasitized to uninfected shares.

    The interval of the ratio (95 %) is a bootstrap over patients, whose cells are refused together.
    """
    counts = count_refused([(("refused",) if one else (), "") for one in refused], labels)
    if set(counts) != set(CLASSES):
        return {"refused": counts}
    names, number = np.unique(patients, return_inverse=True)
    is_sick = np.array(labels) == CLASSES[0]
    table = np.stack(
        [
            np.bincount(number, chosen, len(names))
            for chosen in (refused & is_sick, is_sick, refused & ~is_sick, ~is_sick)
        ]
    )
    draws = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    sick, n_sick, healthy, n_healthy = table @ draws.T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (sick / n_sick) / (healthy / n_healthy)
        ratio = float(np.divide(*(n / of for n, of in (counts[label] for label in CLASSES))))
    known = ratios[~np.isnan(ratios)]  # a draw without a refusal has no ratio
    limits = np.quantile(known, (0.025, 0.975), method="inverted_cdf") if len(known) else ()
    interval = [float(limit) if np.isfinite(limit) else None for limit in limits] or [None, None]
    starts = np.cumsum([0, *(len(fold) for fold in folds)])
    return {
        "refused": counts,
        "ratio": ratio if np.isfinite(ratio) else None,
        "ratio_interval": interval,
        "p": differ_by_chance(counts),
        "folds": [
            count_refused([(("refused",) if one else (), "") for one in fold], labels[start : start + len(fold)])
            for start, fold in zip(starts, folds, strict=False)
        ],
    }


def main() -> None:
    """Run the benchmark, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="+", type=Path, help="zips in the NIH layout; the first one's cells fit")
    parser.add_argument("--all-folds", action="store_true", help="five folds; without, the first one")
    parser.add_argument("--size", type=int, default=48, help="px, at which a network would read")
    parser.add_argument("--fit-on", type=int, default=CELLS, help="most cells to fit on")
    parser.add_argument(
        "--judge", type=int, default=1_000_000, help="most real cells to judge of each archive and fold"
    )
    parser.add_argument("--per-kind", type=int, default=500, help="images of each kind and fold")
    parser.add_argument("--refused-share", type=float, default=REFUSED_SHARE, help="of the training cells")
    parser.add_argument("--seed", type=int, default=0, help="of the images that are not cells")
    parser.add_argument("--json", type=Path, help="every count, by fold and limit")
    add_save_option(parser)
    options = parser.parse_args()

    judged: dict[str, Judged] = {}
    gates, n_patients, cost = [], 0, 0.0
    for fold in range(1, FOLDS + 1 if options.all_folds else 2):
        gate, patients, cost = fit(options, fold)
        gates.append(
            {"fold": fold, "seed": SEED, "gate": gate.id, "fitted_on": gate.n_cells, "patients": len(patients)}
        )
        n_patients += len(patients)
        judge_fold(options, judged, gate, patients, fold)

    rows = [kind.row() for kind in judged.values()]
    easy = [row for row in rows if not row["real"] and not row["hard"]]
    # The same number of each kind is drawn, so their mean is the share of all.
    rows.append(
        {"images": "all kinds but the hard ones", "real": False, "hard": False, "flags": {}}
        | {"n": sum(row["n"] for row in easy), "refused": float(np.mean([row["refused"] for row in easy]))}
    )
    processor = platform.processor() or platform.machine()
    print(f"{processor}; {len(gates)} gates, fitted on {gates[0]['fitted_on']} cells each,")
    print(f"judged on {n_patients} other patients; {1000 * cost:.2f} ms per cell to resize and measure (one core)\n")
    show(rows)
    if options.json:
        report = {"gates": gates, "refused_share": options.refused_share, "ms_a_cell": 1000 * cost, "rows": rows}
        options.json.write_text(json.dumps(report, indent=2, default=float, allow_nan=False) + "\n", encoding="utf-8")
    if options.save:
        save(options, rows, gates)


def save(options: argparse.Namespace, rows: list[dict], gates: list[dict]) -> None:
    """Keep what is refused and let through among the results."""
    setting = {"px": options.size, "folds": len(gates), "fitted on": gates[0]["fitted_on"]}
    name = "all folds" if options.all_folds else "one fold"
    found = {row["images"]: shares(row) for row in rows}
    data = ", ".join(archive.name for archive in options.archives)
    measurement = measured_here(f"{len(gates)} patient-disjoint folds", found, data, setting)
    about = "What the quality gate refuses of real cells, and what it lets through of other images."
    save_results(options.save, "quality_gate", about, {name: measurement})


def shares(row: dict) -> dict[str, Figure]:
    """Return the share refused or let through, %, and of real cells the counts by class and their ratio."""
    if not row["real"]:
        return {"let through": Figure(value=100 * (1 - row["refused"]), unit="%", n=row["n"])}
    found = {"refused": Figure(value=100 * row["refused"], unit="%", n=row["n"])}
    classes = row.get("by_class", {})
    for label, (refused, n) in classes.get("refused", {}).items():
        found[f"refused {label}"] = Figure(value=refused, unit="", n=n)
    if "ratio" in classes:
        low, high = classes["ratio_interval"]
        found["ratio"] = Figure(value=classes["ratio"], unit="", low=low, high=high, spread="95 % interval")
    return found


def fit(options: argparse.Namespace, fold: int) -> tuple[QualityGate, set[str], float]:
    """Return the gate fitted without a fold, the patients of that fold, and seconds to measure a cell."""
    cells = list_cells(options.archives[0])
    held_out = fold_cells(cells, strategy="patient", folds=FOLDS, seed=SEED) == fold
    train = cells[~held_out]
    train = train.sample(min(options.fit_on, len(train)), random_state=0)
    images = read_cells(options.archives[0], train["name"].tolist())
    started = time.process_time()
    statistics = measure_as_served(images, options.size)
    cost = (time.process_time() - started) / len(images)
    gate = fit_gate(statistics, labels=train["label"].tolist(), refused_share=options.refused_share)
    return gate, set(cells.loc[held_out, "patient_id"]), cost


def judge_fold(
    options: argparse.Namespace,
    judged: dict[str, Judged],
    gate: QualityGate,
    patients: set[str],
    fold: int,
) -> None:
    """Let a gate judge cells of patients that it has not seen, copies of them, and images that are not cells."""

    def add(name: str, images: Images, real: bool, cells: pd.DataFrame | None = None, hard: bool = False) -> None:
        judged.setdefault(name, Judged(name, real, hard)).add(images, gate, options.size, cells)

    sources, sampled = [], []
    for archive in options.archives:
        chosen = list_cells(archive).query("patient_id in @patients")
        chosen = chosen.sample(min(options.judge, len(chosen)), random_state=0)
        if len(chosen):
            real = read_cells(archive, chosen["name"].tolist())
            add(f"real: {archive.name}", real, True, chosen)
            sources += real[:500]
            sampled.append(chosen[:500])
    copied = pd.concat(sampled)[-500:]
    for name, copy in COPIES.items():
        add(f"real, {name}", [copy(cell) for cell in sources[-500:]], True, copied)
    for i, (name, kind) in enumerate({**non_cells.KINDS, **non_cells.HARD_KINDS}.items()):
        seed = options.seed + i + 1000 * (fold - 1)
        add(name, non_cells.draw_kind(kind, sources, options.per_kind, seed), False, hard=name in non_cells.HARD_KINDS)


def show(rows: list[dict]) -> None:
    """Print a line per kind, and below real cells one per class."""
    for i, row in enumerate(rows):
        if i == 0 or row["real"] != rows[i - 1]["real"]:
            print(f"{'wrongly refused, %' if row['real'] else 'let through, %':<40}{'n':>7}{'gate':>8}")
        share = 100 * (row["refused"] if row["real"] else 1 - row["refused"])
        name = f"{row['images']}{' (hard)' if row['hard'] else ''}"
        print(f"{name:<40}{row['n']:>7}{share:>8.2f}   {row['flags']}")
        if "by_class" in row:
            show_classes(row)


def show_classes(row: dict) -> None:
    """Print how many real cells of each class are refused, by which limits, and the ratio."""
    found = row["by_class"]
    for label, (refused, n) in found["refused"].items():
        print(f"{f'  refused of {label}, cells':<40}{n:>7}{refused:>8}   {row['outside'].get(label, {})}")
    if found.get("ratio") is not None:
        low, high = (f"{limit:.2f}" if limit is not None else "no limit" for limit in found["ratio_interval"])
        print(f"  ratio {found['ratio']:.2f} (95 % over patients: {low} to {high}), p = {found['p']:.2g} of chance")


if __name__ == "__main__":
    main()
