"""The notebooks run from top to bottom on a demo run, and show what their pages show."""

import runpy
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
RENDERING = runpy.run_path(str(ROOT / "docs" / "render_notebooks.py"))


@pytest.mark.parametrize("name", RENDERING["PAGES"])
def test_a_notebook_shows_texts_tables_and_figures_as_its_page_does(demo_copy, name, monkeypatch):
    monkeypatch.setenv("KEDRO_ENV", "demo")
    executed = RENDERING["execute"](demo_copy.folder / "notebooks" / f"{name}.ipynb")
    kinds = [kind for found in RENDERING["shown"](executed).values() for kind, _ in found]
    assert "figure" in kinds
    assert kinds == RENDERING["kinds_in"](RENDERING["PAGES"][name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RENDERING["PAGES"])
def test_the_notebooks_in_the_repository_have_no_outputs(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs] == []
