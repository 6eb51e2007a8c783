"""README and documentation: short where they promise it, linked, reachable, and in step with the code."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader

from malaria_kedro.parameters import BLOCKS, Block

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


def text_of(page: Path) -> str:
    """Return a page without its code, in which a # begins no heading."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_front_page_is_one_screen_and_a_bit():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_is_in_the_navigation_once():
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    listed = [name for entry in site["project"]["nav"] for name in entry.values()]
    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    lost = []
    for target in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_knows_the_machine_it_was_written_on(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(^|[\s`(])/(home|root|tmp|work|Users|mnt)/", text)
    assert not re.search(r"pypi\.|--index-url", text)


def test_the_page_of_parameters_is_up_to_date():
    written = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(DOCS / "generate_configuration.py"))["configuration_page"]() == written


RENDERING = runpy.run_path(str(DOCS / "render_notebooks.py"))


@pytest.mark.parametrize("name", RENDERING["PAGES"])
def test_the_page_of_a_notebook_has_its_words_and_its_code(name):
    page = RENDERING["PAGES"][name].read_text(encoding="utf-8")
    assert RENDERING["without_outputs"](page) == RENDERING["notebook_page"](name, {})


def test_every_figure_of_the_notebooks_is_shown_and_small():
    pages = "".join(page.read_text(encoding="utf-8") for page in RENDERING["PAGES"].values())
    figures = sorted(RENDERING["FIGURES"].iterdir())
    assert [f"notebooks/{figure.name}" for figure in figures] == sorted(re.findall(r"notebooks/[\w-]+\.png", pages))
    assert [figure.name for figure in figures if figure.stat().st_size > 100_000] == []


def defaults_of(model: type[Block], prefix: str) -> dict[str, Any]:
    """Return the defaults of a block by their dotted names, those of the blocks in it included."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Block):
            found |= defaults_of(field.annotation, f"{prefix}.{name}")
        elif not field.is_required():
            found[f"{prefix}.{name}"] = field.get_default(call_default_factory=True)
    return found


# The archive of the NIH is what base takes where a user names none, and nothing that the model should know.
OF_BASE_ALONE = {"source.url", "source.sha256", "source.bytes"}


@pytest.mark.parametrize("block", BLOCKS)
def test_what_a_parameter_is_by_default_is_what_base_has(block):
    parameters = OmegaConfigLoader(str(ROOT / "conf"), base_env="base", default_run_env="base")["parameters"]
    validated = BLOCKS[block].model_validate(parameters[block])
    other = {}
    for key, default in defaults_of(BLOCKS[block], block).items():
        value: Any = validated
        for part in key.split(".")[1:]:
            value = getattr(value, part)
        if value != default and key not in OF_BASE_ALONE:
            other[key] = (default, value)
    assert other == {}
