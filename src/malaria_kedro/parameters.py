"""The typed parameters of conf/: one class per block, every field with its meaning and its bounds.

A wrong type, a value out of range or a misspelt key raises before any work begins; the message names the key.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_validator,
)

from malaria_kedro.errors import MalariaKedroError, known
from malaria_kedro.files import at_home
from malaria_kedro.language import Language
from malaria_kedro.names import CLASSES, NIH_PATIENT_PATTERN, SPLIT_FOLDERS
from malaria_kedro.redaction import redact, redact_url

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def _says_something(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty: is a variable unset? Give a text (or null, where null is allowed)")
    return value


def _names_one(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("is an empty list: name at least one (or null)")
    return values


def _is_no_address(value: str) -> str:
    if "://" in value:
        raise ValueError("looks like an address, but must be a place on this machine: download it first")
    return value


def _is_encoded(value: str) -> str:
    if _ODD_SIGN.search(value):
        raise ValueError("holds white space, a quote, < or >: percent-encode it (a space is %20)")
    return value


def _is_sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"{value!r} is not a sha256 (64 lower-case hexadecimal digits)")
    return value


def _has_a_group(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from error
    if groups < 1:
        raise ValueError(f"{value!r} has no group: put the patient's part in parentheses")
    return value


def _as_text(value: Any) -> Any:
    """Return a mapping with whole numbers among its keys as text: YAML reads 0 and 1 as numbers."""
    if not isinstance(value, dict):
        return value
    return {str(key) if type(key) is int else key: item for key, item in value.items()}


def _names_classes(value: dict[str, str]) -> dict[str, str]:
    for name, label in value.items():
        if name.lower() in SPLIT_FOLDERS or not name.strip() or "/" in name:
            raise ValueError(f"{name!r} cannot name a class: give a word that is no path and no split")
        if name in CLASSES and name != label:
            raise ValueError(f"{name!r} is the name of a class itself, and cannot stand for {label}")
    return value


def _number(value: Any) -> Any:
    """Return text as the number it is: YAML reads 1e-4 (no point) as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Text = Annotated[str, AfterValidator(_says_something)]
LocalPath = Annotated[Text, AfterValidator(_is_no_address), AfterValidator(at_home)]
Tables = LocalPath | Annotated[tuple[LocalPath, ...], Field(strict=False, min_length=1)]
ClassNames = Annotated[
    dict[str, Literal["Parasitized", "Uninfected"]],
    BeforeValidator(_as_text),
    AfterValidator(_names_classes),
    Field(min_length=1, max_length=100),
]
Sha256 = Annotated[str, AfterValidator(_is_sha256)]
Seed = Annotated[
    int,
    Field(ge=0, lt=2**32, description="the same seed gives the same result; a number below 2**32, as numpy takes it"),
]
Percentage = Annotated[float, Field(ge=0, le=100)]
BitDepth = Literal[8, 10, 12, 14, 16]
StyleName = Literal["screen", "print"]
# YAML reads the word off as false.
Gate = Annotated[Literal["refuse", "flag", "off"], BeforeValidator(lambda value: "off" if value is False else value)]
Architecture = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "slim_resnet"]
LearningRate = Annotated[float, BeforeValidator(_number), Field(gt=0, le=10)]

_ODD_SIGN = re.compile(r"[\s'\"<>]")  # no address has one: there it is percent-encoded


