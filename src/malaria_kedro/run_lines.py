"""What a run says of itself: a line per node with its seconds and what it made; at its end, what there is and where.

``conf/logging.yml`` shows Kedro's own lines, four per node and one per dataset, from WARNING on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from malaria_kedro.learning.interruption import UnfinishedError
from malaria_kedro.machine import megabytes

logger = logging.getLogger(__name__)

_RUNNERS = [f"kedro.runner.{name}_runner" for name in ("sequential", "thread", "parallel")]
# Kedro's advice on how to resume, four lines long.
_ADVICE = re.compile(r"There are (\d+) nodes that have not run.*--from-nodes \"(.*)\"", re.DOTALL)
# What the command line calls the entries of Kedro's ``run_params`` that choose nodes.
_CHOICES = {
    "pipeline_names": "--pipelines",
    "namespaces": "--namespaces",
    "tags": "--tags",
    "node_names": "--nodes",
    "to_nodes": "--to-nodes",
    "to_outputs": "--to-outputs",
}


class RunLines:
    """Logs each node when its outputs are saved, and what was made when the run is finished.

    The nodes of a ParallelRunner speak from processes of their own, so that its summary has paths and no counts.
    """

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._saved: dict[str, dict[str, str]] = {}  # node → dataset → what is said of it

    @hook_impl
    def before_pipeline_run(self, run_params: Mapping[str, Any]) -> None:
        """Start the run's clock, and put Kedro's advice into one line."""
        self._began, self._started, self._saved = time.perf_counter(), {}, {}
        self._stopped_as_asked = False
        self._command, self._parallel = _command(run_params), "ParallelRunner" in run_params["runner"]
        for name in _RUNNERS:
            logging.getLogger(name).addFilter(self._shorten_advice)
        logging.getLogger("kedro.pipeline.node").addFilter(_is_not_a_failure)

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        """Start the node's clock."""
        self._started.setdefault(node.name, time.perf_counter())

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the clock of a node that loads nothing."""
        self.before_dataset_loaded(node)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Log the node with its last output: some are computed while they are saved."""
        saved = self._saved.setdefault(node.name, {})
        saved[dataset_name] = _describe(dataset_name, data)
        if len(saved) == len(node.outputs):
            self._log(node, "; ".join(f"{name}: {about}" if about else name for name, about in saved.items()))

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Log the node that failed; what the error says comes last in a run."""
        self._stopped_as_asked = isinstance(error, UnfinishedError)
        if not self._stopped_as_asked:
            self._log(node, "failed", logging.ERROR)

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Leave Kedro's loggers as they were."""
        for name in _RUNNERS:
            logging.getLogger(name).removeFilter(self._shorten_advice)
        logging.getLogger("kedro.pipeline.node").removeFilter(_is_not_a_failure)

    def _log(self, node: Node, what: str, level: int = logging.INFO) -> None:
        pipeline = ("", *node.func.__module__.split("."))[-2]  # malaria_kedro.pipelines.<pipeline>.nodes
        name, seconds = node.name.removeprefix(f"{pipeline}."), _seconds_since(self._started[node.name])
        logger.log(level, "%9s  %-16s  %s  %s", seconds, pipeline, name, what)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Log what was made, how much of it, and where it lies."""
        self.on_pipeline_error()
        about = {name: text for saved in self._saved.values() for name, text in saved.items()}
        ran, left = len(self._saved), len(pipeline.nodes) - len(self._saved)
        skipped = f"; {left} were not run, because their outputs exist" if left else ""
        counts = "" if self._parallel else f": {ran} node{'s' * (ran != 1)}{skipped}"
        logger.info("finished in %s%s", _seconds_since(self._began), counts)
        told = {}
        for name in (name for node in pipeline.nodes for name in node.outputs):
            wanted = name in pipeline.outputs() or _kind(name) in _FACTS
            if wanted and (name in about or self._parallel) and (path := _path(catalog.get(name))):
                told[name] = "; ".join(filter(None, (about.get(name), path)))
        width = max(map(len, told), default=0)
        for name, text in told.items():
            logger.info("  %-*s  %s", width, name, text)

    def _shorten_advice(self, record: logging.LogRecord) -> bool:
        """Rewrite the advice of Kedro's runners; where no node has finished, there is nothing to advise.

        Neither is there where a training has stopped as asked: it says itself that the same command continues it.
        """
        message = record.getMessage()
        if found := _ADVICE.search(message):
            left, names = found.groups()
            record.name, record.args = logger.name, ()
            nodes = "1 node has" if left == "1" else f"{left} nodes have"
            record.msg = f"{nodes} not run; to go on: {self._command} --from-nodes {names}"
        return not message.startswith("No nodes ran") and not (found and self._stopped_as_asked)


def _is_not_a_failure(record: logging.LogRecord) -> bool:
    """Keep the error of a node from being told twice."""
    return "failed with error" not in record.getMessage()


def _command(run_params: Mapping[str, Any]) -> str:
    """Return the command of a run, without where it began, and without its parameters, which may hold secrets."""
    words = ["kedro run"]
    if run_params.get("env"):
        words.append(f"--env {run_params['env']}")
    words += [f"{option} {','.join(run_params[key])}" for key, option in _CHOICES.items() if run_params.get(key)]
    hidden = {"load_versions": "--load-versions", "runtime_params": "--params"}
    words += [f"{option} …" for key, option in hidden.items() if run_params.get(key)]
    return " ".join(words)


def _seconds_since(start: float) -> str:
    from malaria_kedro.report.formats import duration  # pandas and jinja2, which `kedro --help` should not wait for

    return duration(time.perf_counter() - start)


def _path(dataset: Any) -> str:
    """Return where a dataset lies, as seen from here; of a page, where its newest version always lies."""
    if isinstance(dataset, AbstractVersionedDataset):
        path = getattr(dataset, "latest_path", None) or Path(dataset._get_load_path())
    else:
        path = getattr(dataset, "_filepath", None)
    if path is None:
        return ""
    return os.path.relpath(path) if Path(path).absolute().is_relative_to(Path.cwd()) else str(path)


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _describe(name: str, data: Any) -> str:
    """Return what is to be said of a dataset's content in a few words; empty = nothing."""
    if (describe := _FACTS.get(_kind(name))) is not None:
        with contextlib.suppress(AttributeError, KeyError):  # something else by this name, in a pipeline of one's own
            return describe(data)
    rows = data.shape[0] if getattr(data, "shape", None) else 0
    return f"{rows:,} row{'s' * (rows != 1)}" if rows else ""


