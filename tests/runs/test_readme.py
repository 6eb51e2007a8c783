"""The commands of README and documentation work word for word, on a small copy of the project; so does other code."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest
import yaml
from PIL import Image
from project import Project

from malaria_kedro.cells.phantoms import draw_archive
from malaria_kedro.learning.interruption import EXIT_UNFINISHED
from malaria_kedro.names import patient_of
from malaria_kedro.parameters import Phantoms, Variant

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Notebooks have tests of their own.
NOTEBOOKS = {notebook.stem.replace("_", "-") for notebook in (ROOT / "notebooks").glob("*.ipynb")}
PAGES = {"README": README} | {
    page.stem: page.read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").glob("*.md"))
    if page.stem not in NOTEBOOKS
}
EVERYTHING = "\n".join(PAGES.values())


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language, of the README and of the documentation."""
    return re.findall(rf"```{language}\n(.*?)```", EVERYTHING, flags=re.DOTALL)


def commands_of(text: str) -> list[list[str]]:
    """Return the kedro commands of a text, block by block; blocks without any are left out."""
    found = [
        [line for line in block.splitlines() if line.startswith("kedro ")]
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    ]
    return [commands for commands in found if commands]


SECTIONS = {
    f"{page}: {text.splitlines()[0]}": text
    for page, content in PAGES.items()
    for text in re.split(r"^#{1,2} ", content, flags=re.MULTILINE)[1:]
}
# What a reader has done before any other section, in this order.
FIRST = "README: Two commands"
FIRST_COMMANDS = [command for commands in commands_of(SECTIONS[FIRST]) for command in commands]
BLOCKS = {
    f"{section} {number}": commands
    for section, text in SECTIONS.items()
    if section != FIRST
    for number, commands in enumerate(commands_of(text), start=1)
}


def follow(project: Project, commands: list[str]) -> None:
    """Type commands, one after another."""
    for command in commands:
        done = project.run(*command.split())
        allowed = {0, EXIT_UNFINISHED} if "epochs_per_run" in command else {0}
        assert done.returncode in allowed, f"{command}\n{done.stdout[-4000:]}"
        assert "TRIED THE NETWORK" not in done.stdout, command


def put_tables_beside(archive: Path) -> None:
    """Write what a reader with tables has: images in one folder, their labels, and the lists of the NIH."""
    folder, of_patient = archive.parent, {}
    with zipfile.ZipFile(archive) as bundle, zipfile.ZipFile(folder / "my_cells.zip", "w") as flat:
        paths = [PurePosixPath(name) for name in bundle.namelist() if name.endswith(".png")]
        for path in paths:
            flat.writestr(path.name, bundle.read(str(path)))
            of_patient.setdefault(patient_of(path.name), []).append(path.name)
    rows = [f"{path.name},{path.parent.name},{patient_of(path.name)}" for path in paths]
    (folder / "labels.csv").write_text("\n".join(["file,label,patient", *rows]))
    lists = [f"{patient}ThinF,{names},," for patient, names in of_patient.items()]
    for number in (0, 1):
        (folder / f"patientid_cellmapping_{number}.csv").write_text("\n".join(lists[number::2]))


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Project:
    """The project of a reader who has followed the first section: a demo, and a training on the archive."""
    project = Project(tmp_path_factory.mktemp("reader"))
    draw_archive(Phantoms(patients=8, cells_per_patient=12, size=32), project.folder / "cell_images.zip")
    put_tables_beside(project.folder / "cell_images.zip")
    project.kedro("run", "--env", "demo", "--to-outputs", "databunch")  # `make run` has been there
    follow(project, FIRST_COMMANDS)
    return project


@pytest.mark.parametrize("block", BLOCKS)
def test_the_commands_of_a_block_run_whatever_other_sections_did(reader, block, tmp_path):
    follow(reader.copied_to(tmp_path / "project"), BLOCKS[block])


def test_the_first_section_leaves_a_report(reader):
    assert list(reader.folder.glob("data/08_reporting/report.html/*/report.html"))


def test_every_command_is_run():
    tested = [*FIRST_COMMANDS, *(command for commands in BLOCKS.values() for command in commands)]
    assert sorted(tested) == sorted(
        line for line in "\n".join(blocks("bash")).splitlines() if line.startswith("kedro ")
    )
    assert len(tested) >= 10
    assert {"make run", "make test"} <= {line for block in blocks("bash") for line in block.splitlines()}


def test_the_verbs_are_in_the_makefile():
    verbs = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", EVERYTHING)) <= verbs


def test_the_recipe_of_a_third_variant_is_valid():
    (block,) = (yaml.safe_load(text) for text in blocks("yaml"))
    Variant.model_validate(block["resnet50"])


def test_the_lines_that_use_a_classifier_work(demo_copy):
    Image.new("RGB", (40, 60), "pink").save(demo_copy.folder / "cell.png")
    (code,) = blocks("python")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code + "\nassert 0 <= p_parasitized <= 1\nimport sys; assert 'kedro' not in sys.modules",
        ],
        cwd=demo_copy.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
