"""What the benchmarks share: turns, tables, results with their provenance, peak memory, cells to work on."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

import pandas as pd

from malaria_kedro.cells.archive import acquire
from malaria_kedro.cells.index import index_cells
from malaria_kedro.cells.phantoms import draw_archive
from malaria_kedro.cells.pixels import CellPixels, decode_cells
from malaria_kedro.cells.splits import split_cells
from malaria_kedro.cells.unpack import CellFolder, unpack, write_folder
from malaria_kedro.datasets.pixels_dataset import CellPixelsDataset
from malaria_kedro.learning.databunch import DataBunch, make_databunch
from malaria_kedro.names import CLASSES, NIH_PATIENT_PATTERN, is_image_name
from malaria_kedro.parameters import Augment, Image, Phantoms, Source, Split, Stage, Variant
from records import Figure, Measurement, Results, figure_of, read_results, write_results

ROOT = Path(__file__).parents[1]
# Beyond those that decide a result: what decodes, what the peers and the other backends are.
MORE_PACKAGES = (
    "fastcore",
    "kornia-rs",
    "onnx",
    "onnxruntime",
    "openvino",
    "kedro-viz",
    "kedro-telemetry",
    "kedro-datasets",
)
WARM_UP_ROUNDS = 1
PHANTOM_SIDE = 130  # px: what the cells of the NIH archive have in the middle
DRAWN_AT_MOST = 2000  # drawing takes longer than what is measured; more cells are copies under other names
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Options:
    """What the command line asks for; None leaves it to the part.

    Attributes:
        archive: a zip of cells in class folders; None draws phantom cells.
        sizes: sides of the network's input, px.
        rounds: counted rounds.
        cells: cells a part works on; of the memory part, the cells of 1x.
        steps: training steps a round.
        batch_size: cells per batch in training.
        arch: the network.
        backends: of inference; those not installed are left out.
    """

    archive: Path | None = None
    sizes: tuple[int, ...] | None = None
    rounds: int | None = None
    cells: int | None = None
    steps: int = 4
    batch_size: int | None = None
    arch: str = "resnet18"
    backends: tuple[str, ...] = ("torch", "onnx", "onnx-int8", "openvino", "openvino-int8")

    @property
    def origin(self) -> str:
        """Where the cells come from, in a word."""
        return "phantom cells" if self.archive is None else self.archive.name


@dataclass(frozen=True)
class Row:
    """One thing that was measured, once per round."""

    name: str
    unit: str
    values: list[float]


@dataclass(frozen=True)
class Ratio:
    """Two things compared within each round; ``target`` is what is claimed, and nothing is asserted."""

    name: str
    values: list[float]
    target: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """What one part measured in one setting.

    Attributes:
        per_machine: the results keep one such table per machine, where the claim depends on its kind.
    """

    part: str
    data: str
    setting: dict[str, str | int | float]
    rows: list[Row]
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    per_machine: bool = False

    def measurement(self) -> tuple[str, Measurement]:
        """Return it under its name in the results."""
        rows = {row.name: {"measured": figure_of(row.values, row.unit)} for row in self.rows}
        ratios = {ratio.name: {"ratio": figure_of(ratio.values, ratio.unit)} for ratio in self.ratios}
        measurement = measured_here(self.part, rows | ratios, self.data, self.setting, self.notes)
        size = f", {self.setting['px']} px" if "px" in self.setting else ""
        return f"{self.part}{size}{f', {measurement.hardware}' if self.per_machine else ''}", measurement

    def __str__(self) -> str:
        width = max(len(entry.name) for entry in [*self.rows, *self.ratios]) + 2
        unit = max((len(row.unit) for row in self.rows), default=0) + 2
        setting = {"of": self.data, **self.setting}
        lines = [f"{self.part}: {', '.join(f'{key} {value}' for key, value in setting.items())}"]
        lines.append(f"  {'':<{width}}{'n':>3}{'median':>12}{'min':>12}{'max':>12}")
        lines += [f"  {row.name:<{width}}{_numbers(row.values)}  {row.unit:<{unit}}".rstrip() for row in self.rows]
        for ratio in self.ratios:
            target = f"target {ratio.target}" if ratio.target else ""
            lines.append(f"  {ratio.name:<{width}}{_numbers(ratio.values)}  {target}".rstrip())
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def _numbers(values: list[float]) -> str:
    shown = "".join(f"{value:>12.4g}" for value in (statistics.median(values), min(values), max(values)))
    return f"{len(values):>3}{shown}"


# --- turns ------------------------------------------------------------------------------------------------------------


def alternate(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call every function once a round, in turns; the first round warms up and does not count.

    Every second round goes backwards, so that a machine that slows down or warms up favours nobody.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + WARM_UP_ROUNDS):
        names = list(measures)
        for name in names if number % 2 else reversed(names):
            value = measures[name]()
            if number >= WARM_UP_ROUNDS:
                found[name].append(value)
    return found


def seconds(work: Callable[[], object]) -> Callable[[], float]:
    """Return a function that does the work and tells how long it took."""

    def run() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return run


def divide(above: list[float], below: list[float]) -> list[float]:
    """Return the ratio of each round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def quickest(found: Mapping[str, list[float]], names: list[str]) -> str:
    """Return which of several took least time, by the median."""
    return min(names, key=lambda name: statistics.median(found[name]))


