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
from malaria_kedro.datasets.classifier_dataset import ClassifierDataset
from malaria_kedro.datasets.directory_dataset import DirectoryDataset
from malaria_kedro.datasets.onnx_dataset import OnnxDataset
from malaria_kedro.datasets.optional_dataset import OptionalDataset
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import clear_leftovers, take_lock
from malaria_kedro.learning.interruption import THIS_RUN, UnfinishedError
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
        # Not narrowed: of a dataset that is none of these, no lock would be taken, and nobody would know.
        folders = [cast("CheckpointsDataset", catalog.get(name)).path for name in sorted(names)]
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
    """One run at a time in a data folder, which also clears up what killed runs have left there."""

    # These hold a file for each cell, and nothing that a killed run would leave.
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
        """Take the lock, and clear up.

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
            RunnerError: a node would look on disk for what another one makes, and no edge says which of them is first;
                or the run would make another version of a dataset of the future with a runner that calls no hooks.
        """
        self._catalog = catalog
        self._optional = [
            name for name in sorted(pipeline.datasets()) if isinstance(catalog.get(name), OptionalDataset)
        ]
        sequential = not any(runner in run_params["runner"] for runner in ("ParallelRunner", "ThreadRunner"))
        _refuse_what_no_edge_orders(pipeline, catalog, sequential=sequential)
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
        """Have later nodes of this run load the version that is saved now, also where they read it as optional."""
        dataset = _unpinned(self._catalog, dataset_name)
        if dataset is None:
            return
        saved = dataset.resolve_save_version()
        file = _file_of(self._catalog, dataset_name)
        same = [name for name in self._optional if _file_of(self._catalog, name) == file]
        for found in (dataset, *(_unpinned(self._catalog, name) for name in same)):
            if found is not None:
                found._version = Version(saved, saved)


def _refuse_what_no_edge_orders(pipeline: Pipeline, catalog: DataCatalog, *, sequential: bool) -> None:
    """Refuse a run in which a node looks on disk for what another one makes, unless that one surely comes first."""
    made = [(number, node, name) for number, node in enumerate(pipeline.nodes) for name in sorted(node.outputs)]
    for first, reader in enumerate(pipeline.nodes):
        for name in sorted(reader.inputs):
            read = catalog.get(name)
            if isinstance(read, DirectoryDataset):  # of what is trained it takes the newest by name, whoever made it
                others = [
                    (writer, _file_of(catalog, output))
                    for _, writer, output in made
                    if isinstance(catalog.get(output), ClassifierDataset | OnnxDataset)
                ]
                found = [(writer, file) for writer, file in others if file and file.is_relative_to(read.path)]
            elif isinstance(read, OptionalDataset):
                its = _file_of(catalog, name)
                late = [(writer, output) for second, writer, output in made if not (sequential and second < first)]
                found = [(writer, its) for writer, output in late if its and its == _file_of(catalog, output)]
            else:
                continue
            for writer, file in found:
                raise RunnerError(
                    f"{reader.name} would take the newest {file} that is there when its turn comes, which need not be "
                    f"the one that {writer.name} makes in this run: run them one after the other"
                )


def _versioned(catalog: DataCatalog, name: str) -> AbstractVersionedDataset | None:
    """Return a dataset, or the one that an optional one stands for, if it is versioned, else None."""
    dataset = catalog.get(name)
    if isinstance(dataset, OptionalDataset):
        dataset = dataset.dataset
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
