"""How the report and the model card write numbers, and where their templates are."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import jinja2
import pandas as pd
import yaml

from malaria_kedro import machine
from malaria_kedro.language import N_, _, current_language, gettext, localize, ngettext, retell, symbols
from malaria_kedro.names import CLASSES, SPLIT_NAMES, split_name, strategy_name

MISSING, UNIT = "–", "\u00a0%"
# With at least so many cells, one cell is less than the second decimal of a percentage.
CELLS_FOR_TWO_DECIMALS = 2000
MARKDOWN_SIGNS = re.compile(r"([\\`*\[\]<>|#])")


def percent(value: Any, n: Any = None) -> str:
    """Format a share: two decimals where n cells carry them, else one; the space is unbreakable."""
    digits = 2 if n and n >= CELLS_FOR_TWO_DECIMALS else 1
    return MISSING if is_missing(value) else localize(f"{value * 100:.{digits}f}") + percent_sign()


def percent_sign() -> str:
    """Return what stands behind a percentage, with its space where the language has one."""
    return UNIT if current_language() == "en" else symbols().percent


def count(value: Any) -> str:
    """Format a whole number with a sign between thousands; in English a space (thin and unbreakable)."""
    if is_missing(value):
        return MISSING
    return f"{int(value):,}".replace(",", thousands_sign())


def decimal_sign() -> str:
    """Return what stands before decimals."""
    return "." if current_language() == "en" else symbols().decimal


def thousands_sign() -> str:
    """Return what stands between thousands."""
    return "\u202f" if current_language() == "en" else symbols().group


def decimals(value: Any, digits: int = 4) -> str:
    """Format a loss or an area with a fixed number of decimals."""
    return MISSING if is_missing(value) else localize(f"{value:.{digits}f}")


def shortest(value: Any) -> str:
    """Format a number that somebody has chosen, such as a threshold, with no more digits than it has."""
    return MISSING if is_missing(value) else localize(f"{value:g}")


def rate(value: Any) -> str:
    """Format a learning rate with two significant digits."""
    return MISSING if is_missing(value) else localize(f"{value:.2g}")


def probability(value: Any) -> str:
    """Format a probability or a threshold; one near 0 or 1 keeps the digits that set it apart."""
    if is_missing(value):
        return MISSING
    if 0.0001 <= value <= 0.9999 or value in (0, 1):
        return localize(f"{value:.4f}")
    return localize(f"{value:.2g}") if value < 0.5 else f"1 − {localize(f'{1 - value:.2g}')}"


def duration(value: Any) -> str:
    """Format seconds in usual units: 4.2 s, 3 min 20 s, 2 h 05 min."""
    if is_missing(value):
        return MISSING
    if value < 59.95:
        return f"{localize(f'{value:.1f}')} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def milliseconds(value: Any) -> str:
    """Format milliseconds with about two significant digits."""
    if is_missing(value):
        return MISSING
    return f"{localize(f'{value:.{0 if value >= 100 else 1 if value >= 1 else 2}f}')} ms"


# French counts octets.
_SIZES = {"GB": N_("{n} GB"), "MB": N_("{n} MB"), "kB": N_("{n} kB"), "bytes": N_("{n} bytes")}


def megabytes(value: Any) -> str:
    """Format bytes in kB, MB or GB (10⁶ bytes are 1 MB, as disks are sold)."""
    if is_missing(value):
        return MISSING
    number, unit = machine.megabytes(value).split()
    return _(_SIZES[unit]).format(n=localize(number))


def moment(written: str) -> str:
    """Format date and time of ISO 8601 with its zone (``2026-11-27 12:00 UTC``); in English as it is."""
    if current_language() == "en" or not (found := re.fullmatch(r"(\d+-\d+-\d+ \d+:\d+)( \w+)", written)):
        return written
    from babel.dates import format_date  # late: only a page in another language needs it

    time = datetime.strptime(found[1], "%Y-%m-%d %H:%M")
    return f"{format_date(time, 'long', locale=current_language())}, {time:%H:%M}{found[2]}"


def listed(parts: Sequence[str]) -> str:
    """Join parts of a sentence: ``a``, ``a and b``, ``a, b and c``."""
    if len(parts) < 2:
        return "".join(parts)
    return _("{several} and {last}").format(several=", ".join(parts[:-1]), last=parts[-1])


def about(told: str, what: str) -> str:
    """Put before a text what it is about; French has a space before the colon."""
    return _("{what}: {told}").format(what=what, told=told)


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


def write(name: str, **values: Any) -> str:
    """Write a template in the current language; a page's script is written in it too, and told by its sha256."""
    script = template("page.js.j2").render()
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = {"language": current_language(), "script": script, "script_sha256": sha256}
    return template(name).render(values | page)


@cache
def template(name: str) -> jinja2.Template:
    """Return a template of this package; HTML is escaped, and a missing name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("malaria_kedro.report"),
        extensions=["jinja2.ext.i18n"],
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",)),
        undefined=jinja2.StrictUndefined,
        optimized=False,  # or a filter on a constant would stay in the language that compiled the template
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]
    numbers: list[Callable[..., str]] = [percent, count, decimals, shortest, rate, probability, duration, milliseconds]
    words = [megabytes, moment, about, text, place, markdown, as_yaml, localize, retell, split_name, strategy_name]
    environment.filters |= {of.__name__: of for of in (*numbers, *words)}
    environment.globals |= {"classes": CLASSES, "split_names": SPLIT_NAMES, "thousands_sign": thousands_sign}
    environment.globals |= {"decimal_sign": decimal_sign, "percent_sign": percent_sign}
    return environment.get_template(name)
