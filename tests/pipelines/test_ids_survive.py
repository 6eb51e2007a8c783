"""An id is text from the name of a file to the last table: through every kind of file of the catalog, and back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog
from PIL import Image as Picture

from malaria_kedro.cells.exclusions import exclude_cells, read_exclusions
from malaria_kedro.cells.index import index_cells
from malaria_kedro.cells.pixels import decode_cells
from malaria_kedro.cells.splits import shared_patients, split_cells
from malaria_kedro.evaluation.colour_baseline import predict_from_colour
from malaria_kedro.evaluation.label_noise import audit_labels
from malaria_kedro.evaluation.patients import patient_table
from malaria_kedro.learning.databunch import make_databunch
from malaria_kedro.parameters import Augment, Image, Split

CATALOG = Path(__file__).parents[2] / "conf" / "base" / "catalog.yml"
# Each is another patient, and none of them is nobody.
PATIENTS = [
    *("001", "01", "1", "1.0", "1e5", "100000", "True", "true", "inf", "-", "-1", "=1+1", "'=1+1", "@x"),
    *("NA", "nan", "NaN", "null", "None", "<NA>", " ", "  x", "x", "a,b", 'a"b', "a\nb", "患者"),
]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> DataCatalog:
    """The project's catalog over an empty data folder."""
    data = tmp_path_factory.mktemp("data")
    return DataCatalog.from_config(yaml.safe_load(CATALOG.read_text().replace("${globals:data_dir}", data.as_posix())))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two cells of each class of each patient, and of nobody."""
    root = tmp_path_factory.mktemp("cells")
    for label, level in (("Parasitized", 60), ("Uninfected", 200)):
        (root / label).mkdir()
        for number, patient in enumerate([*PATIENTS, None]):
            for cell in range(2):
                pixels = np.full((16, 16, 3), level, dtype=np.uint8)
                pixels[cell, number % 8] = number
                name = f"{label[0]}{cell}.png" if patient is None else f"{patient}__{label[0]}{cell}.png"
                Picture.fromarray(pixels).save(root / label / name)
    return root


@pytest.fixture(scope="module")
def run(catalog, root) -> DataCatalog:
    """The catalog after what a run makes of them: index, split, pixels, databunch, predictions, patients, audit."""
    catalog.save("cell_index", index_cells(root, patient_pattern=r"(?s)^(.*)__"))
    split = Split(strategy="random", valid_pct=0.5, test_pct=0.2, seed=1)
    catalog.save("cell_splits", split_cells(catalog.load("cell_index"), split))
    catalog.save("cell_pixels", decode_cells(root, catalog.load("cell_index"), Image(size=32)))
    bunch = make_databunch(
        *(catalog.load(name) for name in ("cell_index", "cell_splits", "cell_pixels")),
        **{"augment": Augment(), "split": split, "origin": "cells", "phantom": False},
    )
    catalog.save("databunch", bunch)
    catalog.save("resnet18.predictions", predict_from_colour(catalog.load("databunch")))
    predictions = catalog.load("resnet18.predictions")
    catalog.save("resnet18.patients", patient_table(predictions, threshold=0.5, column="p_parasitized"))
    catalog.save("label_audit", audit_labels(predictions))
    return catalog


def test_each_patient_of_the_index_is_one_and_nobody_is_nobody(run):
    index = run.load("cell_index")
    assert index["patient_id"].value_counts(dropna=False).to_dict() == dict.fromkeys([*PATIENTS, np.nan], 4)
    assert set(index["cell_id"]) >= {"NA__P0", "001__U1", "  x__P1", "P0"}


def test_the_databunch_and_the_predictions_have_the_same_ids(run):
    patient_of = run.load("cell_index").set_index("cell_id")["patient_id"]
    for table in (run.load("databunch").cells, run.load("resnet18.predictions")):
        pd.testing.assert_series_equal(
            table["patient_id"], patient_of.loc[table["cell_id"]].reset_index(drop=True), check_names=False
        )
    assert run.load("databunch").summary.n_patients == len(PATIENTS)
    assert max(shared_patients(run.load("databunch").cells).values()) <= len(PATIENTS)


def test_the_table_of_patients_has_a_row_for_each_that_was_predicted_and_none_for_nobody(run):
    predictions = run.load("resnet18.predictions")
    table = run.load("resnet18.patients")
    for split, rows in table.groupby("split"):
        there = predictions.loc[predictions["split"] == split, "patient_id"].dropna()
        assert rows.set_index("patient_id")["cells"].to_dict() == there.value_counts().to_dict()


def test_cells_of_the_audit_can_be_left_out_by_its_own_file(run):
    audit = run.load("label_audit")
    file = max(Path(str(run.get("label_audit")._get_load_path())).parent.glob("*.csv"))
    index = exclude_cells(run.load("cell_index"), read_exclusions(file), "label_audit.csv")
    assert set(index.loc[index["excluded"] != "", "cell_id"]) == set(audit["cell_id"])


def test_kedro_viz_is_shown_the_same_ids(run):
    for name in ("cell_index", "resnet18.predictions", "resnet18.patients", "label_audit"):
        preview = run.get(name).preview(nrows=1000)
        shown = [row[preview["columns"].index("patient_id")] for row in preview["data"]]
        assert {patient for patient in shown if isinstance(patient, str)} <= set(PATIENTS)
        assert len({patient for patient in shown if isinstance(patient, str)}) > len(PATIENTS) / 2


def test_the_figure_names_them_on_its_axis(run):
    from malaria_kedro.figures.patients import draw_patients
    from malaria_kedro.figures.style import Look

    table = run.load("resnet18.patients").assign(healthy=True, false_positive_rate=0.1)
    figure = draw_patients(table, Look(title="NA"))
    healthy = figure.axes[1]
    valid = set(table.loc[table["split"] == "valid", "patient_id"])
    assert {label.get_text() for label in healthy.get_xticklabels()} == valid
