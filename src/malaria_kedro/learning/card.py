"""The card beside a classifier's weights: what it must tell, and where the newest classifier lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from malaria_kedro.cells.names import CLASSES
from malaria_kedro.versions import newest_version

WEIGHTS, CARD, MODEL_CARD = "model.safetensors", "classifier.json", "README.md"
GATE = "quality_gate.json"
ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def newest_classifier(folder: Path) -> Path | None:
    """Return the folder itself where it holds weights, else the newest of its versions, else None.

    Kedro writes ``<name>/<version>/<name>``, and a version begins with its time; names with a leading dot are what a
    killed writing left behind.
    """
    if (folder / WEIGHTS).is_file():
        return folder
    return newest_version((weights.parent for weights in folder.glob(f"*/[!.]*/{WEIGHTS}")), version_of=1)


def read_card(path: Path) -> dict[str, Any]:
    """Read a card and check what loading the network and its preprocessing relies on.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not strict JSON, or not the card of a classifier of this project; the message says why.
    """
    card = json.loads(path.read_text(encoding="utf-8"))
    strange = f"{path} is not the card of a classifier of {' and '.join(CLASSES)}"
    if not isinstance(card, dict) or card.get("classes") != list(CLASSES):
        raise ValueError(strange)
    if card.get("architecture") not in ARCHITECTURES:
        raise ValueError(f"{strange}: its architecture is {card.get('architecture')!r}")
    try:
        numbers = [card["input"]["size"], card["normalisation"]["scale"]]
        numbers += [*card["normalisation"]["mean"], *card["normalisation"]["std"]]
        complete = len(numbers) == 8 and all(isinstance(number, int | float) for number in numbers)
        complete = complete and isinstance(card["data"]["fingerprint"], str)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{strange}: {error} is missing in it") from error
    if not complete:
        raise ValueError(f"{strange}: its input, normalisation or data is not what this project writes")
    return card
