"""The tables of cells are checked on every save and load, by the catalog of conf/base."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DataCatalog
from kedro.validation.exceptions import DataValidationError
from pandera.errors import SchemaError

from malaria_kedro.cells.schemas import CellIndex, CellSplits
from malaria_kedro.settings import CONFIG_LOADER_CLASS

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    """The project's own entries, in another place."""
    loader = CONFIG_LOADER_CLASS(str(CONF), base_env="base", default_run_env="base")
    entries = {name: loader["catalog"][name] for name in ("cell_index", "cell_splits")}
    for entry in entries.values():
        entry["filepath"] = str(tmp_path / entry["filepath"])
    return DataCatalog.from_config(entries)


@pytest.mark.parametrize(("name", "fixture"), [("cell_index", "phantom_index"), ("cell_splits", "phantom_splits")])
def test_a_good_table_comes_back_as_it_was_saved(catalog, name, fixture, request):
    table = request.getfixturevalue(fixture)
    catalog.save(name, table)
    pd.testing.assert_frame_equal(catalog.load(name), table)


def test_unknown_patients_and_unreadable_images_come_back_as_null(catalog, phantom_index):
    table = phantom_index.copy()
    unknown = ["patient_id", "width", "height", "pixels_sha256"]
    table.loc[0, unknown] = None
    table.loc[0, "excluded"] = "unreadable: the file is empty"
    catalog.save("cell_index", table)
    assert catalog.load("cell_index").loc[0, unknown].isna().all()


@pytest.mark.parametrize(
    "path",
    [
        "Parasitized/x.png",
        "Parasitized/slide_3/deep/x.png",
        "train/Parasitized/x.png",
        "VAL/Uninfected/s/x.png",
        "x.png",
    ],
)
def test_a_path_may_have_folders_of_any_names_or_none(phantom_index, path):
    CellIndex.validate(phantom_index.head(1).assign(path=path))


@pytest.mark.parametrize("path", ["/Parasitized/x.png", "Parasitized/", "Parasitized//x.png", ""])
def test_a_path_that_is_not_below_the_root_is_refused(phantom_index, path):
    with pytest.raises(SchemaError, match="path"):
        CellIndex.validate(phantom_index.head(1).assign(path=path))


BAD_INDEX = {
    "cell_id": lambda t: t.assign(cell_id="same"),
    "path": lambda t: t.assign(path="/" + t["path"]),
    "label": lambda t: t.assign(label="healthy"),
    "slide_id": lambda t: t.assign(slide_id=""),
    "width": lambda t: t.assign(width=0),
    "height": lambda t: t.assign(height="tall"),
    "sha256": lambda t: t.assign(sha256="0a949556"),
    "pixels_sha256": lambda t: t.assign(pixels_sha256="0a949556"),
    "excluded": lambda t: t.assign(excluded=None),
    "patient_id": lambda t: t.drop(columns="patient_id"),
    "colour": lambda t: t.assign(colour="red"),
    "width and height": lambda t: t.assign(width=pd.NA),
}
BAD_SPLITS = {
    "cell_id": lambda t: pd.concat([t, t.head(1)]),
    "split": lambda t: t.assign(split="validation"),
    "patient_id": lambda t: t.assign(patient_id="C1"),
}


@pytest.mark.parametrize("column", BAD_INDEX)
def test_a_bad_index_is_refused_with_the_columns_name(catalog, phantom_index, column, tmp_path):
    with pytest.raises(DataValidationError, match=f"  - .*{column}"):
        catalog.save("cell_index", BAD_INDEX[column](phantom_index))
    assert list(tmp_path.rglob("*.parquet")) == []


@pytest.mark.parametrize("column", BAD_SPLITS)
def test_bad_splits_are_refused_with_the_columns_name(catalog, phantom_splits, column, tmp_path):
    with pytest.raises(DataValidationError, match=f"  - .*{column}"):
        catalog.save("cell_splits", BAD_SPLITS[column](phantom_splits))
    assert list(tmp_path.rglob("*.parquet")) == []


def test_a_table_spoilt_on_disk_is_refused_on_load(catalog, phantom_splits, tmp_path):
    catalog.save("cell_splits", phantom_splits)
    path = next(tmp_path.rglob("*.parquet"))
    phantom_splits.rename(columns={"split": "side"}).to_parquet(path)
    with pytest.raises(DataValidationError, match=r"  - .*split"):
        catalog.load("cell_splits")


def test_a_schema_describes_its_columns():
    assert list(CellSplits.to_schema().columns) == ["cell_id", "split"]
    assert list(CellIndex.to_schema().columns) == [
        "cell_id",
        "path",
        "label",
        "patient_id",
        "slide_id",
        "width",
        "height",
        "sha256",
        "pixels_sha256",
        "peak",
        "quality",
        "excluded",
    ]
