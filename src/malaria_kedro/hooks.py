"""Kedro hooks: parameters, device, checkpoints and locks are checked before any work; phantoms are announced."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, DataCatalog, Version
from kedro.pipeline import Pipeline

from malaria_kedro.cells.progress import megabytes
from malaria_kedro.datasets.checkpoints_dataset import CheckpointsDataset
from malaria_kedro.datasets.classifier_dataset import ClassifierDataset, InferenceClassifierDataset
from malaria_kedro.datasets.onnx_dataset import OnnxDataset
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import clear_leftovers, take_lock
from malaria_kedro.learning.interruption import UnfinishedError
from malaria_kedro.learning.lock import training_lock
from malaria_kedro.names import CLASSES
from malaria_kedro.parameters import Source, Training, check_parameters
from malaria_kedro.versions import newer_than_now, warn_of_newer

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
    """Checks the checkpoints that a run would resume from before any work, and how an early stop is logged."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read the parameters; a training that stops as asked is not logged as an error of its node."""
        self._training = Training.model_validate(context.config_loader["parameters"]["training"])
        logging.getLogger("kedro.pipeline.node").addFilter(_is_not_an_early_stop)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Stop a run whose trainings could not begin.

        Raises:
            LockError: another process trains on the same checkpoints.
            ResumeError: ``training.resume`` is ``require``, and there is no checkpoint at all.
            RunnerError: two trainings would share one random state.
        """
        trainings = [node for node in pipeline.nodes if "training" in node.tags]
        if not trainings:
            return
        if "ThreadRunner" in run_params["runner"]:
            raise RunnerError(
                "the ThreadRunner would train two models at once on one random state, so no run could be repeated; "
                "use the SequentialRunner (Kedro's default) or the ParallelRunner"
            )
        names = {name for node in trainings for name in node.inputs if name.endswith("checkpoints")}
        # Not narrowed by isinstance: without an error, a dataset of another kind would go without a lock.
        folders = [cast("CheckpointsDataset", catalog.get(name)).folder for name in sorted(names)]
        if self._training.resume == "require" and not any(any(folder.rglob("*.safetensors")) for folder in folders):
            from malaria_kedro.learning.resume import ResumeError

            raise ResumeError(
                "training.resume is require, but there is no checkpoint to continue in "
                f"{', '.join(map(str, folders))}; set training.resume=auto to start afresh"
            )
        for folder in folders:
            with training_lock(folder):  # free: the training itself takes it again
                pass


class DataFolderHooks:
    """Allows one run at a time in a data folder, and removes what killed runs have left there."""

    # These hold one file per cell, and never what a killed run leaves.
    SKIPPED = (*CLASSES, "train", "valid", "test")

    def __init__(self) -> None:
        self._lock: FileLock | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note where the data lie."""
        data = context.config_loader["globals"].get("data_dir", "data")
        self._folder = Path(context.project_path, data)

    @hook_impl(trylast=True)  # whatever else stops a run does so before the lock is taken
    def before_pipeline_run(self) -> None:
        """Take the lock, and remove leftovers.

        Raises:
            LockError: another run works in the folder, or it cannot be written.
        """
        self._release()  # of a run in this process that was interrupted, as by Ctrl-C in a notebook
        self._lock = take_lock(
            self._folder,
            "another run works in",
            "wait until it has ended, or stop it; to work beside it, give this one a data_dir of its own in "
            "conf/<environment>/globals.yml",
        )
        if removed := clear_leftovers(self._folder, skip=self.SKIPPED):
            logger.info("removed %s that killed runs have left half-written in %s", megabytes(removed), self._folder)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Let the next run in."""
        self._release()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Let the next run in."""
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class VersionHooks:
    """A run continues with what it has made itself, even where an older run's version is dated in the future."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Warn of versions that are newer than now.

        Raises:
            RunnerError: a node would look on disk for what another one makes; or the run would make another version of
                a dataset of the future with a runner that calls no hooks.
        """
        self._catalog = catalog
        _refuse_what_no_edge_orders(pipeline, catalog)
        made = {_file_of(catalog, name) for name in pipeline.all_outputs()}
        for name in sorted(pipeline.datasets()):
            dataset = _unpinned(catalog, name)
            if dataset is None:
                continue
            newer = [path for path in dataset.list_versions() if newer_than_now([Path(path).parent.name])]
            for path in newer:
                warn_of_newer(Path(path).parent)
            if newer and _file_of(catalog, name) in made and "ParallelRunner" in run_params["runner"]:
                raise RunnerError(
                    f"{Path(newer[0]).parent} is of the future, and the ParallelRunner would continue with it instead "
                    "of what this run makes: rename or remove it, or use the SequentialRunner"
                )

    @hook_impl
    def before_dataset_saved(self, dataset_name: str) -> None:
        """Have later nodes of this run load the version that is saved now."""
        dataset = _unpinned(self._catalog, dataset_name)
        if dataset is not None:
            saved = dataset.resolve_save_version()
            dataset._version = Version(saved, saved)


def _refuse_what_no_edge_orders(pipeline: Pipeline, catalog: DataCatalog) -> None:
    """Refuse a run in which a node looks on disk for what another one makes."""
    made = [(writer, name) for writer in pipeline.nodes for name in sorted(writer.outputs)]
    files = [
        (writer, file)
        for writer, name in made
        if isinstance(catalog.get(name), ClassifierDataset | OnnxDataset) and (file := _file_of(catalog, name))
    ]
    for reader in pipeline.nodes:
        for name in sorted(reader.inputs):
            read = catalog.get(name)
            if not isinstance(read, InferenceClassifierDataset):  # which takes what a variant's entries made
                continue
            for writer, file in files:
                if file.is_relative_to(Path(read._filepath).parent):
                    raise RunnerError(
                        f"{reader.name} would take the newest {file} that is there when its turn comes, which need not "
                        f"be the one that {writer.name} makes in this run: run them one after the other"
                    )


def _versioned(catalog: DataCatalog, name: str) -> AbstractVersionedDataset | None:
    """Return a dataset if it is versioned, else None."""
    dataset = catalog.get(name)
    return dataset if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None else None


def _unpinned(catalog: DataCatalog, name: str) -> AbstractVersionedDataset | None:
    """Return a versioned dataset of which the newest version would be loaded, else None."""
    dataset = _versioned(catalog, name)
    newest = dataset is not None and dataset._version is not None and dataset._version.load is None
    return dataset if newest else None


def _file_of(catalog: DataCatalog, name: str) -> Path | None:
    """Return the path that a versioned dataset has in the catalog, else None."""
    dataset = _versioned(catalog, name)
    return None if dataset is None else Path(dataset._filepath)


class RunnerError(MalariaKedroError, ValueError):
    """A runner cannot be used for what is to be run."""


def _is_not_an_early_stop(_record: logging.LogRecord) -> bool:
    return not isinstance(sys.exc_info()[1], UnfinishedError)


class PhantomHooks:
    """Warns at the start and at the end of a run that its cells are phantoms."""

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
