"""What does the extra ``png`` (kornia-rs) bring? Indexing and decoding PNG cells with it and with Pillow alone.

    python benchmarks/png_decoding.py [cell_images.zip] [--cells 2000] [--size 64] [--rounds 10] [--save]

End to end, as a run of data_engineering meets it: every file is read, verified, decoded through the one door
(``cells/decoding.py``), resized and written to the memory-mapped array. Round by round, in turns, after a warm-up;
without an archive the cells are phantoms.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from malaria_kedro.cells import decoding
from measuring import (
    Options,
    Ratio,
    Row,
    Table,
    alternate,
    decode_folder,
    describe_machine,
    divide,
    index_folder,
    make_archive,
    save_results,
    seconds,
    unpack_cells,
)
from records import add_save_option

WITH, WITHOUT = "with the extra png", "with Pillow alone"
STEPS = ("index", "decode_cells")


def measure(options: Options) -> Table:
    """Measure both steps with and without the extra."""
    size, cells = (options.sizes or (64,))[0], options.cells or 2000
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = unpack_cells(make_archive(options, cells, folder / "cells.zip"), folder)
        index = index_folder(files)

        def decode() -> None:
            decode_folder(files, index, size, folder / "decoded")
            shutil.rmtree(folder / "decoded")

        works = dict(zip(STEPS, (lambda: index_folder(files), decode), strict=True))
        found = alternate(
            {f"{step}, {WITH}": seconds(work) for step, work in works.items()}
            | {f"{step}, {WITHOUT}": seconds(by_pillow(work)) for step, work in works.items()},
            options.rounds or 10,
        )
    ratios = [
        Ratio(f"{step}, time with the extra / without", divide(found[f"{step}, {WITH}"], found[f"{step}, {WITHOUT}"]))
        for step in STEPS
    ]
    rows = [Row(name, "s", values) for name, values in found.items()]
    return Table("png_decoding", options.origin, {"cells": cells, "px": size}, rows, ratios)


def by_pillow(work: Callable[[], object]) -> Callable[[], object]:
    """Return a function that does the work as if the extra were not installed."""

    def run() -> None:
        with patch.object(decoding, "decode_plain_png", lambda data: None):
            work()

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, nargs="?", help="a zip of cells in class folders; none = phantoms")
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64, help="side of the decoded cells, px")
    parser.add_argument("--rounds", type=int, default=10)
    add_save_option(parser)
    options = parser.parse_args()
    print(describe_machine())
    table = measure(Options(archive=options.archive, cells=options.cells, sizes=(options.size,), rounds=options.rounds))
    print(table)
    if options.save:
        about = "Indexing and decoding PNG cells with and without the extra `png`."
        save_results(options.save, "png_decoding", about, dict([table.measurement()]))


if __name__ == "__main__":
    logging.getLogger("malaria_kedro").setLevel(logging.ERROR)
    main()
