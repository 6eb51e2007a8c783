"""What is claimed about speed and memory, measured: parts by name, on phantom cells or on a given archive.

    python benchmarks/bench.py [PART ...] [--archive cell_images.zip] [--save] [--rounds N] [--size 64 128] ...
    python benchmarks/bench.py --list

Without a PART all run, which takes about a quarter of an hour on two cores. Everything is compared within one run:
round by round, in turns, after a warm-up that does not count. Tables are printed as they come; ``--save`` puts them
into ``benchmarks/results``, with command, hardware, commit and versions. A target stands beside its ratio; nothing is
asserted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from records import add_save_option

PARTS = {
    "training_step": "a training step against a bare PyTorch loop on tensors in memory",
    "epoch": "an epoch with its data against a plain fastai script on files; preparing the data, once",
    "inference": "every backend against learn.get_preds, on arrays and from PNG files",
    "start_up": "kedro registry list and an empty run against bare Kedro with the same plugins",
    "memory": "peak memory of data_engineering, training and inference at 1, 4 and 16 times the cells",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts."""
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(f"{name:<15}{what}" for name, what in PARTS.items()))
        return
    if unknown := [part for part in options.parts if part not in PARTS]:
        sys.exit(f"{', '.join(unknown)}: no such part; known are {', '.join(PARTS)}")
    if options.archive is not None and not options.archive.is_file():
        sys.exit(f"{options.archive} is not a file; give a zip of cells in the folders Parasitized and Uninfected")
    import measuring

    asked = measuring.Options(
        archive=options.archive,
        sizes=tuple(options.size) if options.size else None,
        rounds=options.rounds,
        cells=options.cells,
        steps=options.steps,
        batch_size=options.batch_size,
        arch=options.arch,
        backends=tuple(options.backends),
    )
    print(f"{measuring.describe_machine()}; one warm-up round, not counted\n", flush=True)
    for part in options.parts or PARTS:
        measurements = {}
        for table in import_module(part).measure(asked):
            print(f"{table}\n", flush=True)
            name, measurement = table.measurement()
            measurements[name] = measurement
        # After each part, so that a later one that fails takes nothing along.
        if options.save:
            measuring.save_results(options.save, part, f"{PARTS[part][0].upper()}{PARTS[part][1:]}.", measurements)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; none = all")
    parser.add_argument("--list", action="store_true", help="list the parts and end")
    parser.add_argument("--archive", type=Path, metavar="ZIP", help="real cells in class folders; none = phantoms")
    add_save_option(parser)
    parser.add_argument(
        "--rounds", type=_count, help="counted rounds of each, after one warm-up; none = the part's own"
    )
    parser.add_argument("--size", type=_count, nargs="+", help="px; none = 64, and for inference 64 and 128")
    parser.add_argument("--cells", type=_count, help="cells a part works on (memory: at 1x); none = the part's own")
    parser.add_argument("--steps", type=_count, default=4, help="training_step: steps a round")
    parser.add_argument("--batch-size", type=_count, help="cells per batch in training; none = the part's own")
    parser.add_argument("--arch", default="resnet18", help="the network")
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=("torch", "onnx", "onnx-int8", "openvino", "openvino-int8"),
        default=("torch", "onnx", "onnx-int8", "openvino", "openvino-int8"),
        help="inference: which; those not installed are left out",
    )
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


if __name__ == "__main__":
    # The tables are what is to be read; what the project logs of its work is not.
    logging.getLogger("malaria_kedro").setLevel(logging.ERROR)
    main()