class Block(BaseModel):
    """A parameter block: frozen, strict about its keys and its types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Phantoms(Block):
    """Cells drawn by the project itself, so that everything runs without the archive and without a network."""

    patients: int = Field(ge=4, le=500, description="number of phantom patients")
    cells_per_patient: int = Field(ge=4, le=5000, description="cells of each patient")
    size: int = Field(72, ge=24, le=512, description="mean side of a cell image, px")
    seed: Seed = Field(0, description="the same seed draws the same bytes")


class Source(Block):
    """Where the cells come from."""

    path: LocalPath | None = Field(None, description="a local zip or an unpacked folder; wins over url")
    path_sha256: Sha256 | None = Field(None, description="sha256 the local zip must have; null = not checked")
    # Not in repr: it may hold a password or a signature.
    url: Annotated[Text, AfterValidator(_is_encoded)] | None = Field(
        None,
        pattern=r"^https?://",
        repr=False,
        description="where the archive is downloaded from when path is null; no password in it is ever shown",
    )
    sha256: Sha256 | None = Field(None, description="sha256 of the file behind url")
    bytes: int | None = Field(None, gt=0, description="size of the file behind url, bytes")
    phantoms: Phantoms | None = Field(None, description="draw phantom cells; used when path is null")
    limit: int | None = Field(None, gt=0, description="cells per class, whole patients first; null = all")
    max_broken_pct: Percentage = Field(1.0, description="percentage of unreadable images; more stop the run")
    max_ignored_pct: Percentage = Field(
        5.0, description="percentage of images that may not be cells, or be unknown to a table; more stop the run"
    )
    max_unpacked_bytes: int = Field(20_000_000_000, gt=0, description="an archive that unpacks to more is refused")
    labels: Tables | None = Field(
        None, description="a CSV, parquet or Excel table of the images: columns file, label and, if known, patient"
    )
    patients: Tables | None = Field(
        None,
        description="a table with the columns file and patient, or the NIH's patientid_cellmapping_*.csv as they are; "
        "null = from the file names",
    )
    class_names: ClassNames | None = Field(
        None, description="what else class folders or labels are called, e.g. {infected: Parasitized}"
    )
    exclude: LocalPath | None = Field(
        None, description="a CSV of cells to leave out (first column), e.g. after an audit"
    )
    patient_pattern: Annotated[Text, AfterValidator(_has_a_group)] = Field(
        NIH_PATIENT_PATTERN, description="regular expression on the file name; its first group is the patient"
    )

    @field_serializer("url", when_used="json-unless-none")
    def _without_secrets(self, url: str) -> str:
        # JSON is what reports show and files keep; the download reads the field itself.
        return redact_url(url)

    @model_validator(mode="after")
    def _has_somewhere_to_look(self) -> Self:
        if not (self.path or self.phantoms or self.url):
            raise ValueError("one of path, phantoms and url must be given")
        if self.url and not (self.path or self.phantoms) and not self.sha256:
            raise ValueError("sha256 must be given with url: a download is accepted only when its hash matches")
        return self


class Split(Block):
    """Which cells are used for training, validation and test."""

    strategy: Literal["random", "patient", "folder"] = Field(
        description="random (the tutorial), patient (no patient twice) or folder (train/, valid/, test/ of the source)"
    )
    valid_pct: float = Field(gt=0, lt=1, description="share of the cells for validation, 0-1")
    test_pct: float = Field(0.0, ge=0, lt=1, description="share held out for the test, 0-1; 0 = none")
    seed: Seed

    @model_validator(mode="after")
    def _leaves_cells_to_train_on(self) -> Self:
        if self.valid_pct + self.test_pct >= 1:
            raise ValueError(
                f"valid_pct ({self.valid_pct}) and test_pct ({self.test_pct}) add up to 1 or more: "
                "nothing is left to train on"
            )
        return self


class Image(Block):
    """How a cell image becomes an array."""

    size: int = Field(ge=16, le=1024, description="side of the network's input, px")
    resize_method: Literal["squish"] = Field("squish", description="squish: both sides to size, as the tutorial")
    bit_depth: BitDepth | None = Field(None, description="bits of values in 16-bit images; null = found over the set")


class Augment(Block):
    """Random changes of training images; validation and test images stay as they are."""

    flip_horizontal: bool = Field(True, description="mirror left and right, half of the images")
    flip_vertical: bool = Field(False, description="mirror top and bottom, half of the images")
    transpose: bool = Field(False, description="swap rows and columns; with both flips: the 8 symmetries")
    max_rotate: float = Field(0.0, ge=0, le=180, description="degrees")
    max_zoom: float = Field(1.0, ge=1, le=4, description="1 = no zoom")
    max_warp: float = Field(0.0, ge=0, le=1, description="perspective; 0 = none")
    p_affine: float = Field(0.75, ge=0, le=1, description="chance of rotation, zoom and warp")
    max_lighting: float = Field(0.2, ge=0, lt=1, description="brightness and contrast, +- this share")
    p_lighting: float = Field(0.75, ge=0, le=1, description="chance of a change of lighting")


class Stage(Block):
    """One stage of training: a one-cycle schedule (Smith 2018, arXiv:1803.09820)."""

    epochs: int = Field(ge=0, le=10_000, description="0 = the stage is skipped")
    lr_max: LearningRate | Annotated[tuple[LearningRate, LearningRate], Field(strict=False)] = Field(
        description="top learning rate, or [first layers, head] with even ratios between"
    )
    pct_start: float = Field(0.25, gt=0, lt=1, description="share of the cycle with a rising rate")
    weight_decay: float = Field(0.01, ge=0, le=1, description="decoupled, as in AdamW")
    initial_size: int | None = Field(
        None,
        ge=16,
        le=1024,
        serialization_alias="first_size",
        description="px: side of the training images in the first epochs; null = image.size from the start",
    )
    full_size_after: float = Field(
        0.5, ge=0, lt=1, serialization_alias="full_size_from", description="share of the epochs before the full size"
    )

    @model_validator(mode="after")
    def _rates_rise(self) -> Self:
        if isinstance(self.lr_max, tuple) and self.lr_max[0] > self.lr_max[1]:
            raise ValueError(f"lr_max {list(self.lr_max)} must be [lowest, highest]")
        return self


class SlimResnet(Block):
    """The shape of the architecture slim_resnet, a residual network (He 2016, arXiv:1512.03385).

    No field has a default: a classifier stores this block, and is built from nothing else.
    """

    width: int = Field(ge=4, le=128, description="channels of the first stage; a resnet18 has 64")
    stages: Annotated[
        tuple[Annotated[int, Field(ge=1, le=8)], ...], Field(strict=False, min_length=1, max_length=4)
    ] = Field(
        description="residual blocks of each stage, 1-8 in up to 4 stages; from the second stage on, each doubles the "
        "channels and halves the image; a resnet18 has [2, 2, 2, 2]"
    )
    stem: Literal["strided", "pooled", "plain"] = Field(
        description="before the stages: strided halves the image (3×3 convolution), pooled quarters it (7×7 "
        "convolution and max pooling, as a resnet18), plain keeps its size (3×3 convolution)"
    )
    pooling: Literal["average", "max", "both"] = Field(description="of each channel, before the head")

    def __str__(self) -> str:
        """Return the shape in a few words."""
        stages = ", ".join(map(str, self.stages))
        return f"width {self.width}, stages [{stages}], stem {self.stem}, pooling {self.pooling}"


class Variant(Block):
    """One model variant: a network and its recipe."""

    # Not dumped: descriptions of trainings and classifiers name the variant themselves, beside its recipe.
    name: Text = Field(exclude=True, description="the block's own name, for messages, figures and files")
    arch: Architecture = Field(
        description="a residual network of torchvision, or slim_resnet, a smaller one whose shape is given"
    )
    slim_resnet: SlimResnet | None = Field(
        None,
        # Trainings and classifiers of other architectures are described as they always were.
        exclude_if=lambda shape: shape is None,
        description="the shape of a slim_resnet; null with every other arch",
    )
    pretrained: LocalPath = Field(description="imagenet, none, or the path of a weights file or an earlier classifier")
    batch_size: int = Field(ge=2, le=65_536, description="cells per training step")
    stage_1: Stage = Field(description="body frozen when pretrained; the whole network when not")
    stage_2: Stage = Field(description="everything unfrozen")
    select: Literal["last", "best_valid_loss", "best_accuracy"] | Annotated[int, Field(ge=1)] = Field(
        "last", description="which epoch is exported; a number is an epoch of the last stage"
    )
    dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="before the last layer; a resnet of torchvision has half of it before the layer above, too",
    )
    seed: Seed

    @model_validator(mode="after")
    def _has_a_shape_if_slim(self) -> Self:
        if self.arch != "slim_resnet" and self.slim_resnet:
            raise ValueError(
                f"slim_resnet is given ({self.slim_resnet}), but arch is {self.arch}; set arch to slim_resnet, or "
                "slim_resnet to null"
            )
        if self.arch == "slim_resnet" and not self.slim_resnet:
            raise ValueError(
                "arch is slim_resnet, but slim_resnet is null; give its shape, e.g. "
                "slim_resnet: {width: 16, stages: [2, 2, 2], stem: strided, pooling: both}"
            )
        if self.arch == "slim_resnet" and self.pretrained == "imagenet":
            raise ValueError(
                "pretrained is imagenet, but there are no ImageNet weights for a slim_resnet; set pretrained to none, "
                "or to the path of an earlier classifier of the same shape"
            )
        return self

    @model_validator(mode="after")
    def _trains_and_selects(self) -> Self:
        if self.stage_1.epochs == 0 and self.stage_2.epochs == 0:
            raise ValueError("stage_1.epochs and stage_2.epochs are both 0: nothing would be trained")
        last = self.stage_2.epochs or self.stage_1.epochs
        if isinstance(self.select, int) and self.select > last:
            raise ValueError(f"select is epoch {self.select}, but the last stage has {last} epochs")
        return self


class Training(Block):
    """How trainings run and what is kept of them; nothing here changes what is learnt, beyond rounding."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto = CUDA if available")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto = bf16 on a CUDA GPU that supports it, fp16 on others; fp32 on a CPU"
    )
    num_threads: int | None = Field(None, ge=1, le=1024, description="CPU threads; null = all cores")
    pixels_on_device: bool = Field(False, description="hold the pixel array in GPU memory")
    resume: Literal["auto", "require", "never"] = Field(
        "auto",
        description="auto = resume a matching training if there is one, else start; require = an error if there is "
        "none; never = start again and set the old checkpoints aside",
    )
    epochs_per_run: int | None = Field(
        None, ge=1, le=10_000, description="stop after so many epochs, to be continued; null = train to the end"
    )
    keep_last: int = Field(2, ge=1, le=10_000, description="number of newest epochs that can be resumed")
    keep_epochs: Literal["all", "best"] = Field(
        "all", description="all = keep the weights of every epoch; best = of the newest, best and selected ones"
    )

    @model_validator(mode="after")
    def _cpu_is_fp32(self) -> Self:
        if self.device == "cpu" and self.precision in ("bf16", "fp16"):
            raise ValueError(f"precision {self.precision} needs device cuda; on a cpu use fp32 (or auto)")
        return self


