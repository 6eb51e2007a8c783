"""Stops a run that would use a databunch that was made with other parameters than its own."""

from __future__ import annotations

import logging
from pathlib import Path

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.parameters import Augment, Image, Source, Split
from malaria_kedro.pipelines.types import RunParams

logger = logging.getLogger(__name__)

NAME = "databunch"
_SHOWN = 3  # parameters that differ


class OtherParametersError(MalariaKedroError, ValueError):
    """A databunch was made with other parameters; the message names them, both values and the command."""


class DataBunchHooks:
    """Compares what is on disk with the parameters of a run, before its first node."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the parameters, and where the project lies."""
        self._parameters = context.config_loader["parameters"]
        self._project = Path(context.project_path)

    @hook_impl
    def before_pipeline_run(self, run_params: RunParams, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Look at the databunch that the run will load, if it is one that lies on disk.

        Raises:
            OtherParametersError: it was made with other parameters.
            TableError: a table of labels or patients, or a list of cells to leave out, is gone.
        """
        kept = NAME in pipeline.inputs() or (run_params.get("only_missing_outputs") and NAME in pipeline.datasets())
        using = [node for node in pipeline.nodes if NAME in node.inputs]
        dataset = catalog.get(NAME) if kept and using else None
        if dataset is None:
            return
        # They take a second to import; only a run that needs them should wait for it.
        from malaria_kedro.cells.tables import identify
        from malaria_kedro.datasets.databunch_dataset import DataBunchDataset
        from malaria_kedro.learning.other_parameters import list_changes

        if not isinstance(dataset, DataBunchDataset) or not (then := dataset.read_made_with()):
            return
        if not then.get("source"):
            logger.warning(
                "databunch (%s) does not tell with which source it was made: run the pipeline data_engineering to be "
                "sure that it is this run's",
                self._shown(dataset.path),
            )
        blocks = {"source": identify(Source.model_validate(self._parameters["source"]))} if then.get("source") else {}
        blocks["image"] = Image.model_validate(self._parameters["image"]).model_dump(mode="json")
        if any(node.namespace != "cross_validation" for node in using):  # there each fold is a split of its own
            blocks["split"] = Split.model_validate(self._parameters["split"]).model_dump(mode="json")
        if any(map(_trains, using)):
            blocks["augment"] = Augment.model_validate(self._parameters["augment"]).model_dump(mode="json")
        if changes := list_changes(then, blocks):
            env = f" --env {run_params['env']}" if run_params.get("env") else ""
            more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
            raise OtherParametersError(
                f"databunch ({self._shown(dataset.path)}) was made with other parameters than this run has, "
                f"{', '.join(map(str, changes[:_SHOWN]))}{more}: run `kedro run{env} --pipelines data_engineering` "
                "with those of this run first, or give the earlier ones back"
            )

    def _shown(self, path: Path) -> Path:
        return path.relative_to(self._project) if path.is_relative_to(self._project) else path


def _trains(node: Node) -> bool:
    """Tell whether a node changes images at random."""
    return "run_state" in node.inputs or node.name.rpartition(".")[2] in ("find_learning_rate", "preview_batch")
