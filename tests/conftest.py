"""Phantom cells that many tests share: drawn, unpacked, indexed, split and decoded once a session.

They are handed out as they are: a test that changes a table or a file works on a copy.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pandas as pd
import pytest

from malaria_kedro.cells.archive import CellArchive, acquire
from malaria_kedro.cells.index import index_cells
from malaria_kedro.cells.pixels import CellPixels, decode_cells
from malaria_kedro.cells.splits import split_cells
from malaria_kedro.cells.unpack import CellFolder, unpack
from malaria_kedro.learning.databunch import DataBunch, make_databunch
from malaria_kedro.names import NIH_PATIENT_PATTERN
from malaria_kedro.parameters import Augment, Image, Phantoms, Source, Split


def pytest_configure(config: pytest.Config) -> None:
    """Have SIGINT act, and give each of several workers a core of its own.

    A shell's "&" makes a command, and all that it starts, deaf to SIGINT; torch's threads spin where two processes
    share a core.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in this hook, too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file, and those of one copy of the project, on one worker: what they share is made once.

    Whole runs take longest, so they come first (``--no-loadscope-reorder`` keeps this order).
    """

    def with_the_demo(item: pytest.Item) -> bool:
        return "demo" in getattr(item, "fixturenames", ())

    for item in items:
        group = "demo" if with_the_demo(item) else str(item.path.relative_to(item.config.rootpath))
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (item.path.parent.name != "runs", not with_the_demo(item)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what is no UTF-8 in captured output, as names of files may be: workers could not hand it over."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
    return report


@pytest.fixture
def without_rights() -> Callable[..., AbstractContextManager[None]]:
    """Take rights on a file or a folder away while a block runs; who runs the tests as root is nobody meanwhile."""

    @contextmanager
    def forbidden(path: Path, left: int = 0) -> Iterator[None]:
        mode, root = path.stat().st_mode, os.geteuid() == 0
        # Only the way to the file: pytest keeps its folders to their owner.
        ways = [(way, way.stat().st_mode) for way in path.parents if root and not way.stat().st_mode & 0o001]
        for way, before in ways:
            way.chmod(before | 0o055)
        path.chmod(left)
        if root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
            path.chmod(mode)
            for way, before in ways:
                way.chmod(before)

    return forbidden


@pytest.fixture(scope="session")
def phantom_recipe() -> Phantoms:
    """64 cells of 8 patients, about 24 px per side."""
    return Phantoms(patients=8, cells_per_patient=8, size=24, seed=3)


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the session's phantoms."""
    return tmp_path_factory.mktemp("phantoms") / "data"


@pytest.fixture(scope="session")
def phantom_archive(phantom_recipe: Phantoms, phantom_data: Path) -> CellArchive:
    """The zip, in the layout of the NIH archive."""
    return acquire(Source(phantoms=phantom_recipe), phantom_data / "01_raw")


@pytest.fixture(scope="session")
def phantom_folder(phantom_archive: CellArchive, phantom_data: Path) -> CellFolder:
    """The class folders; ``phantom_folder.root`` holds ``Parasitized`` and ``Uninfected``."""
    return unpack(phantom_archive, phantom_data / "02_intermediate" / "cell_images", max_unpacked_bytes=10_000_000)


@pytest.fixture(scope="session")
def phantom_index(phantom_folder: CellFolder) -> pd.DataFrame:
    """The cell index of 64 cells, all of them used."""
    return index_cells(phantom_folder.root, patient_pattern=NIH_PATIENT_PATTERN)


@pytest.fixture(scope="session")
def phantom_split() -> Split:
    """A random split with all three parts: 43 cells to train, 12 to validate, 9 to test."""
    return Split(strategy="random", valid_pct=0.2, test_pct=0.15, seed=42)


@pytest.fixture(scope="session")
def phantom_splits(phantom_index: pd.DataFrame, phantom_split: Split) -> pd.DataFrame:
    """The table of ``phantom_split``."""
    return split_cells(phantom_index, phantom_split)


@pytest.fixture(scope="session")
def phantom_pixels(phantom_folder: CellFolder, phantom_index: pd.DataFrame, phantom_data: Path) -> CellPixels:
    """The cells at 32 px, memory-mapped."""
    from malaria_kedro.datasets.pixels_dataset import CellPixelsDataset

    dataset = CellPixelsDataset(filepath=str(phantom_data / "05_model_input" / "cell_pixels"))
    dataset.save(decode_cells(phantom_folder.root, phantom_index, Image(size=32)))
    return dataset.load()


@pytest.fixture(scope="session")
def phantom_bunch(
    phantom_index: pd.DataFrame, phantom_splits: pd.DataFrame, phantom_pixels: CellPixels, phantom_split: Split
) -> DataBunch:
    """A DataBunch of 64 phantom cells at 32 px, with the augmentation of base."""
    return make_databunch(
        phantom_index,
        phantom_splits,
        phantom_pixels,
        augment=Augment(),
        split=phantom_split,
        origin="phantom cells drawn by malaria-kedro",
        phantom=True,
    )


@pytest.fixture
def marked_language(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A language in which every text is marked while the test runs; see ``marked_language.marked``."""
    from malaria_kedro import language
    from marked_language import marked_catalogue

    cached = language._translations, language._patterns, language._retell
    monkeypatch.setattr(language, "_catalogue", lambda _language: marked_catalogue())
    for function in cached:
        function.cache_clear()
    yield "es"
    for function in cached:
        function.cache_clear()