class Evaluation(Block):
    """How a trained model is evaluated."""

    threshold: float = Field(0.5, gt=0, lt=1, description="cells at or above this p_parasitized are called parasitized")
    top_losses: int = Field(9, ge=1, le=100, description="number of worst calls shown, and of parasites found")
    batch_size: int = Field(512, ge=1, le=65_536, description="cells per forward pass; changes no result")
    target_sensitivity: float = Field(
        0.98, gt=0, lt=1, description="the stored threshold finds this share of validation's parasitized cells"
    )
    bootstrap_draws: int = Field(2000, ge=100, le=100_000, description="for the 95 % intervals; whole patients")
    bootstrap_seed: Seed = 42
    label_audit_cells: int = Field(25, ge=1, le=400, description="suspicious labels on the contact sheet")
    figure_style: StyleName = Field("screen", description="screen (100 dpi) or print (300 dpi, smaller, for a page)")


class Report(Block):
    """How the pages are written."""

    language: Language = Field("en", description="of pages and figures: English, Spanish, French or Portuguese")


class LearningRateFinder(Block):
    """fastai's learning-rate finder (Smith 2015, arXiv:1506.01186)."""

    start_lr: LearningRate = Field(1e-7, description="rate of the first batch")
    end_lr: LearningRate = Field(10.0, description="rate of the last batch")
    num_it: int = Field(100, ge=10, le=10_000, description="batches the rate rises over")

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.start_lr >= self.end_lr:
            raise ValueError(f"start_lr ({self.start_lr}) must be below end_lr ({self.end_lr})")
        return self


