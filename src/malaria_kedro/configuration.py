"""The files of conf/, read as Kedro reads them: each mistake is told with its file and line."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePath
from tarfile import TarError
from typing import Any, TypeAlias, cast
from zipfile import BadZipFile

import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.io.core import get_protocol_and_path
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, UnsupportedInterpolationType

from malaria_kedro.errors import MalariaKedroError, known
from malaria_kedro.files import at_home

logger = logging.getLogger(__name__)

GLOBALS = ("data_dir",)
_SUFFIXES = (".yml", ".yaml", ".json")
# Names that a file's own may be meant to be.
_FILES = ("catalog", "credentials", "globals", "parameters")
# What Kedro takes as it is, and fails on where an entry is used.
_SETTINGS_OF_ENTRIES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "filepath": (str, "the path of a file or a folder, as text"),
    "versioned": (bool, "true or false"),
    "metadata": (dict, "a block of keys"),
    "validator": ((str, dict), "the class with its module, as text"),
    "credentials": ((str, dict), "their name in credentials.yml"),
}
Settings: TypeAlias = dict[str, Any]  # what a file of conf/ holds: its keys are data
_NOTHING = object()


class ConfigurationError(MalariaKedroError, ValueError):
    """A file of conf/ cannot be used; the message names it, the line, what is wrong and the remedy."""


@dataclass(frozen=True)
class Place:
    """Where a key stands.

    Attributes:
        file: as a user would type it.
        line: from 1.
        value: as written; None = a list or a block.
        block: it holds keys of its own.
        top: it is no other key's.
    """

    file: str
    line: int
    value: str | None
    block: bool
    top: bool

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


def read_places(content: bytes, file: str) -> dict[str, Place]:
    """Return the place of every key of a YAML file, by its dotted name; none if the file is empty.

    Args:
        content: the file's bytes.
        file: its name, for the error.

    Raises:
        ConfigurationError: it is no mapping in YAML that OmegaConf reads, a key is there twice, or a value is missing.
    """
    text = _decode(content, file)
    places: dict[str, Place] = {}
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
        if root is None or root.tag == "tag:yaml.org,2002:null":
            return {}
        if not isinstance(root, yaml.MappingNode):
            what = "a list" if isinstance(root, yaml.SequenceNode) else f"the text {root.value!r}"
            raise ConfigurationError(
                f"{file}, line {root.start_mark.line + 1}: {what} stands where keys belong: write `key: value`"
            )
        for key, _ in root.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise ConfigurationError(
                    f"{file}, line {key.start_mark.line + 1}: the key {_written(key)!r} is not text; put it in quotes, "
                    "or give the name that was meant"
                )
        _walk(root, file, "", places, set())
        OmegaConf.load(io.StringIO(text))
    except ConfigurationError:
        raise
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigurationError(
            f"{file}, line {line}: the control character #x{error.character:04x} is not allowed in YAML: remove it"
        ) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigurationError(_describe(error, text, file)) from error
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        named = getattr(error, "full_key", None)
        place = _nearest(places, str(named or ""))
        raise ConfigurationError(
            f"{place or file}: {named + ' ' if named else ''}cannot be read ({_first_line(error)}); write it as plain "
            "YAML, or in quotes if it is text"
        ) from error
    return places


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        what = "is in UTF-16" if utf16 else f"holds the byte 0x{content[error.start]:02x}, which is not UTF-8"
        raise ConfigurationError(f"{file}, line {line}: {what}: save it as UTF-8") from error


def _walk(node: yaml.Node, file: str, name: str, places: dict[str, Place], seen: set[int]) -> None:
    if id(node) in seen:  # an anchor's, through an alias
        return
    seen.add(id(node))
    here = f"{file}, line {node.start_mark.line + 1}"
    if node.tag not in yaml.SafeLoader.yaml_constructors:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise ConfigurationError(
            f"{here}: {name} has the tag {tag}, which is not read from a file; write a plain value, and put text that "
            "begins with ! or = in quotes"
        )
    if isinstance(node, yaml.ScalarNode) and node.value == "???":
        raise ConfigurationError(
            f"{here}: {name} is ???, which OmegaConf takes for a missing value: give one, or remove the line"
        )
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _walk(item, file, f"{name}[{number}]", places, seen)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = f"{name}.{key.value}" if name else str(key.value)
            if inner in places and key.value != "<<":
                raise ConfigurationError(
                    f"{file}, line {key.start_mark.line + 1}: {inner} is given twice, before in line "
                    f"{places[inner].line}: keep one of them"
                )
            places[inner] = Place(
                file, key.start_mark.line + 1, _written(value), block=isinstance(value, yaml.MappingNode), top=not name
            )
            _walk(value, file, inner, places, seen)


def _written(node: yaml.Node) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) else None


def _describe(error: yaml.MarkedYAMLError, text: str, file: str) -> str:
    # What was opened and never closed is found at the end of the file; where it begins helps.
    opened = error.context_mark is not None and "flow" in (error.context or "")
    mark = error.context_mark if opened else error.problem_mark or error.context_mark
    lines, problem = text.rstrip().splitlines() or [""], error.problem or ""
    number = min(mark.line if mark else 0, len(lines) - 1)
    line = lines[number]
    if "\t" in line[: len(line) - len(line.lstrip())]:
        problem, remedy = "a tab", "indent with spaces"
    elif mark and "undefined alias" in problem:
        problem = "no anchor for " + re.split(r"[\s,\]}]", line[mark.column :])[0]
        remedy = "define the anchor (&name) above it, or put text that begins with * in quotes"
    elif "recursive alias" in problem:
        problem, remedy = "an alias within its own anchor", "write the value out in the place of *"
    elif opened:
        remedy = "close every bracket, and separate what is between them by commas"
    else:
        remedy = "indent evenly, write `key: value`, and put text with one of : # [ ] { } & * ! | > % @ ` in quotes"
    return f"{file}, line {number + 1}: this is not YAML ({problem}): {remedy}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _nearest(places: Mapping[str, Place], name: str) -> Place | None:
    """Return the place of a key, or of the block around it."""
    while name and name not in places:
        name = re.sub(r"(^|[.\[])[^.\[]*$", "", name)
    return places.get(name)


def read_run_file(path: Path, options: Iterable[str]) -> Settings:
    """Return the section ``run`` of a file for ``kedro run --config``, a list of names as one text with commas.

    Raises:
        ConfigurationError: it is no YAML, has no such section, or names an option that is not one of ``options``.
    """
    inside = path.is_relative_to(Path.cwd())
    shown = str(path.relative_to(Path.cwd()) if inside else path)
    places = read_places(path.read_bytes(), shown)
    if "run" not in places or not places["run"].block:
        raise ConfigurationError(
            f"{places.get('run') or shown}: no section run: write `run:`, and below it options as `  env: demo`"
        )
    run = cast("dict[str, Settings]", OmegaConf.to_container(OmegaConf.load(path)))["run"]
    for name in run:
        if name not in options:
            raise ConfigurationError(f"{places[f'run.{name}']}: there is no option {name}{known(name, options)}")
    given = {name: value for name, value in run.items() if value is not None}  # a name without a value gives none
    return {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in given.items()}


def local_folder(value: object) -> str:
    """Return a folder on this machine as a plain path, from a path (``~`` is its user's home) or ``file://``.

    Raises:
        ValueError: it is no text, empty, or the address of another place.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"is {value!r}: give the path of a folder, as data")
    protocol, path = get_protocol_and_path(value)
    # One slash is an address's too, mistyped, and file://a/b names a host; a single letter is a drive of Windows.
    address = re.match(r"[a-z][\w+.-]+:/|file://(?!localhost/)[^/]", value, re.IGNORECASE)
    if protocol != "file" or (address and not re.match(r"file://(localhost)?/", value, re.IGNORECASE)):
        raise ValueError(f"is {value!r}, but must be a folder on this machine: give its path, or file:///path")
    return at_home(path)


