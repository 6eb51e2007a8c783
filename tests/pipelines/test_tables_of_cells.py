"""Tables of labels and patients through the nodes of data_engineering and the catalog, and to the databunch."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DataCatalog

from malaria_kedro.cells.tables import TableError
from malaria_kedro.cells.unpack import UnpackError
from malaria_kedro.datasets.pixels_dataset import CellPixelsDataset
from malaria_kedro.parameters import Augment, Image, Source, Split
from malaria_kedro.pipelines.data_engineering import nodes
from malaria_kedro.settings import CONFIG_LOADER_CLASS

CONF = Path(__file__).parents[2] / "conf"
SPLIT = Split(strategy="random", valid_pct=0.2, seed=1)


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    """The project's own entries, in another place."""
    loader = CONFIG_LOADER_CLASS(str(CONF), base_env="base", default_run_env="base")
    entries = {name: loader["catalog"][name] for name in ("cell_images", "cell_index")}
    for entry in entries.values():
        entry["filepath"] = str(tmp_path / entry["filepath"])
    return DataCatalog.from_config(entries)


@pytest.fixture
def source(phantom_folder, tmp_path: Path) -> Source:
    """The session's phantoms, labelled with words of the user's own."""
    words = {"Parasitized": "sick", "Uninfected": "healthy"}
    cells = phantom_folder.cells().items()
    rows = [f"{path},{words[label]},P{number % 8}" for number, (path, label) in enumerate(cells)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,patient", *rows, "gone.png,sick,P1"]))
    return Source(
        path=str(phantom_folder.root),
        labels=str(tmp_path / "labels.csv"),
        class_names={"sick": "Parasitized", "healthy": "Uninfected"},
    )


def index_of(source: Source, catalog: DataCatalog, tmp_path: Path):
    into = tmp_path / "data" / "02_intermediate" / "cell_images"
    catalog.save("cell_images", nodes.unpack_archive(nodes.choose_archive(tmp_path, source), into, source))
    catalog.save("cell_index", nodes.build_index(catalog.load("cell_images"), source))
    return catalog.load("cell_index")


def test_labels_and_patients_of_a_table_come_to_the_databunch(source, catalog, phantom_folder, tmp_path):
    index = index_of(source, catalog, tmp_path)
    assert dict(zip(index["path"], index["label"], strict=True)) == phantom_folder.cells()
    pixels = CellPixelsDataset(filepath=str(tmp_path / "pixels"))
    folder = catalog.load("cell_images")
    pixels.save(nodes.decode_cells(folder, index, Image(size=32)))
    splits = nodes.assign_splits(index, SPLIT, source)
    bunch = nodes.make_databunch(folder, index, splits, pixels.load(), Augment(), SPLIT, source, Image(size=32))
    assert bunch.summary.n_patients == 8
    assert bunch.summary.tables["rows in labels.csv"] == len(index) + 1
    assert bunch.summary.tables["rows in labels.csv without an image"] == 1
    assert bunch.summary.tables["cells whose patient is in labels.csv"] == len(index)


def test_a_table_that_has_changed_stops_the_steps_that_read_what_was_made_of_it(source, catalog, tmp_path):
    index = index_of(source, catalog, tmp_path)
    table = tmp_path / "labels.csv"
    table.write_text(table.read_text().replace("P7", "P6"))
    with pytest.raises(UnpackError, match=r"source\.labels"):
        nodes.build_index(catalog.load("cell_images"), source)
    with pytest.raises(TableError, match=r"source\.labels"):
        nodes.assign_splits(index, SPLIT, source)
    assert index_of(source, catalog, tmp_path)["patient_id"].nunique() == 7
