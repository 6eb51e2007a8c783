"""Parameters from a command line arrive as they were typed, or are refused."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from kedro.config import OmegaConfigLoader
from omegaconf import DictConfig, OmegaConf

from malaria_kedro.cli.arguments import NonEmptyCommand, read_params
from malaria_kedro.parameters import BLOCKS, Block, ParameterError, Variant, check_parameters
from malaria_kedro.settings import CONFIG_LOADER_ARGS, VARIANTS

CONF = Path(__file__).parents[2] / "conf"
YAML_TRAPS = ("2024_01_15", "0012", "no", "off", "1e3", "12:30:00", "~", "true", "0x1F", "2024-01-15", "a: b", "# x")
TEXTS = (
    *YAML_TRAPS,
    "None",
    "a=b",
    "${x}",
    r"\${x}",
    r"C:\new",
    "[a]",
    "{a: b}",
    "!!x",
    "&a",
    "*a",
    " a ",
    "'a'",
    '"',
    "$",
)

pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver")


@functools.cache
def configuration() -> DictConfig:
    loader = OmegaConfigLoader(str(CONF), env="cpu", **CONFIG_LOADER_ARGS)
    return OmegaConf.create(loader["parameters"])


def checked(text: str) -> dict[str, Block]:
    """Return the typed blocks of a run of environment cpu with these parameters, merged as Kedro merges them."""
    merged = OmegaConf.unsafe_merge(configuration().copy(), read_params(text, VARIANTS))
    return check_parameters(OmegaConf.to_container(merged, resolve=True), VARIANTS)


def refusal(text: str) -> str:
    with pytest.raises(ParameterError) as caught:
        read_params(text, VARIANTS)
    return str(caught.value)


def keys(block: type[Block], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in block.model_fields.items():
        yield f"{prefix}.{name}", field.annotation
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, Block):
                yield from keys(kind, f"{prefix}.{name}")


EVERY_KEY = [pair for name, block in (BLOCKS | dict.fromkeys(VARIANTS, Variant)).items() for pair in keys(block, name)]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_arrives_as_typed(text: str) -> None:
    found: Any = checked(f"source.path={text},source.exclude={text},inference.images={text},inference.version={text}")
    path = os.path.expanduser(text)  # the one thing that is done to a path
    assert (found["source"].path, found["source"].exclude) == (path, path)
    assert (found["inference"].images, found["inference"].version) == (path, text)


@pytest.mark.parametrize("text", ["0012", "no", "null", "~", "2024_01_15"])
def test_a_text_that_must_be_given_arrives_as_typed_too(text: str) -> None:
    assert checked(f"resnet18.pretrained={text}")["resnet18"].pretrained == os.path.expanduser(text)


def test_an_unknown_users_home_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"source\.path: .*no user nobody_x"):
        checked("source.path=~nobody_x/cells.zip")


def test_a_pattern_keeps_its_backslashes() -> None:
    assert checked(r"source.patient_pattern=^(P\d+)_${x}")["source"].patient_pattern == r"^(P\d+)_${x}"


@pytest.mark.parametrize("key", ["source.path", "source.exclude", "inference.version", "source.limit"])
def test_null_says_nothing(key: str) -> None:
    block, name = key.split(".")
    assert getattr(checked(f"{key}=null")[block], name) is None


@pytest.mark.parametrize("empty", ["", " ", "\t"])
@pytest.mark.parametrize(("key", "annotation"), EVERY_KEY)
def test_an_empty_value_is_refused_with_the_remedy(key: str, annotation: Any, empty: str) -> None:
    said = refusal(f"{key}={empty}")
    assert f"{key} is empty" in said
    assert (f"or {key}=null" in said) is (type(None) in getattr(annotation, "__args__", ()))


@pytest.mark.parametrize(("typed", "value"), [("3", 3), ("last", "last"), ("best_accuracy", "best_accuracy")])
def test_a_choice_of_text_and_number_takes_both(typed: str, value: object) -> None:
    assert checked(f"resnet18.select={typed}")["resnet18"].select == value


@pytest.mark.parametrize("typed", ["03", "0x1", "no", "1e0", "true"])
def test_such_a_choice_makes_no_number_of_other_texts(typed: str) -> None:
    with pytest.raises(ParameterError, match=rf"resnet18\.select.*\(given: '?{typed.replace('1e0', '1.0')}"):
        checked(f"resnet18.select={typed}")


@pytest.mark.parametrize("typed", ["no", "off", "0012"])
def test_a_choice_of_words_is_shown_as_typed(typed: str) -> None:
    with pytest.raises(ParameterError, match=rf"split\.strategy: .*\(given: '{typed}'\)"):
        checked(f"split.strategy={typed}")


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("split.seed=7", 7),
        ("split.seed=0", 0),
        ("split.seed=0x1F", 31),
        ("split.valid_pct=1e-1", 0.1),
        ("split.valid_pct=.25", 0.25),
        ("inference.heat_maps=true", True),
        ("inference.heat_maps=no", False),
        ("source.phantoms.patients=5", 5),
        ("cross_validation.strategies=[random]", ("random",)),
        ("cross_validation.seeds=[7]", (7,)),
    ],
)
def test_the_others_are_yaml(typed: str, value: object) -> None:
    extra = "source.phantoms.cells_per_patient=8," if "phantoms" in typed else ""
    found: Any = checked(extra + typed)
    block, *path = typed.partition("=")[0].split(".")
    found = found[block]
    for name in path:
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "typed", ["0012", "12:30:00", "-010", "[1", "!!python/object:os.system x", "${x}", "2024-01-15"]
)
def test_what_is_no_plain_number_is_refused_by_name(typed: str) -> None:
    with pytest.raises(ParameterError, match=r"split\.seed"):
        checked(f"split.seed={typed}")


def test_a_block_may_be_left_out_but_not_given_as_a_whole() -> None:
    assert read_params("source.phantoms=null", VARIANTS) == {"source": {"phantoms": None}}
    assert "source.phantoms is a block" in refusal("source.phantoms={patients: 5}")
    assert "source is a block" in refusal("source={path: }")


@pytest.mark.parametrize("text", ["", " "])
def test_no_parameters_are_none(text: str) -> None:
    assert read_params(text, VARIANTS) == {}


def test_several_are_separated_by_commas() -> None:
    assert read_params("split.seed=1, source.path=0012,image.size=32", VARIANTS) == {
        "split": {"seed": 1},
        "source": {"path": "0012"},
        "image": {"size": 32},
    }


@pytest.mark.parametrize("text", ["split.seed=1,split.seed=2", "source.path=a,source.path=a"])
def test_a_key_is_given_once(text: str) -> None:
    assert "is given twice" in refusal(text)


def test_a_block_and_one_of_its_keys_contradict_each_other() -> None:
    assert "contradicts phantoms" in refusal("source.phantoms=null,source.phantoms.patients=5")
    assert "is given twice" in refusal("source.phantoms.patients=5,source.phantoms=null")


@pytest.mark.parametrize(
    "text", ["source.path=a,b.zip", "source.path=a,", "source.path=a,,split.seed=1", "split.seed=[1,2]"]
)
def test_a_value_with_a_comma_is_refused_with_the_remedy(text: str) -> None:
    assert "conf/local/parameters.yml" in refusal(text)


@pytest.mark.parametrize("text", ["source.path", "source[path]=", "=x", ".path=x", r"source\.path=x", "source..path=x"])
def test_what_is_no_key_is_refused(text: str) -> None:
    assert "not of the form block.key=value" in refusal(text)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert len(refusal("source.path=,split.seed=,split.seed=1,split.seed=2").splitlines()) == 4


@pytest.mark.parametrize(
    "text",
    [
        "source.url=https://host/x?sig=abc,s3cret/x==",
        "https://user:s3cret@host/x",
        "source.url=https://host/x?sig=abc,source.url=https://u:s3cret@host/x",
    ],
)
def test_no_refusal_shows_a_secret(text: str) -> None:
    assert "s3cret" not in refusal(text)


def test_kedro_merges_them_so() -> None:
    text = "source.path=0012,source.exclude=${x}"
    runtime = read_params(text, VARIANTS)
    loader = OmegaConfigLoader(str(CONF), env="cpu", runtime_params=runtime, **CONFIG_LOADER_ARGS)
    assert check_parameters(loader["parameters"], VARIANTS) == checked(text)
    assert checked(text)["source"].exclude == "${x}"


def test_an_unknown_key_is_named_by_the_check_of_all() -> None:
    with pytest.raises(ParameterError, match=r"source\.pfad: unknown key"):
        checked("source.pfad=")
    with pytest.raises(ParameterError, match="sprit: unknown block"):
        checked("sprit.seed=1")


def test_quotes_are_kept_and_said(caplog: pytest.LogCaptureFixture) -> None:
    read_params("source.path='a'", VARIANTS)
    assert "source.path is taken as typed" in caplog.text


# Words


@click.command(cls=NonEmptyCommand)
@click.option("--env", "-e")
@click.option("--params")
@click.argument("images", required=False)
def command(**given: str | None) -> None:
    click.echo(given)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--env", ""], "--env"),
        (["--env="], "--env"),
        (["-e", " "], "-e"),
        ([""], "an argument"),
        (["x", ""], "an argument"),
    ],
)
def test_an_empty_word_is_refused(words: list[str], named: str) -> None:
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2
    assert f"{named} is empty" in result.output


@pytest.mark.parametrize("words", [["--params", ""], ["--params="], ["--env", "x=", "y"], []])
def test_other_words_pass(words: list[str]) -> None:
    assert CliRunner().invoke(command, words).exit_code == 0
