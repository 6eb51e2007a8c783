"""The notebooks run from top to bottom on a demo run."""

import nbformat
import pytest
from nbclient import NotebookClient


@pytest.mark.parametrize("name", ["explore_cells", "inspect_model"])
def test_a_notebook_runs(demo_copy, name, monkeypatch):
    monkeypatch.setenv("KEDRO_ENV", "demo")
    notebook = nbformat.read(demo_copy.folder / "notebooks" / f"{name}.ipynb", as_version=4)
    assert all(cell.get("outputs", []) == [] for cell in notebook.cells), "outputs do not belong into the repository"
    done = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(demo_copy.folder / "notebooks")}},
    ).execute()
    pictures = [out for cell in done.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert pictures
