"""Every file that a finished run leaves in data/, damaged or unwritable: one sentence with the file and the command."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from kedro.framework.project import configure_project
from kedro.io import AbstractVersionedDataset, DataCatalog
from project import Project

from malaria_kedro.cli.errors import find_user_error
from malaria_kedro.hooks import StoredDataHooks
from malaria_kedro.machine import MachineError
from malaria_kedro.pipeline_registry import register_pipelines
from malaria_kedro.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

# What ``kedro run`` makes, of one of the two networks.
MADE = sorted(name for name in register_pipelines()["__default__"].all_outputs() if not name.startswith("resnet34."))
GARBAGE = bytes(range(256)) * 4
DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "cut by a byte": lambda content: content[:-1],
    "emptied": lambda content: b"",
    "garbage": lambda content: GARBAGE,
    "removed": lambda content: None,
}
# Text for people, which nothing is computed from: half a page is a page. README.md is theirs to complete.
FOR_PEOPLE = ("model_summary.txt", "model_card.md", "report.html", "README.md")


@pytest.fixture(scope="module")
def stored(demo: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished demo that belongs to this module."""
    return demo.copied_to(tmp_path_factory.mktemp("stored") / "demo")


def entries(project: Project) -> dict[str, dict]:
    """Return the entries of the project's catalog, with absolute paths."""
    loader = CONFIG_LOADER_CLASS(str(project.folder / "conf"), env="demo", **CONFIG_LOADER_ARGS)
    found = loader["catalog"]
    return {
        name: entry | ({"filepath": str(project.folder / entry["filepath"])} if "filepath" in entry else {})
        for name, entry in found.items()
    }


def catalog_of(project: Project) -> DataCatalog:
    return DataCatalog.from_config(entries(project), save_version="2999-01-01T00.00.00.000Z")


@dataclass(frozen=True)
class Stored:
    """A dataset and a file of what it loads."""

    name: str
    file: Path


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


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", MADE)
def test_a_damaged_file_is_named_with_the_command_that_makes_it_again(stored: Project, name, damage) -> None:
    configure_project("malaria_kedro")
    told = 0
    for file in files_of(catalog_of(stored), name):
        if file.name in FOR_PEOPLE:
            continue
        catalog = catalog_of(stored)
        with damaged(file, damage):
            if damage == "removed" and not catalog.exists(name):
                told += 1  # a run says so before it begins
                continue
            with pytest.raises(Exception) as caught:  # noqa: PT011, whichever it is, it must be the user's
                catalog.load(name)
            StoredDataHooks().on_pipeline_error(caught.value, {"env": "demo"}, catalog)
        said = str(find_user_error(caught.value))
        assert find_user_error(caught.value) is not None, (file, caught.value)
        assert "\n" not in said, said
        assert str(file.parent) in said, said
        assert "kedro run --" in said, said
        told += 1
    assert told or any(file.name in FOR_PEOPLE for file in files_of(catalog_of(stored), name))


@contextmanager
def small_files() -> Iterator[None]:
    """Let no file be larger than a few bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", MADE)
def test_what_the_disk_cannot_hold_is_named_and_what_was_there_stays(stored: Project, name, tmp_path) -> None:
    entry = entries(stored).get(name) or {}
    catalog = catalog_of(stored)
    value = catalog.load(name)
    if name == "cell_pixels":  # it loads as an array and saves what is to be decoded
        pytest.skip("its dataset's own tests fill the disk")
    before = {file: file.stat() for file in files_of(catalog, name)}
    if isinstance(value, bytes):  # figures load as PNG and save what matplotlib has drawn
        from matplotlib.figure import Figure

        value = Figure()
    with small_files(), pytest.raises(Exception) as caught:  # noqa: PT011, see above
        catalog.save(name, value)
    found = find_user_error(caught.value)
    assert isinstance(found, MachineError), found
    place = Path(catalog.get(name)._filepath)
    assert str(place) in str(found)
    assert "(File too large); " in str(found)
    assert {file: file.stat() for file in files_of(catalog_of(stored), name)} == before, entry
