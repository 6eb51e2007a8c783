"""Writes the pages of the notebooks with what their cells show: text and tables in the page, figures beside it.

Usage, in a project in which ``make run`` has been: python docs/render_notebooks.py
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FIGURES = DOCS / "notebooks"
PAGES = {path.stem: DOCS / f"{path.stem.replace('_', '-')}.md" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
COLOURS = 256  # of a figure: fewer bytes than true colours, and cells keep their stain
# The kinds of output, and how each begins in a page.
KINDS = {"text": "```text\n", "table": "<table>", "figure": "!["}
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal, which is how rich shows a dictionary
OUTPUT = re.compile(r"<!-- output -->\n\n(.*?)\n\n<!-- /output -->\n\n?", re.DOTALL)


def notebook_page(name: str, outputs: dict[int, str]) -> str:
    """Return the page of a notebook, Markdown.

    Args:
        name: the notebook's, e.g. ``"explore_cells"``.
        outputs: by the number of a cell, what it shows, Markdown; empty = the page without outputs.
    """
    title, *cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    parts = [
        title.source,
        f"*The notebook `notebooks/{name}.ipynb`, with what it shows of the demo's phantom cells, which are drawings: "
        "no number here says anything about malaria.*",
    ]
    for number, cell in enumerate(cells, start=1):
        parts.append(f"```python\n{cell.source}\n```" if cell.cell_type == "code" else cell.source)
        if number in outputs:
            parts.append(f"<!-- output -->\n\n{outputs[number]}\n\n<!-- /output -->")
    return "\n\n".join(parts) + "\n"


def without_outputs(page: str) -> str:
    """Return a page as ``notebook_page`` writes it of a notebook without outputs."""
    return OUTPUT.sub("", page).rstrip("\n") + "\n"


def kinds_in(page: str) -> list[str]:
    """Return the kinds of a page's outputs, in their order."""
    begins = "|".join(f"(?P<{kind}>{re.escape(begin)})" for kind, begin in KINDS.items())
    return [found.lastgroup or "" for output in OUTPUT.findall(page) for found in re.finditer(begins, output)]


def execute(notebook: Path) -> nbformat.NotebookNode:
    """Return a notebook as it is after it ran from top to bottom, in its folder."""
    resources = {"metadata": {"path": str(notebook.parent)}}
    opened = nbformat.read(notebook, as_version=4)
    return NotebookClient(opened, timeout=600, kernel_name="python3", resources=resources).execute()


def shown(executed: nbformat.NotebookNode) -> dict[int, list[tuple[str, str]]]:
    """Return by the number of a cell what it shows: the kind, and text, HTML or a PNG in base64."""
    return {
        number: found
        for number, cell in enumerate(executed.cells)
        if (found := [pair for output in cell.get("outputs", []) for pair in _content(output)])
    }


def _content(output: nbformat.NotebookNode) -> Iterator[tuple[str, str]]:
    data = output.get("data", {})
    if "image/png" in data:
        yield "figure", data["image/png"]
    elif "<table" in data.get("text/html", ""):
        yield "table", data["text/html"]
    elif output.output_type == "execute_result" and not data["text/plain"].startswith("<"):  # <Axes: …>
        yield "text", COLOUR.sub("", data["text/plain"]).strip()
    elif output.output_type == "stream" and output.name == "stdout":
        yield "text", output.text.rstrip()


def render(name: str) -> None:
    """Execute a notebook, and write its page and its figures."""
    page, outputs = PAGES[name], {}
    for number, found in shown(execute(ROOT / "notebooks" / f"{name}.ipynb")).items():
        parts = []
        for kind, content in found:
            if kind == "figure":
                file = FIGURES / f"{page.stem}-{number}.png"
                _write_figure(content, file)
                parts.append(f"![What the cell above draws]({FIGURES.name}/{file.name})")
            else:
                parts.append(_table(content) if kind == "table" else f"```text\n{content}\n```")
        outputs[number] = "\n\n".join(parts)
    page.write_text(notebook_page(name, outputs), encoding="utf-8")


def _write_figure(png: str, file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    picture = Image.open(io.BytesIO(base64.b64decode(png)), formats=["PNG"]).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def _table(html: str) -> str:
    """Return a table of pandas without its style and classes, which are Jupyter's."""
    found = re.search(r"<table.*?</table>", html, re.DOTALL)
    assert found is not None
    plain = re.sub(r"<(table|thead|tbody|tr|th|td)\b([^>]*)>", _without_style, found.group())
    return re.sub(r">\s+<", "><", plain).replace("</tr><tr>", "</tr>\n<tr>")


def _without_style(tag: re.Match[str]) -> str:
    return f"<{' '.join([tag.group(1), *re.findall(r'(?:col|row)span=.[0-9]+.', tag.group(2))])}>"


if __name__ == "__main__":
    os.environ["KEDRO_ENV"] = "demo"
    for name in PAGES:
        render(name)
