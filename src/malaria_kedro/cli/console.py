"""``malaria-kedro``: read new cells from a command line, or run the pipelines of the installed package."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any

import click

from malaria_kedro.cli.arguments import LocalPath, NonEmptyCommand
from malaria_kedro.cli.standard_output import accept_any_name, only_for_results, write_result
from malaria_kedro.names import NIH_PATIENT_PATTERN
from malaria_kedro.redaction import redact_url

EXIT_REFUSED = 3
METRICS = "metrics.json"
HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"], "show_default": True}
PATH = LocalPath(path_type=Path)
_METRICS = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "roc_auc": "ROC AUC",
    "ece": "calibration error (ECE)",
}
_COUNTS = ("parasitized", "uninfected", "called", "refused", "unreadable", "flagged", "quality")


@click.group(context_settings=HELP)
@click.version_option(package_name="malaria-kedro")
def main() -> None:
    """Read red-blood-cell images, or run the pipelines. Research use only, never a diagnosis."""


def _local(context: click.Context, parameter: click.Parameter, value: Path) -> Path:
    """Refuse an address, of which a path has swallowed a slash; a drive of Windows has one letter."""
    if re.match(r"[A-Za-z][\w+.-]+:[/\\]", str(value)):
        given = redact_url(str(value))
        raise click.BadParameter(f"{given!r} is an address: name a folder of this machine, and copy between the two")
    return value


@main.command(context_settings=HELP, cls=NonEmptyCommand)
@click.argument("images", type=PATH, nargs=-1, required=True)
@click.option(
    "--model",
    type=PATH,
    default=Path("data/06_models/resnet18/classifier"),
    callback=_local,
    help="A classifier's folder, or the folder of its versions (the newest counts).",
)
@click.option(
    "--out",
    type=PATH,
    default="predictions",
    callback=_local,
    help="Folder for cell_predictions.parquet, cell_predictions.csv, patient_summary.csv and, where there are labels, "
    "metrics.json.",
)
@click.option("--backend", type=click.Choice(["torch", "onnx", "openvino"]), default="torch")
@click.option(
    "--precision",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    help="int8 needs the graph that `kedro run --pipelines export` writes.",
)
@click.option("--onnx", "onnx_path", type=PATH, help="The graph, if it lies elsewhere.")
@click.option("--batch-size", type=click.IntRange(1, 65_536), default=64)
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads that read cells; all cores if not given.")
@click.option(
    "--bit-depth",
    type=click.Choice([8, 10, 12, 14, 16]),
    help="Of the camera behind 16-bit images; the classifier's if not given.",
)
@click.option(
    "--patient-pattern",
    default=NIH_PATIENT_PATTERN,
    show_default=False,
    help="Regular expression whose first group in a file's name is the patient; NIH names (C<number>) if not given.",
)
@click.option(
    "--gate",
    type=click.Choice(["refuse", "flag", "off"]),
    default="refuse",
    help="An image that does not pass the quality gate is not called; it is called, with a flag; or there is no gate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON, and nothing else, to stdout.")
def predict(
    images: tuple[Path, ...],
    model: Path,
    out: Path,
    batch_size: int,
    patient_pattern: str,
    as_json: bool,
    **reading: Any,
) -> None:
    """Read IMAGES: one or several images, folders (any depth), zips, and CSV, Excel or parquet lists of paths.

    "-" is a list on standard input: a path a line, a CSV with a header, or paths with a NUL after each (find -print0).

    Images below folders called Parasitized and Uninfected, and those of a list with a column "label", also tell how
    good the calls are: metrics with 95 % intervals, printed and in metrics.json.

    The same command continues a run that was killed. Exit codes: 0 every image was called; 3 every image was read, but
    some were not called (see quality and reason in the table); 1 an error, in one sentence; 2 wrong usage; 141 nobody
    reads the output.

    Messages and errors go to stderr; stdout has only the results.
    """
    accept_any_name()
    # Importing Kedro sets up its logging, which writes to stdout.
    with only_for_results():
        from malaria_kedro.cli.errors import reported_in_a_sentence

        with reported_in_a_sentence("what has been read is kept: the same command continues"):
            summary = _predict(images, model, out, batch_size, patient_pattern, reading)
    write_result(json.dumps(summary) if as_json else _in_words(summary))
    sys.exit(EXIT_REFUSED if summary["refused"] else 0)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the pipelines, as `kedro run` does; needs --conf-source where there is no project around."""
    from malaria_kedro.cli.packaged import main as run_pipelines

    run_pipelines(list(arguments))


