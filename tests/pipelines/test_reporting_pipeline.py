"""The reporting pipeline: what it asks for, what it gives, and that its nodes fit together."""

import gettext
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro.runner import SequentialRunner
from kedro.validation import TypeExtractor

from malaria_kedro.datasets.figure_dataset import FigureDataset
from malaria_kedro.datasets.html_dataset import HTMLDataset
from malaria_kedro.datasets.run_record_dataset import RunRecordDataset
from malaria_kedro.evaluation.measurements import PredictionCost
from malaria_kedro.figures.cells import draw_batch_preview
from malaria_kedro.figures.style import Look
from malaria_kedro.language import current_language
from malaria_kedro.learning.databunch_summary import DataBunchSummary, ListedCells
from malaria_kedro.learning.network import build_network
from malaria_kedro.parameters import Evaluation, Report, Training
from malaria_kedro.pipelines.reporting import create_pipeline, figure_nodes, nodes
from metadata_material import changed, metadata
from network_material import shape

VARIANTS = ("resnet34", "resnet18")
FIGURES = (
    *("confusion_matrix", "roc_curve", "precision_recall_curve", "reliability_diagram", "patients_figure"),
    *("loss_curves", "top_losses", "top_losses_heatmap", "true_positives_heatmap"),
)
DERIVED = ("predictions", "prediction_cost", "patients", "metrics", "model_card", "report_section", *FIGURES)
SHARED = ("colour_baseline", "colour_baseline_metrics", "model_comparison", "report", "roc_curves")


def test_it_asks_for_classifiers_histories_and_the_data():
    of_each = {f"{v}.{name}" for v in VARIANTS for name in ("classifier", "history", "batch_history")}
    assert create_pipeline(VARIANTS).inputs() == of_each | {
        "databunch",
        "batch_preview",
        "parameters",
        "run_record",
        "params:evaluation",
        "params:report",
        "params:training",
    }


def test_it_gives_everything_derived_from_one_prediction_table():
    everything = {f"{v}.{name}" for v in VARIANTS for name in DERIVED} | {*SHARED}
    assert create_pipeline(VARIANTS).all_outputs() == everything


def test_nodes_are_named_by_variant():
    names = {node.name for node in create_pipeline(("resnet50",)).nodes}
    of_variant = {f"figures.draw_{figure.removesuffix('_figure')}" for figure in FIGURES}
    of_variant |= {"predict_cells", "summarise_patients", "measure_predictions", "write_model_card", "gather_section"}
    together = {"predict_from_colour", "measure_colour_baseline", "compare_variants", "write_report"}
    together |= {"figures.draw_roc_curves"}
    assert names == {f"resnet50.{name}" for name in of_variant} | {f"reporting.{name}" for name in together}


def test_it_is_made_without_a_warning():
    code = "from malaria_kedro.pipelines.reporting import create_pipeline; create_pipeline(('a', 'b'))"
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True)


def test_only_one_node_predicts_and_only_heat_maps_look_into_the_network_again():
    made = {name: node.name for node in create_pipeline(VARIANTS).nodes for name in node.outputs}
    assert made["resnet18.predictions"] == "resnet18.predict_cells"
    asking = {node.name.split(".")[-1] for node in create_pipeline(VARIANTS).nodes if "params:training" in node.inputs}
    assert asking == {"predict_cells", "draw_top_losses_heatmap", "draw_true_positives_heatmap"}


def test_kedro_sees_the_types_of_the_parameters():
    types = TypeExtractor({"reporting": create_pipeline(VARIANTS)}).extract_types_from_pipelines()
    assert types == {"evaluation": Evaluation, "report": Report, "training": Training}


