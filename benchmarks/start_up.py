"""What does the project add to Kedro's start? ``kedro registry list`` and an empty run, ours against bare Kedro.

    python benchmarks/bench.py start_up [--rounds 5]

Whole processes, in turns. Bare is a project made for the purpose, with an empty catalog, no hooks and one pipeline, in
the same environment and so with the same plugins. The empty run has one node that does nothing, in a copy of this
project.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from measuring import (
    EMPTY_PIPELINE,
    Options,
    Ratio,
    Row,
    Table,
    alternate,
    copy_project,
    divide,
    kedro,
    quiet_environment,
    run_quietly,
    seconds,
)

ROUNDS = 5
COMMANDS = {"kedro registry list": ("registry", "list"), "empty run": ("run", "--pipelines", "empty")}
REGISTRY = '''"""Only the empty pipeline."""

from kedro.pipeline import Pipeline


def register_pipelines():
    return {"__default__": Pipeline([])}
'''


def measure(options: Options) -> list[Table]:
    """Measure."""
    with tempfile.TemporaryDirectory() as place:
        projects = {"ours": copy_project(Path(place) / "ours"), "bare Kedro": bare_project(Path(place) / "bare")}
        measures = {
            f"{command}, {name}": starting(project, arguments)
            for command, arguments in COMMANDS.items()
            for name, project in projects.items()
        }
        found = alternate(measures, options.rounds or ROUNDS)
    ratios = []
    for command in COMMANDS:
        ours, bare = found[f"{command}, ours"], found[f"{command}, bare Kedro"]
        ratios.append(Ratio(f"{command}, ours / bare", divide(ours, bare)))
        above = [a - b for a, b in zip(ours, bare, strict=True)]
        ratios.append(Ratio(f"{command}, ours - bare", above, "<= 0.5", "s"))
    return [Table("start_up", "no cells", {}, [Row(name, "s", values) for name, values in found.items()], ratios)]


def starting(project: Path, arguments: tuple[str, ...]) -> Callable[[], float]:
    """Return a function that runs a kedro command in a project and returns the seconds."""
    environment = quiet_environment(project / "src")
    return seconds(lambda: run_quietly(kedro(*arguments), project, environment))


def bare_project(folder: Path) -> Path:
    """Write the smallest Kedro project."""
    files = {
        "pyproject.toml": '[tool.kedro]\npackage_name = "bare"\nproject_name = "bare"\nsource_dir = "src"\n'
        f'kedro_init_version = "{version("kedro")}"\n',
        ".telemetry": "consent: false\n",
        "src/bare/__init__.py": "",
        "src/bare/settings.py": "",
        "src/bare/pipeline_registry.py": REGISTRY + EMPTY_PIPELINE,
        "conf/base/catalog.yml": "",
        "conf/base/parameters.yml": "",
        "conf/local/.gitkeep": "",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
