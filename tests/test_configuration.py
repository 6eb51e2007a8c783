"""Files of conf/: what is wrong in one is told in a sentence, with the file, the line and the remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from malaria_kedro.configuration import ConfigurationError, local_folder, read_places
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.parameters import check_parameters
from malaria_kedro.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS, VARIANTS

ROOT = Path(__file__).parents[1]
PARAMETERS, CATALOG, GLOBALS = (f"conf/local/{name}.yml" for name in ("parameters", "catalog", "globals"))
TABLE = "type: malaria_kedro.datasets.table_dataset.TableDataset"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's conf/, in which the shell stands."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=lambda folder, _: ["parameters.yml"] * ("local" in folder))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_all(project: Path, env: str | None = None, **runtime: object) -> CONFIG_LOADER_CLASS:
    """Read what a run reads, as Kedro does."""
    loader = CONFIG_LOADER_CLASS(str(project / "conf"), env=env, runtime_params=runtime, **CONFIG_LOADER_ARGS)
    check_parameters(loader["parameters"], VARIANTS)
    assert loader["catalog"]
    loader._credentials()
    return loader


def refusal(project: Path, env: str | None = None, **runtime: object) -> str:
    with pytest.raises(MalariaKedroError) as caught:
        read_all(project, env, **runtime)
    return str(caught.value)


def test_the_projects_own_configuration_is_read(project: Path) -> None:
    for env in (None, *(path.name for path in (project / "conf").iterdir() if path.is_dir())):
        assert read_all(project, env)["globals"]["data_dir"] == ("data/demo" if env == "demo" else "data")


# name → (file, its content, what the sentence has besides the file)
FILES: dict[str, tuple[str, str | bytes, list[str]]] = {
    "an open bracket": (PARAMETERS, "split:\n  seed: [1, 2\n", ["line 2", "close every bracket"]),
    "a tab": (PARAMETERS, "split:\n\tseed: 1\n", ["line 2", "a tab", "indent with spaces"]),
    "two colons": (PARAMETERS, "source:\n  path: a: b\n", ["line 2", "in quotes"]),
    "uneven indentation": (PARAMETERS, "split:\n    seed: 1\n  valid_pct: 0.2\n", ["line 3", "indent"]),
    "an @": (PARAMETERS, "source:\n  path: @x\n", ["line 2", "in quotes"]),
    "a key twice": (PARAMETERS, "split:\n  seed: 1\n  seed: 2\n", ["line 3", "split.seed", "twice", "line 2"]),
    "a list": (PARAMETERS, "- a\n- b\n", ["line 1", "a list", "key: value"]),
    "a text": (PARAMETERS, "# x\nhello\n", ["line 2", "'hello'", "key: value"]),
    "a number as a key": (PARAMETERS, "1: 2\n", ["line 1", "'1'", "in quotes"]),
    "Latin-1": (PARAMETERS, "source:\n  path: café\n".encode("latin-1"), ["line 2", "0xe9", "UTF-8"]),
    "UTF-16": (PARAMETERS, "split:\n  seed: 1\n".encode("utf-16"), ["UTF-16", "save it as UTF-8"]),
    "NUL": (PARAMETERS, b"split:\n  seed: \x001\n", ["line 2", "#x0000"]),
    "a missing value": (PARAMETERS, "split:\n  seed: ???\n", ["line 2", "split.seed is ???"]),
    "a missing value in a list": (PARAMETERS, "split: [1, '???']\n", ["line 1", "split[1] is ???"]),
    "an unknown key": (PARAMETERS, "split:\n  seed: ${seeed}\n", ["line 2", "split.seed", "${seeed}"]),
    "an open interpolation": (PARAMETERS, "split:\n  seed: ${seed\n", ["line 2", "split.seed"]),
    "an unknown resolver": (PARAMETERS, "split:\n  seed: ${foo:bar}\n", ["line 2", "${foo:bar}", "foo", "globals"]),
    "the environment": (
        PARAMETERS,
        "source:\n  path: ${oc.env:X}\n",
        ["line 2", "source.path", "credentials.yml only"],
    ),
    "an unknown global": (PARAMETERS, "split:\n  seed: ${globals:no}\n", ["line 2", "${globals:no}", "data_dir"]),
    "a Python tag": (
        PARAMETERS,
        'split:\n  seed: !!python/object/apply:os.system ["ls"]\n',
        ["line 2", "!!python/object"],
    ),
    "another tag": (PARAMETERS, "source:\n  path: !x y\n", ["line 2", "!x", "in quotes"]),
    "an unknown alias": (PARAMETERS, "split:\n  seed: *nope\n", ["line 2", "nope", "in quotes"]),
    "an alias of itself": (PARAMETERS, "split: &a\n  seed: *a\n", ["within its own anchor"]),
    "a block as a list": (PARAMETERS, "split: [1]\n", ["line 1", "split is a list"]),
    "a list as a block": (PARAMETERS, "cross_validation:\n  seeds:\n    a: 1\n", ["line 2", "cross_validation.seeds"]),
    "a broken catalog": (CATALOG, "a: [\n", ["line 1", "close every bracket"]),
    "a catalog as a list": (CATALOG, "- a\n", ["line 1", "a list"]),
    "no type": (CATALOG, "cell_index:\n  filepath: x\n", ["line 1", "cell_index", "has no type", "pandas.CSVDataset"]),
    "an entry of text": (CATALOG, "\ncell_index: x.csv\n", ["line 2", "cell_index", "'x.csv'"]),
    "an entry of nothing": (CATALOG, "cell_index:\n", ["line 1", "cell_index", "None"]),
    "an unknown key in the catalog": (
        CATALOG,
        f"x:\n  {TABLE}\n  filepath: ${{_no}}/x\n",
        ["line 3", "x.filepath", "_no"],
    ),
    "an unknown parameter": (
        CATALOG,
        f"x:\n  {TABLE}\n  filepath: ${{parameters:inference.mode}}.csv\n",
        ["line 3", "x.filepath", "no parameter inference.mode"],
    ),
    "credentials that are not there": (
        CATALOG,
        f"x:\n  {TABLE}\n  credentials: mine\n",
        ["line 1", "mine", "credentials.yml"],
    ),
    "a stranger's home in the catalog": (CATALOG, f"x:\n  {TABLE}\n  filepath: ~nobody_x/x\n", ["line 1", "nobody_x"]),
    "globals as a list": (GLOBALS, "- a\n", ["line 1", "a list"]),
    "broken globals": (GLOBALS, "data_dir: [\n", ["line 1", "close every bracket"]),
    "no data folder": (GLOBALS, "data_dir:\n", ["line 1", "data_dir is None"]),
    "a number as data folder": (GLOBALS, "data_dir: 5\n", ["line 1", "data_dir is 5"]),
    "an unknown global key": (GLOBALS, "data_dirr: x\n", ["line 1", "data_dirr", "did you mean data_dir?"]),
    "S3": (GLOBALS, "data_dir: s3://bucket/x\n", ["line 1", "'s3://bucket/x'", "on this machine"]),
    "memory": (GLOBALS, "data_dir: memory://x\n", ["line 1", "'memory://x'", "on this machine"]),
    "https": (GLOBALS, "data_dir: https://x/y\n", ["line 1", "'https://x/y'", "on this machine"]),
    "one slash": (GLOBALS, "data_dir: s3:/bucket\n", ["line 1", "'s3:/bucket'", "on this machine"]),
    "a file of another host": (GLOBALS, "data_dir: file://data/x\n", ["line 1", "'file://data/x'", "file:///path"]),
    "NUL in the data folder": (GLOBALS, 'data_dir: "a\\0b"\n', ["line 1", "NUL"]),
    "a resolver in globals": (GLOBALS, "data_dir: ${runtime_params:x}\n", ["line 1", "no resolver"]),
    "a path that is a number": (CATALOG, "x:\n  type: a.B\n  filepath: 5\n", ["line 3", "filepath of x is 5"]),
    "versions perhaps": (CATALOG, "x:\n  type: a.B\n  versioned: maybe\n", ["line 3", "'maybe'", "true or false"]),
    "two documents": (PARAMETERS, "split: {seed: 1}\n---\nsplit: {seed: 2}\n", ["line 2", "another document"]),
    "a list as a key": (PARAMETERS, "? [a, b]\n: c\n", ["line 1", "None is not text"]),
    "a circle": (PARAMETERS, "a: ${b}\nb: ${a}\n", ["line 1", "recursive"]),
    "a stranger's home": (GLOBALS, "data_dir: ~nobody_x/d\n", ["line 1", "no user nobody_x", "./~nobody_x/d"]),
    "broken credentials": ("conf/local/credentials.yml", "a: [\n", ["line 1", "close every bracket"]),
    "credentials of an unset variable": (
        "conf/local/credentials.yml",
        "mine:\n  key: ${oc.env:NOT_SET_X}\n",
        ["line 2", "mine.key", "NOT_SET_X"],
    ),
}


@pytest.mark.parametrize(("file", "content", "words"), FILES.values(), ids=FILES)
def test_a_mistake_in_a_file_is_one_sentence(project: Path, file: str, content: str | bytes, words: list[str]) -> None:
    (project / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refusal(project)
    assert said.startswith(file)
    assert [word for word in words if word not in said] == [], said
    assert len(said.splitlines()) == 1


def two_files(project: Path) -> None:
    (project / PARAMETERS).write_text("split:\n  seed: 1\n")
    (project / "conf/local/parameters_b.yml").write_text("split:\n  valid_pct: 0.1\n  seed: 2\n")


# name → (what is done to the project, what the sentence has)
FOLDERS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a key in two files": (two_files, ["conf/local/parameters_b.yml, line 3", "conf/local/parameters.yml, line 2"]),
    "a folder": (lambda project: (project / PARAMETERS).mkdir(), [PARAMETERS, "is a folder"]),
    "a dead link": (lambda project: (project / PARAMETERS).symlink_to("no"), [PARAMETERS, "leads nowhere"]),
    "no base": (lambda project: shutil.rmtree(project / "conf/base"), ["conf/base", "git checkout"]),
    "no catalog": (
        lambda project: (project / "conf/base/catalog.yml").unlink(),
        ["conf/base", "catalog", "git checkout"],
    ),
    "no local": (lambda project: shutil.rmtree(project / "conf/local"), ["conf/local", "--env"]),
}


@pytest.mark.parametrize(("mistake", "words"), FOLDERS.values(), ids=FOLDERS)
def test_a_mistake_in_a_folder_is_one_sentence(
    project: Path, mistake: Callable[[Path], object], words: list[str]
) -> None:
    mistake(project)
    said = refusal(project)
    assert [word for word in words if word not in said] == [], said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("env", ["demoo", "demo/", ".", "..", "../conf/demo"])
def test_an_unknown_environment_is_told_with_those_that_exist(project: Path, env: str) -> None:
    said = refusal(project, env)
    assert f"no environment {env} " in said
    assert "sprint" in said
    assert ("did you mean demo" in said) or env.startswith(".")


@pytest.mark.parametrize("env", ["a\nb", "demo ", "x" * 300], ids=["two lines", "a space", "long"])
def test_an_odd_environment_is_quoted_in_one_line(project: Path, env: str) -> None:
    said = refusal(project, env)
    assert said.startswith(f"there is no environment {env[:80]!r}")
    assert len(said.splitlines()) == 1


def test_parameters_of_the_command_line_have_the_form_of_the_files(project: Path) -> None:
    said = refusal(project, split=[1])
    assert "--params or --config: split is a list" in said
    assert "conf/base/parameters_data_engineering.yml, line" in said


def test_what_the_base_has_wrong_is_told_at_the_base(project: Path) -> None:
    (project / "conf/base/parameters_more.yml").write_text("\ninference:\n  model: ${no}\n")
    (project / "conf/base/parameters_inference.yml").unlink()
    (project / PARAMETERS).write_text("inference: {model: resnet18}\n")
    assert refusal(project).startswith("conf/base/parameters_more.yml, line 3: inference.model")


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "\ufeffsplit: {seed: 7}\n"])
def test_files_that_say_nothing_or_begin_with_a_mark_are_read(project: Path, content: str) -> None:
    (project / PARAMETERS).write_text(content, encoding="utf-8")
    assert read_all(project)["parameters"]["split"]["seed"] == (7 if "seed" in content else 42)


def test_a_block_may_be_in_several_files(project: Path) -> None:
    (project / PARAMETERS).write_text("split: {seed: 7}\n")
    (project / "conf/local/parameters_b.yml").write_text("split: {valid_pct: 0.3}\n")
    assert read_all(project)["parameters"]["split"] | {"strategy": "random"} == {
        **{"strategy": "random", "valid_pct": 0.3, "test_pct": 0.0, "seed": 7}
    }


def test_settings_that_entries_share_may_be_in_several_files(project: Path) -> None:
    for name in "ab":
        (project / f"conf/local/catalog_{name}.yml").write_text(
            f"_shared: &shared\n  {TABLE}\n{name}: {{<<: *shared, filepath: {name}.csv}}\n"
        )
    assert {"a", "b"} <= read_all(project)["catalog"].keys()


def test_an_entry_in_two_files_is_refused(project: Path) -> None:
    for name in "ab":
        (project / f"conf/local/catalog_{name}.yml").write_text(f"x:\n  {TABLE}\n  filepath: x.csv\n")
    assert refusal(project).startswith(
        "conf/local/catalog_b.yml, line 1: x is given in conf/local/catalog_a.yml, line 1"
    )


def test_a_file_of_another_name_is_not_left_out_in_silence(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    (project / "conf/local/parameter.yml").write_text("split: {seed: 7}\n")
    (project / "conf/local/globals.yaml").write_text("data_dir: x\n")
    (project / "conf/local/mlflow.yml").write_text("a: 1\n")
    read_all(project)
    assert "conf/local/parameter.yml is not read: is it meant to be called parameters.yml?" in caplog.text
    assert "conf/local/globals.yaml is not read" in caplog.text
    assert "mlflow" not in caplog.text


def test_a_secret_in_credentials_is_not_shown(project: Path) -> None:
    (project / "conf/local/credentials.yml").write_text("mine:\n  key: s3cret${no}\n")
    assert "s3cret" not in refusal(project)


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_the_data_folder_is_a_path_or_a_file_address(project: Path, form: str) -> None:
    (project / GLOBALS).write_text(f"data_dir: {form.format(project / 'there')}\n")
    loader = read_all(project)
    assert loader["globals"]["data_dir"] == str(project / "there")
    assert loader["catalog"]["cell_index"]["filepath"].startswith(str(project / "there"))


@pytest.mark.parametrize("folder", ["/", ".", "..", "~", "conf/.."])
def test_a_folder_of_other_things_is_not_for_data(project: Path, folder: str) -> None:
    (project / GLOBALS).write_text(f"data_dir: {folder!r}\n")
    said = refusal(project)
    assert said.startswith(f"{GLOBALS}, line 1: data_dir is ")
    assert "name a folder of its own" in said


@pytest.mark.parametrize("source", ["x.zip", "x.tar", "nowhere.zip", "s3://a/b"])
def test_a_source_that_cannot_be_read_is_named(project: Path, source: str) -> None:
    (project / "x.zip").write_text("no zip")
    (project / "x.tar").write_text("no tar")
    with pytest.raises(ConfigurationError, match=f"cannot be read from {source}.*give a folder"):
        CONFIG_LOADER_CLASS(source, **CONFIG_LOADER_ARGS)


@pytest.mark.parametrize("source", ["README.md", "data"])
def test_a_source_without_a_base_is_named(project: Path, source: str) -> None:
    (project / "README.md").touch()
    (project / "data").mkdir()
    with pytest.raises(ConfigurationError, match=f"cannot be read from {source}, .* no folder base: --conf-"):
        CONFIG_LOADER_CLASS(source, env="demo", **CONFIG_LOADER_ARGS)["parameters"]


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_of_the_configuration_is_read(project: Path, kind: str) -> None:
    source = shutil.make_archive("packed", kind, ".", "conf")
    assert CONFIG_LOADER_CLASS(source, env="demo", **CONFIG_LOADER_ARGS)["globals"] == {"data_dir": "data/demo"}
    with pytest.raises(ConfigurationError, match="did you mean demo"):
        CONFIG_LOADER_CLASS(source, env="demoo", **CONFIG_LOADER_ARGS)


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of_mine")
    assert local_folder("~/data") == "/home/of_mine/data"


def test_the_place_of_each_key_is_known() -> None:
    places = read_places(b"a: &x\n  b: 1\nc: *x\nd: [1]\n", "f.yml")
    assert {name: place.line for name, place in places.items()} == {"a": 1, "a.b": 2, "c": 3, "d": 4}
    assert places["a.b"].value == "1"


def test_an_address_of_a_file_elsewhere_is_whole(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^elsewhere\.yml, line 1"):
        read_places(b"a: [", "elsewhere.yml")