def test_listing_the_pipeline_imports_no_heavy_library():
    heavy = "{'torch', 'torchvision', 'fastai', 'sklearn', 'matplotlib', 'pandas'}"
    code = (
        "import sys; from malaria_kedro.pipelines.reporting import create_pipeline; create_pipeline(('a', 'b')); "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def databunch() -> SimpleNamespace:
    """Eight phantom cells: two to train on, six to validate."""
    split = ["train"] * 2 + ["valid"] * 6
    cells = pd.DataFrame(
        {
            "cell_id": list("abcdefgh"),
            "patient_id": ["C4", "C5", "C1", "C1", "C2", "C2", "C3", "C3"],
            "label": ["Parasitized", "Uninfected"] * 4,
            "split": split,
        }
    )
    counts = {"train": {"Parasitized": 1, "Uninfected": 1}, "valid": {"Parasitized": 3, "Uninfected": 3}}
    summary = DataBunchSummary(
        fingerprint="f00d",
        phantom=True,
        origin="phantoms",
        image_size=8,
        counts=counts,
        pixels_fingerprint="beef",
        patients={"train": 2, "valid": 3},
        shared_patients={"train/valid": 0},
        strategy="random",
    )
    pixels = np.zeros((8, 8, 8, 3), dtype=np.uint8)
    return SimpleNamespace(
        pixels=pixels,
        cells=cells,
        phantom=True,
        summary=summary,
        listed=ListedCells(),
        rows=lambda part: np.flatnonzero((cells["split"] == part).to_numpy()),
    )


def test_from_predictions_to_the_report(tmp_path, databunch):
    cells = databunch.cells
    p = [0.9, 0.2, 0.4, 0.1, 0.8, 0.6]
    predictions = cells[cells["split"] == "valid"].assign(
        patient_id=["C1", "C1", "C2", "C2", "C3", "C3"],
        p_parasitized=p,
        p_calibrated=p,
        loss=[0.1, 0.2, 0.9, 0.1, 0.2, 0.9],
    )
    history = pd.DataFrame(
        {
            "stage": ["stage_1"],
            "epoch": [1],
            "train_loss": [0.5],
            "valid_loss": [0.4],
            "accuracy": [0.6],
            "error_rate": [0.4],
            "lr": [1e-3],
            "seconds": [1.5],
        }
    )
    batches = pd.DataFrame(
        {"stage": "stage_1", "epoch": 1, "batch": [1, 2], "train_loss": 0.5, "smooth_loss": 0.5, "lr": [1e-3, 1e-4]}
    )
    parameters = {}
    for file in (Path(__file__).parents[2] / "conf" / "base").glob("parameters*.yml"):
        parameters |= yaml.safe_load(file.read_text())
    parameters["source"]["url"] = "https://me:s3cret1@host/cells.zip?token=s3cret2#s3cret3"
    preview = FigureDataset(filepath=str(tmp_path / "batch_preview.png"))
    preview.save(draw_batch_preview(databunch.pixels, list(cells["label"]), Look(phantom=True)))
    entries = {
        "databunch": MemoryDataset(databunch, copy_mode="assign"),
        "batch_preview": preview,
        "params:evaluation": MemoryDataset(Evaluation()),
        "params:report": MemoryDataset(Report()),
        "params:training": MemoryDataset(Training(device="cpu", num_threads=1)),
        "parameters": MemoryDataset(parameters),
        "report": HTMLDataset(filepath=str(tmp_path / "report.html")),
        "roc_curves": FigureDataset(filepath=str(tmp_path / "roc_curves.png")),
        "run_record": RunRecordDataset(version=Version(None, "2026-01-31T12.00.00.000Z")),
    }
    for variant in VARIANTS:
        about = metadata(
            name=variant,
            architecture=variant,
            parameters={"arch": variant, "stage_1": {"epochs": 1, "lr_max": 1e-3}},
            data=databunch.summary.as_dict(),
            training_id="beef",
            versions={"torch": "2.15.0"},
            selected={"stage": "stage_1", "epoch": 1, "rule": "last", "valid_loss": 0.4, "accuracy": 0.6},
        )
        its = predictions.copy()
        its.attrs["classifier"] = nodes.identify(about).model_dump()
        entries |= {
            f"{variant}.classifier": MemoryDataset(
                SimpleNamespace(
                    metadata=about,
                    state={},
                    network=partial(build_network, "slim_resnet", slim_resnet=shape()),
                    folder=Path("models/2026-01-30/classifier"),
                ),
                copy_mode="assign",
            ),
            f"{variant}.history": MemoryDataset(history),
            f"{variant}.batch_history": MemoryDataset(batches),
            f"{variant}.predictions": MemoryDataset(its),
            f"{variant}.prediction_cost": MemoryDataset(
                PredictionCost(classifier=nodes.identify(about), n=6, seconds=0.009, ms_per_cell=1.5, device="a CPU")
            ),
        } | {
            f"{variant}.{figure}": FigureDataset(filepath=str(tmp_path / variant / f"{figure}.png"))
            for figure in FIGURES
        }
    pipeline = create_pipeline(VARIANTS)
    predicting = pipeline.only_nodes(*(f"{variant}.predict_cells" for variant in VARIANTS))
    SequentialRunner().run(pipeline - predicting, DataCatalog(entries))

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/") == 2 + (len(FIGURES) - 1) * len(VARIANTS)  # the heat maps show the top losses
    assert page.count("data:image/svg+xml;base64,") == 1 + 6 * len(VARIANTS)
    assert "2026-01-31T12.00.00.000Z" in page
    assert page.count("2026-01-30") == len(VARIANTS)
    assert "none is blood" in page
    assert "https://…@host/cells.zip?…#…" in page
    assert "s3cret" not in page


# Whose predictions and metrics these are

METADATA = metadata(
    training_id="beef",
    versions={},
    selected={"stage": "stage_2", "epoch": 3},
    calibration={"temperature": 1.5, "threshold": 0.5},
    data={"fingerprint": "f00d", "phantom": True},
)
NOW = SimpleNamespace(metadata=METADATA, state={})
OTHERS = {
    "training": changed(METADATA, training_id="cafe"),
    "stage": changed(METADATA, selected={"stage": "stage_1", "epoch": 3}),
    "epoch": changed(METADATA, selected={"stage": "stage_2", "epoch": 2}),
    "temperature": changed(METADATA, calibration={"temperature": 1.4, "threshold": 0.5}),
}
RUN_AGAIN = (
    r"the classifier small is of training beef, stage_2, epoch 3, temperature 1\.5: .*kedro run --pipelines reporting"
)


def through_disk(folder: Path, name: str, data):
    """Return data as the catalog gives them to the next node, possibly in a later run."""
    text = (Path(__file__).parents[2] / "conf" / "base" / "catalog.yml").read_text()
    catalog = DataCatalog.from_config(yaml.safe_load(text.replace("${globals:data_dir}", folder.as_posix())))
    catalog.save(f"small.{name}", data)
    return catalog.load(f"small.{name}")


def made_by(monkeypatch, about) -> tuple[pd.DataFrame, PredictionCost]:
    """Return what the node predict_cells makes with such a classifier: predictions and their cost."""
    p = [0.9, 0.2, 0.4, 0.1]
    labels = ["Parasitized", "Uninfected"] * 2
    columns = {"cell_id": list("abcd"), "patient_id": ["C1", "C1", "C2", "C2"], "split": "valid", "label": labels}
    table = pd.DataFrame(columns | {"p_parasitized": p, "loss": 0.1, "p_calibrated": p})
    monkeypatch.setattr("malaria_kedro.learning.prediction.predict_cells", lambda *_: table.copy())
    bunch = SimpleNamespace(verify=lambda: None)
    return nodes.predict_cells(
        SimpleNamespace(metadata=about), bunch, Evaluation(), Training(device="cpu", num_threads=1)
    )


@pytest.fixture
def put_together(tmp_path, monkeypatch):
    """Return the node measure_predictions with the classifier of now; others may have made what it is given."""

    def measure(*, predictions=METADATA, cost=METADATA, patients=None):
        table = through_disk(tmp_path / "p", "predictions", made_by(monkeypatch, predictions)[0])
        its_cost = through_disk(tmp_path / "c", "prediction_cost", made_by(monkeypatch, cost)[1])
        own = made_by(monkeypatch, METADATA)[0]
        patients = nodes.summarise_patients(own, NOW, Evaluation()) if patients is None else patients
        patients = through_disk(tmp_path / "t", "patients", patients)
        return nodes.measure_predictions(table, its_cost, patients, NOW, Evaluation(bootstrap_draws=100))

    return measure


def test_predictions_of_the_classifier_are_measured_and_the_metrics_tell_whose_they_are(put_together, tmp_path):
    metrics = through_disk(tmp_path, "metrics", put_together())
    found = metrics.classifier
    assert (found.training_id, found.stage, found.epoch) == ("beef", "stage_2", 3)
    nodes.check_made_by(found, "metrics", METADATA)


@pytest.mark.parametrize("other", OTHERS)
def test_predictions_of_another_classifier_are_not_measured(put_together, other):
    with pytest.raises(nodes.ReportingError, match=f"^predictions are of training .*, and {RUN_AGAIN}"):
        put_together(predictions=OTHERS[other])
    with pytest.raises(nodes.ReportingError, match=f"^prediction costs are of training .*, and {RUN_AGAIN}"):
        put_together(cost=OTHERS[other])


def test_patients_of_other_predictions_are_not_measured(put_together, monkeypatch):
    others = made_by(monkeypatch, METADATA)[0].assign(p_calibrated=0.9)
    patients = nodes.summarise_patients(others, NOW, Evaluation())
    words = r"patients \(2 rows, 4 flagged\) are not those of predictions at 0\.5 \(2 rows, 1 flagged\)"
    with pytest.raises(nodes.ReportingError, match=words):
        put_together(patients=patients)


def test_the_node_draw_patients_draws_the_patients_of_the_table(monkeypatch):
    table = nodes.summarise_patients(made_by(monkeypatch, METADATA)[0], NOW, Evaluation())
    figure = figure_nodes.draw_patients(table, NOW, Evaluation(), Report())
    assert figure.get_suptitle() == "small: patients"


class Marked(gettext.NullTranslations):
    """A language whose texts are the English ones in brackets."""

    def gettext(self, message: str) -> str:
        return f"[{message}]"


def test_a_figure_is_drawn_in_the_language_of_the_report(monkeypatch):
    table = nodes.summarise_patients(made_by(monkeypatch, METADATA)[0], NOW, Evaluation())
    monkeypatch.setattr("malaria_kedro.language._translations", lambda language: {"fr": Marked()}[language])
    figure = figure_nodes.draw_patients(table, NOW, Evaluation(), Report(language="fr"))
    assert figure.get_suptitle() == "[small: [patients]]"
    assert figure.axes[0].get_xlabel() == "[labelled parasitaemia]"
    assert current_language() == "en"


def test_predictions_that_tell_nothing_are_refused(monkeypatch):
    predictions = made_by(monkeypatch, METADATA)[0]
    predictions.attrs = {}
    with pytest.raises(nodes.ReportingError, match=f"^predictions do not tell of which classifier .*, and {RUN_AGAIN}"):
        nodes.summarise_patients(predictions, NOW, Evaluation())


JUDGED = [
    node
    for node in create_pipeline(("small",)).nodes
    if "small.classifier" in node.inputs and {"small.predictions", "small.metrics"} & set(node.inputs)
]


@pytest.mark.parametrize("node", JUDGED, ids=lambda node: node.name)
def test_no_node_puts_others_predictions_or_metrics_under_a_classifiers_name(monkeypatch, node):
    given = {
        "small.predictions": made_by(monkeypatch, OTHERS["epoch"])[0],
        "small.metrics": SimpleNamespace(classifier=nodes.identify(OTHERS["epoch"])),
        "small.classifier": NOW,
        "params:evaluation": Evaluation(),
        "params:report": Report(),
    }
    with pytest.raises(nodes.ReportingError, match=f" are of training beef, stage_2, epoch 2, .*, and {RUN_AGAIN}"):
        node.run({name: given.get(name) for name in node.inputs})