def _index(cells: Any) -> str:
    excluded = int((cells["excluded"] != "").sum())
    return f"{len(cells):,} cells indexed, {excluded:,} excluded"


def _splits(cells: Any) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in cells["split"].value_counts().items())


def _classifier(classifier: Any) -> str:
    metadata = classifier.metadata
    cells = sum(metadata.data.counts.get("train", {}).values())
    return f"epoch {metadata.selected.epoch} of {metadata.selected.stage}, trained on {cells:,} cells"


def _metrics(metrics: Any) -> str:
    if folds := getattr(metrics, "protocols", None):
        return "; ".join(f"{name} folds, {_scores(found.pooled)}" for name, found in folds.items())
    return f"{metrics.main_split}, {_scores(metrics.splits[metrics.main_split])}"


def _scores(cells: Any) -> str:
    from malaria_kedro.report.formats import decimals, percent

    shares = (f"{name} {percent(cells.score(name), cells.n)}" for name in ("accuracy", "sensitivity", "specificity"))
    told = f"{cells.n:,} cells: {', '.join(shares)}, ROC AUC {decimals(cells.roc_auc)}"
    return told.replace("\u00a0", " ")  # the space of a page, which not every terminal has


def _patients(patients: Any) -> str:
    cells, parasitized, refused = (patients[name].sum() for name in ("cells", "parasitized", "refused"))
    known = patients["patient_id"].notna().sum()
    return f"{cells:,} images of {known:,} patients: {parasitized:,} called parasitized, {refused:,} not called"


def _onnx(graphs: Any) -> str:
    int8 = "no int8 graph" if graphs.int8 is None else f"int8 {megabytes(len(graphs.int8))}"
    return f"float32 {megabytes(len(graphs.float32))}, {int8}"


def _audit(cells: Any) -> str:
    return f"{len(cells):,} cells, {cells['is_issue'].sum():,} labels to review"


# What is said of datasets by the last part of their names; they are listed at the end of a run.
_FACTS: dict[str, Callable[[Any], str]] = {
    "cell_index": _index,
    "cell_splits": _splits,
    "classifier": _classifier,
    "metrics": _metrics,
    "cell_predictions": lambda rows: f"{len(rows):,} images",
    "patient_summary": _patients,
    "label_audit": _audit,
    "onnx": _onnx,
    "learning_rate_suggestion": lambda rates: ", ".join(f"{rule} {rate:.1e}" for rule, rate in rates.items()),
}
