"""Does memory grow with the cells? Peaks of data_engineering, training and inference at 1, 4 and 16 times the cells.

    python benchmarks/bench.py memory [--cells 1000] [--size 64] [--rounds 1] [--archive ZIP]

Each is a ``kedro run`` in a process of its own, in a copy of the project: ``data_engineering`` from a zip; one epoch
of ``resnet18.train_stage_1`` from random weights; ``inference`` on the unpacked files, with a classifier of random
weights. Where an archive has too few cells, copies follow under other names, of other patients.

Compared is memory without the pages of files, since the system takes those of the mapped array back whenever it needs
them; the total with them has a row of its own. There is no warm-up: a fresh process has nothing to warm up.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

from inference import random_classifier
from malaria_kedro.learning.classifier import write_classifier
from measuring import (
    Options,
    Peak,
    Ratio,
    Row,
    Table,
    copy_project,
    divide,
    kedro,
    make_archive,
    peak_memory,
    prepare_cells,
    quiet_environment,
)

ROUNDS, SIZE, BATCH_SIZE, CELLS = 1, 64, 64, 1000
SCALES = (1, 4, 16)
GATE_CELLS = 200


def measure(options: Options) -> list[Table]:
    """Measure, a table for each size."""
    return [_measure(options, size) for size in options.sizes or (SIZE,)]


def _measure(options: Options, size: int) -> Table:
    cells, batch_size = options.cells or CELLS, options.batch_size or BATCH_SIZE
    peaks: dict[tuple[str, int], list[Peak]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        project = copy_project(folder / "project")
        model = folder / "classifier"
        model.mkdir()
        small = make_archive(options, min(cells, GATE_CELLS), folder / "small.zip")
        write_classifier(random_classifier("resnet18", prepare_cells(small, folder / "small", size)[1]), model)
        for _ in range(options.rounds or ROUNDS):
            for scale in SCALES:
                archive = make_archive(options, scale * cells, folder / "cells.zip")
                for work, peak in peaks_of(project, archive, model, size, batch_size).items():
                    peaks[work, scale].append(peak)
    works = list(dict.fromkeys(work for work, _ in peaks))
    known = all(peak.own == peak.own for found in peaks.values() for peak in found)  # NaN is not equal to itself
    rows, ratios = [], []
    for work in works:
        for scale in SCALES:
            found = peaks[work, scale]
            if known:
                rows.append(Row(f"{work}, {scale}x", "MB", [peak.own for peak in found]))
            rows.append(Row(f"{work}, {scale}x, with files' pages", "MB", [peak.total for peak in found]))
            rows.append(Row(f"{work}, {scale}x, time", "s", [peak.seconds for peak in found]))
        for scale in SCALES[1:]:
            many, few = (
                [peak.own if known else peak.total for peak in peaks[work, factor]] for factor in (scale, SCALES[0])
            )
            ratios.append(Ratio(f"{work}, {scale}x / 1x", divide(many, few), "<= 1.10" if scale == SCALES[-1] else ""))
    notes = ["no warm-up: each is a fresh process"]
    if not known:
        notes.append("this system does not count the pages of files apart: ratios are of totals, with the mapped file")
    setting = {"cells at 1x": cells, "px": size, "arch": "resnet18", "batch": batch_size}
    return Table("memory", options.origin, setting, rows, ratios, notes)


def peaks_of(project: Path, archive: Path, model: Path, size: int, batch_size: int) -> dict[str, Peak]:
    """Run the three in the project, each in a fresh process, and return their peaks; the data is removed afterwards."""
    data = project / "data"
    shutil.copytree(model, data / "06_models" / "resnet18" / "classifier" / "2000-01-01T00.00.00.000Z" / "classifier")
    recipe = f"resnet18.pretrained=none,resnet18.batch_size={batch_size},resnet18.stage_1.epochs=1"
    commands = {
        "data_engineering": ("data_engineering", "--params", f"source.path={archive},image.size={size}"),
        "training": ("modeling", "--nodes", "resnet18.train_stage_1", "--params", recipe),
        "inference": ("inference", "--params", "inference.images=data/02_intermediate/cell_images"),
    }
    environment = quiet_environment(project / "src")
    try:
        return {
            name: peak_memory(kedro("run", "--pipelines", *arguments), project, environment)
            for name, arguments in commands.items()
        }
    finally:
        shutil.rmtree(data)
