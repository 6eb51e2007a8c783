"""The names on a ``kedro run`` command line: what is mistyped is told with what is nearest, before anything is run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from kedro.pipeline import Pipeline
from kedro.runner import AbstractRunner, ParallelRunner, SequentialRunner, ThreadRunner
from kedro.utils import load_obj

from malaria_kedro.errors import MalariaKedroError, known

_RUNNERS = [runner.__name__ for runner in (ParallelRunner, SequentialRunner, ThreadRunner)]
_MOST_WORKERS = 1024


class SelectionError(MalariaKedroError, ValueError):
    """A command line names something that is not there, or selects nothing."""


def _node_names(pipeline: Pipeline) -> set[str]:
    return {node.name for node in pipeline.nodes}


def _dataset_names(pipeline: Pipeline) -> set[str]:
    return pipeline.datasets()


def _tags(pipeline: Pipeline) -> set[str]:
    return {tag for node in pipeline.nodes for tag in node.tags}


def _namespaces(pipeline: Pipeline) -> set[str]:
    parts = [node.namespace.split(".") for node in pipeline.nodes if node.namespace]
    return {".".join(names[:depth]) for names in parts for depth in range(1, len(names) + 1)}


# Option → the name of its value in Kedro's run, what it names, and the names that a pipeline has.
_SELECTORS: dict[str, tuple[str, str, Callable[[Pipeline], set[str]]]] = {
    "--nodes": ("node_names", "node", _node_names),
    "--from-nodes": ("from_nodes", "node", _node_names),
    "--to-nodes": ("to_nodes", "node", _node_names),
    "--from-inputs": ("from_inputs", "dataset", _dataset_names),
    "--to-outputs": ("to_outputs", "dataset", _dataset_names),
    "--tags": ("tags", "tag", _tags),
    "--namespaces": ("namespaces", "namespace", _namespaces),
}


def check_selection(options: Mapping[str, Any], registered: Mapping[str, Pipeline]) -> None:
    """Check what the options of ``kedro run`` name.

    Args:
        options: the values by the names of Kedro's run.
        registered: all pipelines of the project, by name.

    Raises:
        SelectionError: a pipeline, node, dataset, tag, namespace or runner is not there, or no node is selected.
    """
    _check_runner(options.get("runner"), options.get("runner_params") or {})
    pipelines = [options["pipeline"]] if options.get("pipeline") else list(options.get("pipelines") or ())
    for name in pipelines:
        if name not in registered:
            raise SelectionError(f"--pipelines: there is no pipeline {name}{known(name, _shown(registered))}")
    chosen = sum((registered[name] for name in pipelines or ["__default__"]), start=Pipeline([]))
    for option, (key, kind, names_of) in _SELECTORS.items():
        for name in options.get(key) or ():
            if name not in names_of(chosen):
                raise SelectionError(f"{option}: {_told(name, kind, names_of, chosen, registered)}")
    for name in options.get("load_versions") or ():
        if name not in _dataset_names(chosen):
            raise SelectionError(f"--load-versions: {_told(name, 'dataset', _dataset_names, chosen, registered)}")
    given = {option: list(options.get(key) or ()) for option, (key, _, _) in _SELECTORS.items()}
    try:
        chosen.filter(
            **{"node_namespaces" if key == "namespaces" else key: options.get(key) for key, _, _ in _SELECTORS.values()}
        )
    except ValueError as error:
        said = " ".join(f"{option} {','.join(names)}" for option, names in given.items() if names)
        raise SelectionError(
            f"{said} select no node together: a run takes the nodes that all of them select; leave one out, or look at "
            "the order of the nodes with `kedro registry describe`"
        ) from error


def _told(
    name: str, kind: str, names_of: Callable[[Pipeline], set[str]], chosen: Pipeline, registered: Mapping[str, Pipeline]
) -> str:
    """Return what is wrong with a name, and what there is instead: in this run, else in another pipeline."""
    if elsewhere := [other for other in _shown(registered) if name in names_of(registered[other])]:
        return (
            f"the {kind} {name} is not of this run but of the pipeline {elsewhere[0]}: give --pipelines {elsewhere[0]}"
        )
    names = sorted(one for one in names_of(chosen) if kind != "dataset" or not one.startswith("param"))
    # What is in a namespace, as all of a variant is, is often named without it.
    meant = get_close_matches(name, sorted({one.rpartition(".")[2] for one in names}), n=1)
    ends = [one for one in names if [one.rpartition(".")[2]] == meant]
    said = f": did you mean {' or '.join(ends)}?" if ends else known(name, names)
    return f"there is no {kind} {name} in this run{said}"


def _shown(registered: Iterable[str]) -> list[str]:
    return [name for name in registered if name != "__default__"]


def _check_runner(name: str | None, parameters: Mapping[str, Any]) -> None:
    try:
        runner = load_obj(name or "SequentialRunner", "kedro.runner")
        if inspect.isabstract(runner) or not issubclass(runner, AbstractRunner):
            raise TypeError
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SelectionError(f"--runner: there is no runner {name}{known(name, _RUNNERS)}") from error
    try:
        inspect.signature(runner).bind(**parameters)
    except TypeError as error:
        raise SelectionError(
            f"--runner-params: {runner.__name__} takes {', '.join(inspect.signature(runner).parameters)} ({error})"
        ) from error
    workers = parameters.get("max_workers")
    if workers is not None and (type(workers) is not int or not 0 < workers <= _MOST_WORKERS):
        raise SelectionError(
            f"--runner-params: max_workers is {workers!r}: give a whole number from 1 to {_MOST_WORKERS}"
        )
    if type(parameters.get("is_async", False)) is not bool:
        raise SelectionError(f"--runner-params: is_async is {parameters['is_async']!r}: give True or False")
