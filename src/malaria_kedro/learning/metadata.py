"""A classifier's metadata, the seal that binds the files of its folder together, and which version is the newest.

``classifier.json`` holds the metadata and, under ``seal``, the sha256 of the weights and of the quality gate, what the
network computes for the probe cells, and a sha256 of its own content. A flipped bit, an edited number, a missing gate
or a file of another classifier is thus found before anything is computed; ``README.md`` is for people to complete, and
not sealed. The seal is not a signature: anyone who recomputes it can change the content.

Imports no torch, because the report and the figures read metadata, too.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationError, ValidationInfo, field_validator

from malaria_kedro.files import look_at, look_in, sha256_of
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.learning.description import Hardware, Session
from malaria_kedro.learning.stored import StoredModel
from malaria_kedro.names import CLASSES
from malaria_kedro.parameters import Architecture, SlimResnet
from malaria_kedro.versions import newest_version

WEIGHTS, METADATA, MODEL_CARD = "model.safetensors", "classifier.json", "README.md"
GATE = "quality_gate.json"
SEAL, SEAL_FORMAT = "seal", 1
# The range in which calibration searches for a temperature.
TEMPERATURE_BOUNDS = (0.05, 20.0)
EXPORT_AGAIN = (
    "restore the folder from a copy, or export the classifier again, which trains nothing where checkpoints are kept "
    "(kedro run --pipelines modeling)"
)


class _Part(StoredModel):
    """The fields stand in the order in which the file has them."""

    model_config = ConfigDict(allow_inf_nan=False)


class InputFormat(_Part):
    """The images that the network takes."""

    size: int = Field(ge=16, le=1024)  # px per side
    resize: str | None = None  # how a cell is brought to that size
    channels: Literal["RGB"] = "RGB"
    dtype: Literal["uint8"] = "uint8"
    range: list[int] | None = None  # lowest and highest pixel value
    # Of the values in 16-bit image files, whose upper 8 bits the network sees; None = it saw no such file.
    bit_depth: int | None = None


class Normalisation(_Part):
    """The network's input is (pixel · scale - mean) / std, per channel."""

    scale: float = Field(gt=0, le=1)
    mean: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(ge=0.001, le=1)]] = Field(min_length=3, max_length=3)


class RecipeStage(_Part):
    """One stage of training; ``lr_max`` is the top learning rate, or that of the first layers and that of the head."""

    epochs: int
    lr_max: float | list[float]


class Recipe(_Part):
    """The variant's parameters, as they were when it trained; other versions have other parameters."""

    arch: str | None = None
    pretrained: str | None = None
    batch_size: int | None = None
    stage_1: RecipeStage | None = None
    stage_2: RecipeStage | None = None
    dropout: float | None = None
    seed: int | None = None


class SelectedEpoch(_Part):
    """The exported epoch and its validation scores; ``rule`` is the parameter ``select``."""

    # A diverged training is refused by its calibration, with a better message.
    model_config = ConfigDict(allow_inf_nan=True)

    stage: str | None = None
    epoch: int | None = None
    rule: str | None = None
    valid_loss: float | None = None
    accuracy: float | None = None
    error_rate: float | None = None


class Calibration(_Part):
    """What ``malaria_kedro.learning.calibration.calibrate`` found; what cannot be told is None, and ``notes`` say why.

    Before and after the temperature, on the ``n`` cells that it was fitted on: mean cross-entropy (``nll``, nats),
    calibration error (``ece``, 0-1) and Brier score (0-1). Sensitivity and specificity (0-1) are at the threshold.
    """

    method: str | None = None
    fitted_on: str | None = None  # the split
    n: int | None = None
    temperature: float = Field(default=1.0, ge=TEMPERATURE_BOUNDS[0], le=TEMPERATURE_BOUNDS[1])
    nll_before: float | None = None
    nll_after: float | None = None
    ece_before: float | None = None
    ece_after: float | None = None
    brier_before: float | None = None
    brier_after: float | None = None
    notes: list[str] = Field(default_factory=list)
    target_sensitivity: float | None = None  # the share of parasitized cells that the threshold had to find
    threshold: float | None = Field(default=None, gt=0, lt=1)  # calls are p >= threshold, with the calibrated p
    sensitivity: float | None = None
    specificity: float | None = None