class ConfigurationLoader(OmegaConfigLoader):
    """Kedro's loader: mistakes told with file and line; resolvers of a parameter and of the environment."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._places: dict[str, dict[Path, dict[str, Place]]] = {}  # by key of `__getitem__`, in the order of reading
        try:
            super().__init__(*args, **kwargs)
        except (BadZipFile, TarError, ImportError, OSError) as error:
            source = str(kwargs.get("conf_source", *args[:1]))
            raise ConfigurationError(
                f"the configuration cannot be read from {source} ({_first_line(error)}): give a folder, a zip or a tar"
            ) from error

    def __getitem__(self, key: str) -> Any:
        if key == "catalog":  # resolvers belong to the process, and another session's loader may have set its own
            OmegaConf.register_new_resolver("parameters", self._parameter, replace=True)
            OmegaConf.register_new_resolver("environment", lambda: self.env or "", replace=True)
        return super().__getitem__(key)

    def place(self, key: str, name: str, files: Iterable[Path] | None = None) -> Place | str:
        """Return where a dotted name stands in the files of ``key`` (the last that has it), else ``conf``."""
        read = self._places.get(key, {})
        for file in reversed([*(read if files is None else files)]):
            if found := _nearest(read.get(file, {}), name):
                return found
        return self._shown(self.conf_source)

    def _parameter(self, key: str) -> Any:
        found = OmegaConf.select(OmegaConf.create(self["parameters"]), key, default=_NOTHING)
        if found is _NOTHING:
            raise ValueError(f"there is no parameter {key}")
        return found

    def _shown(self, path: str | PurePath) -> str:
        """Return a path as it is typed in the project: relative to it, from anywhere inside it."""
        project = Path(self.conf_source).absolute().parent
        path = Path(path).absolute()
        inside = Path.cwd().is_relative_to(project) and path.is_relative_to(project)
        return path.relative_to(project).as_posix() if inside else str(path)

    # What follows overrides Kedro's steps: list, read, merge within a folder, merge folders.

    def _read_dir_configs(
        self,
        conf_path: str,
        patterns: Iterable[str],
        key: str,
        processed_files: set[Path],
        read_environment_variables: bool | None = False,
    ) -> dict[Path, DictConfig]:
        patterns, folder = list(patterns), Path(conf_path)
        if self._protocol not in ("file", "tar", "zip"):  # what is on another machine is looked at once, by Kedro
            return super()._read_dir_configs(conf_path, patterns, key, processed_files, read_environment_variables)
        if not self._fs.isdir(folder.as_posix()) or not re.fullmatch(r"[\w-][\w.-]*", self.env or "local"):
            raise ConfigurationError(self._missing(folder))
        found = {Path(path) for pattern in patterns for path in self._fs.glob((folder / pattern).as_posix())}
        places: dict[Path, dict[str, Place]] = {}
        for path in sorted(path for path in found if path.suffix in _SUFFIXES and not self._is_hidden(str(path))):
            if not self._fs.isfile(path.as_posix()):
                what = "a folder" if self._fs.isdir(path.as_posix()) else "a link that leads nowhere, or a device"
                raise ConfigurationError(f"{self._shown(path)} is {what}, not a file of settings: rename or remove it")
            places[path] = read_places(self._fs.cat_file(path.as_posix()), self._shown(path))
        _refuse_a_second(places.values(), blocks=key == "parameters")
        self._places.setdefault(key, {}).update(places)
        if key == "parameters":
            self._warn_of_unread(folder)
        with self._explained(key, places):
            return super()._read_dir_configs(conf_path, patterns, key, processed_files, read_environment_variables)

    def _merge_and_resolve(self, key: str, config_per_file: dict[Path, DictConfig]) -> Settings:
        with self._explained(key, config_per_file):
            if key == "parameters" and config_per_file:
                merged = OmegaConf.to_container(OmegaConf.unsafe_merge(*config_per_file.values()))
                self._refuse_other_kind(merged, self.runtime_params, "--params or --config")
            return super()._merge_and_resolve(key, config_per_file)

    def _merge_configs(self, config: Settings, env_config: Settings, key: str, env_path: str) -> Any:
        if key == "parameters":
            self._refuse_other_kind(config, env_config)
        return super()._merge_configs(config, env_config, key, env_path)

    def _resolve_from_raw_config(self, key: str, *read: Any) -> Settings:
        try:
            found = super()._resolve_from_raw_config(key, *read)
        except MissingConfigException as error:
            if key not in ("catalog", "parameters"):  # credentials need not be there
                raise
            base = self._shown(self._get_conf_env_path(self.base_env))
            raise ConfigurationError(f"{base} has no {key}*.yml: restore it (git checkout {base})") from error
        if key == "globals":
            self._check_globals(found)
        elif key == "catalog":
            self._check_catalog(found)
        return found

    # Checks of this project's own

    def _check_globals(self, found: Settings) -> None:
        for name in found:
            if name not in GLOBALS:
                raise ConfigurationError(f"{self.place('globals', name)}: unknown key {name}{known(name, GLOBALS)}")
        if "data_dir" in found:
            try:
                found["data_dir"] = self._of_its_own(local_folder(found["data_dir"]))
            except ValueError as error:
                raise ConfigurationError(f"{self.place('globals', 'data_dir')}: data_dir {error}") from error

    def _of_its_own(self, folder: str) -> str:
        """Return a data folder; ``ValueError``: the project or a home lies in it, where a run is to remove nothing."""
        project = Path(self.conf_source).absolute().parent
        place = (project / folder).resolve()
        home = Path(os.path.expanduser("~"))  # as it is where nobody knows whose home it is
        if any(inside.resolve().is_relative_to(place) for inside in (project, home)):
            raise ValueError(
                f"is {folder!r}, which holds more than data: name a folder of its own, as {Path(folder, 'data')}"
            )
        return folder

    def _check_catalog(self, found: Settings) -> None:
        for name, entry in found.items():
            place = self.place("catalog", name)
            if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
                what = "has no type" if isinstance(entry, dict) else f"is {entry!r}"
                raise ConfigurationError(
                    f"{place}: the entry {name} {what}: give it a type, as pandas.CSVDataset, and a filepath, or begin "
                    "its name with _ if it is a setting that entries share"
                )
            for key, (kinds, meant) in _SETTINGS_OF_ENTRIES.items():
                if key in entry and not isinstance(entry[key], kinds):
                    raise ConfigurationError(
                        f"{self.place('catalog', f'{name}.{key}')}: the {key} of {name} is {entry[key]!r}: give {meant}"
                    )
            wanted = entry.get("credentials")
            if isinstance(wanted, str) and wanted not in (there := self._credentials()):
                raise ConfigurationError(
                    f"{place}: the entry {name} wants the credentials {wanted}, which credentials.yml does not have"
                    f"{known(wanted, there) if there else ': write them into conf/local/credentials.yml'}"
                )
            if isinstance(entry.get("filepath"), str):
                try:
                    entry["filepath"] = at_home(entry["filepath"])
                except ValueError as error:
                    raise ConfigurationError(f"{place}: the filepath of {name} {error}") from error

    def _credentials(self) -> Settings:
        try:
            return self["credentials"]
        except MissingConfigException:
            return {}

    def _refuse_other_kind(self, below: Any, above: Any, whence: str | None = None) -> None:
        """Refuse a list over a block of keys, or a block over a list: OmegaConf has no answer to it."""
        for name, kind in _other_kinds(below, above):
            place = self.place("parameters", name)
            below_it = place if whence else "the file that it overrides"
            raise ConfigurationError(f"{whence or place}: {name} is {kind} in {below_it}: give it in the same form")

    def _missing(self, folder: Path) -> str:
        shown, source = self._shown(folder), folder.parent
        if folder.name == self.base_env and not self._fs.isdir(folder.as_posix()):
            if any(self._fs.isdir((source / env).as_posix()) for env in ("local", self.env or "")):
                return f"{shown} is not there, and every environment builds on it: restore it (git checkout {shown})"
            return (
                f"the configuration cannot be read from {self._shown(source)}, which has no folder {self.base_env}: "
                f"--conf-source takes the folder that holds {self.base_env}, as conf"
            )
        if not self.env:
            return f"{shown} is not there, which is read when no --env is given: make the folder, or give --env"
        found = map(Path, self._fs.ls(source.as_posix(), detail=False))
        there = sorted(path.name for path in found if self._fs.isdir(path.as_posix()))
        if not re.fullmatch(r"[\w./-]{1,80}", self.env):
            return f"there is no environment {self.env[:80]!r}{known(self.env, there)}"
        return f"there is no environment {self.env} ({self._shown(source / self.env)}){known(self.env, there)}"

    def _warn_of_unread(self, folder: Path) -> None:
        for path in map(Path, self._fs.ls(folder.as_posix(), detail=False)):
            name = path.name.split(".")[0]
            read = name.startswith(("catalog", "credentials", "parameters")) or path.name == "globals.yml"
            if path.suffix in _SUFFIXES and not read and (meant := get_close_matches(name, _FILES, n=1, cutoff=0.8)):
                logger.warning("%s is not read: is it meant to be called %s.yml?", self._shown(path), meant[0])

    @contextmanager
    def _explained(self, key: str, files: Iterable[Path]) -> Iterator[None]:
        """Name the place of a value that OmegaConf cannot resolve."""
        try:
            yield
        except OmegaConfBaseException as error:
            place = self.place(key, name := error.full_key or "", files)
            # What is written beside credentials may be one.
            shown = isinstance(place, Place) and place.value is not None and key != "credentials"
            written = f" is {cast('Place', place).value!r}, and" if shown else ":"
            raise ConfigurationError(f"{place}: {name}{written} {_reason(error, key)}") from error


def _refuse_a_second(files: Iterable[Mapping[str, Place]], *, blocks: bool) -> None:
    """Refuse a key that two files of a folder give; their blocks may be in several files where ``blocks`` says so."""
    seen: dict[str, Place] = {}
    for places in files:
        # What begins with _ is a setting that the entries of its own file share.
        given = {name: place for name, place in places.items() if (blocks or place.top) and not name.startswith("_")}
        for name, place in given.items():
            if name in seen and not (blocks and place.block and seen[name].block):
                raise ConfigurationError(f"{place}: {name} is given in {seen[name]} too: keep one of them")
        seen |= given


def _other_kinds(below: Any, above: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted names that have a list where the other one has a block."""
    if isinstance(below, dict) and isinstance(above, dict):
        for key in below.keys() & above.keys():
            yield from _other_kinds(below[key], above[key], f"{name}.{key}" if name else str(key))
    elif isinstance(below, dict) and isinstance(above, list):
        yield name, "a list, but a block of keys"
    elif isinstance(below, list) and isinstance(above, dict):
        yield name, "a block of keys, but a list"


def _reason(error: OmegaConfBaseException, key: str) -> str:
    text = _first_line(error).rstrip(".")
    resolver = text.rpartition(" ")[2]
    if not isinstance(error, UnsupportedInterpolationType):
        return (
            f"{text[:1].lower()}{text[1:]}: ${{a.b}} names a key of the same folder's files in full, ${{globals:…}} "
            f"one of globals.yml ({', '.join(GLOBALS)})"
        )
    if resolver == "oc.env":
        other = ", or give it in --params" if key == "parameters" else ""
        return f"oc.env reads the environment in credentials.yml only: write the value here{other}"
    if key == "globals":
        return "globals.yml takes no resolver: write the value here"
    return f"there is no resolver {resolver}; known are globals, runtime_params and, in the catalog, parameters"
