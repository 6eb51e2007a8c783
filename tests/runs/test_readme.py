"""The README's commands work word for word, on a small copy of the project; its other code works too."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from project import Project

from malaria_kedro.cells.phantoms import draw_archive
from malaria_kedro.learning.interruption import EXIT_UNFINISHED
from malaria_kedro.parameters import Phantoms, Variant

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("kedro ")]


@pytest.fixture(scope="module")
def readers_project(tmp_path_factory):
    """The project of a reader who follows the README from top to bottom."""
    project = Project(tmp_path_factory.mktemp("reader"))
    draw_archive(Phantoms(patients=8, cells_per_patient=12, size=32), project.folder / "cell_images.zip")
    project.kedro("run", "--env", "demo", "--to-outputs", "databunch")  # `make run` has been there
    return project


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(readers_project, command):
    done = readers_project.run(*command.split())
    allowed = {0, EXIT_UNFINISHED} if "epochs_per_run" in command else {0}
    assert done.returncode in allowed, done.stdout[-4000:]
    assert "TRIED THE NETWORK" not in done.stdout


def test_the_readme_has_commands():
    assert len(COMMANDS) >= 4
    assert {"make run", "make test"} <= {line for block in blocks("bash") for line in block.splitlines()}


def test_the_verbs_of_the_readme_are_in_the_makefile():
    verbs = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", README)) <= verbs


def test_make_run_runs_the_demo_and_says_where_things_are(new_project):
    ready = new_project.folder / ".venv" / ".ready"
    # The environment that runs this test stands for the one that `make` would set up.
    done = new_project.run(
        "make", "run", f"BIN={Path(sys.executable).parent}", "-o", str(ready.relative_to(new_project.folder))
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.search(r"^report +data/demo/08_reporting/report.html/.*/report.html$", done.stdout, re.MULTILINE)


def test_the_recipe_of_a_third_variant_is_valid():
    (block,) = (yaml.safe_load(text) for text in blocks("yaml"))
    Variant.model_validate(block["resnet50"])


def test_the_lines_that_use_a_classifier_work(demo):
    Image.new("RGB", (40, 60), "pink").save(demo.folder / "cell.png")
    (code,) = blocks("python")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code + "\nassert 0 <= p_parasitized <= 1\nimport sys; assert 'kedro' not in sys.modules",
        ],
        cwd=demo.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_the_readme_links_to_is_there():
    local = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    headings = re.findall(r"^#+ (.+)$", README, flags=re.MULTILINE)
    # A heading's anchor as the usual hosts of repositories make it.
    anchors = {"#" + re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert local
    assert [target for target in local if target not in anchors and not (ROOT / target).exists()] == []