class ThresholdScores(_Part):
    """How good the calls at the threshold are on cells that did not train; shares from 0 to 1, None = not defined.

    An interval (95 %) is from drawing ``unit``s, ``patient`` or ``cell``, again and again.
    """

    split: str  # ``valid``, whose cells also chose the threshold, or ``test``
    n_parasitized: int
    n_uninfected: int
    n_patients: int | None = None
    unit: str | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    roc_auc: float | None = None
    intervals: dict[str, list[float] | None] = Field(default_factory=dict)


class GateSummary(_Part):
    """Which quality gate the classifier has, how it was fitted, and how many cells it refuses."""

    id: str
    n_cells: int | None = None  # training cells that it was fitted on
    refused_share: float | None = None  # the share of them that it was meant to refuse
    refused: dict[str, dict[str, list[int]]] | None = None  # split → class → refused cells, and of how many


class ClassifierMetadata(_Part):
    """What ``classifier.json`` tells of a classifier, without the seal.

    What the network is computed with is bounded; what else there is may be absent in a file of another version.
    """

    name: str = ""  # of the variant; empty = not told
    architecture: Architecture
    # The shape of that architecture; None = it is another one, and nothing is written.
    slim_resnet: SlimResnet | None = Field(None, validate_default=True, exclude_if=lambda shape: shape is None)
    pretrained: str | None = None  # ``imagenet``, ``none``, or the path of the weights that the training started from
    classes: list[str]
    positive_class: Literal["Parasitized"] = "Parasitized"
    intended_use: str | None = None
    input: InputFormat
    normalisation: Normalisation
    output: str | None = None  # what the network returns
    parameters: Recipe = Recipe()
    data: DataBunchSummary  # the cells that it trained on
    selected: SelectedEpoch = SelectedEpoch()
    seconds: float | None = None  # that both stages took
    n_parameters: int | None = None
    hardware: Hardware | None = None  # of the last run that trained it
    versions: dict[str, str] = Field(default_factory=dict)
    training_id: str = ""  # sha256 of all that decided the weights
    sessions: list[Session] = Field(default_factory=list)
    calibration: Calibration | None = None
    at_threshold: ThresholdScores | None = None  # None: measured by no version that exported it, or without a threshold
    quality_gate: GateSummary | None = None
    no_quality_gate: str | None = None  # why there is none

    @field_validator("slim_resnet")
    @classmethod
    def _of_that_architecture(cls, shape: SlimResnet | None, info: ValidationInfo) -> SlimResnet | None:
        # Without an architecture, that is the error.
        if (architecture := info.data.get("architecture")) and (architecture == "slim_resnet") != (shape is not None):
            raise ValueError(f"architecture is {architecture}, and only a slim_resnet has this shape")
        return shape

    @property
    def network(self) -> str:
        """The architecture in words, with the shape of a slim_resnet."""
        return name_network(self.architecture, self.slim_resnet)

    @property
    def temperature(self) -> float:
        """What the logits are divided by; 1 where the classifier was never calibrated."""
        return self.calibration.temperature if self.calibration else 1.0

    @property
    def threshold(self) -> float | None:
        """The operating point: a calibrated probability from here on is called parasitized; None = there is none."""
        return self.calibration.threshold if self.calibration else None


def name_network(arch: str, slim_resnet: SlimResnet | None) -> str:
    """Return an architecture in words, with the shape of a slim_resnet."""
    return f"{arch} ({slim_resnet})" if slim_resnet else arch


class ProbeRecord(_Part):
    """What the network computes for the probe cells; see ``malaria_kedro.learning.probe``."""

    cells: int
    p_parasitized: list[Annotated[float, Field(ge=0, le=1)]]
    features: list[list[float]]


class Seal(_Part):
    """What binds the metadata to the files beside them: ``parts`` is file name → sha256, ``sha256`` the content's."""

    format: Literal[1]
    parts: dict[str, str]
    probe: ProbeRecord
    sha256: str


def newest_classifier(folder: Path) -> Path | None:
    """Return the folder itself if it is a classifier's, else the newest of its versions, else None.

    Kedro writes ``<name>/<version>/<name>``; names with a leading dot are left over from an interrupted write. A folder
    that has lost a file counts: reading it names what is missing, and an older version would be another classifier.

    Raises:
        OSError: the folder or one of its versions cannot be looked into; the message says so.
    """

    def has_a_part(place: Path) -> bool:
        return any(look_at(place / part) is not None for part in (WEIGHTS, METADATA, GATE))

    try:
        if has_a_part(folder):
            return folder
        inside = (found for version in look_in(folder) for found in look_in(version))
        found = [place for place in inside if not place.name.startswith(".") and has_a_part(place)]
    except OSError as error:
        raise type(error)(
            f"{error.filename} cannot be looked at ({error.strerror}), so it is not known which classifier is the "
            "newest: check the rights on it"
        ) from error
    return newest_version(found, version_of=1)