# --- results ----------------------------------------------------------------------------------------------------------


def save_results(folder: Path, subject: str, about: str, measurements: dict[str, Measurement]) -> Path:
    """Write measurements to ``<folder>/<subject>.json`` and return the file.

    They replace those of the same names; others stay.
    """
    path = folder / f"{subject}.json"
    before = read_results(path).measurements if path.exists() else {}
    write_results(path, Results(about=about, measurements=before | measurements))
    print(f"written: {path}")
    return path


def measured_here(
    what: str,
    rows: dict[str, dict[str, Figure]],
    data: str | None,
    setting: Mapping[str, str | int | float],
    notes: Sequence[str] = (),
    threads: int | None = None,
) -> Measurement:
    """Return figures with the command of this process, this machine, the commit, the day and the versions."""
    from malaria_kedro.learning.hardware import versions

    return Measurement(
        what=what,
        command=_command(),
        hardware=hardware_name(threads),
        data=data,
        commit=_commit(),
        stated_in=None,
        date=datetime.now(UTC).date(),
        versions=versions() | {package: found for package in MORE_PACKAGES if (found := _version(package))},
        setting=dict(setting),
        rows=rows,
        notes=list(notes),
    )


def hardware_name(threads: int | None = None) -> str:
    """Return what computes here, in a few words; without ``threads``, with all cores."""
    from malaria_kedro.learning.hardware import choose_hardware
    from malaria_kedro.parameters import Training

    hardware = choose_hardware(Training(num_threads=threads))
    number = "1 thread" if hardware.threads == 1 else f"{hardware.threads} threads"
    return f"{hardware.name}, {number}, {hardware.precision}"


def describe_machine(threads: int | None = None) -> str:
    """Return hardware and versions in one line."""
    from malaria_kedro.learning.hardware import versions

    found = versions()
    packages = ", ".join(f"{name} {found[name]}" for name in ("python", "torch", "fastai", "kedro"))
    return f"{hardware_name(threads)}; {packages}"


def _command() -> str:
    """Return the command line of this process, with the last parts of absolute paths."""
    script, *arguments = (Path(word).name if Path(word).is_absolute() else word for word in sys.argv)
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *arguments])


def _commit() -> str | None:
    """Return the commit of this project, ``-dirty`` where files differ from it; None outside a git repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# --- processes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peak:
    """The most memory that a process and its children held at one time, MB (10^6 bytes).

    Attributes:
        own: without the pages of files: a memory-mapped array and the libraries are not in it. NaN where the system
            does not tell them apart.
        total: with them.
        seconds: how long it ran.
    """

    own: float
    total: float
    seconds: float


def run_quietly(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; the message ends with the last of what it printed.
    """
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")


def peak_memory(command: list[str], folder: Path, environment: Mapping[str, str]) -> Peak:
    """Run a command and watch the memory of it and its children.

    On Linux /proc is read every 20 ms; elsewhere only the total is known, that of the largest child so far.

    Raises:
        RuntimeError: it failed.
    """
    started = time.perf_counter()
    if not Path("/proc/self/status").exists():
        import resource

        run_quietly(command, folder, environment)
        unit = 1 if sys.platform == "darwin" else 1024
        total = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e6
        return Peak(float("nan"), total, time.perf_counter() - started)
    # What it prints goes through a pipe that another thread empties: a full one would stop the process.
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    printed: list[str] = []
    reader = threading.Thread(target=lambda: printed.append(process.stdout.read()), daemon=True)
    reader.start()
    own = total = 0
    while process.poll() is None:
        found = [_resident(pid) for pid in _family(process.pid)]
        own, total = max(own, sum(part for part, _ in found)), max(total, sum(whole for _, whole in found))
        time.sleep(POLL_SECONDS)
    reader.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(printed)[-3000:]}")
    return Peak(own / 1e6, total / 1e6, time.perf_counter() - started)


def _resident(pid: int) -> tuple[int, int]:
    """Return the bytes in memory without files' pages, and with them; zeros for a process that has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    kib = {key: int(value) for key, value in re.findall(r"^(Rss\w+|VmRSS):\s+(\d+) kB", status, flags=re.MULTILINE)}
    return 1024 * (kib.get("RssAnon", 0) + kib.get("RssShmem", 0)), 1024 * kib.get("VmRSS", 0)


def _family(pid: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))


def quiet_environment(source: Path) -> dict[str, str]:
    """Return an environment for processes: the packages of ``source`` first, no reports to anyone, plain output."""
    kept = {key: value for key, value in os.environ.items() if key not in ("KEDRO_ENV", "PYTHONPATH")}
    return kept | {"PYTHONPATH": str(source), "DO_NOT_TRACK": "1", "COLUMNS": "120"}


def kedro(*arguments: str) -> list[str]:
    """Return the command line of ``kedro`` in this Python."""
    return [sys.executable, "-m", "kedro", *arguments]


EMPTY_PIPELINE = """

