"""Every file that a finished run leaves in data/, damaged or unwritable: one sentence with the file and the command."""

from __future__ import annotations

import copy
import itertools
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pytest
from kedro.framework.project import configure_project
from kedro.io import AbstractVersionedDataset, DataCatalog
from matplotlib.figure import Figure
from project import Project

from malaria_kedro.cli.errors import find_user_error
from malaria_kedro.evaluation.label_noise import audit_labels
from malaria_kedro.hooks import StoredDataHooks
from malaria_kedro.inference.results import SCHEMA, Results, patient_summary, write_part
from malaria_kedro.machine import MachineError
from malaria_kedro.pipeline_registry import register_pipelines
from malaria_kedro.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

# What ``kedro run`` makes, of one of the two networks.
MADE = sorted(name for name in register_pipelines()["__default__"].all_outputs() if not name.startswith("resnet34."))
GARBAGE = bytes(range(256)) * 4
DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "cut at its end": lambda content: content[:-10],
    "emptied": lambda content: b"",
    "garbage": lambda content: GARBAGE,
    "removed": lambda content: None,
}
# Of what the other pipelines make, one of each kind of dataset that is not among these, and all tables.
OTHERS = ("resnet18.learning_rate_suggestion", "label_audit", "cell_predictions", "patient_summary")
# Tables that are cut exactly at the end of a line look whole.
DAMAGES |= {"a line short": lambda content: b"".join(content.splitlines(keepends=True)[:-1])}
SMALL = 1_000_000  # bytes; weights are hashed whenever they are read, and are damaged in two ways only
# For people, and nothing is computed from it: half a page is a page. README.md is theirs to complete.
FOR_PEOPLE = ("model_summary.txt", "model_card.md", "report.html", "README.md", "cell_predictions.csv")