def check_metadata(content: JsonValue, name: str) -> ClassifierMetadata:
    """Return the content of ``classifier.json``, without the seal, as metadata; ``name`` is what the message calls it.

    Raises:
        ValueError: what a classifier computes with is missing or out of bounds; the message names key and value.
    """
    foreign = f"{name} is not the metadata of a classifier of {' and '.join(CLASSES)}"
    if not isinstance(content, dict) or content.get("classes") != list(CLASSES):
        raise ValueError(f"{foreign}; {EXPORT_AGAIN}")
    try:
        return ClassifierMetadata.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{foreign}: {_describe_problems(error)}; {EXPORT_AGAIN}") from error


def seal_metadata(metadata: ClassifierMetadata, parts: dict[str, str], probe: ProbeRecord) -> str:
    """Return the text of ``classifier.json``: the metadata, sealed with the files (name → sha256) and the probe.

    Raises:
        ValueError: a value is not a number.
    """
    content: dict[str, Any] = metadata.as_dict()
    content[SEAL] = {"format": SEAL_FORMAT, "parts": dict(sorted(parts.items())), "probe": probe.as_dict()}
    content[SEAL]["sha256"] = _sha256_of_content(content)
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_metadata(path: Path) -> tuple[ClassifierMetadata, Seal]:
    """Read metadata, and check their numbers and their seal; the files beside them are not looked at.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not strict JSON or not a classifier's metadata, or was changed or damaged.
    """
    try:
        content = _parse(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # the latter where it is nested too deeply
        raise ValueError(f"{path} is damaged: it is not JSON ({error}); {EXPORT_AGAIN}") from error
    unsealed = {key: value for key, value in content.items() if key != SEAL} if isinstance(content, dict) else content
    metadata = check_metadata(unsealed, str(path))
    if SEAL not in content:
        raise ValueError(
            f"{path} has no seal: it was written by a version of malaria-kedro that did not bind weights, metadata and "
            "quality gate together, so damage would not be noticed; export it again, which trains nothing where the "
            "checkpoints are kept (kedro run --pipelines modeling)"
        )
    try:
        seal = Seal.model_validate(content[SEAL])
    except ValidationError as error:
        raise ValueError(
            f"{path} is damaged: its seal is not valid ({_describe_problems(error)}); {EXPORT_AGAIN}"
        ) from error
    if seal.sha256 != _sha256_of_content(content):
        raise ValueError(
            f"{path} was changed or damaged after it was written: its seal is not that of its content; {EXPORT_AGAIN}"
        )
    if WEIGHTS not in seal.parts or (GATE in seal.parts) != (metadata.quality_gate is not None):
        raise ValueError(
            f"{path} contradicts itself: its quality_gate is {_shorten(unsealed.get('quality_gate'))}, and its seal "
            f"binds {' and '.join(seal.parts) or 'nothing'}; {EXPORT_AGAIN}"
        )
    return metadata, seal


def check_classifier(folder: Path) -> tuple[ClassifierMetadata, Seal]:
    """Read a classifier's metadata and check that every file beside them is the one they were written with.

    Raises:
        OSError: a file cannot be read.
        ValueError: one of them is damaged, missing, changed, or of another classifier; the message says what to do.
    """
    metadata, seal = read_metadata(folder / METADATA)
    for name, what in ((WEIGHTS, "the weights"), (GATE, "the quality gate")):
        path, expected = folder / name, seal.parts.get(name)
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
                f"{path} is damaged, or of another classifier: its sha256 is {sha256[:12]}…, and {METADATA} was "
                f"written with {expected[:12]}…; {EXPORT_AGAIN}"
            )
    return metadata, seal


def _describe_problems(error: ValidationError) -> str:
    """Name each key with its value and what is expected."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            problems.append(f"{problem['loc'][-1]!r} is missing in it ({key})")
        else:
            expected = f"{problem['msg'][:1].lower()}{problem['msg'][1:]}"
            problems.append(f"{key} is {_shorten(problem['input'])} ({expected})")
    return "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")


def _parse(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number in JSON")

    def only_once(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"{key!r} is there twice")
            found[key] = value
        return found

    return json.loads(text, parse_constant=refuse, object_pairs_hook=only_once)


def _sha256_of_content(content: dict[str, Any]) -> str:
    content = content | {SEAL: {key: value for key, value in content[SEAL].items() if key != "sha256"}}
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:56]}…"
