"""How fast does a recipe reach its accuracy? Validation accuracy against seconds of training, several runs per figure.

    python benchmarks/accuracy_over_time.py docs/sprint.png "40 epochs=data/06_models/resnet18/history.csv" "sprint=…" …

A run is a label and a ``<variant>.history`` (a file, or the folder of its versions, whose newest counts). Runs of one
label, such as seeds, share a colour. Prints seconds, last and best accuracy of each run; ``--save`` puts them into
``benchmarks/results``, with the ``--hardware`` and ``--data`` of the runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from malaria_kedro.figures.style import BLUE, GREY, ORANGE, VERMILLION
from measuring import measured_here, save_results
from records import add_save_option, figure_of

COLOURS = (GREY, VERMILLION, BLUE, ORANGE)


def read_history(path: Path) -> pd.DataFrame:
    """Return a history with the seconds since the start, validation included."""
    found = path if path.is_file() else max(path.glob("*/history.csv"))
    history = pd.read_csv(found)
    return history.assign(since_start=history["seconds"].cumsum())


def draw(runs: list[tuple[str, pd.DataFrame]], title: str) -> Figure:
    """Draw accuracy (%) against seconds, logarithmic."""
    figure = Figure(figsize=(9, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    labels = list(dict.fromkeys(label for label, _ in runs))
    for label, history in runs:
        colour = COLOURS[labels.index(label) % len(COLOURS)]
        first = label not in axes.get_legend_handles_labels()[1]
        axes.plot(
            *(history["since_start"], 100 * history["accuracy"]),
            color=colour,
            marker="o",
            markersize=4,
            linewidth=1.5,
            label=label if first else None,
        )
    axes.set_xscale("log")
    axes.set_xlabel("seconds of training, validation included")
    axes.set_ylabel("validation accuracy, %")
    axes.set_ylim(bottom=max(80.0, axes.get_ylim()[0]))
    axes.grid(alpha=0.25, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    axes.set_title(title)
    return figure


def main() -> None:
    """Draw the figure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", type=Path, help="PNG to write")
    parser.add_argument("runs", nargs="+", help="label=path of a history")
    parser.add_argument("--title", default="")
    parser.add_argument("--hardware", help="what the runs were trained on; for --save")
    parser.add_argument("--data", help="the cells that they were trained on; for --save")
    add_save_option(parser)
    options = parser.parse_args()
    runs = []
    for run in options.runs:
        label, _, path = run.partition("=")
        runs.append((label, read_history(Path(path))))
    for label, history in runs:
        accuracy = history["accuracy"]
        best = history.loc[accuracy.idxmax()]
        print(
            f"{label:<20}{len(history):>4} epochs {history['since_start'].iloc[-1]:>8.0f} s   "
            f"last {accuracy.iloc[-1]:.2%}   best {best['accuracy']:.2%}, {best['stage']} epoch {best['epoch']}"
        )
    draw(runs, options.title).savefig(options.figure)
    if options.save:
        save_runs(options.save, runs, options.hardware, options.data)


def save_runs(folder: Path, runs: list[tuple[str, pd.DataFrame]], hardware: str | None, data: str | None) -> None:
    """Keep seconds, last and best accuracy of each label among the results, over its runs."""
    rows = {}
    for label in dict.fromkeys(label for label, _ in runs):
        histories = [history for other, history in runs if other == label]
        accuracies = [100 * history["accuracy"] for history in histories]
        rows[label] = {
            "epochs": figure_of([float(len(history)) for history in histories], ""),
            "training": figure_of([float(history["since_start"].iloc[-1]) for history in histories], "s", "mean"),
            "last accuracy": figure_of([float(accuracy.iloc[-1]) for accuracy in accuracies], "%", "mean"),
            "best accuracy": figure_of([float(accuracy.max()) for accuracy in accuracies], "%", "mean"),
        }
    measurement = measured_here("validation accuracy against seconds of training", rows, data, {})
    # The runs are older than this command: its own machine, commit and versions say nothing about them.
    measurement = measurement.model_copy(update={"hardware": hardware, "commit": None, "date": None, "versions": {}})
    save_results(folder, "accuracy_over_time", "How fast a recipe reaches its accuracy.", {"runs": measurement})


if __name__ == "__main__":
    main()