def nothing() -> int:
    return 0


def with_an_empty_run(register):
    def register_all():
        return register() | {"empty": Pipeline([node(nothing, None, "nothing", name="nothing")])}

    return register_all


from kedro.pipeline import Pipeline, node  # noqa: E402

register_pipelines = with_an_empty_run(register_pipelines)
"""


def copy_project(folder: Path) -> Path:
    """Copy source and configuration, with a pipeline ``empty`` added whose one node does nothing; no data.

    What runs in the copy leaves the project's own data alone.
    """
    folder.mkdir(parents=True)
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "local")
    for name in ("conf", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / ".telemetry").write_text("consent: false\n")
    (folder / "conf" / "local").mkdir()
    registry = folder / "src" / "malaria_kedro" / "pipeline_registry.py"
    registry.write_text(registry.read_text(encoding="utf-8") + EMPTY_PIPELINE, encoding="utf-8")
    return folder


# --- cells ------------------------------------------------------------------------------------------------------------


def make_archive(options: Options, cells: int, path: Path) -> Path:
    """Write a zip of exactly so many cells, taken evenly from the archive given, or else drawn.

    Where the archive has fewer, copies of its cells follow under other names, of other patients.

    Raises:
        ValueError: the archive has no image in a class folder.
    """
    source = options.archive
    if source is None:
        patients = 20
        each = max(4, -(-min(cells, DRAWN_AT_MOST) // patients))
        recipe = Phantoms(patients=patients, cells_per_patient=each, size=PHANTOM_SIDE, seed=7)
        source = draw_archive(recipe, path.with_name(f"phantoms_{recipe.patients * each}.zip"))
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as taken:
        unique = {tuple(PurePosixPath(name).parts[-2:]): name for name in given.namelist() if is_image_name(name)}
        members = sorted((label, name, member) for (label, name), member in unique.items() if label in CLASSES)
        if not members:
            raise ValueError(f"{source} has no images in folders named {' and '.join(CLASSES)}")
        n = min(cells, len(members))
        chosen = [members[i * len(members) // n] for i in range(n)]
        for number in range(cells):
            label, name, member = chosen[number % n]
            taken.writestr(f"cell_images/{label}/{_rename(name, number // n)}", given.read(member))
    return path


def _rename(name: str, copy: int) -> str:
    """Return the name of a cell's nth copy: that of another patient; the 0th is the cell itself."""
    if not copy:
        return name
    patient = re.match(r"C(\d+)(.*)", name)
    return f"C{int(patient[1]) + 10_000 * copy}{patient[2]}" if patient else f"copy{copy}_{name}"


def unpack_cells(archive: Path, folder: Path) -> CellFolder:
    """Unpack a zip below a folder, as the pipeline does."""
    source, into = Source(path=str(archive)), folder / "02_intermediate"
    cells = unpack(acquire(source, folder / "01_raw"), into, max_unpacked_bytes=source.max_unpacked_bytes)
    write_folder(cells, into)
    return cells


def index_folder(cells: CellFolder) -> pd.DataFrame:
    """Index the cells, as the pipeline does."""
    return index_cells(cells.root, patient_pattern=NIH_PATIENT_PATTERN)


def decode_folder(cells: CellFolder, index: pd.DataFrame, size: int, folder: Path) -> CellPixels:
    """Decode the cells into a memory-mapped array below a folder, as the pipeline does."""
    dataset = CellPixelsDataset(filepath=str(folder / "05_model_input" / "cell_pixels"))
    dataset.save(decode_cells(cells.root, index, Image(size=size)))
    return dataset.load()


def prepare_cells(archive: Path, folder: Path, size: int) -> tuple[CellFolder, DataBunch]:
    """Unpack, index, split at random and decode; return the files and the DataBunch, a fifth of it for validation.

    Its augmentation is flips, the eight symmetries of a square, and lighting.
    """
    cells = unpack_cells(archive, folder)
    index = index_folder(cells)
    split = Split(strategy="random", valid_pct=0.2, seed=42)
    bunch = make_databunch(
        index,
        split_cells(index, split),
        decode_folder(cells, index, size, folder),
        augment=Augment(flip_vertical=True, transpose=True),
        split=split,
        origin=cells.archive.origin,
        phantom=cells.archive.phantom,
    )
    return cells, bunch


def random_variant(arch: str, batch_size: int, rate: float) -> Variant:
    """Return a recipe that trains a network from random weights for one epoch per stage."""
    stage = Stage(epochs=1, lr_max=rate)
    return Variant(name=arch, arch=arch, pretrained="none", batch_size=batch_size, stage_1=stage, stage_2=stage, seed=0)
