"""Parameters: every wrong one stops the run with its name, and every environment of conf/ is right."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import annotated_types
import pytest
import yaml
from pydantic.fields import FieldInfo

from malaria_kedro.parameters import (
    BLOCKS,
    Block,
    ParameterError,
    Phantoms,
    SlimResnet,
    Stage,
    Training,
    Variant,
    check_parameters,
)
from malaria_kedro.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS, VARIANTS

CONF = Path(__file__).parents[1] / "conf"
ENVIRONMENTS = ("base", "demo", "cpu", "gpu", "patient", "sprint")
SHA256 = "0a949556b2414159b5100192609805376654c4266d8d187be9b1922fad43c668"

pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver")


def loader_of(env: str, **kwargs: Any) -> CONFIG_LOADER_CLASS:
    return CONFIG_LOADER_CLASS(str(CONF), env=env, **{**CONFIG_LOADER_ARGS, **kwargs})


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    return loader_of("base")["parameters"]


@pytest.fixture
def raw(base: dict[str, Any]) -> dict[str, Any]:
    """The parameters of base, to be spoilt."""
    return copy.deepcopy(base)


def put(raw: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    *path, last = key.split(".")
    block = raw
    for part in path:
        block = block[part]
    block[last] = value
    return raw


def message_of(raw: dict[str, Any]) -> str:
    with pytest.raises(ParameterError) as caught:
        check_parameters(raw, VARIANTS)
    return str(caught.value)


def lines_of(raw: dict[str, Any]) -> list[str]:
    return [line.strip() for line in message_of(raw).splitlines()[1:]]


# --- the classes themselves -----------------------------------------------------------------------------------------


def fields() -> Iterator[Any]:
    for block in (*BLOCKS.values(), Variant, Stage, Phantoms, SlimResnet):
        for name, field in block.model_fields.items():
            yield pytest.param(field, id=f"{block.__name__}.{name}")


@pytest.mark.parametrize("field", fields())
def test_every_field_says_what_it_means(field: FieldInfo):
    assert field.description


@pytest.mark.parametrize("field", fields())
def test_every_number_is_bounded(field: FieldInfo):
    if not {int, float} & {field.annotation, *get_args(field.annotation)}:
        return
    bounds = {type(bound) for bound in field.metadata}
    assert bounds & {annotated_types.Ge, annotated_types.Gt}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_cannot_be_changed_once_checked(name, base):
    block = check_parameters(base, VARIANTS)[name]
    with pytest.raises(ValueError, match="frozen"):
        setattr(block, next(iter(type(block).model_fields)), None)


# --- what is in conf/ -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_an_environment_is_right(env):
    typed = check_parameters(loader_of(env)["parameters"], VARIANTS)
    assert typed.keys() == {*BLOCKS, *VARIANTS}
    assert all(isinstance(block, Block) for block in typed.values())


def test_every_environment_is_tested():
    assert {path.name for path in CONF.iterdir() if path.is_dir()} == {*ENVIRONMENTS, "local"}


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_an_environment_resolves_where_everything_is_kept(env):
    loader = loader_of(env)
    folder = "data/demo" if env == "demo" else "data"
    assert loader["globals"] == {"data_dir": folder}
    places = {name: entry.get("filepath") for name, entry in loader["catalog"].items()}
    for nowhere in ("run_state", "run_record"):
        assert places.pop(nowhere) is None, nowhere
    assert all(place.startswith(f"{folder}/0") for place in places.values())


@pytest.mark.parametrize("env", sorted(set(ENVIRONMENTS) - {"base"}))
def test_an_environment_overrides_leaves_and_keeps_the_rest(env, base):
    parameters = loader_of(env)["parameters"]
    assert parameters["evaluation"] == base["evaluation"]
    assert parameters["resnet18"]["stage_1"]["pct_start"] == base["resnet18"]["stage_1"]["pct_start"]
    assert parameters != base


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_environment_has_the_tutorials_networks(env):
    typed = check_parameters(loader_of(env)["parameters"], VARIANTS)
    assert [(typed[name].arch, typed[name].slim_resnet) for name in VARIANTS] == [(name, None) for name in VARIANTS]


@pytest.mark.parametrize("name", [*BLOCKS, *VARIANTS])
def test_base_states_every_parameter(name, base):
    assert base[name].keys() == BLOCKS.get(name, Variant).model_fields.keys()


def test_base_states_every_parameter_of_a_stage(base):
    assert base["resnet18"]["stage_2"].keys() == Stage.model_fields.keys()


def test_base_is_the_tutorials_recipe(base):
    typed = check_parameters(base, VARIANTS)
    assert (typed["resnet34"].batch_size, typed["resnet34"].stage_1.epochs, typed["resnet34"].stage_2.epochs) == (
        256,
        10,
        0,
    )
    assert (typed["resnet18"].batch_size, typed["resnet18"].stage_1.epochs, typed["resnet18"].stage_2.epochs) == (
        512,
        10,
        30,
    )
    assert typed["resnet18"].stage_2.lr_max == (1e-5, 1e-4)
    assert (typed["split"].strategy, typed["split"].valid_pct, typed["image"].size) == ("random", 0.2, 128)


def test_the_defaults_of_the_classes_are_those_of_base(base):
    typed = check_parameters(base, VARIANTS)
    for name in ("augment", "training", "learning_rate", "evaluation"):
        assert BLOCKS[name]() == typed[name]


def test_runtime_parameters_are_checked_like_the_files():
    parameters = loader_of("demo", runtime_params={"split": {"valid_pct": 3}})["parameters"]
    assert lines_of(parameters)[0].startswith("split.valid_pct: Input should be less than 1")


# --- wrong parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("source.limit", "many"),
        ("source.max_broken_pct", "one"),
        ("source.path", 7),
        ("split.seed", 1.5),
        ("split.strategy", "patients"),
        ("image.size", "128"),
        ("image.resize_method", "crop"),
        ("augment.flip_horizontal", "yes"),
        ("augment.max_lighting", None),
        ("training.device", "gpu"),
        ("training.precision", 16),
        ("training.num_threads", True),
        ("training.resume", True),
        ("training.resume", "yes"),
        ("training.epochs_per_run", "two"),
        ("training.keep_epochs", "last"),
        ("evaluation.threshold", "half"),
        ("evaluation.figure_style", "poster"),
        ("evaluation.figure_style", 100),
        ("learning_rate.num_it", 12.5),
        ("learning_rate.end_lr", "high"),
        ("resnet34.batch_size", "256"),
        ("resnet34.arch", "vgg16"),
        ("resnet18.stage_2.lr_max", "slow"),
        ("resnet18.select", "best"),
        ("resnet18.stage_1", 10),
    ],
)
def test_a_wrong_type_names_key_and_value(raw, key, value):
    (line,) = lines_of(put(raw, key, value))
    assert line.startswith(f"{key}: ")
    assert repr(value) in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("source.limit", 0),
        ("source.bytes", -1),
        ("source.max_broken_pct", 100.5),
        ("source.max_ignored_pct", -0.5),
        ("source.max_ignored_pct", 100.5),
        ("source.max_unpacked_bytes", 0),
        ("split.valid_pct", 1.0),
        ("split.valid_pct", 20),
        ("split.test_pct", -0.1),
        ("split.seed", -1),
        ("split.seed", 2**32),
        ("image.size", 8),
        ("image.size", 2048),
        ("augment.max_rotate", 400.0),
        ("training.epochs_per_run", 0),
        ("training.keep_last", 0),
        ("augment.max_zoom", 0.5),
        ("augment.p_affine", 1.5),
        ("augment.max_lighting", float("nan")),
        ("training.num_threads", 0),
        ("evaluation.threshold", 0.0),
        ("evaluation.top_losses", 0),
        ("evaluation.batch_size", 0),
        ("learning_rate.num_it", 1),
        ("learning_rate.start_lr", 0.0),
        ("resnet34.batch_size", 1),
        ("resnet34.dropout", 1.0),
        ("resnet18.seed", 2**32),
        ("resnet18.stage_1.epochs", -1),
        ("resnet18.stage_1.pct_start", 0.0),
        ("resnet18.stage_1.weight_decay", 2.0),
        ("resnet18.stage_1.lr_max", 0.0),
        ("resnet18.stage_1.lr_max", float("inf")),
        ("resnet18.select", 0),
    ],
)
def test_a_value_out_of_range_names_key_and_value(raw, key, value):
    (line,) = lines_of(put(raw, key, value))
    assert line.startswith(f"{key}: Input should be ")
    assert f"(given: {value!r})" in line


@pytest.mark.parametrize("block", [*BLOCKS, "resnet34", "resnet18", "resnet18.stage_2"])
def test_a_misspelt_key_names_itself_and_the_known_ones(raw, block):
    (line,) = lines_of(put(raw, f"{block}.sise", 1))
    assert line.startswith(f"{block}.sise: unknown key")
    assert line.endswith("(given: 1)")


def test_a_misspelt_key_is_told_what_was_meant_in_its_own_block(raw):
    raw["resnet18"]["stage_2"]["epoch"] = 3
    (line,) = lines_of(raw)
    assert line.startswith("resnet18.stage_2.epoch: unknown key: did you mean epochs?")
    assert all(known in line for known in Stage.model_fields)


@pytest.mark.parametrize(("old", "new"), [("first_size", "initial_size"), ("full_size_from", "full_size_after")])
def test_a_key_of_before_is_told_its_new_name(raw, old, new):
    (line,) = lines_of(put(raw, f"resnet18.stage_1.{old}", 0.5))
    assert line.startswith(f"resnet18.stage_1.{old}: is called {new} now")
    assert line.endswith("(given: 0.5)")


@pytest.mark.parametrize("key", ["dpi", "loss_curves"])
def test_a_size_of_a_figure_is_told_the_style(raw, key):
    raw["evaluation"]["figures"] = {key: 10}
    (line,) = lines_of(raw)
    assert line.startswith("evaluation.figures: is called figure_style now: screen ")


def test_a_block_of_an_earlier_name_is_told_its_new_one(raw):
    assert lines_of(raw | {"rate_search": {"num_it": 50}}) == ["rate_search: is called learning_rate now"]


def test_an_error_says_what_the_key_means(raw):
    (line,) = lines_of(put(raw, "split.valid_pct", 20))
    assert "share of the cells for validation" in line


@pytest.mark.parametrize("name", [*BLOCKS, *VARIANTS])
def test_a_missing_block_is_named(raw, name):
    del raw[name]
    assert lines_of(raw) == [f"{name}: missing; conf/base must have this block"]


@pytest.mark.parametrize("name", [*BLOCKS, *VARIANTS])
@pytest.mark.parametrize("value", [None, 5, "text", [1]])
def test_a_block_that_is_no_block_is_named(raw, name, value):
    (line,) = lines_of(put(raw, name, value))
    assert line.startswith(f"{name}: it is a block of keys: give them one by one (")
    assert f"(given: {value!r})" in line


def test_an_unknown_block_is_named_with_the_one_that_was_meant(raw):
    raw["evalution"] = {"threshold": 0.5}
    (line,) = lines_of(raw)
    assert line.startswith("evalution: unknown block: did you mean evaluation? Known")


def test_a_variant_that_settings_do_not_name_is_told_where_to(raw):
    raw["resnet50"] = raw["resnet34"] | {"arch": "resnet50"}
    (line,) = lines_of(raw)
    assert line.startswith("resnet50: unknown block")
    assert "VARIANTS of settings.py" in line


def test_a_variant_without_its_name_is_told_what_to_write(raw):
    del raw["resnet34"]["name"]
    (line,) = lines_of(raw)
    assert line.startswith("resnet34.name is missing: write `name: resnet34`")


def test_a_variant_under_another_name_is_told_what_to_write(raw):
    (line,) = lines_of(put(raw, "resnet34.name", "resnet50"))
    assert line.startswith("resnet34.name is 'resnet50', which is not the block's own name: write `name: resnet34`")


def test_a_wrong_name_hides_no_other_mistake_of_the_block(raw):
    del raw["resnet34"]["name"]
    lines = lines_of(put(raw, "resnet34.seed", -1))
    assert [line.split()[0] for line in lines] == ["resnet34.name", "resnet34.seed:"]


def test_a_variants_name_is_no_part_of_its_recipe_where_it_is_written_down(base):
    variant = Variant.model_validate(base["resnet18"])
    assert variant.name == "resnet18"
    assert "name" not in variant.model_dump() | variant.model_dump(mode="json", by_alias=True)


def test_a_missing_key_is_named(raw):
    del raw["split"]["seed"]
    (line,) = lines_of(raw)
    assert line.startswith("split.seed: Field required")


def test_all_problems_are_told_at_once(raw):
    put(raw, "split.valid_pct", 2.0)
    put(raw, "image.sise", 64)
    put(raw, "resnet18.stage_1.epochs", "ten")
    del raw["augment"]
    raw["extra"] = 1
    keys = {line.split(":")[0] for line in lines_of(raw)}
    assert keys == {"split.valid_pct", "image.sise", "resnet18.stage_1.epochs", "augment", "extra"}


def test_the_message_says_that_nothing_was_run(raw):
    assert message_of(put(raw, "image.size", 1)).startswith("wrong parameters, nothing was run:")


# --- learning rates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (1e-3, 1e-3),
        ("1e-4", 1e-4),  # YAML 1.1 reads a number without a point as text
        (1, 1.0),
        ([1e-5, 1e-4], (1e-5, 1e-4)),
        (["1e-5", 1], (1e-5, 1.0)),
        ((1e-5, 1e-4), (1e-5, 1e-4)),
        ([1e-4, 1e-4], (1e-4, 1e-4)),
    ],
)
def test_a_learning_rate_may_be_a_number_a_text_or_a_pair(given, understood):
    lr_max = Stage(epochs=1, lr_max=given).lr_max
    assert lr_max == understood
    assert type(lr_max) is type(understood)


def test_a_pair_of_learning_rates_must_rise(raw):
    (line,) = lines_of(put(raw, "resnet18.stage_2.lr_max", [1e-4, 1e-5]))
    assert line.startswith("resnet18.stage_2: lr_max [0.0001, 1e-05]")


@pytest.mark.parametrize(
    "value", [[1e-5], [1e-5, 1e-4, 1e-3], [], [1e-5, "fast"], [0, 1e-4], True, None, {"head": 1e-4}]
)
def test_other_learning_rates_are_one_error_that_names_the_key(raw, value):
    (line,) = lines_of(put(raw, "resnet18.stage_2.lr_max", value))
    assert line.startswith("resnet18.stage_2.lr_max: ")


def test_the_finder_reads_rates_as_the_stages_do(raw):
    put(raw, "learning_rate.start_lr", "1e-6")
    put(raw, "learning_rate.end_lr", 1)
    found = check_parameters(raw, VARIANTS)["learning_rate"]
    assert (found.start_lr, found.end_lr) == (1e-6, 1.0)


def test_the_finder_must_rise(raw):
    (line,) = lines_of(put(raw, "learning_rate.start_lr", 10.0))
    assert line.startswith("learning_rate: start_lr (10.0)")
    assert "end_lr (10.0)" in line


# --- checks across keys ---------------------------------------------------------------------------------------------


def test_the_shares_must_leave_cells_to_train_on(raw):
    put(raw, "split.valid_pct", 0.6)
    (line,) = lines_of(put(raw, "split.test_pct", 0.4))
    assert line.startswith("split: valid_pct (0.6) and test_pct (0.4)")


@pytest.mark.parametrize(("select", "stage_2", "known"), [(31, 30, 30), (11, 0, 10)])
def test_the_selected_epoch_must_be_one_of_the_last_stage(raw, select, stage_2, known):
    put(raw, "resnet18.stage_2.epochs", stage_2)
    (line,) = lines_of(put(raw, "resnet18.select", select))
    assert re.search(rf"^resnet18: select is epoch {select}, .* {known} epochs", line)


@pytest.mark.parametrize("select", ["last", "best_valid_loss", "best_accuracy", 1, 30])
def test_an_epoch_can_be_selected_by_rule_or_number(raw, select):
    assert check_parameters(put(raw, "resnet18.select", select), VARIANTS)["resnet18"].select == select


SHAPE = {"width": 16, "stages": [2, 2, 2], "stem": "strided", "pooling": "both"}


def slim(raw: dict[str, Any], **changes: Any) -> dict[str, Any]:
    raw["resnet18"] |= {"arch": "slim_resnet", "pretrained": "none", "slim_resnet": SHAPE} | changes
    return raw


def test_a_slim_network_has_a_shape(raw):
    found = check_parameters(slim(raw), VARIANTS)["resnet18"].slim_resnet
    assert (found.width, found.stages, found.stem, found.pooling) == (16, (2, 2, 2), "strided", "both")


def test_a_shape_without_a_slim_network_is_an_error(raw):
    (line,) = lines_of(slim(raw, arch="resnet18"))
    assert line.startswith("resnet18: slim_resnet is given (width 16, stages [2, 2, 2], stem strided, pooling both), ")
    assert line.endswith("but arch is resnet18; set arch to slim_resnet, or slim_resnet to null")


def test_a_slim_network_without_a_shape_is_told_what_to_give(raw):
    (line,) = lines_of(slim(raw, slim_resnet=None))
    assert line.startswith("resnet18: arch is slim_resnet, but slim_resnet is null; give its shape, e.g. ")
    advised = yaml.safe_load(line[line.index("e.g. ") + 5 :])
    assert check_parameters(slim(raw, **advised), VARIANTS)["resnet18"].slim_resnet


def test_a_slim_network_has_no_weights_of_imagenet(raw):
    (line,) = lines_of(slim(raw, pretrained="imagenet"))
    assert line.startswith("resnet18: pretrained is imagenet, but there are no ImageNet weights for a slim_resnet; ")
    assert "set pretrained to none" in line


@pytest.mark.parametrize("key", SHAPE)
def test_no_key_of_a_shape_may_be_missing(raw, key):
    (line,) = lines_of(slim(raw, slim_resnet={name: value for name, value in SHAPE.items() if name != key}))
    assert line.startswith(f"resnet18.slim_resnet.{key}: Field required")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("width", value) for value in (3, 129, 16.0, "16", True, None)),
        *(("stages", value) for value in ([], [1] * 5, [0], [9], [1.5], ["2"], [True], 2, None)),
        *(("stem", value) for value in ("wide", 2, None)),
        *(("pooling", value) for value in ("mean", 1, None)),
        ("depth", 3),
    ],
)
def test_a_wrong_shape_is_one_error_that_names_the_key(raw, key, value):
    (line,) = lines_of(slim(raw, slim_resnet=SHAPE | {key: value}))
    assert line.startswith(f"resnet18.slim_resnet.{key}: ")


def test_a_shape_is_written_only_where_there_is_one(base):
    without, with_one = (Variant.model_validate(block["resnet18"]) for block in (base, slim(copy.deepcopy(base))))
    assert "slim_resnet" not in without.model_dump(mode="json")
    assert with_one.model_dump(mode="json")["slim_resnet"] == SHAPE


def test_something_must_be_trained(raw):
    put(raw, "resnet34.stage_1.epochs", 0)
    (line,) = lines_of(raw)
    assert line.startswith("resnet34: stage_1.epochs and stage_2.epochs are both 0")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_needs_a_gpu(raw, precision):
    put(raw, "training.device", "cpu")
    (line,) = lines_of(put(raw, "training.precision", precision))
    assert re.search(rf"^training: precision {precision} .*fp32", line)
    assert Training(device="cuda", precision=precision)


# --- the source -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["source.sha256", "source.path_sha256"])
@pytest.mark.parametrize("value", ["abc", SHA256[:-1], SHA256 + "0", "g" * 64, ""])
def test_a_hash_must_look_like_one(raw, key, value):
    (line,) = lines_of(put(raw, key, value))
    assert line.startswith(f"{key}: {value!r} is not a sha256")


def test_a_hash_is_optional_for_a_local_zip(raw):
    put(raw, "source.path", "cells.zip")
    assert check_parameters(raw, VARIANTS)["source"].path_sha256 is None
    put(raw, "source.path_sha256", SHA256)
    assert check_parameters(raw, VARIANTS)["source"].path_sha256 == SHA256


def test_a_download_needs_a_hash(raw):
    (line,) = lines_of(put(raw, "source.sha256", None))
    assert line.startswith("source: sha256 must be given with url")


def test_a_local_path_needs_no_hash_of_the_download(raw):
    put(raw, "source.sha256", None)
    assert check_parameters(put(raw, "source.path", "cells.zip"), VARIANTS)["source"].path == "cells.zip"


def test_cells_must_come_from_somewhere(raw):
    put(raw, "source.sha256", None)
    (line,) = lines_of(put(raw, "source.url", None))
    assert line.startswith("source: ")
    assert all(key in line for key in ("path", "phantoms", "url"))


def test_an_address_must_be_one(raw):
    (line,) = lines_of(put(raw, "source.url", "data.lhncbc.nlm.nih.gov/cell_images.zip"))
    assert line.startswith("source.url: ")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [(r"^C\d+", "has no group"), (r"^(?:C\d+)", "has no group"), ("(", "is not a regular expression")],
)
def test_a_patient_pattern_needs_a_group(raw, pattern, reason):
    (line,) = lines_of(put(raw, "source.patient_pattern", pattern))
    assert line.startswith(f"source.patient_pattern: {pattern!r} {reason}")


def test_a_wrong_key_of_the_phantoms_is_named_in_full(raw):
    put(raw, "source.phantoms", {"patients": 2, "cells_per_patient": 8})
    (line,) = lines_of(raw)
    assert re.search(r"^source\.phantoms\.patients: .*equal to 4 \(given: 2\)", line)


# --- text ---------------------------------------------------------------------------------------------------------


TEXT_KEYS = (
    *("source.path", "source.path_sha256", "source.url", "source.sha256", "source.exclude", "source.patient_pattern"),
    *("split.strategy", "image.resize_method", "training.device", "resnet18.arch", "resnet18.pretrained"),
    *("resnet18.select", "cross_validation.variant", "inference.images", "inference.model", "inference.version"),
)
ADDRESS = "https://user:s3cret@host/x.zip?token=t0ken#fr4gment"


@pytest.mark.parametrize("value", ["", "  ", "\t\n"])
@pytest.mark.parametrize("key", TEXT_KEYS)
def test_a_text_says_something(raw, key, value):
    assert any(line.startswith(f"{key}: ") for line in lines_of(put(raw, key, value)))


def test_an_empty_path_is_told_what_to_do(raw):
    (line,) = lines_of(put(raw, "source.path", ""))
    assert line.startswith("source.path: is empty")


@pytest.mark.parametrize(
    ("key", "value"),
    [("source.path", 20240115), ("inference.version", 1.5), ("resnet18.pretrained", False), ("split.strategy", False)],
)
def test_a_text_that_yaml_took_for_something_else_is_told_to_be_quoted(raw, key, value):
    (line,) = lines_of(put(raw, key, value))
    assert line.startswith(f"{key}: ")
    assert "put it in quotes" in line


@pytest.mark.parametrize(
    "key", ["source.path", "source.exclude", "inference.images", "resnet18.pretrained", "source.pfad", "source.sha256"]
)
def test_an_address_where_none_belongs_is_refused_without_its_secrets(raw, key):
    (line,) = lines_of(put(raw, key, ADDRESS))
    assert "https://…@host/x.zip?…#…" in line
    assert not any(secret in line for secret in ("user", "s3cret", "t0ken", "fr4gment"))


def test_images_are_one_path_or_several(raw):
    for images, read in (("a.zip", "a.zip"), (["a.zip", "b"], ("a.zip", "b")), (("a",), ("a",)), (None, None)):
        assert check_parameters(put(raw, "inference.images", images), VARIANTS)["inference"].images == read


@pytest.mark.parametrize(
    ("images", "words"), [([], "is an empty list"), (["a", ""], "is empty"), ([ADDRESS], "looks like an address")]
)
def test_images_that_name_nothing_on_this_machine_are_refused(raw, images, words):
    (line,) = lines_of(put(raw, "inference.images", images))
    assert line.startswith("inference.images: ")
    assert words in line
    assert "s3cret" not in line


@pytest.mark.parametrize("url", [f"s{ADDRESS}", ADDRESS.removeprefix("https://"), ADDRESS.replace("s3", "s'3")[1:]])
def test_a_wrong_address_is_refused_without_its_secrets(raw, url):
    message = message_of(put(raw, "source.url", url))
    assert not any(secret in message for secret in ("user", "cret", "t0ken", "fr4gment"))


@pytest.mark.parametrize("odd", ["'", '"', " ", "\n", "<", ">"])
def test_an_address_with_a_sign_that_none_has_is_refused_without_its_secrets(raw, odd):
    message = message_of(put(raw, "source.url", ADDRESS.replace("s3cret", f"s3{odd}cret")))
    assert "percent-encode" in message
    assert "given" not in message
    assert not any(secret in message for secret in ("user", "cret", "t0ken", "fr4gment"))


def test_an_address_without_its_scheme_is_refused_without_its_secrets(raw):
    message = message_of(put(raw, "source.url", ADDRESS.removeprefix("https:")))
    assert "//…@host/x.zip" in message
    assert not any(secret in message for secret in ("user", "s3cret", "t0ken", "fr4gment"))


def test_the_secrets_of_the_address_are_for_the_download_alone(raw):
    source = check_parameters(put(raw, "source.url", ADDRESS), VARIANTS)["source"]
    assert source.url == ADDRESS
    assert source.model_dump(mode="json")["url"] == "https://…@host/x.zip?…#…"
    assert "s3cret" not in repr(source)


def test_blocks_that_are_typed_already_are_kept(base):
    typed = check_parameters(base, VARIANTS)
    again = check_parameters(dict(typed), VARIANTS)
    assert all(again[name] is typed[name] for name in typed)


def test_a_gate_that_is_off_may_be_written_as_yaml_has_it(raw):
    for given, meant in (("off", "off"), (False, "off"), ("flag", "flag"), ("refuse", "refuse")):
        raw["inference"]["gate"] = given
        assert check_parameters(raw, VARIANTS)["inference"].gate == meant
    for given in ("on", True, None, 0):
        raw["inference"]["gate"] = given
        with pytest.raises(ParameterError, match=r"inference\.gate"):
            check_parameters(raw, VARIANTS)


# --- tables and class names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["labels.csv", ["a.csv", "b.xlsx"], None])
def test_tables_are_one_path_or_several(raw, given):
    source = check_parameters(put(put(raw, "source.labels", given), "source.patients", given), VARIANTS)["source"]
    assert source.labels == source.patients == (tuple(given) if isinstance(given, list) else given)


def test_numbers_may_name_classes(raw):
    raw = put(raw, "source.class_names", {1: "Parasitized", "0": "Uninfected"})
    assert check_parameters(raw, VARIANTS)["source"].class_names == {"1": "Parasitized", "0": "Uninfected"}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("labels", "", "is empty"),
        ("labels", [], "at least 1 item"),
        ("patients", "https://host/patients.csv", "download it first"),
        ("class_names", {"infected": "Sick"}, "'Parasitized' or 'Uninfected'"),
        ("class_names", {"train": "Parasitized"}, "'train' cannot name a class"),
        ("class_names", {"a/b": "Parasitized"}, "'a/b' cannot name a class"),
        ("class_names", {"Parasitized": "Uninfected"}, "'Parasitized' is the name of a class itself"),
        ("class_names", {}, "at least 1 item"),
        ("class_names", {True: "Parasitized"}, "string"),
    ],
)
def test_a_wrong_table_or_class_name_is_named(raw, key, value, words):
    (line,) = lines_of(put(raw, f"source.{key}", value))
    assert line.startswith(f"source.{key}")
    assert words in line
