"""A run may begin at any node: whatever it takes is on disk after a finished run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from project import Project

from malaria_kedro.cells.phantoms import draw_archive
from malaria_kedro.parameters import Phantoms
from malaria_kedro.pipeline_registry import register_pipelines

# Which run wrote a page, and when.
RECORD = re.compile(r'<dl class="record">.*?</dl>', re.DOTALL)


@pytest.fixture
def finished(demo, tmp_path: Path) -> Project:
    """A copy of the demo's project, with a zip of new cells."""
    copy = demo.copied_to(tmp_path / "finished")
    draw_archive(Phantoms(patients=5, cells_per_patient=6, size=40, seed=99), copy.folder / "more_cells.zip")
    return copy


def test_every_node_of_every_pipeline_runs_from_what_is_on_disk(finished: Project) -> None:
    done = finished.run(sys.executable, str(Path(__file__).with_name("every_node.py")), "more_cells.zip")
    assert done.returncode == 0, done.stdout[-4000:]
    found = json.loads((finished.folder / "every_node.json").read_text())
    assert found["failed"] == {}
    assert set(found["done"]) == {node.name for pipeline in register_pipelines().values() for node in pipeline.nodes}


def test_the_page_and_the_patients_are_made_again_in_a_process_of_their_own(finished: Project) -> None:
    pipeline = ("run", "--env", "demo", "--pipelines", "inference")
    before = len(list(finished.folder.glob("data/demo/08_reporting/inference_report.html/*/*.html")))
    finished.kedro(*pipeline, "--params", "inference.images=more_cells.zip,inference.gate=off")
    finished.kedro(*pipeline, "--from-nodes", "summarise_new_patients,write_inference_report")
    pages = sorted(finished.folder.glob("data/demo/08_reporting/inference_report.html/*/*.html"))
    assert len(pages) == before + 2
    # It tells how the cells were read, and not how they would be read now.
    one, other = (RECORD.sub("", page.read_text()) for page in pages[-2:])
    assert one == other
    tables = sorted(finished.folder.glob("data/demo/07_model_output/patient_summary.csv/*/*.csv"))
    assert tables[-2].read_text() == tables[-1].read_text()