@pytest.fixture(scope="module")
def stored(demo: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished demo that belongs to this module."""
    return demo.copied_to(tmp_path_factory.mktemp("stored") / "demo")


@pytest.fixture(scope="module")
def entries(stored: Project) -> dict[str, dict]:
    """The entries of the project's catalog, with absolute paths."""
    loader = CONFIG_LOADER_CLASS(str(stored.folder / "conf"), env="demo", **CONFIG_LOADER_ARGS)
    return {
        name: entry | ({"filepath": str(stored.folder / entry["filepath"])} if "filepath" in entry else {})
        for name, entry in loader["catalog"].items()
    }


@pytest.fixture(scope="module")
def others(entries: dict[str, dict], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Store what the other pipelines make, of few rows."""
    catalog = DataCatalog.from_config(copy.deepcopy(entries), save_version="2026-01-01T00.00.00.000Z")
    parts = tmp_path_factory.mktemp("parts")
    rows = {"path": ["a.png", "b.png"], "patient_id": ["C1", None], "p_parasitized": [0.9, None]}
    rows |= {"call": ["Parasitized", ""], "quality": ["", "unreadable"], "reason": ["", "the file is empty"]}
    rows |= {"width": [50, None], "height": [50, None], "label": [None, None]}
    write_part(parts, 0, pa.Table.from_pydict(rows, schema=SCHEMA))
    found = Results(parts, 2)
    catalog.save("cell_predictions", found)
    catalog.save("patient_summary", patient_summary(found.frames()))
    catalog.save("label_audit", audit_labels(catalog.load("resnet18.predictions")))
    catalog.save("resnet18.learning_rate_suggestion", {"valley": 0.01})


@pytest.fixture
def catalog(entries: dict[str, dict]) -> DataCatalog:
    return DataCatalog.from_config(copy.deepcopy(entries), save_version="2999-01-01T00.00.00.000Z")


def files_of(catalog: DataCatalog, name: str) -> list[Path]:
    """Return the files that a dataset loads from; of the images, one."""
    dataset = catalog.get(name)
    place = Path(dataset._get_load_path() if isinstance(dataset, AbstractVersionedDataset) else dataset._filepath)
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    images = [path for path in files if path.suffix == ".png" and path != place]
    return [path for path in files if path not in images[1:] and not path.name.startswith(".")]


@contextmanager
def damaged(file: Path, damage: str) -> Iterator[None]:
    """Damage a file; it may be a hard link, so it is replaced and not written to."""
    kept = file.with_name(f"{file.name}.kept")
    content = DAMAGES[damage](file.read_bytes())
    os.rename(file, kept)
    try:
        if content is not None:
            file.write_bytes(content)
        yield
    finally:
        os.replace(kept, file)


def load_error(catalog: DataCatalog, name: str) -> Exception | None:
    """Return what loading a dataset raises, as a run would tell it; None = it is loaded."""
    catalog.release(name)
    try:
        catalog.load(name)
    except Exception as error:
        StoredDataHooks().on_pipeline_error(error, {"env": "demo"}, catalog)
        return error
    return None


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("name", [*MADE, *OTHERS])
def test_a_damaged_file_is_named_with_the_command_that_makes_it_again(catalog: DataCatalog, name) -> None:
    configure_project("malaria_kedro")
    assert load_error(catalog, name) is None
    place = Path(catalog.get(name)._filepath)
    files = [file for file in files_of(catalog, name) if file.name not in FOR_PEOPLE]
    for file, damage in itertools.product(files, DAMAGES):
        if file.stat().st_size > SMALL and damage not in ("truncated", "removed"):
            continue
        if damage == "a line short" and place.suffix != ".csv":
            continue
        with damaged(file, damage):
            if damage == "removed" and not catalog.exists(name):
                continue  # a run says so before it begins
            error = load_error(catalog, name)
        told = find_user_error(error)
        assert told is not None, (file, damage, error)
        said = str(told)
        assert "\n" not in said, said
        assert any(str(part) in said for part in (file, *file.parents) if part.is_relative_to(place)), said
        assert "kedro run --env demo --pipelines " in said, said


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("name", ["cell_index", "resnet18.history", "resnet18.metrics", "resnet18.roc_curve", "report"])
def test_a_folder_in_the_place_of_a_file_is_named(catalog: DataCatalog, name) -> None:
    (file, *_) = files_of(catalog, name)
    with damaged(file, "removed"):
        file.mkdir()
        error = load_error(catalog, name)
        file.rmdir()
    assert str(find_user_error(error)).startswith(
        f"{file} cannot be used (Is a directory); a folder lies where a file is"
    )


@contextmanager
def small_files() -> Iterator[None]:
    """Let no file be larger than a few bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", [name for name in MADE if name != "cell_pixels"])  # it has tests of its own
def test_what_the_disk_cannot_hold_is_named_and_what_was_there_stays(catalog: DataCatalog, name) -> None:
    value = catalog.load(name)
    if isinstance(value, bytes):  # figures load as PNG and save what matplotlib has drawn
        value = Figure()
    before = {file: file.stat() for file in files_of(catalog, name)}
    with small_files(), pytest.raises(Exception) as caught:  # noqa: PT011, it must be the user's
        catalog.save(name, value)
    found = find_user_error(caught.value)
    assert isinstance(found, MachineError), found
    assert str(Path(catalog.get(name)._filepath).with_suffix("")) in str(found)  # a figure is two files
    assert "(File too large); " in str(found)
    catalog.release(name)
    assert {file: file.stat() for file in files_of(catalog, name)} == before


def test_a_file_that_another_process_could_not_read_is_named_with_the_command(catalog: DataCatalog) -> None:
    configure_project("malaria_kedro")
    catalog.release("cell_splits")
    file = Path(catalog.get("cell_splits")._filepath)
    with damaged(file, "truncated"), ProcessPoolExecutor(1, get_context("fork")) as process:
        error = process.submit(catalog.get("cell_splits").load).exception()
    StoredDataHooks().on_pipeline_error(error, {"env": "demo"}, catalog)
    said = str(find_user_error(error))
    assert said.startswith(f"{file} cannot be read (")
    assert said.endswith("(kedro run --env demo --pipelines data_engineering)")
