"""What happens around a run: parameters and device are checked before any work, phantoms are called phantoms."""

from __future__ import annotations

import logging
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from malaria_kedro.parameters import Source, Training, check_parameters

logger = logging.getLogger(__name__)


class ParameterHooks:
    """Checks every block of the parameters, and that the device asked for is there, before any node runs."""

    def __init__(self, variants: tuple[str, ...]) -> None:
        self._variants = variants

    @hook_impl
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
