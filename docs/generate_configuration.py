"""Writes configuration.md: every parameter, from the models of ``parameters.py`` and the values of ``conf/base``.

Usage: python docs/generate_configuration.py
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from kedro.config import OmegaConfigLoader
from pydantic.fields import FieldInfo

from malaria_kedro.parameters import BLOCKS, Block, Variant

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configuration.md"
HEAD = """# Configuration

All parameters live in `conf/`, with comments on why they have their values. `conf/base` is the tutorial's recipe; the
other environments override some of its values (`kedro run --env demo`). `conf/local` is yours: it is not tracked, and
applies when no `--env` is given. Before anything runs, every block is checked against its model in
`src/malaria_kedro/parameters.py`. An unknown key, a wrong type or a value out of bounds is an error that names the
key, the value and what is allowed.

On a command line, `--params block.key=value` takes text as it is typed (`source.path=2024_01_15`), and reads numbers
and true/false as YAML. `null` unsets a value where that is allowed; an empty value is refused, because it may come
from an unset shell variable. A value with a comma, or an address with a password, goes into
`conf/local/parameters.yml`. In the files everything is YAML: put text that looks like a number, a time or yes/no in
quotes, and `off` too.

`docs/generate_configuration.py` writes these tables from the models; the values are those of `conf/base`.
"""


def configuration_page() -> str:
    """Return the page, Markdown."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "register_new_resolver")  # Kedro 1.7 calls OmegaConf by an older name
        values = OmegaConfigLoader(str(ROOT / "conf"), base_env="base", default_run_env="base")["parameters"]
    parts = [HEAD]
    for name, model in {**BLOCKS, "resnet18": Variant}.items():
        title = f"`{name}`" if name in BLOCKS else "`resnet18` and every other variant"
        parts.append(f"## {title}\n\n{model.__doc__.strip().splitlines()[0]}\n\n" + _table(model, values[name]))
    return "\n".join(parts)


def _table(model: type[Block], values: dict[str, Any]) -> str:
    flat = _flat(values)
    rows = [
        f"| `{key}` | {_kind(field)} | {_value(flat.get(key))} | {field.description} |" for key, field in _leaves(model)
    ]
    head = ["| parameter | type and bounds | `conf/base` | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows]) + "\n"


def _leaves(model: type[Block], prefix: str = "") -> list[tuple[str, FieldInfo]]:
    found: list[tuple[str, FieldInfo]] = []
    for name, field in model.model_fields.items():
        inner = next(
            (kind for kind in _choices(field.annotation) if isinstance(kind, type) and issubclass(kind, Block)), None
        )
        found += _leaves(inner, f"{prefix}{name}.") if inner else [(f"{prefix}{name}", field)]
    return found


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _kind(field: FieldInfo) -> str:
    bounds = ", ".join(filter(None, map(_bound, field.metadata)))
    return " or ".join(dict.fromkeys(map(_name, _choices(field.annotation)))) + (f", {bounds}" if bounds else "")


def _choices(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _choices(get_args(annotation)[0])
    if origin in (Literal, tuple, list, dict) or not get_args(annotation):
        return [annotation]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _name(kind: Any) -> str:
    if kind is type(None):
        return "null"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(kind))
    if get_origin(kind) is dict:
        return f"mapping of text to {_name(get_args(kind)[1])}"
    if get_origin(kind) in (tuple, list):
        inner = [_name(choice) for part in get_args(kind) if part is not Ellipsis for choice in _choices(part)]
        return "list of " + " or ".join(dict.fromkeys(inner))
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        kind.__name__, kind.__name__
    )


def _bound(metadata: Any) -> str:
    signs = {
        annotated_types.Ge: ("≥", "ge"),
        annotated_types.Gt: (">", "gt"),
        annotated_types.Le: ("≤", "le"),
        annotated_types.Lt: ("<", "lt"),
    }
    for kind, (sign, name) in signs.items():
        if isinstance(metadata, kind):
            return f"{sign} {getattr(metadata, name):,}"
    return ""


def _value(value: Any) -> str:
    if value is None:
        return "null"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`".replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(configuration_page(), encoding="utf-8")
