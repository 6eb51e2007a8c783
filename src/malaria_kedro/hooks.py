"""Kedro hooks: parameters, device, checkpoints and locks are checked before any work; phantoms are announced."""

from __future__ import annotations

import itertools
import logging
import re
from pathlib import Path
from typing import cast

from filelock import FileLock
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import AbstractVersionedDataset, DataCatalog, DatasetError, Version
from kedro.pipeline import Pipeline

from malaria_kedro.datasets.checkpoints_dataset import CheckpointsDataset
from malaria_kedro.datasets.classifier_dataset import ClassifierDataset, InferenceClassifierDataset
from malaria_kedro.datasets.onnx_dataset import OnnxDataset
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import clear_leftovers, take_lock
from malaria_kedro.learning.lock import training_lock
from malaria_kedro.machine import megabytes
from malaria_kedro.names import CLASSES
from malaria_kedro.parameters import CrossValidation, Inference, Source, Training, Variant, check_parameters
from malaria_kedro.pipelines.inference.nodes import require_images
from malaria_kedro.pipelines.makers import first_makers
from malaria_kedro.pipelines.types import RunParams
from malaria_kedro.pipelines.variants import leave_out_untrained
from malaria_kedro.versions import newer_than_now, warn_of_newer

logger = logging.getLogger(__name__)


_COMMAND = re.compile(r"kedro run --pipelines? \w+")  # as an error advises it
# The nodes that begin with a network's first weights.
STARTING = ("train_stage_1", "find_learning_rate", "cross_validate")


class RunnerError(MalariaKedroError, ValueError):
    """A runner cannot be used for what is to be run."""


