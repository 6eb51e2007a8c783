"""A classifier's folder: its metadata, the seal that binds the other files to it, and which version is the newest.

``classifier.json`` carries, under ``seal``, the sha256 of the weights and of the quality gate, what the network
computes for the probe cells, and a sha256 over its own content. So a flipped bit, an edited number, a gate that was
deleted and a file of another classifier are found before anything is computed. ``README.md`` is not sealed, because
people may complete it, and nothing is computed from it.

The seal protects against damage and mix-ups. It is no signature: whoever recomputes it can put anything into it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from malaria_kedro.files import look_at, look_in, sha256_of
from malaria_kedro.names import CLASSES
from malaria_kedro.versions import newest_version

WEIGHTS, CARD, MODEL_CARD = "model.safetensors", "classifier.json", "README.md"
GATE = "quality_gate.json"
SEAL, SEAL_FORMAT = "seal", 1
ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
# What a temperature is looked for in, and so what one can be.
TEMPERATURE_BOUNDS = (0.05, 20.0)
EXPORT_AGAIN = (
    "restore the folder from a copy, or export the classifier again, which trains nothing where checkpoints are kept "
    "(kedro run --pipelines modeling)"
)


class _Part(BaseModel):
    """What is checked of the card; other keys are free, and sealed as well."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)


class _Input(_Part):
    size: int = Field(ge=16, le=1024)
    channels: Literal["RGB"] = "RGB"
    dtype: Literal["uint8"] = "uint8"


class _Normalisation(_Part):
    scale: float = Field(gt=0, le=1)
    mean: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(ge=0.001, le=1)]] = Field(min_length=3, max_length=3)


class _Data(_Part):
    fingerprint: str
    phantom: bool = False


class _Calibration(_Part):
    temperature: float = Field(default=1.0, ge=TEMPERATURE_BOUNDS[0], le=TEMPERATURE_BOUNDS[1])
    threshold: float | None = Field(default=None, gt=0, lt=1)


class _QualityGate(_Part):
    id: str


class _Card(_Part):
    classes: list[str]
    positive_class: Literal["Parasitized"] = "Parasitized"
    architecture: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    input: _Input
    normalisation: _Normalisation
    data: _Data
    calibration: _Calibration | None = None
    quality_gate: _QualityGate | None = None


class _Probe(_Part):
    cells: int
    p_parasitized: list[Annotated[float, Field(ge=0, le=1)]]
    features: list[list[float]]


class _Seal(_Part):
    format: Literal[1]
    parts: dict[str, str]
    probe: _Probe
    sha256: str


@dataclass(frozen=True)
class SealedCard:
    """A card that was found whole, and what its seal holds.

    Attributes:
        card: what ``classifier.json`` says, without the seal.
        parts: file name → sha256, of the files that the seal binds to the card.
        probe: what the network computes for the probe cells; see ``malaria_kedro.learning.probe``.
    """

    card: dict[str, Any]
    parts: dict[str, str]
    probe: dict[str, Any]


def newest_classifier(folder: Path) -> Path | None:
    """Return the folder itself where it is a classifier's, else the newest of its versions, else None.

    Kedro writes ``<name>/<version>/<name>``, and a version begins with its time; names with a leading dot are what a
    killed writing left behind. A folder that has lost a file counts: reading it names what is missing, where an older
    version would be another classifier.

    Raises:
        OSError: that cannot be told, because a folder may not be looked into, for instance; the message says so.
    """
    try:
        if _has_a_part(folder):
            return folder
        inside = (found for version in look_in(folder) for found in look_in(version))
        found = [place for place in inside if not place.name.startswith(".") and _has_a_part(place)]
    except OSError as error:
        raise type(error)(
            f"{error.filename} cannot be looked at ({error.strerror}), so it is not known which classifier is the "
            "newest: check the rights on it"
        ) from error
    return newest_version(found, version_of=1)


def _has_a_part(folder: Path) -> bool:
    return any(look_at(folder / part) is not None for part in (WEIGHTS, CARD, GATE))


def check_card(card: Any, name: str) -> None:
    """Check all that a classifier computes with: kinds, bounds, and that every number is one.

    Args:
        card: what is in ``classifier.json``.
        name: what to call it in the message.

    Raises:
        ValueError: the message names the key, its value and what it should be.
    """
    strange = f"{name} is not the card of a classifier of {' and '.join(CLASSES)}"
    if not isinstance(card, dict) or card.get("classes") != list(CLASSES):
        raise ValueError(strange)
    try:
        _Card.model_validate(card)
    except ValidationError as error:
        raise ValueError(f"{strange}: {_in_words(error)}") from error


