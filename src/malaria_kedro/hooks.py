"""What happens around a run: parameters and device are checked before any work, phantoms are called phantoms."""

from __future__ import annotations

import logging
import sys
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from malaria_kedro.learning.interruption import THIS_RUN, UnfinishedError
from malaria_kedro.learning.lock import only_one
from malaria_kedro.parameters import Source, Training, check_parameters

logger = logging.getLogger(__name__)


class ParameterHooks:
    """Checks every block of the parameters, and that the device asked for is there, before any node runs."""

    def __init__(self, variants: tuple[str, ...]) -> None:
        self._variants = variants

    @hook_impl(tryfirst=True)  # the other hooks read blocks, and would fail on a wrong one without naming it
    def after_context_created(self, context: KedroContext) -> None:
        """Check the blocks; Kedro's own check covers only the nodes that run, and no unknown block."""
        parameters = context.config_loader["parameters"]
        self._typed = check_parameters(parameters, self._variants)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Stop a run for a GPU that is not there."""
        training = self._typed["training"]
        assert isinstance(training, Training)
        if training.device == "cuda":
            from malaria_kedro.learning.hardware import require_device

            require_device(training.device)


class TrainingHooks:
    """Looks, before any work, at the checkpoints that a run would continue; and does not let it be called failed."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note the parameters, and that a training which stops as it was asked to is no error of its node."""
        self._training = Training.model_validate(context.config_loader["parameters"]["training"])
        logging.getLogger("kedro.pipeline.node").addFilter(_is_no_unfinished_training)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Stop a run whose trainings could not begin.

        Raises:
            LockError: another process trains on the same checkpoints.
            ResumeError: there has to be something to continue, and there is nothing at all.
            RunnerError: two trainings would share one random state.
        """
        THIS_RUN.begin()
        trainings = [node for node in pipeline.nodes if "training" in node.tags]
        if not trainings:
            return
        if "ThreadRunner" in run_params["runner"]:
            raise RunnerError(
                "the ThreadRunner would train two models at once on one random state, so no run would be like another; "
                "use the SequentialRunner (Kedro's default) or the ParallelRunner"
            )
        names = {name for node in trainings for name in node.inputs if name.endswith("checkpoints")}
        folders = [catalog.get(name).folder for name in sorted(names)]
        if self._training.resume == "require" and not any(any(folder.rglob("*.safetensors")) for folder in folders):
            from malaria_kedro.learning.resume import ResumeError

            raise ResumeError(
                "training.resume is require, but there is no checkpoint to continue in "
                f"{', '.join(map(str, folders))}; set training.resume=auto to start afresh"
            )
        for folder in folders:
            with only_one(folder):  # free: the training itself takes it again
                pass


class RunnerError(ValueError):
    """A runner cannot be used for what is to be run."""


def _is_no_unfinished_training(_record: logging.LogRecord) -> bool:
    return not isinstance(sys.exc_info()[1], UnfinishedError)


class PhantomHooks:
    """Says at the start and at the end of a run that phantoms are phantoms."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note whether the cells are drawn."""
        source = Source.model_validate(context.config_loader["parameters"]["source"])
        self._phantom = source.phantoms is not None and source.path is None

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Warn."""
        self._warn()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Warn."""
        self._warn()

    def _warn(self) -> None:
        if self._phantom:
            logger.warning("phantom cells drawn by this project: no figure of this run says anything about malaria")
