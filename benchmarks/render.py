"""Renders the measured figures of README.md and docs/*.md from ``benchmarks/results``.

    python benchmarks/render.py

A page says between two comments what stands there, and the text between them is replaced:

    <!-- results: tables.memory() -->…<!-- /results -->

What follows ``results:`` is a Jinja expression. It knows the measurements of each file by the file's name, the macros
of ``tables.md.j2`` as ``tables``, and the filters below. Within a sentence such a comment may not begin a line, where
Markdown would take it for a block of HTML.
"""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from records import FOLDER, ROOT, Figure, Measurement, ResultsError, read_results

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKED = re.compile(r"(<!-- results: (.+?) -->)(.*?)(<!-- /results -->)", re.DOTALL)


def number(value: float | Figure | None, digits: int = 0, sign: bool = False) -> str:
    """Return a number as the pages write it: 26,200; 96.39; +0.22; nothing for one that is not known."""
    value = value.value if isinstance(value, Figure) else value
    if value is None:
        return ""
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def span(figure: Figure, digits: int = 0, between: str = " to ") -> str:
    """Return the low and high end of a figure's spread; nothing where it has none."""
    return "" if figure.low is None else f"{number(figure.low, digits)}{between}{number(figure.high, digits)}"


def with_span(figure: Figure, digits: int = 0, unit: str = "", between: str = " to ") -> str:
    """Return a figure, with its spread in brackets where it has one."""
    return number(figure, digits) + unit + (f" ({span(figure, digits, between)})" if figure.low is not None else "")


def quickest(measurement: Measurement, start: str) -> str:
    """Return which row that begins so is quickest: the least time, or the most cells per second."""
    values = {name: row["measured"] for name, row in measurement.rows.items() if name.startswith(start)}
    return min(values, key=lambda name: values[name].value * (-1 if values[name].unit.endswith("/s") else 1))


def source(*measurements: Measurement, command: bool = True) -> str:
    """Return a line on where figures come from: hardware, versions, commit, date and, if wanted, command."""
    said = []
    for measurement in measurements:
        parts = [f"Hardware: {measurement.hardware}" if measurement.hardware else "Hardware not recorded"]
        parts += [f"{name} {version}" for name, version in measurement.versions.items() if name in ("torch", "CUDA")]
        if measurement.commit:
            parts.append(f"commit {measurement.commit}")
        elif measurement.stated_in:
            parts.append(f"first stated in commit {measurement.stated_in}")
        parts += [str(measurement.date)] if measurement.date else []
        parts += [f"`{measurement.command}`"] if command and measurement.command else []
        said.append(", ".join(parts))
    return f"*{'. '.join(dict.fromkeys(said))}.*"


def environment() -> Environment:
    """Return the Jinja environment: results, macros and filters."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"number": number, "span": span, "with_span": with_span}
    made.globals |= {"quickest": quickest, "source": source}
    made.globals |= {path.stem: read_results(path).measurements for path in sorted(FOLDER.glob("*.json"))}
    return made


def render(text: str, jinja: Environment) -> str:
    """Return a page with its figures.

    Raises:
        ResultsError: a page asks for a figure that the results do not have; the message names the expression.
    """

    def replace(found: re.Match[str]) -> str:
        opening, expression, before, closing = found.groups()
        try:
            template = f'{{% import "tables.md.j2" as tables %}}{{{{ {expression} }}}}'
            rendered = jinja.from_string(template).render().strip()
        except (TemplateError, LookupError, TypeError) as error:
            raise ResultsError(f"`{expression}` cannot be rendered from benchmarks/results: {error}") from error
        gap = "\n\n" if before.startswith("\n") else ""
        return f"{opening}{gap}{rendered}{gap}{closing}"

    return MARKED.sub(replace, text)


def table(macro: str, *arguments: object) -> str:
    """Return what a macro of ``tables.md.j2`` makes of its arguments, Markdown."""
    return getattr(environment().get_template("tables.md.j2").module, macro)(*arguments).strip()


def outdated() -> list[Path]:
    """Return the pages that differ from the results."""
    jinja = environment()
    return [page for page in PAGES if render(text := page.read_text(encoding="utf-8"), jinja) != text]


def main() -> None:
    """Write the pages that differ, and name them."""
    jinja = environment()
    for page in outdated():
        page.write_text(render(page.read_text(encoding="utf-8"), jinja), encoding="utf-8")
        print(f"rendered: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