def seal_card(card: dict[str, Any], parts: dict[str, str], probe: dict[str, Any]) -> dict[str, Any]:
    """Return the card with a seal over itself, the files (name → sha256) and what the network computes for the probe.

    Raises:
        ValueError: the card is not one that can be read again.
    """
    content = {key: value for key, value in card.items() if key != SEAL}
    content[SEAL] = {"format": SEAL_FORMAT, "parts": dict(sorted(parts.items())), "probe": probe}
    # Written and parsed once, so that what is hashed is what will be read: tuples become lists.
    content = _parse(json.dumps(content, allow_nan=False))
    check_card(content, CARD)
    content[SEAL]["sha256"] = _sha256_of_content(content)
    return content


def read_card(path: Path) -> dict[str, Any]:
    """Read a card, and check its numbers and its seal; the files beside it are not looked at.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not strict JSON, not the card of a classifier of this project, or was changed or damaged
            after it was written; the message says why.
    """
    return _read_sealed(path).card


def check_classifier(folder: Path) -> SealedCard:
    """Read a classifier's card and check that every file beside it is the one it was written with.

    Raises:
        OSError: a file cannot be read.
        ValueError: the card or another file is damaged, missing, changed, or of another classifier; the message names
            it and says what to do.
    """
    found = _read_sealed(folder / CARD)
    for name, what in ((WEIGHTS, "the weights"), (GATE, "the quality gate")):
        path, expected = folder / name, found.parts.get(name)
        if expected is None:
            if path.exists():
                raise ValueError(
                    f"{path} does not belong to this classifier, which was written without {what}; remove that file, "
                    f"or {EXPORT_AGAIN}"
                )
        elif not path.exists():
            raise ValueError(f"{what} {'are' if name == WEIGHTS else 'is'} missing: {path}; {EXPORT_AGAIN}")
        elif (sha256 := sha256_of(path)) != expected:
            raise ValueError(
                f"{path} is damaged, or of another classifier: its sha256 is {sha256[:12]}…, and {CARD} was written "
                f"with {expected[:12]}…; {EXPORT_AGAIN}"
            )
    return found


def _read_sealed(path: Path) -> SealedCard:
    try:
        card = _parse(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # the second one where it is nested without end
        raise ValueError(f"{path} is damaged: it is no JSON ({error}); {EXPORT_AGAIN}") from error
    check_card(card, str(path))
    if SEAL not in card:
        raise ValueError(
            f"{path} has no seal: a version of malaria-kedro wrote it that did not bind weights, card and quality gate "
            "together, so damage would not be noticed; export it again, which trains nothing where the checkpoints are "
            "kept (kedro run --pipelines modeling)"
        )
    try:
        seal = _Seal.model_validate(card[SEAL])
    except ValidationError as error:
        raise ValueError(f"{path} is damaged: its seal is none ({_in_words(error)}); {EXPORT_AGAIN}") from error
    if seal.sha256 != _sha256_of_content(card):
        raise ValueError(
            f"{path} was changed or damaged after it was written: its seal is not that of its content; {EXPORT_AGAIN}"
        )
    content = {key: value for key, value in card.items() if key != SEAL}
    if WEIGHTS not in seal.parts or (GATE in seal.parts) != (content.get("quality_gate") is not None):
        raise ValueError(
            f"{path} contradicts itself: its quality_gate is {_shorten(content.get('quality_gate'))}, and its seal "
            f"binds {' and '.join(seal.parts) or 'nothing'}; {EXPORT_AGAIN}"
        )
    return SealedCard(content, seal.parts, seal.probe.model_dump())


def _parse(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
            raise ValueError(f"{twice!r} is there twice")
        return found

    return json.loads(text, parse_constant=refuse, object_pairs_hook=once)


def _sha256_of_content(card: dict[str, Any]) -> str:
    content = card | {SEAL: {key: value for key, value in card[SEAL].items() if key != "sha256"}}
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _in_words(error: ValidationError) -> str:
    """Name each key with its value and what it should be."""
    said = []
    for problem in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            said.append(f"{problem['loc'][-1]!r} is missing in it ({key})")
        else:
            said.append(f"{key} is {_shorten(problem['input'])} ({problem['msg'][:1].lower()}{problem['msg'][1:]})")
    return "; ".join(said[:3]) + (f"; and {len(said) - 3} more" if len(said) > 3 else "")


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:56]}…"