def _in_words(summary: dict[str, Any]) -> str:
    flagged = f", {summary['flagged']:,} called with a flag" if summary["flagged"] else ""
    lines = [
        "{images:,} images: {parasitized:,} called parasitized, {uninfected:,} uninfected, {refused:,} not called"
        "{flags}. Research use only, never a diagnosis.".format(**summary, flags=flagged),
        summary["table"],
        *(f"  {flag}: {count:,}" for flag, count in summary["quality"].items()),
        *summary["repeats"],
        f"The classifier: {summary['model']['sentence']}",
        *_metrics_in_words(summary["metrics"]),
    ]
    if summary["gate"] != "refuse":
        from malaria_kedro.inference.gate import GATE_SENTENCES  # late: --help should not wait for it

        lines.append(GATE_SENTENCES[summary["gate"]])
    return "\n".join(lines)


def _metrics_in_words(measured: dict[str, Any] | None) -> list[str]:
    """Return the metrics of labelled images as lines."""
    if measured is None:
        return []
    from malaria_kedro.evaluation.measurements import SplitMetrics  # late: --help should not wait for it

    counts = (
        "{label}: {images:,} images, {parasitized:,} called parasitized, {uninfected:,} uninfected, {refused:,} not "
        "called".format(label=label, **its)
        for label, its in measured["labels"].items()
    )
    unknown = f" ({measured['unlabelled']:,} images have none)" if measured["unlabelled"] else ""
    lines = [f"Labels{unknown}:", *(f"  {line}" for line in counts)]
    if called := measured["called"]:
        patients = f" of {called['n_patients']:,} patients" if called["n_patients"] else ""
        lines.append(f"Measured on the {called['n']:,} labelled cells{patients} that were called:")
        for name, words in _METRICS.items():
            if called[name] is not None:
                low, high = called["intervals"].get(name) or (None, None)
                interval = f" (95 % interval {low:.4f} to {high:.4f})" if low is not None else ""
                lines.append(f"  {words}: {called[name]:.4f}{interval}")
    # A note begins with the name of its metric, if it is about one; how labels were read is in the log.
    hidden = SplitMetrics.model_fields.keys() - _METRICS
    return [*lines, *(f"  {note}" for note in measured["notes"] if note.partition(" ")[0] not in hidden)]


def _predict(
    images: tuple[Path, ...], model: Path, out: Path, batch_size: int, patient_pattern: str, reading: dict[str, Any]
) -> dict[str, Any]:
    """Read the images; return what ``--json`` prints."""
    # By force: Kedro has already set up its logging, which differs inside and outside a project.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s", force=True)
    logging.getLogger("malaria_kedro").setLevel(logging.INFO)
    from malaria_kedro.cells.csv_tables import write_csv
    from malaria_kedro.files import clear_leftovers, exclusive_lock, look_at, write_file, write_json
    from malaria_kedro.inference.one_source import STANDARD_INPUT, not_there

    for source in images:  # before torch is imported
        if str(source) != STANDARD_INPUT and look_at(source, follow=False) is None:
            raise not_there(source)
    from malaria_kedro.evaluation.bootstrap import Bootstrap
    from malaria_kedro.evaluation.new_cells import measure_new_cells
    from malaria_kedro.evaluation.stored_metrics import with_test_scores
    from malaria_kedro.inference.reader import CellPredictor
    from malaria_kedro.inference.results import count_calls, patient_summary
    from malaria_kedro.learning.soundness import describe_scores, find_doubts, summarise_scores

    reader = CellPredictor(model, **reading)
    with exclusive_lock(out, "another run writes into", "wait until it has ended, stop it, or give another --out"):
        clear_leftovers(out)
        started = time.perf_counter()
        found = reader.read(
            images,
            out / "parts",
            patient_pattern=patient_pattern,
            batch_size=batch_size,
            standard_input=sys.stdin.buffer if sys.stdin and Path(STANDARD_INPUT) in images else None,
        )
        seconds = time.perf_counter() - started
        table = out / "cell_predictions.csv"
        found.write(out / "cell_predictions.parquet", table)
        patients = patient_summary(found.frames(), reader.threshold)
        write_file(out / "patient_summary.csv", lambda beside: write_csv(patients, beside))
        assert found.about is not None
        measured = measure_new_cells(found.frames(), found.about, Bootstrap())
        metrics = measured and measured.model_dump(mode="json")
        if metrics:
            write_json(out / METRICS, metrics)
        else:  # those of an earlier run would be of other images
            (out / METRICS).unlink(missing_ok=True)
    counts = count_calls(found.frames())
    metadata = with_test_scores(reader.metadata, reader.folder)
    return {
        "images": counts.cells,
        **{name: getattr(counts, name) for name in _COUNTS},
        "repeats": found.about.repeats,
        "patients": int(patients["patient_id"].notna().sum()),
        "gate": reader.gate_mode,
        "threshold": reader.threshold,
        "classifier": str(reader.folder),
        "backend": reader.predictor.name,
        "phantom": reader.metadata.data.phantom,
        "model": summarise_scores(metadata) | {"sentence": describe_scores(metadata)},
        "warnings": find_doubts(metadata),
        "metrics": metrics,
        "seconds": round(seconds, 3),
        "table": str(table),
    }


if __name__ == "__main__":
    main()
