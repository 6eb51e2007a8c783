"""Nodes of the inference pipeline: read new cells as a stream, sum up the patients, draw them, write a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.language import _, written_in
from malaria_kedro.parameters import Evaluation, Inference, Report, Source, Training
from malaria_kedro.pipelines.types import Figure, RunRecord, Table

if TYPE_CHECKING:
    from malaria_kedro.inference.results import ReadingRequest

_READ_AGAIN = "read the images again with kedro run --pipelines inference, or load the versions of one run"


class InferenceError(MalariaKedroError, ValueError):
    """New cells cannot be read; the message says why and what to do."""


def require_images(inference: Inference) -> str | tuple[str, ...]:
    """Return what names the images; raise an InferenceError where nothing does."""
    if inference.images is None:
        raise InferenceError(
            "inference.images is not set; name images, a folder, a zip or a list of images: "
            "kedro run --pipelines inference --params inference.images=new_cells"
        )
    return inference.images


def read_new_cells(
    classifier: Any, workspace: Path, inference: Inference, source: Source, training: Training
) -> tuple[Any, str]:
    """Read every image with a classifier; rows are written to the workspace as they come.

    Returns:
        The rows, to be read as a stream, and the folder of the classifier that read them.

    Raises:
        InferenceError: no images are named.
    """
    # torch takes seconds to import; only a run that reads cells should wait for it.
    from malaria_kedro.inference.reader import CellPredictor

    images = require_images(inference)
    reader = CellPredictor(
        classifier,
        backend=inference.backend,
        precision=inference.precision,
        threads=training.num_threads,
        bit_depth=inference.bit_depth,
        gate=inference.gate,
    )
    found = reader.read(images, workspace, patient_pattern=source.patient_pattern, batch_size=inference.batch_size)
    return found, str(reader.folder)


def summarise_new_patients(cell_predictions: Any) -> Table:
    """Sum up the cells of each patient."""
    from malaria_kedro.inference.results import patient_summary

    about = cell_predictions.about
    return patient_summary(cell_predictions.frames(), about and about.threshold)


def draw_new_cells(
    cell_predictions: Any, patients: Table, classifier: str, evaluation: Evaluation, report: Report
) -> Figure:
    """Draw the patients' parasitaemia with its bounds; of unknown patients, how sure the calls are.

    Raises:
        InferenceError: rows, patients and classifier are not of one reading.
    """
    from malaria_kedro.evaluation.new_cells import count_probabilities
    from malaria_kedro.figures import new_cells
    from malaria_kedro.figures.style import Look

    about, read_by = _of_one_reading(cell_predictions, patients, classifier)
    counts, phantom = count_probabilities(cell_predictions.frames(), about.threshold), read_by.metadata.data.phantom
    with written_in(report.language):
        look = Look(evaluation.figure_style, _("{name}: new cells").format(name=read_by.metadata.name))
        return new_cells.draw_new_cells(patients, counts, look, trained_on_phantoms=phantom)


def write_inference_report(
    cell_predictions: Any,
    patients: Table,
    figure: bytes,
    classifier: str,
    workspace: Path,
    inference: Inference,
    evaluation: Evaluation,
    run_record: RunRecord,
    report: Report,
) -> str:
    """Write a page on what was found, with the most and the least certain cells, and metrics where labels are known.

    It tells how the cells were read, which the table knows; the parameters of this run only say how the page looks.

    Raises:
        InferenceError: rows, patients and classifier are not of one reading.
    """
    from malaria_kedro.evaluation.bootstrap import Bootstrap
    from malaria_kedro.evaluation.new_cells import measure_new_cells
    from malaria_kedro.evaluation.stored_metrics import with_test_scores
    from malaria_kedro.report.examples import choose_examples, picture_examples
    from malaria_kedro.report.inference_report import write_report

    about, read_by = _of_one_reading(cell_predictions, patients, classifier)
    chosen = choose_examples(
        cell_predictions.frames(), read_by.metadata, inference.examples, flagged=about.gate == "flag"
    )
    pictures = picture_examples(chosen, about, workspace, read_by, heat_maps=inference.heat_maps)
    intervals = Bootstrap(evaluation.bootstrap_draws, evaluation.bootstrap_seed)
    measured = measure_new_cells(cell_predictions.frames(), about, intervals)
    metadata = with_test_scores(read_by.metadata, Path(classifier))
    return write_report(
        cell_predictions.frames(),
        patients,
        metadata,
        chosen,
        pictures,
        about,
        run_record,
        measured,
        figure=figure,
        language=report.language,
    )


def _of_one_reading(cell_predictions: Any, patients: Table, classifier: str) -> tuple[ReadingRequest, Any]:
    """Return how the rows were read and the classifier, once these and the patients are known to be of one reading."""
    from malaria_kedro.learning.classifier import read_classifier

    about: ReadingRequest | None = cell_predictions.about
    if about is None:
        raise InferenceError(
            "cell_predictions does not tell how its images were read: it is of an earlier version of this project; "
            "read them again with kedro run --pipelines inference"
        )
    if about.classifier != classifier:  # before it is looked for: the path may be damaged
        raise InferenceError(
            f"cell_predictions were read by {about.classifier}, and classifier_path names {classifier}: they are of "
            f"two runs; {_READ_AGAIN}"
        )
    read_by = read_classifier(Path(classifier))
    _check_classifier(about, classifier, read_by)
    _check_patients(patients, summarise_new_patients(cell_predictions))
    return about, read_by


def _check_classifier(about: ReadingRequest, folder: str, classifier: Any) -> None:
    from malaria_kedro.inference.reader import identify

    before = about.classifier_id.split(", ")
    if changed := [part for part in identify(classifier).split(", ") if part not in before]:
        raise InferenceError(
            f"{folder} is no longer the classifier that read cell_predictions (it now has "
            f"{' and '.join(part[:20] for part in changed)}…); {_READ_AGAIN}"
        )


def _check_patients(stored: Table, found: Table) -> None:
    sums = ["cells", "called", "unreadable", "parasitized"]
    told, counted = (
        {None if patient != patient else patient: row for patient, *row in table[["patient_id", *sums]].to_numpy()}
        for table in (stored, found)
    )
    for patient in {**counted, **told}:
        if told.get(patient) != counted.get(patient):
            its, own = (
                ", ".join(f"{name} {count}" for name, count in zip(sums, row or [0] * len(sums), strict=True))
                for row in (told.get(patient), counted.get(patient))
            )
            whose = "of unknown patients" if patient is None else f"of patient {patient!r}"
            raise InferenceError(
                f"patient_summary is not of these cell_predictions: {whose} it has {its}, and they have {own}; make it "
                "again with kedro run --pipelines inference --from-nodes summarise_new_patients, or load the versions "
                "of one run"
            )
