"""How the report and the model card write numbers, and where their templates are."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import jinja2
import pandas as pd
import yaml

from malaria_kedro import machine
from malaria_kedro.names import CLASSES, SPLIT_NAMES

MISSING, UNIT = "–", "\u00a0%"
# With at least so many cells, one cell is less than the second decimal of a percentage.
CELLS_FOR_TWO_DECIMALS = 2000
MARKDOWN_SIGNS = re.compile(r"([\\`*\[\]<>|#])")


def percent(value: Any, n: Any = None) -> str:
    """Format a share: two decimals where n cells carry them, else one; the space is unbreakable."""
    digits = 2 if n and n >= CELLS_FOR_TWO_DECIMALS else 1
    return MISSING if is_missing(value) else f"{value * 100:.{digits}f}{UNIT}"


def count(value: Any) -> str:
    """Format a whole number with a space between thousands (thin and unbreakable)."""
    return MISSING if is_missing(value) else f"{int(value):,}".replace(",", "\u202f")


def decimals(value: Any, digits: int = 4) -> str:
    """Format a loss or an area with a fixed number of decimals."""
    return MISSING if is_missing(value) else f"{value:.{digits}f}"


def rate(value: Any) -> str:
    """Format a learning rate with two significant digits."""
    return MISSING if is_missing(value) else f"{value:.2g}"


def probability(value: Any) -> str:
    """Format a probability or a threshold; one near 0 or 1 keeps the digits that set it apart."""
    if is_missing(value):
        return MISSING
    if 0.0001 <= value <= 0.9999 or value in (0, 1):
        return f"{value:.4f}"
    return f"{value:.2g}" if value < 0.5 else f"1 − {1 - value:.2g}"


def duration(value: Any) -> str:
    """Format seconds in usual units: 4.2 s, 3 min 20 s, 2 h 05 min."""
    if is_missing(value):
        return MISSING
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def milliseconds(value: Any) -> str:
    """Format milliseconds with about two significant digits."""
    return MISSING if is_missing(value) else f"{value:.{0 if value >= 100 else 1 if value >= 1 else 2}f} ms"


def megabytes(value: Any) -> str:
    """Format bytes in kB, MB or GB (10⁶ bytes are 1 MB, as disks are sold)."""
    return MISSING if is_missing(value) else machine.megabytes(value)


def text(value: Any) -> str:
    """Format anything else; what is missing is a dash."""
    return MISSING if is_missing(value) or value == "" else str(value)


def place(value: Any) -> str:
    """Shorten the address of a file to the file's name; other text stays as it is."""
    return text(value).rsplit("/", 1)[-1] if "://" in text(value) else text(value)


def markdown(value: Any) -> str:
    """Format text for Markdown: on one line, with its special characters escaped."""
    return MARKDOWN_SIGNS.sub(r"\\\1", " ".join(text(value).split()))


def with_environment(text: str, environment: str) -> str:
    """Name an environment in each ``kedro run`` of a text that names none; an empty one leaves the text as it is."""
    return re.sub(r"\bkedro run\b(?! --env)", f"kedro run --env {environment}", text) if environment else text


def as_yaml(value: Any) -> str:
    """Write parameters as YAML, as conf/ has them."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)


def is_missing(value: Any) -> bool:
    """Return whether there is nothing to write: None, NaN or NA."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


@cache
def template(name: str) -> jinja2.Template:
    """Return a template of this package; HTML is escaped, and a missing name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("malaria_kedro.report"),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    numbers: list[Callable[..., str]] = [percent, count, decimals, rate, probability, duration, milliseconds, megabytes]
    words = [text, place, markdown, as_yaml]
    environment.filters |= {write.__name__: write for write in numbers + words}
    environment.globals |= {"classes": CLASSES, "split_names": SPLIT_NAMES}
    script = environment.get_template("page.js.j2").render()
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {"script": script, "script_sha256": sha256}
    return environment.get_template(name)
