"""Command-line arguments: ``--params`` read by the type of each parameter, and empty values refused.

Kedro reads every value of ``--params`` as YAML, where 2024_01_15 is a number, no is false and an empty value is null.
"""

from __future__ import annotations

import logging
import os
import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import click

from malaria_kedro.files import at_home

_KEY = re.compile(r"\w+(\.\w+)*")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?")
# 0012 is 10 in YAML (octal) and 12:30:00 is 45000 (base 60), which nobody who types them means.
_ODD_NUMBER = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-9_.]+)+)")
_FILES = "a file for --config, or into conf/local/parameters.yml where no --env is given"
_INTERPOLATION = re.compile(r"(\\*)\$\{")


def read_params(text: str, variants: tuple[str, ...]) -> dict[str, Any]:
    """Read the value of ``--params``: ``block.key=value``, several separated by commas; none if it is empty.

    Text parameters take the text as typed; optional ones take ``null`` as no value. Every other value is YAML.
    OmegaConf can merge the result (block name → key → value): ``${`` stays text.

    Raises:
        ParameterError: names every key that is empty, unknown in form or given twice.
    """
    from malaria_kedro.parameters import ParameterError
    from malaria_kedro.redaction import redact, redact_url

    found: dict[str, Any] = {}
    problems: list[str] = []
    before = ""
    for item in text.split(",") if text.strip() else ():
        key, equals, value = item.partition("=")
        key = key.strip()
        if equals and _KEY.fullmatch(key):
            before = key
            try:
                _put(found, key, _read_value(key, value, variants))
            except ValueError as error:
                problems.append(redact(f"{key} {error}"))
        elif before:
            problems = [problem for problem in problems if not problem.startswith(f"{before} ")]  # that is half of it
            # Not quoted, as it may be the rest of an address with a signature.
            problems.append(
                f"{before} holds a comma, at which --params is split, and what follows is not key=value: a value with "
                f"a comma, or a list, goes into {_FILES}"
            )
        else:
            said = redact_url(item.strip()) if "//" in item or "@" in item else item.strip()
            problems.append(f"{said!r} is not of the form block.key=value")
    if problems:
        raise ParameterError("wrong parameters, nothing was run:\n  " + "\n  ".join(problems))
    return found


def _put(found: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    block = found
    for part in path:
        block = block.setdefault(part, {})
        if not isinstance(block, dict):
            raise ValueError(f"contradicts {part}, which is given as a whole: give one of them")
    if last in block:
        raise ValueError("is given twice: give it once")
    block[last] = value


def _read_value(key: str, text: str, variants: tuple[str, ...]) -> Any:
    from malaria_kedro.parameters import annotation_of

    annotation = annotation_of(key, variants)
    if annotation is None:  # no such key: the check of all parameters reports it with the known names
        whole = next((above for above in _above(key) if annotation_of(above, variants) is not None), None)
        kinds = _kinds(annotation_of(whole, variants)) if whole else set()
        if kinds and not _is_block(kinds) and not any(get_origin(kind) is dict for kind in kinds):
            listed = " or list" if any(get_origin(kind) is tuple for kind in kinds) else ""
            raise ValueError(f"is no key: {whole} is one value{listed}; give it as a whole, a list goes into {_FILES}")
        return _plain(text)
    kinds = _kinds(annotation)
    if not text.strip():
        nothing = f", or {key}=null" if type(None) in kinds else ""
        raise ValueError(f"is empty: is a shell variable unset? Give a value{nothing}")
    if text.strip() == "null" and type(None) in kinds:
        return None
    if str in kinds:
        if text.strip()[0] in "'\"" and text.strip()[-1] == text.strip()[0]:
            logging.getLogger(__name__).warning("%s is taken as typed, with its quotes", key)
        return _yaml(text) if {int, float} & kinds and _NUMBER.fullmatch(text) else _plain(text)
    if _is_block(kinds):
        raise ValueError(f"is a block: give its keys one by one, as {key}.key=value")
    if any(get_origin(kind) is tuple and str in _kinds(kind.__args__[0]) for kind in kinds):
        return _text_list(text)
    return _plain(text) if _ODD_NUMBER.fullmatch(text.strip()) else _yaml(text)


def _above(key: str) -> list[str]:
    """Return the keys around a key, the innermost first."""
    parts = key.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]


def _is_block(kinds: set[Any]) -> bool:
    from malaria_kedro.parameters import Block

    return any(isinstance(kind, type) and issubclass(kind, Block) for kind in kinds)


def _kinds(annotation: Any) -> set[Any]:
    """Return the types that a value may have; a literal counts as the type of its choices."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    return {annotation}


def _yaml(text: str) -> Any:
    from omegaconf import OmegaConf
    from yaml import YAMLError

    try:
        if text.lstrip()[0] in "&|>":  # an anchor or a folded text of nothing
            raise ValueError
        value = cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"])))["value"]
    except (YAMLError, ValueError) as error:
        raise ValueError(
            f"cannot be read: {text!r} is not YAML; give a number, a word or true/false, and put a list into {_FILES}"
        ) from error
    return _plain(value) if isinstance(value, str) else value


def _text_list(text: str) -> Any:
    import yaml

    try:
        value = yaml.load(text, Loader=yaml.BaseLoader)  # only strings
    except yaml.YAMLError as error:
        raise ValueError(f"cannot be read: {text!r} is not a list") from error
    return [_plain(item) if isinstance(item, str) else item for item in value] if isinstance(value, list) else text


def _plain(text: str) -> str:
    """Escape text so that OmegaConf leaves it as it is."""
    if text == "???":
        raise ValueError("is ???, which OmegaConf takes for a missing value: give another")
    return _INTERPOLATION.sub(lambda found: found[1] * 2 + r"\${", text)


class LocalPath(click.Path):
    """A path on a command line, in which ``~`` is a home folder, which a shell leaves as it is in ``--option=~/x``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; an unknown user's is refused."""
        try:
            return super().convert(at_home(os.fsdecode(value)), param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class NonEmptyCommand(click.Command):
    """A command that refuses empty arguments: an unset shell variable must not mean the default or this folder."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse empty arguments and ``--option=``, then parse."""
        for before, word in zip(["", *args], args, strict=False):
            name, equals, value = word.partition("=") if word.startswith("--") else ("", "", "")
            if not equals:
                name, value = before, word
            # A list of nothing, as "," is, would count as no choice at all.
            if not value.strip(", ") and name != "--params":
                what = f"the value of {name}" if name.startswith("-") else "an argument"
                raise click.UsageError(f"{what} is empty: is a shell variable unset? Give one, or leave it out", ctx)
        return super().parse_args(ctx, args)