class CrossValidation(Block):
    """Every cell is held out once, which measures a model on cells and patients that it has not seen."""

    variant: Text = Field(description="the variant whose recipe is trained on each fold")
    strategies: tuple[Literal["patient", "random"], ...] = Field(
        ("patient",), strict=False, min_length=1, description="patient: none in two splits; random: as the tutorial"
    )
    folds: int = Field(5, ge=2, le=100, description="number of folds; each is held out once")
    seeds: tuple[Seed, ...] = Field(
        (42,), strict=False, min_length=1, description="one whole cross-validation for each"
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name, values in (("strategies", self.strategies), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {list(values)} must name each one once")
        return self


class Inference(Block):
    """Reading new cells with a trained classifier."""

    images: LocalPath | Annotated[tuple[LocalPath, ...], Field(strict=False), AfterValidator(_names_one)] | None = (
        Field(
            None, description="an image, a folder, a zip, or a CSV, Excel or parquet list of paths; or several of them"
        )
    )
    model: Text = Field(description="the variant whose classifier reads")
    version: Text | None = Field(None, description="which version of its classifier; null = the newest")
    backend: Literal["torch", "onnx", "openvino"] = Field(
        "torch", description="runs the network; the others are extras"
    )
    precision: Literal["float32", "int8"] = Field("float32", description="int8 needs the graph of the pipeline export")
    batch_size: int = Field(64, ge=1, le=65_536, description="images that a thread reads at a time")
    bit_depth: BitDepth | None = Field(None, description="bits of values in 16-bit images; null = as trained")
    examples: int = Field(12, ge=1, le=200, description="cells of each kind in the report")
    heat_maps: bool = Field(False, description="show heat maps of what supports their calls")
    gate: Gate = Field(
        "refuse",
        description="what happens to an image that does not pass the quality gate: refuse = it is not called, flag = "
        "it is called and flagged, off = there is no gate",
    )

    @model_validator(mode="after")
    def _torch_is_float(self) -> Self:
        if self.backend == "torch" and self.precision == "int8":
            raise ValueError("precision int8 needs backend onnx or openvino; torch reads in float32")
        return self


# Earlier names of keys and blocks. An error names the new one; checkpoints know the keys of a stage by their earlier
# names (the serialization aliases), and are resumed.
RENAMED = {
    "first_size": "initial_size",
    "full_size_from": "full_size_after",
    "figures": "figure_style",
    "rate_search": "learning_rate",
}

BLOCKS: dict[str, type[Block]] = {
    "source": Source,
    "split": Split,
    "image": Image,
    "augment": Augment,
    "training": Training,
    "evaluation": Evaluation,
    "report": Report,
    "learning_rate": LearningRateFinder,
    "cross_validation": CrossValidation,
    "inference": Inference,
}


class ParameterError(MalariaKedroError, ValueError):
    """A parameter is wrong; the message names every wrong key, what it was and what would be right."""


def check_parameters(raw: dict[str, Any], variants: tuple[str, ...]) -> dict[str, Block]:
    """Turn the merged YAML into typed blocks.

    Args:
        raw: block name → mapping, as Kedro's configuration loader gives it (already typed blocks are kept).
        variants: names of the model variants; each is a block of its own.

    Raises:
        ParameterError: naming every unknown block, unknown key, wrong type and value out of bounds at once.
    """
    check_variants(variants)
    models = BLOCKS | dict.fromkeys(variants, Variant)
    problems: list[str] = []
    for name, block in raw.items():
        if name not in models:
            what = f"is called {RENAMED[name]} now" if name in RENAMED else f"unknown block{known(name, models)}"
            is_variant = isinstance(block, dict) and "arch" in block
            hint = " (a new variant is also named in VARIANTS of settings.py)" if is_variant else ""
            problems.append(f"{name}: {what}{hint}")
    typed: dict[str, Block] = {}
    for name, model in models.items():
        if name not in raw:
            problems.append(f"{name}: missing; conf/base must have this block")
            continue
        block = raw[name]
        if model is Variant and isinstance(block, dict) and block.get("name") != name:
            what = f"is {block['name']!r}, which is not the block's own name" if "name" in block else "is missing"
            remedy = f"write `name: {name}` into the block {name}, as its nodes see the block without its key"
            problems.append(f"{name}.name {what}: {remedy}")
            block = block | {"name": name}
        try:
            typed[name] = model.model_validate(block)
        except ValidationError as error:
            problems.extend(_describe(name, model, error))
    for name, key in (("cross_validation", "variant"), ("inference", "model")):
        chosen = getattr(typed.get(name), key, variants[0])
        if chosen not in variants:
            problems.append(f"{name}.{key}: {chosen!r} is not a variant; known are {', '.join(variants)}")
    if problems:
        raise ParameterError("wrong parameters, nothing was run:\n  " + "\n  ".join(problems))
    return typed


def check_variants(variants: object) -> None:
    """Check the names of the model variants before anything is built on them.

    Raises:
        ParameterError: they are no tuple of different names, none is there, or one is no name of a namespace.
    """
    if isinstance(variants, str) or not isinstance(variants, Collection) or not variants:
        wrong = "must be a tuple of at least one name"
    elif odd := [name for name in variants if not isinstance(name, str) or not re.fullmatch(r"\w[\w-]*", name)]:
        wrong = f"holds {odd[0]!r}, but a name has letters, digits, _ and - only"
    elif taken := [name for name in variants if name in BLOCKS]:
        wrong = f"holds {taken[0]!r}, which is another block's name"
    elif len(set(variants)) < len(variants):
        wrong = "names one twice"
    else:
        return
    raise ParameterError(
        f'VARIANTS in settings.py is {variants!r}, and {wrong}: write it as VARIANTS = ("resnet34", "resnet18"), each '
        "with a block in conf/base/parameters_modeling.yml"
    )


def annotation_of(key: str, variants: tuple[str, ...]) -> Any:
    """Return the type of a parameter by its dotted name, e.g. ``resnet18.stage_1.epochs``; None = no such parameter."""
    name, *path = key.split(".")
    annotation: Any = (BLOCKS | dict.fromkeys(variants, Variant)).get(name)
    for part in path:
        block = _block_in(annotation)
        field = block.model_fields.get(part) if block else None
        annotation = field.annotation if field else None
    return annotation


def _describe(name: str, model: type[Block], error: ValidationError) -> list[str]:
    """Return one line per wrong key: its full name, what was expected, what was given and what the key means."""
    found: dict[tuple[str, str], list[ErrorDetails]] = {}
    for item in error.errors():
        path, owner, meaning = _locate(model, item["loc"])
        if item["type"] == "extra_forbidden":
            new = RENAMED.get(path[-1])
            item["msg"] = (
                f"is called {new} now: {owner.model_fields[new].description}"
                if new in owner.model_fields
                else f"unknown key{known(path[-1], owner.model_fields)}"
            )
        elif item["type"] == "model_type":
            item["msg"] = f"it is a block of keys: give them one by one ({', '.join(owner.model_fields)})"
        found.setdefault((".".join((name, *path)), meaning), []).append(item)
    lines = []
    for (key, meaning), items in found.items():
        # A union of types fails once for each; if one of them fits but for its value, only that one helps.
        of_value = [item for item in items if not item["type"].endswith("_type")] or items
        texts = [item["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list") for item in of_value]
        given = of_value[0]["input"]
        wants_text = any(item["type"] in ("string_type", "literal_error") for item in items)
        if wants_text and type(given) in (bool, int, float):
            texts.append("put it in quotes in the YAML file, which reads it as something else than text")
        # With such a character in it, it is unknown which part of an address is the secret.
        odd = key == "source.url" and (isinstance(given, list) or bool(_ODD_SIGN.search(str(given))))
        # An address with a password may have been put where it does not belong.
        if isinstance(given, str) and ("://" in given or key == "source.url"):
            texts = [text.replace(repr(given), repr(redact_url(given))) for text in texts]
            given = redact_url(given)
        # A whole block (a check across keys, or a missing key) would bury the message, which names its values itself.
        shown = "" if odd or isinstance(given, dict | Block) else f" (given: {given!r})"
        lines.append(redact(f"{key}: {', or '.join(texts)}{shown}" + (f" — {meaning}" if meaning else "")))
    return lines


def _locate(model: type[Block], loc: tuple[int | str, ...]) -> tuple[list[str], type[Block], str]:
    """Follow an error's place to its key; return the key's parts, the block it is in and what the key means."""
    path, meaning, owner = [], "", model
    for part in loc:
        path.append(str(part))
        field = owner.model_fields.get(str(part))
        meaning = (field.description or "") if field else ""
        inner = _block_in(field.annotation) if field else None
        if inner is None:  # what follows are positions in a list and pydantic's names for the choices of a type
            break
        owner, meaning = inner, ""  # a check across a block's keys has a complete message
    return path, owner, meaning


def _block_in(annotation: Any) -> type[Block] | None:
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Block)), None)