class ParameterHooks:
    """Checks the parameters, and what a run with them needs, before any node runs; announces phantoms."""

    def __init__(self, variants: tuple[str, ...]) -> None:
        self._variants = variants

    @hook_impl(tryfirst=True)  # a wrong block is named before anything else fails on it
    def after_context_created(self, context: KedroContext) -> None:
        """Check all blocks: Kedro's own check covers only the nodes that run, and no unknown block."""
        self._typed = typed = check_parameters(context.config_loader["parameters"], self._variants)
        self._source, self._training = cast("Source", typed["source"]), cast("Training", typed["training"])

    @hook_impl
    def before_pipeline_run(self, run_params: RunParams, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Stop a run for a GPU that is not there, or whose trainings could not begin.

        Raises:
            LockError: another process trains on the same checkpoints.
            ResumeError: ``training.resume`` is ``require``, and there is no checkpoint at all.
            RunnerError: two trainings would share one random state.
            WeightsError: a training would start from weights that are not there, or not its network's.
            InferenceError: new cells are to be read, and no images are named.
            ExclusionError, TableError: a table of the user's is not there, or is none.
        """
        if self._training.device == "cuda":
            from malaria_kedro.learning.hardware import require_device

            require_device("cuda")
        trainings = [node for node in pipeline.nodes if "run_state" in node.inputs]
        searches = [node for node in pipeline.nodes if node.name.rpartition(".")[2] == "find_learning_rate"]
        if (trainings or searches) and "ThreadRunner" in run_params["runner"]:
            raise RunnerError(
                "the ThreadRunner would train two models at once on one random state, so no run could be repeated; "
                "use the SequentialRunner (Kedro's default) or the ParallelRunner"
            )
        if trainings:
            names = {name for node in trainings for name in node.inputs if name.endswith("checkpoints")}
            # Not narrowed by isinstance: without an error, a dataset of another kind would go without a lock.
            folders = [cast("CheckpointsDataset", catalog.get(name)).path for name in sorted(names)]
            _check_checkpoints(folders, self._training.resume)
        self._find_weights(pipeline)
        self._read_tables(pipeline)
        if "classifier_path" in pipeline.all_outputs():
            require_images(cast("Inference", self._typed["inference"]))
        self._warn_of_phantoms()

    def _read_tables(self, pipeline: Pipeline) -> None:
        """Read the tables that a user gives, where this run would read them after minutes of unpacking."""
        if not pipeline.all_outputs() & {"cell_archive", "cell_images", "cell_index"}:
            return
        from malaria_kedro.cells.exclusions import read_lines
        from malaria_kedro.cells.tables import read_patients

        read_patients(self._source)  # with the labels
        if self._source.exclude:
            read_lines(Path(self._source.exclude))

    def _find_weights(self, pipeline: Pipeline) -> None:
        """Raise a ``WeightsError`` where a node of this run could not start from its weights."""
        starting = [node for node in pipeline.nodes if node.name.rpartition(".")[2] in STARTING]
        named = {name.removeprefix("params:") for node in starting for name in node.inputs}
        if "cross_validation" in named:
            named.add(cast("CrossValidation", self._typed["cross_validation"]).variant)
        for variant in (cast("Variant", self._typed[name]) for name in self._variants if name in named):
            if variant.pretrained not in ("imagenet", "none"):
                from malaria_kedro.learning.weights import find_weights

                # Without torch, which takes seconds to import.
                find_weights(variant.pretrained, variant.arch, variant.slim_resnet)
                from malaria_kedro.learning.network import check_pretrained

                check_pretrained(variant.arch, variant.pretrained, variant.slim_resnet)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Warn of phantoms again."""
        self._warn_of_phantoms()

    def _warn_of_phantoms(self) -> None:
        if self._source.phantoms is not None and self._source.path is None:
            logger.warning("phantom cells drawn by this project: no figure of this run says anything about malaria")


def _check_checkpoints(folders: list[Path], resume: str) -> None:
    if resume == "require" and not any(any(folder.rglob("*.safetensors")) for folder in folders):
        from malaria_kedro.learning.resume import ResumeError

        raise ResumeError(
            f"training.resume is require, but there is no checkpoint to continue in {', '.join(map(str, folders))}; "
            "set training.resume=auto to start afresh"
        )
    for folder in folders:
        with training_lock(folder):  # free: the training itself takes it again
            pass


class VariantHooks:
    """Reports on, and exports, the variants that are trained, and says which are left out."""

    def __init__(self, variants: tuple[str, ...]) -> None:
        self._variants = variants

    @hook_impl(tryfirst=True)  # what is left out is not missing
    def before_pipeline_run(self, run_params: RunParams, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Leave out what is not trained, and neither is in this run."""
        kept, untrained = leave_out_untrained(pipeline, catalog, self._variants)
        for variant in untrained:
            environment = f" --env {env}" if (env := run_params.get("env")) else ""
            logger.warning(
                "%s is not trained, and this run leaves it out: kedro run%s --pipelines modeling trains it",
                variant,
                environment,
            )
        if untrained:
            # Kedro runs the object that hooks are given, and has no hook that may return another.
            vars(pipeline).clear()  # what it has cached, too
            vars(pipeline).update(vars(kept))


class DataFolderHooks:
    """Allows one run at a time in a data folder, and removes what killed runs have left there."""

    # These hold one file per cell, and never what a killed run leaves.
    SKIPPED = (*CLASSES, "train", "valid", "test")

    _lock: FileLock | None = None

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
        self.after_pipeline_run()  # of a run in this process that was interrupted, as by Ctrl-C in a notebook
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
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Let the next run in."""
        self.after_pipeline_run()


class StoredDataHooks:
    """Tells with which command a damaged file is made again."""

    @hook_impl
    def on_pipeline_error(self, error: Exception, run_params: RunParams, catalog: DataCatalog) -> None:
        """Write the command, with the environment of this run, into the error of what could not be read."""
        link: BaseException | None = error
        while link is not None:
            stored: Path | None = getattr(link, "stored", None)
            of_a_process = type(link.__cause__).__name__ == "_RemoteTraceback" and isinstance(link, DatasetError)
            made_by = first_makers(pipelines, catalog) if stored or of_a_process else {}
            if of_a_process:  # the text alone comes back from it, Kedro's first, not what it was raised from
                said = str(link).partition("\n")[2]
                named = [place for place in made_by if str(place) in said]
                stored = max(named, key=lambda place: len(str(place)), default=None)
                link.args = (said or str(link),)
            places = [] if stored is None else [stored, *stored.parents]
            if maker := next((made_by[place] for place in places if place in made_by), None):
                env = f"--env {run_params['env']} " if run_params.get("env") else ""
                command = f"kedro run {env}--pipelines {maker}"
                said, named_one = _COMMAND.subn(command, str(link.args[0]))
                link.args = (said if named_one else f"{said} ({command})", *link.args[1:])
            link = link.__cause__ or link.__context__


class VersionHooks:
    """A run continues with what it has made itself, even where an older run's version is dated in the future."""

    @hook_impl
    def before_pipeline_run(self, run_params: RunParams, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Warn of versions that are newer than now.

        Raises:
            RunnerError: a node would look on disk for what another one makes; or the run would make another version of
                a dataset of the future with a runner that calls no hooks.
        """
        self._catalog = catalog
        _refuse_what_no_edge_orders(pipeline, catalog)
        made = {getattr(catalog.get(name), "_filepath", None) for name in pipeline.all_outputs()}
        for name in sorted(pipeline.datasets()):
            if (dataset := _unpinned(catalog, name)) is None:
                continue
            newer = [path for path in dataset.list_versions() if newer_than_now([Path(path).parent.name])]
            for path in newer:
                warn_of_newer(Path(path).parent)
            if newer and dataset._filepath in made and "ParallelRunner" in run_params["runner"]:
                raise RunnerError(
                    f"{Path(newer[0]).parent} is of the future, and the ParallelRunner would continue with it instead "
                    "of what this run makes: rename or remove it, or use the SequentialRunner"
                )

    @hook_impl
    def before_dataset_saved(self, dataset_name: str) -> None:
        """Have later nodes of this run load the version that is saved now."""
        if (dataset := _unpinned(self._catalog, dataset_name)) is not None:
            saved = dataset.resolve_save_version()
            dataset._version = Version(saved, saved)


def _refuse_what_no_edge_orders(pipeline: Pipeline, catalog: DataCatalog) -> None:
    """Refuse a run in which a node looks on disk for what another one makes."""
    made = [(writer, catalog.get(name)) for writer in pipeline.nodes for name in sorted(writer.outputs)]
    read = [(reader, catalog.get(name)) for reader in pipeline.nodes for name in sorted(reader.inputs)]
    for (reader, source), (writer, target) in itertools.product(read, made):
        # A variant's classifier and its graphs lie in one folder.
        if (
            isinstance(source, InferenceClassifierDataset)
            and isinstance(target, ClassifierDataset | OnnxDataset)
            and target._filepath.is_relative_to(source._filepath.parent)
        ):
            raise RunnerError(
                f"{reader.name} would take the newest {target._filepath} that is there when its turn comes, which need "
                f"not be the one that {writer.name} makes in this run: run them one after the other"
            )


def _unpinned(catalog: DataCatalog, name: str) -> AbstractVersionedDataset | None:
    """Return a versioned dataset of which the newest version would be loaded, else None."""
    dataset = catalog.get(name)
    if not isinstance(dataset, AbstractVersionedDataset) or dataset._version is None:
        return None
    return dataset if dataset._version.load is None else None
