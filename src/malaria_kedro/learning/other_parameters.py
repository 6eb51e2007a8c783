"""Which parameters of a run are not those that its databunch was made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

Blocks = Mapping[str, Mapping[str, JsonValue]]  # block → key → value
TABLES = ("source.labels", "source.patients", "source.exclude")  # whose values are sha256 of files


class Change(NamedTuple):
    """A parameter, by its full name, as it was and as it is."""

    name: str
    then: JsonValue
    now: JsonValue

    def __str__(self) -> str:
        return f"{self.name}={_shown(self.name, self.then)} (now {_shown(self.name, self.now)})"


def list_changes(then: Blocks, now: Blocks) -> list[Change]:
    """List the parameters that decide what is in a databunch and differ.

    What only one of them tells is of another version of the project, and unknown. Shares and seed of a split by folders
    change nothing, and neither does a bit depth where no image has 16 bits or that was found in them.

    Args:
        then: as ``DataBunchDataset.read_made_with`` returns it.
        now: blocks of this run; ``source`` as ``malaria_kedro.cells.tables.identify`` tells it.
    """
    by_folder = all(blocks.get("split", {}).get("strategy") == "folder" for blocks in (then, now))
    found: list[Change] = []
    for block, parameters in now.items():
        made_with = then.get(block, {})
        for key, value in parameters.items():
            change = Change(f"{block}.{key}", made_with.get(key, value), value)
            if change.then == value or (by_folder and block == "split"):
                continue
            depth = then.get("pixels", {}).get("bit_depth")
            if change.name == "image.bit_depth" and (depth is None or value == depth):
                continue
            found.append(change)
    return found


def _shown(name: str, value: JsonValue) -> str:
    if name in TABLES:
        files = [f"{str(sha256)[:12]}…" for sha256 in value] if isinstance(value, list) else []
        return f"sha256 {', '.join(files)}" if files else "null"
    return value if isinstance(value, str) else json.dumps(value)
