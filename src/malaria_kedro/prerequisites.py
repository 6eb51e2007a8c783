"""What a run needs before its first node: datasets that can be made, versions that exist, inputs that are there."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractDataset, AbstractVersionedDataset, DataCatalog, DatasetError
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner

from malaria_kedro.configuration import ConfigurationError, ConfigurationLoader, Place
from malaria_kedro.entry_classes import wrong_class
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.pipelines.makers import first_makers, place_of
from malaria_kedro.pipelines.types import RunParams

_SHOWN = 3  # of what is missing, and of the versions that there are


class MissingInputError(MalariaKedroError, ValueError):
    """What a run starts from is not there; the message names it, its place and the command that makes it."""


class PrerequisiteHooks:
    """Stops a run that would fail on its catalog entries, its versions or its inputs, before its first node."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the loader, which knows where each catalog entry stands."""
        self._loader = cast("ConfigurationLoader", context.config_loader)
        self._project = Path(context.project_path)

    @hook_impl(tryfirst=True)  # other hooks make datasets, too
    def before_pipeline_run(self, run_params: RunParams, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Make the datasets of the run, and look whether its inputs are there.

        Raises:
            ConfigurationError: a catalog entry is wrong, or two lie in one place.
            MissingInputError: a version that ``--load-versions`` names, or an input of the run, is not there.
        """
        for name in sorted(pipeline.datasets()):
            self._check_entry(name, catalog)
        self._check_places(pipeline, catalog)
        for name, version in (run_params.get("load_versions") or {}).items():
            _check_version(name, version, pipeline, catalog)
        if run_params.get("only_missing_outputs"):
            # Which nodes are left is the same for every runner, and Kedro offers no other way to ask.
            pipeline = SequentialRunner()._filter_pipeline_for_missing_outputs(pipeline, catalog)
        self._check_inputs(pipeline, catalog)

    def _check_entry(self, name: str, catalog: DataCatalog) -> None:
        try:
            made = catalog.get(name)
            if name in catalog.validator_specs:
                from kedro.validation.core import resolve_validator  # pandera, which such a dataset needs anyway

                resolve_validator(catalog.validator_specs[name])
        except (DatasetError, ValueError) as error:
            # What a dataset's class says is the cause; of a validator, the cause does not say which.
            cause = None if "validator" in str(error) else error.__cause__
            said = " ".join(str(cause or error).split("\nHint:")[0].split())
            type_ = catalog.config_resolver.resolve_pattern(name).get("type")
            raise ConfigurationError(
                f"{self._place(name, catalog)}: the entry of {name} makes no dataset of type {type_} ({said}): correct "
                "it"
            ) from error
        if made is not None and (needed := wrong_class(name, made)):
            found = f"{type(made).__module__}.{type(made).__qualname__}"
            raise ConfigurationError(
                f"{self._place(name, catalog)}: the type of {name} is {found}, which cannot store it: give {needed}"
            )

    def _check_places(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Refuse two outputs in one place, where the later one would be taken for the earlier."""
        seen: dict[Path, str] = {}
        for name in sorted(pipeline.all_outputs()):
            other = seen.setdefault(place_of(catalog, name), name)
            if other != name:
                raise ConfigurationError(
                    f"{self._place(name, catalog)}: {name} lies where {other} does "
                    f"({self._shown(place_of(catalog, name))}): give it a filepath of its own"
                )

    def _place(self, name: str, catalog: DataCatalog) -> Place | str:
        entries = catalog.config_resolver
        entry = name if name in entries.config else entries.match_dataset_pattern(name) or name
        return self._loader.place("catalog", entry)

    def _check_inputs(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        missing = _missing_inputs(pipeline, catalog)
        if not missing:
            return
        from kedro.framework.project import pipelines as registered

        made_by = first_makers(registered, catalog)
        missing = [name for name in missing if place_of(catalog, name) in made_by]
        makers, todo = set(), list(missing)
        while todo:  # what makes it needs other things
            if (maker := made_by.get(place_of(catalog, todo.pop()))) and maker not in makers:
                makers.add(maker)
                todo += _missing_inputs(registered[maker], catalog)
        if not missing:  # no pipeline makes it: its own dataset tells what is missing
            return
        env = f" --env {self._loader.env}" if self._loader.env else ""
        there = [f"{name} ({self._shown(place_of(catalog, name))})" for name in missing]
        more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        raise MissingInputError(
            f"there is no {', no '.join(there[:_SHOWN])}{more} yet: run `kedro run{env} --pipelines "
            f"{','.join(name for name in registered if name in makers)}` first"
        )

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self._project) if path.is_relative_to(self._project) else path)


def _missing_inputs(pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return the names of the free inputs that are to lie on disk and do not, sorted."""
    return [name for name in sorted(pipeline.inputs()) if (made := catalog.get(name)) and not _is_there(made)]


def _is_there(dataset: AbstractDataset) -> bool:
    """Tell whether anything is there: what is incomplete is told, more precisely, where it is loaded."""
    if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None:
        return bool(dataset._get_versions())
    path = getattr(dataset, "_filepath", None)
    return path is None or Path(path).exists() or dataset.exists()


def _check_version(name: str, version: str, pipeline: Pipeline, catalog: DataCatalog) -> None:
    loaded = {source for node in pipeline.nodes for source in node.inputs}
    if name not in loaded:
        raise MissingInputError(f"--load-versions names {name}, which this run does not load: leave it out")
    dataset = catalog.get(name)
    if not isinstance(dataset, AbstractVersionedDataset) or dataset._version is None:
        raise MissingInputError(f"--load-versions names {name}, which has no versions: leave it out")
    if not dataset.exists():
        there = [Path(path).parent.name for path in dataset._get_versions()]
        more = f" and {len(there) - _SHOWN} earlier ones" if len(there) > _SHOWN else ""
        raise MissingInputError(
            f"there is no version {version} of {name}: "
            + (f"give one of {', '.join(there[:_SHOWN])}{more}" if there else "there is none at all, so leave it out")
        )
