"""The benchmark on a handful of cells: parts by name, tables, and results that say where their figures come from.

No test looks at how long anything takes: that is what the benchmark is for.
"""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pytest

from malaria_kedro.cells.phantoms import draw_archive
from malaria_kedro.cells.unpack import read_folder
from malaria_kedro.parameters import Phantoms

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PARTS = ("training_step", "epoch", "inference", "start_up", "memory")


def load(name: str):
    """Load a file of benchmarks/, which is not a package; the files import each other as scripts do."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def as_scripts():
    """Let the files find each other, for as long as this module runs."""
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))
    for name in ("bench", "measuring", "records", *PARTS):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def measuring(as_scripts):
    """The module that all parts share."""
    return load("measuring")


@pytest.fixture(scope="module")
def saved(as_scripts, measuring, tmp_path_factory) -> dict:
    """What a tiny run of two parts saves, by subject."""
    folder = tmp_path_factory.mktemp("bench") / "new"
    tiny = ["--size", "32", "--rounds", "1", "--cells", "24", "--steps", "1", "--batch-size", "4"]
    load("bench").main(["training_step", "inference", *tiny, "--backends", "torch", "onnx-int8", "--save", str(folder)])
    return {path.stem: measuring.read_results(path).measurements for path in folder.iterdir()}


def test_parts_are_listed_without_a_measurement():
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "bench.py", "--list"], capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(PARTS)


def test_an_unknown_part_is_named(as_scripts):
    with pytest.raises(SystemExit, match=r"speed: no such part; known are training_step"):
        load("bench").main(["speed"])


def test_each_part_has_a_file_and_each_setting_a_measurement(saved):
    assert list(saved["training_step"]) == ["training_step, 32 px"]
    arrays, files = saved["inference"].values()
    assert [arrays.what, files.what] == ["inference on arrays", "inference from files"]


def test_a_measurement_tells_command_hardware_versions_and_cells(saved):
    for measurement in saved["inference"].values():
        assert measurement.command.startswith("python benchmarks/")
        assert "thread" in measurement.hardware
        assert {"python", "torch", "fastai", "kedro"} <= measurement.versions.keys()
        assert measurement.data == "phantom cells"


def test_every_figure_is_finite_and_beside_a_peer(saved):
    for measurements, peer in ((saved["training_step"], "bare"), (saved["inference"], "learn.get_preds")):
        for measurement in measurements.values():
            assert any(peer in name and "ratio" in row for name, row in measurement.rows.items())
            for row in measurement.rows.values():
                for figure in row.values():
                    assert figure.n == 1
                    assert math.isfinite(figure.value)


def test_rounds_take_turns_and_the_first_does_not_count(measuring):
    called = []
    found = measuring.alternate({name: lambda name=name: called.append(name) or len(called) for name in "ab"}, 2)
    assert called == ["b", "a", "a", "b", "b", "a"]
    assert found == {"a": [3, 6], "b": [4, 5]}


def test_cells_of_an_archive_are_repeated_under_names_of_other_patients(measuring, tmp_path):
    given = draw_archive(Phantoms(patients=4, cells_per_patient=4, size=24), tmp_path / "given.zip")
    archive = measuring.make_archive(measuring.Options(archive=given), 48, tmp_path / "cells.zip")
    measuring.unpack_cells(archive, tmp_path)
    cells = read_folder(tmp_path / "02_intermediate")
    assert sum(cells.counts.values()) == 48
    assert measuring.index_folder(cells)["patient_id"].nunique() == 12


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_the_peak_of_a_process_holds_its_children_and_no_mapped_file(measuring, tmp_path):
    mapped = tmp_path / "mapped"
    mapped.write_bytes(bytes(100_000_000))
    child = "import time; held = bytearray(b'1') * 60_000_000; time.sleep(1)"
    parent = (
        "import mmap, subprocess, sys; file = open(sys.argv[1], 'rb'); "
        "pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); sum(pages[::4096]); "
        "subprocess.run([sys.executable, '-c', sys.argv[2]])"
    )
    peak = measuring.peak_memory([sys.executable, "-c", parent, str(mapped), child], tmp_path, {})
    assert 60 < peak.own < 140
    assert peak.total > 160


def test_a_process_that_fails_is_told_with_its_last_words(measuring, tmp_path):
    with pytest.raises(RuntimeError, match="out of luck"):
        measuring.peak_memory([sys.executable, "-c", "raise SystemExit('out of luck')"], tmp_path, {})
